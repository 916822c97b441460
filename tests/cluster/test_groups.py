"""Several groups: users spread over them, applications pinned, groups added, drained and lost."""
import json
import os

import pytest

import daemons
import wire
from daemons import APP, Reel, route
from figures import note
from lab import Stopwatch, wait_for


@pytest.fixture
def groups(whole):
    whole.add_second_group()
    for tracker in whole.trackers:
        daemons.active(tracker, 4)
    admin(whole, "open", "group002")
    admin(whole, "weight", "group001", "100")
    admin(whole, "weight", "group002", "100")
    for tracker in whole.trackers:
        wait_for(lambda: groups_at(tracker) == {"group001": ("open", 100), "group002": ("open", 100)}, 10, f"two groups at {tracker}")
    return whole


def groups_at(tracker):
    """As a tracker sees them now: name -> (state, weight)."""
    status = json.loads(wire.ask(tracker.address, wire.STATUS).body.rstrip(b"\0"))
    return {g["name"]: (g["state"], g["weight"]) for g in status["groups"] if g["state"] != "removed"}


def admin(site, *arguments, check=True, host=None):
    """reel admin, on a tracker's own host unless HOST names another."""
    host = host or site.control[0]
    return host.run(site.lab.bin / "reel", "-t", f"{'127.0.0.1' if host is site.control[0] else site.control[0].ip}", "admin", "group",
                    *arguments, check=check)


def spread(site, prefix, count, tracker=0, app=APP):
    """How many of COUNT new users go to each group."""
    found = {}
    for n in range(count):
        answer = route(site.trackers[tracker], f"{prefix}{n}", app)
        assert isinstance(answer, tuple), answer
        found[answer[0]] = found.get(answer[0], 0) + 1
    return found


def test_users_are_spread_and_each_group_holds_the_files_of_its_own(groups):
    found = spread(groups, "spread", 120)
    assert set(found) == {"group001", "group002"} and min(found.values()) > 25, found
    for user in ("spread1", "spread2", "spread3", "spread4", "spread5"):
        group, addresses = route(groups.trackers[1], user)
        content = os.urandom(20_000)
        reel = Reel(groups.lab, [h.ip for h in groups.control], user)
        file = reel.upload(content)
        assert reel.download(file) == content
        assert json.loads(reel("stat", "--json", file).stdout)["group"] == group
        volume = groups.volume if group == "group001" else groups.second.volume
        assert any(p.stat().st_size == 20_000 for p in volume.brick(groups.media[0]).rglob("*_???"))
        # The other group's servers do not answer for it.
        other = groups.second.storages[0] if group == "group001" else groups.storages[0]
        with wire.Client(other.address) as client:
            assert not client.download(APP, user, file).ok


def test_weights_share_new_users_and_take_effect_on_every_tracker_without_a_restart(groups):
    admin(groups, "weight", "group001", "0")
    try:
        watch = Stopwatch()
        for tracker in range(3):
            wait_for(lambda: spread(groups, f"weight{tracker}{watch.seconds:.3f}", 12, tracker) == {"group002": 12}, 10, "the weight")
        note(f"group's weight changed: in effect on all trackers after {watch.seconds:.1f} s (groups_refresh 1 s)")
    finally:
        admin(groups, "weight", "group001", "100")


def test_a_drained_group_keeps_its_users_and_gets_no_new_ones(groups):
    old = next(f"drain{n}" for n in range(100) if route(groups.trackers[0], f"drain{n}")[0] == "group002")
    admin(groups, "drain", "group002")
    try:
        assert spread(groups, "drained at once", 20) == {"group001": 20}, "on the tracker that was asked, at once"
        for tracker in (1, 2):
            wait_for(lambda: groups_at(groups.trackers[tracker])["group002"][0] == "draining", 30, "drain")
            assert spread(groups, f"drained{tracker}", 20, tracker) == {"group001": 20}
        assert route(groups.trackers[1], old)[0] == "group002"
        reel = Reel(groups.lab, [h.ip for h in groups.control], old)
        assert reel.download(reel.upload(b"still here")) == b"still here"
        listing = admin(groups, "list").stdout
        assert any(line.split()[:2] == ["group002", "draining"] for line in listing.splitlines()), listing
    finally:
        admin(groups, "open", "group002")
    assert set(spread(groups, "opened", 60)) == {"group001", "group002"}


