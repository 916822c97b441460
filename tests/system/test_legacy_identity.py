"""The predecessor's programs, which know no sessions, beside ours under auth.mode = required and prefer, in both directions. Its
stand-ins are those of tests/cluster."""
import os
import pathlib
import subprocess
import sys

import pytest

import wire
from identity import SecureSuite
from suite import APP, BIN, new_id, wait_for

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "cluster"))
from legacy import Client, IdServer, Server, Tracker  # noqa: E402

OLD = "127.0.0.7"  # the address of the old machines
GROUP = "oldgroup"


def reel(suite, *arguments, tracker=None, check=True, user="olga", **environment):
    host, port = tracker or suite.tracker.address
    done = subprocess.run([str(BIN / "reel"), "-t", f"{host}:{port}", "-u", user, *map(str, arguments)], capture_output=True, timeout=120,
                          env=suite.environment(REEL_CONFIG="/dev/null", **environment))
    assert not check or done.returncode == 0, (done.returncode, done.stdout[-500:], done.stderr)
    return done


@pytest.fixture(scope="module")
def mixed():
    """Ours under required, which lets the old machines in by their address."""
    suite = SecureSuite()
    suite.auth = {"legacy_addresses": OLD}
    try:
        suite.add_tracker(), suite.add_idserver(), suite.add_storage()
        yield suite.launch()
    finally:
        suite.stop()


def test_an_old_client_at_a_legacy_address_is_served_as_ever(mixed):
    client = Client(mixed.tracker.address, APP, "otto", source=OLD)
    file, content = new_id(), os.urandom(200_000)
    assert client.upload(file, content)
    assert client.download(file) == content and client.size(file) == len(content)
    assert client.upload(file, content), "the same bytes again"
    assert client.delete(file)
    assert Client(mixed.tracker.address, APP, "otto", source=OLD, tries=1).download(file) is None


def test_an_old_client_elsewhere_gets_nothing(mixed):
    client = Client(mixed.tracker.address, APP, "otto", tries=1)
    assert not client.upload(new_id(), b"x") and client.download("f") is None
    with wire.Client(mixed.storage.address) as one:
        assert one.upload(APP, "otto", new_id(), b"x").number == wire.UNAUTHENTICATED


def test_a_legacy_address_may_send_the_base_set_and_nothing_else(mixed):
    with wire.Client(mixed.tracker.address, source=OLD) as client:
        for command, body in ((wire.STATUS, b""), (wire.LOCATE, wire.file_key(APP, "otto", "f"))):
            assert client.call(command, body).number == wire.UNAUTHENTICATED
        assert client.call(wire.GROUPS).ok


@pytest.fixture
def old_server(mixed):
    """An old storage server with a group of its own, and the user olga in it."""
    mixed.sql("trackerdb", f"INSERT OR IGNORE INTO t_groups_info (group_name, weight) VALUES ('{GROUP}', 0)")
    mixed.sql("trackerdb", f"INSERT OR REPLACE INTO t_router (appid, userid, group_name) VALUES ('{APP}', 'olga', '{GROUP}')")
    server = Server(GROUP, [mixed.tracker.address], mixed.idserver.address, beat=1.0, source=OLD)
    try:
        def active():
            reply = wire.ask(mixed.tracker.address, wire.SADDRS, wire.file_key(APP, "olga", "f"), OLD)
            return reply.ok and str(server.port).encode() in reply.body
        wait_for(active, 30, "the old server is known")
        yield server
    finally:
        server.stop()


def test_an_old_storage_server_works_for_our_tracker_and_id_server(mixed, old_server, tmp_path):
    client = Client(mixed.tracker.address, APP, "olga", source=OLD)
    file, content = new_id(), os.urandom(50_000)
    assert client.upload(file, content) and client.download(file) == content
    assert old_server.numbers and not old_server.refused
    # Ours with a key does not believe it, unless configured to; then it is used as ever.
    keys = mixed.keys.only("app", tmp_path / "keys")
    done = reel(mixed, "download", file, "-o", "-", "--max-time", "5s", check=False, REEL_KEYS=keys)
    assert done.returncode != 0 and b"does not prove its identity" in done.stderr, done.stderr
    assert reel(mixed, "download", file, "-o", "-", REEL_KEYS=keys, REEL_AUTH="prefer").stdout == content
    name = reel(mixed, "upload", "-q", tmp_path / "keys", REEL_KEYS=keys, REEL_AUTH="prefer").stdout.decode().strip()
    assert old_server.files[(APP.encode(), b"olga", name.encode())] == (tmp_path / "keys").read_bytes()


def test_an_old_storage_server_elsewhere_does_not_join(mixed):
    server = Server(GROUP, [mixed.tracker.address], mixed.idserver.address, host="stranger", beat=1.0)
    try:
        wait_for(lambda: server.refused, 30, "a refusal")
        assert server.refused[0].number == wire.UNAUTHENTICATED and not server.beats
    finally:
        server.stop()


@pytest.mark.parametrize("mode", ["prefer", "required"])
def test_our_storage_server_and_client_at_an_old_tracker_and_id_server(mode, tmp_path):
    """Under prefer they go on without proofs; under required they ask for one and go nowhere."""
    suite = SecureSuite(mode)
    tracker, idserver = Tracker("group001"), IdServer()
    try:
        at = lambda daemon: f"127.0.0.1:{daemon.address[1]}"  # noqa: E731
        suite.add_storage(trackers=at(tracker), idservers=at(idserver))
        suite.storage.init_db()
        suite.storage.start()
        keys = suite.keys.only("app", tmp_path / "keys")
        if mode == "required":
            wait_for(lambda: "does not prove its identity" in suite.storage.log(), 30, "the storage server says why it does not join")
            done = reel(suite, "list", "--max-time", "5s", tracker=tracker.address, check=False, REEL_KEYS=keys)
            assert done.returncode != 0 and b"does not prove its identity" in done.stderr
            assert set(tracker.seen) == {wire.HELLO} and set(idserver.seen) <= {wire.HELLO}, (tracker.seen, idserver.seen)
            return
        wait_for(lambda: tracker.servers, 30, "JOIN")
        file = tmp_path / "film"
        file.write_bytes(os.urandom(100_000))
        name = reel(suite, "upload", "-q", file, tracker=tracker.address, REEL_KEYS=keys, REEL_AUTH="prefer").stdout.decode().strip()
        assert reel(suite, "download", name, "-o", "-", tracker=tracker.address, REEL_KEYS=keys, REEL_AUTH="prefer").stdout == file.read_bytes()
        old = Client(tracker.address, APP, "olga")
        assert old.download(name) == file.read_bytes()
        assert idserver.next > 0
    finally:
        suite.stop()
        tracker.stop()
        idserver.stop()
