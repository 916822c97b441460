"""The predecessor's servers and clients in one cluster with ours."""
import os
import urllib.request

import pytest

import daemons
import wire
from daemons import APP, Reel, new_id, route
from legacy import Client, Server
from lab import NETWORK, wait_for

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


def test_a_silent_legacy_server_is_offline_and_only_its_users_are_told(whole, old):
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