def test_a_group_is_added_without_a_restart(groups):
    host = groups.media[1]
    host.run("mkdir", "-p", "/srv/group7")
    host.run("mount", "-t", "tmpfs", "group7", "/srv/group7")
    storage = daemons.storage(host, groups.database, "group7", "group7=/srv/group7", groups.control, groups.control[:2], 30)
    storage.start()
    try:
        wait_for(lambda: "not in t_groups_info" in storage.log(), 10, "the refusal of an unknown group, with its reason")
        admin(groups, "add", "group7", "50")
        admin(groups, "add", "group7", "50")  # again: it is there
        watch = Stopwatch()
        for tracker in groups.trackers:
            wait_for(lambda: daemons.states(tracker).get(("media2", f"{host.ip}:23030")) == "ACTIVE", 15, "the new group's server")
        note(f"group added: its server ACTIVE at all trackers after {watch.seconds:.1f} s")
        wait_for(lambda: "group7" in spread(groups, f"new{watch.seconds:.3f}", 40), 10, "a user in the new group")
        status = json.loads(groups.reel("--json", "status").stdout)
        assert next(g for g in status["groups"] if g["name"] == "group7")["weight"] == 50
    finally:
        admin(groups, "weight", "group7", "0")
        storage.stop()
        groups.database.sql("DELETE FROM t_groups_info WHERE group_name = 'group7'; DELETE FROM t_router WHERE group_name = 'group7'",
                            "tnv_trackerdb")
        host.run("umount", "-l", "/srv/group7")


def test_groups_are_changed_from_allowed_addresses_only_and_errors_are_clear(groups):
    refused = admin(groups, "drain", "group002", check=False, host=groups.media[0])
    assert refused.returncode == 9 and "admin_addresses" in refused.stderr, refused
    assert admin(groups, "list", host=groups.media[0]).stdout.count("open") == 2, "looking is allowed"
    unknown = admin(groups, "drain", "nosuchgroup", check=False)
    assert unknown.returncode == 3 and "nosuchgroup" in unknown.stderr
    for wrong in (["weight", "group001", "many"], ["weight", "group001"], ["remove", "group001", "3"], ["add", "no-letters!"],
                  ["weight", "group001", "1000001"]):
        assert admin(groups, *wrong, check=False).returncode in (1, 2), wrong
    with wire.Client(groups.trackers[0].address) as client:
        reply = client.call(17, wire.field("group002", 17) + bytes([2]) + bytes(4))
        assert reply.number == wire.REFUSED
    tracker = groups.trackers[0]
    config = tracker.config
    tracker.configure({**config, "tracker": {**config["tracker"], "admin_addresses": "10.77.0.0/24"}})
    tracker.hup()
    try:
        wait_for(lambda: admin(groups, "open", "group002", check=False, host=groups.media[0]).returncode == 0, 5, "the reload")
        assert admin(groups, "open", "group002", check=False).returncode == 9, "the machine itself is allowed no more"
        with wire.Client(tracker.address) as client:
            for body, number in ((wire.field("group002", 17) + bytes([9]) + bytes(4), wire.MALFORMED),
                                 (wire.field("group002", 17) + bytes([0]) + bytes(4), wire.MALFORMED),
                                 (wire.field("group002", 17) + bytes([4]) + b"\xff" * 4, wire.MALFORMED),
                                 (wire.field("", 17) + bytes([3]) + bytes(4), wire.MALFORMED)):
                assert client.call(17, body).number == number
    finally:
        tracker.configure(config)
        tracker.hup()
        wait_for(lambda: admin(groups, "open", "group002", check=False).returncode == 0, 5, "the reload")


def test_an_application_is_pinned_to_a_group(groups):
    configs = [tracker.config for tracker in groups.trackers]
    try:
        for tracker, config in zip(groups.trackers, configs):
            tracker.configure({**config, "tracker": {**config["tracker"], "applications": "tnvideo, films",
                                                     "pins": "app:films=group002"}})
            tracker.hup()
        for tracker in groups.trackers:
            wait_for(lambda: isinstance(route(tracker, "pinned", "films"), tuple), 5, "the reload")
        assert spread(groups, "pinned", 20, 1, "films") == {"group002": 20}
        assert set(spread(groups, "free", 60)) == {"group001", "group002"}
    finally:
        for tracker, config in zip(groups.trackers, configs):
            tracker.configure(config)
            tracker.hup()


def test_a_group_that_is_wholly_down_affects_its_users_only(groups):
    users = {}
    for n in range(100):
        users.setdefault(route(groups.trackers[0], f"down{n}")[0], f"down{n}")
    here, there = (Reel(groups.lab, [h.ip for h in groups.control], users[g]) for g in ("group001", "group002"))
    file = there.upload(b"away for a while")
    for storage in groups.second.storages:
        storage.kill()
    for tracker in groups.trackers:
        wait_for(lambda: not isinstance(route(tracker, users["group002"]), tuple), 10, "OFFLINE")
        reply = route(tracker, users["group002"])
        assert reply.number == wire.NO_SERVER and "group002" in reply.text, reply
    watch = Stopwatch()
    failed = there("download", "-q", file, "-", check=False)
    assert failed.returncode == 5 and b"group002" in failed.stderr, failed
    note(f"group wholly down: its user gets an answer that says so after {watch.seconds:.1f} s: {failed.stderr.decode().strip()[:120]}")
    assert here.download(here.upload(b"as ever")) == b"as ever"
    assert spread(groups, "while it is down", 20) == {"group001": 20}, "nobody new is sent there"
    for storage in groups.second.storages:
        storage.start()
    wait_for(lambda: there("download", "-q", file, "-", check=False).stdout == b"away for a while", 20, "the file")
