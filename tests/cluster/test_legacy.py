"""The predecessor's servers and clients in one cluster with ours."""
import configparser
import os
import re
import time
import urllib.request

import pytest

import daemons
import wire
from daemons import APP, Reel, new_id, route, states
from legacy import Client, Server
from lab import NETWORK, wait_for
from suite import ROOT

GROUP = "oldgroup"


@pytest.fixture
def old(whole):
    """A legacy storage server beside ours, in a group of its own, with the user "olga" in it. It beats every second, since this
    site's trackers wait for 4 s; the default of 40 s is made for the 10 s of a real one."""
    whole.database.sql(f"INSERT IGNORE INTO t_groups_info (group_name, weight) VALUES ('{GROUP}', 0)", "tnv_trackerdb")
    whole.place("olga", GROUP)
    server = Server(GROUP, [t.address for t in whole.trackers], whole.idservers[1].address, beat=1.0)
    try:
        for tracker in whole.trackers:
            wait_for(lambda: daemons.states(tracker).get(("oldmedia", f"{NETWORK}254:{server.port}")) == "ACTIVE", 20, "ACTIVE")
        yield server
    finally:
        server.stop()
        whole.database.sql(f"DELETE FROM t_groups_info WHERE group_name = '{GROUP}';"
                           f"DELETE FROM t_router WHERE group_name = '{GROUP}'", "tnv_trackerdb")


def test_a_legacy_server_joins_our_trackers_and_our_client_uses_it(whole, old):
    group, addresses = route(whole.trackers[0], "olga")
    assert (group, addresses) == (GROUP, [f"{NETWORK}254:{old.port}"])
    reel = Reel(whole.lab, [h.ip for h in whole.control], "olga")
    for size in (0, 1, 700_000):
        content = os.urandom(size)
        file = reel.upload(content)
        assert reel.download(file) == content
        assert int(reel("size", file).stdout) == size
    with urllib.request.urlopen(whole.url(0, file, "olga"), timeout=10) as answer:
        assert answer.read() == content
    reel("delete", file)
    assert reel("download", "-q", file, "-", check=False).returncode != 0
    assert old.numbers and not old.refused


def test_a_server_that_beats_every_ten_seconds_is_active_in_between_with_the_documented_configuration(whole):
    # A tracker as docs/deployment.md configures it, but for its addresses; a BEAT comes over the connection that joined, or over
    # a new one.
    page = (ROOT / "docs" / "deployment.md").read_text()
    written = configparser.ConfigParser()
    written.read_string(re.search(r"<!-- file: /etc/reelstore/tracker.conf .*?-->\n```ini\n(.*?)```", page, re.S)[1])
    options = dict(written["tracker"]) if "tracker" in written else {}
    database = {"url": whole.database.url("tnv_trackerdb")}
    tracker = daemons.Daemon(whole.control[2], "tracker", {"tracker": options, "database": database}, 60)
    whole.database.sql(f"INSERT IGNORE INTO t_groups_info (group_name, weight) VALUES ('{GROUP}', 0)", "tnv_trackerdb")
    tracker.start()
    servers = {}
    try:
        for keeps in (True, False):
            servers[keeps] = Server(GROUP, [tracker.address], whole.idservers[0].address, f"oldmedia{keeps:d}", keeps=keeps)
        wait_for(lambda: all(s.beats for s in servers.values()), 20, "a BEAT of each")
        seen = 0
        while not all(len(s.beats) > 1 and time.monotonic() > s.beats[1] + 0.5 for s in servers.values()):
            now = states(tracker)
            assert [now.get((s.host, f"{NETWORK}254:{s.port}")) for s in servers.values()] == ["ACTIVE"] * 2, (now, seen)
            seen += 1
            time.sleep(0.2)
        assert seen > 10
        for server in servers.values():
            assert server.beats[1] - server.beats[0] >= 9.9 and not server.refused
    finally:
        for server in servers.values():
            server.stop()
        tracker.stop()
        whole.database.sql(f"DELETE FROM t_groups_info WHERE group_name = '{GROUP}'", "tnv_trackerdb")


def test_numbers_are_shared_with_a_legacy_server_and_none_comes_twice(whole, old):
    reel = Reel(whole.lab, [h.ip for h in whole.control], "olga")
    mine = []
    for n in range(20):
        reel.upload(os.urandom(10))
        reply = wire.ask(whole.idservers[n % 2].address, wire.GET, b"../data\0")
        mine.append(int.from_bytes(reply.body, "big"))
    assert len(set(mine) | set(old.numbers)) == len(mine) + len(old.numbers)


def test_a_legacy_server_survives_the_loss_of_a_tracker(whole, old):
    whole.trackers[0].kill()
    whole.trackers[0].start()
    wait_for(lambda: daemons.states(whole.trackers[0]).get(("oldmedia", f"{NETWORK}254:{old.port}")) == "ACTIVE", 15, "ACTIVE again")


def test_a_silent_legacy_server_is_offline_and_only_its_users_learn_of_it(whole, old):
    old.stop()
    wait_for(lambda: not isinstance(route(whole.trackers[1], "olga"), tuple), 15, "OFFLINE")
    assert route(whole.trackers[1], "olga").number == wire.NO_SERVER
    assert whole.reel.download(whole.reel.upload(b"as ever")) == b"as ever"


def test_a_legacy_client_uses_our_cluster_also_while_parts_are_lost(whole):
    whole.place("otto", "group001")
    client = Client(whole.trackers[1].address, APP, "otto")
    file, content = new_id(), os.urandom(300_000)
    assert client.upload(file, content)
    assert client.download(file) == content and client.size(file) == len(content)
    whole.storages[0].kill()
    second, more = new_id(), os.urandom(1000)
    assert client.upload(second, more) and client.download(second) == more and client.download(file) == content
    whole.storages[0].start()
    assert client.upload(second, more), "the same bytes again, as after a lost reply"
    assert client.delete(second) and client.download(file) == content
    with wire.Client(whole.storages[1].address) as ours:
        assert ours.download(APP, "otto", file).body == content
