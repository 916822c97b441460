"""The wall clock is set by hours and days, forward and back, while everything runs: nothing expires, nothing comes back, no
number is given twice."""
import os
import re
import struct
import time

import pytest
import wire
from crash import check_rows_have_files, http_get, start, stored_files
from suite import APP, BUILD, USER, Suite, new_id, wait_for

LIBRARY = BUILD / "lib" / "libclockstep.so"
OPTIONS = {"trash_keep": "1h", "purge_interval": "100ms", "leftover_age": "1h", "sweep_interval": "1s", "lease": "1s",
           "cache_age": "50ms"}
HOUR, DAY = 3600, 86400


class Clock:
    """Of the daemons; the test's own stays."""

    def __init__(self, suite):
        self.suite, self.file = suite, suite.dir / "clock"
        self.file.write_bytes(struct.pack("=q", 0))

    def preload(self):
        return {"LD_PRELOAD": str(LIBRARY), "CLOCKSTEP_FILE": str(self.file),
                "ASAN_OPTIONS": os.environ.get("ASAN_OPTIONS", "") + ":verify_asan_link_order=0"}

    def set(self, seconds):
        with open(self.file, "r+b") as out:
            out.write(struct.pack("=q", seconds))

    def restart(self, *labels):
        for label in labels:
            daemon = self.suite.daemons[label]
            daemon.stop()
            start(daemon, **self.preload())


@pytest.fixture
def stepped():
    """On SQLite, whose clock is the daemon's and is set with it."""
    suite = Suite("sqlite")
    try:
        suite.start(storage_options=dict(OPTIONS))
        suite.clock = Clock(suite)
        suite.clock.restart("tracker", "idserver", "storage", "httpd")
        suite.wait_active()
        yield suite
    finally:
        suite.stop()


def rounds_of_upkeep(suite, seconds=1.2):
    """The purge looks every 100 ms, the sweep every second."""
    time.sleep(seconds)
    wait_for(lambda: suite.storage.metric("reel_storage_lease_held") == 1, 20, "the lease")


def test_a_wall_clock_that_is_set_neither_expires_nor_revives_anything(stepped):
    suite, stored = stepped, {}
    deleted = new_id()

    def check(what):
        stored[file := new_id()] = content = os.urandom(2000)
        with suite.client() as client:
            reply = client.upload(APP, USER, file, content)
            assert reply.ok, (what, reply)
            for name, bytes_of in stored.items():
                assert client.download(APP, USER, name).body == bytes_of, what
            assert client.download(APP, USER, deleted).number in (wire.NOT_FOUND, wire.DELETED), what
            assert [entry[0] for entry in client.list(APP, USER, status=1)] == [deleted], what
        assert http_get(suite, file, USER) == (200, content), what
        assert http_get(suite, deleted, USER)[0] in (404, 410), what
        assert suite.active() == 1, what

    with suite.client() as client:
        assert wire.ask(suite.tracker.address, wire.SADDRS, wire.file_key(APP, USER, deleted)).ok
        assert client.upload(APP, USER, deleted, b"deleted").ok
        assert client.call(wire.DELETE, wire.file_key(APP, USER, deleted)).ok
    young = suite.files()[0].parent / "5F9E3FA7_1FF"
    young.write_bytes(b"nobody's; its name is old, the file is not")
    process = suite.storage.process
    for step in (9 * DAY, -7 * HOUR, -400 * DAY, 3 * HOUR):
        suite.clock.set(step)
        check(f"after a step to {step} s")
        rounds_of_upkeep(suite)
        check(f"after the upkeep, with the clock at {step} s")
    assert suite.storage.process is process and process.poll() is None and young.exists()
    assert suite.storage.metric("reel_storage_purged_files_total") == 0
    assert suite.storage.metric("reel_storage_quarantined_total") == 0
    with suite.client() as client:
        assert client.call(wire.RESTORE, wire.file_key(APP, USER, deleted)).ok
        assert client.download(APP, USER, deleted).body == b"deleted"
    young.unlink()
    check_rows_have_files(suite)
    assert suite.storage.metric("reel_storage_number_collisions_total") == 0


def test_no_number_is_given_twice_while_the_clock_goes_back_and_forth(stepped):
    suite, values = stepped, []
    for step in (-5 * HOUR, 5 * HOUR, 0, -DAY):
        suite.clock.set(step)
        with wire.Client(suite.idserver.address) as client:
            for _ in range(60):
                reply = client.call(wire.GET, b"k\0")
                assert reply.ok, reply
                values.append(struct.unpack(">q", reply.body)[0])
        suite.clock.restart("idserver")
        with suite.client() as client:
            for _ in range(20):
                assert client.upload(APP, USER, new_id(), b"x").ok
        suite.clock.restart("storage")
        suite.wait_active()
    assert len(set(values)) == len(values)
    numbers = [re.sub(r"/[0-9A-F]{8}_", "/", path) for path in stored_files(suite)]
    assert len(numbers) == 80 and len(set(numbers)) == 80


def test_a_storage_server_that_is_alive_stays_active_and_one_that_fell_silent_does_not_come_back(stepped):
    """The tracker's heartbeat time-out is fifteen seconds here: hours of wall clock are none of it."""
    suite = stepped
    for step in (-9 * HOUR, 9 * HOUR):
        suite.clock.set(step)
        for _ in range(10):
            assert suite.active() == 1
            time.sleep(0.1)
    suite.storage.kill()
    wait_for(lambda: suite.active() == 0, 20, "the silence being noticed")
    for step in (-9 * HOUR, 0, 9 * HOUR):
        suite.clock.set(step)
        time.sleep(0.3)
        assert suite.active() == 0
    start(suite.storage, **suite.clock.preload())
    suite.wait_active()
