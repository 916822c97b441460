"""Parts that are away, come late, are killed: what was acknowledged is there, and everything becomes whole by itself."""
import os
import signal
import time

import wire
from suite import APP, USER, new_id, wait_for


def test_storage_starts_alone_and_becomes_whole_when_the_others_come(own_suite):
    tracker, idserver = own_suite.add_tracker(), own_suite.add_idserver()
    storage = own_suite.add_storage()
    storage.start()
    with own_suite.client() as client:
        reply = client.upload(APP, USER, "early", b"x" * 100_000)
        assert not reply.ok and reply.text
    assert storage.http("/healthz")[0] == 503
    tracker.init_db()
    tracker.start()
    idserver.init_db()
    idserver.start()
    storage.init_db()
    own_suite.wait_active()

    def upload():
        with own_suite.client() as client:
            return client.upload(APP, USER, "early", b"x" * 100_000).ok
    wait_for(upload, 40, "an upload after all parts came")
    wait_for(lambda: storage.http("/healthz")[0] == 200, 20, "health")


def test_what_was_acknowledged_survives_kill_9(own_suite):
    own_suite.start()
    stored = {}
    for round in range(4):
        with own_suite.client() as client:
            for i in range(10):
                file, content = new_id(), os.urandom(1000 * (i + 1))
                assert client.upload(APP, USER, file, content).ok
                stored[file] = content
            head = wire.upload_head(APP, USER, new_id(), 1_000_000)
            client.send(wire.header(1_000_408, wire.UPLOAD) + head + os.urandom(400_000))
            for daemon in ("storage", "idserver", "tracker"):
                own_suite.daemons[daemon].kill()
        for daemon in ("tracker", "idserver", "storage"):
            own_suite.daemons[daemon].start()
        own_suite.wait_active()
    with own_suite.client() as client:
        for file, content in stored.items():
            assert client.download(APP, USER, file).body == content


def test_a_restarted_tracker_knows_the_storage_server_again(own_suite):
    own_suite.start()
    for stop in ("kill", "stop"):
        getattr(own_suite.tracker, stop)()
        time.sleep(0.3)
        own_suite.tracker.start()
        own_suite.wait_active()


def test_a_stopped_id_server_is_survived_by_numbers_fetched_ahead(own_suite):
    own_suite.start()
    with own_suite.client() as client:
        assert client.upload(APP, USER, new_id(), b"warm").ok
        own_suite.idserver.kill()
        for _ in range(5):
            assert client.upload(APP, USER, new_id(), b"from the run fetched ahead").ok
    own_suite.idserver.start()


def test_the_database_away_reads_from_the_cache_and_writes_fail_clearly(mariadb_suite):
    mariadb_suite.start()
    with mariadb_suite.client() as client:
        assert client.upload(APP, USER, "kept", b"kept" * 1000).ok
        assert client.download(APP, USER, "kept").ok
        mariadb_suite.mariadb.kill()
        assert client.download(APP, USER, "kept").body == b"kept" * 1000
        begin = time.monotonic()
        reply = client.upload(APP, USER, "refused", b"x" * 1000)
        assert not reply.ok and reply.number == wire.UNAVAILABLE and time.monotonic() - begin < 40
        mariadb_suite.mariadb.start()
        wait_for(lambda: client.upload(APP, USER, "later", b"y" * 1000).ok, 40,
                 "an upload after the database's return")
        assert client.download(APP, USER, "refused").number == wire.NOT_FOUND
        assert client.download(APP, USER, "kept").ok


def test_sigterm_finishes_a_transfer_in_flight(own_suite):
    own_suite.start()
    content = os.urandom(20_000_000)
    with own_suite.client() as client:
        assert client.upload(APP, USER, "big", content).ok
        client.send(wire.header(416, wire.DOWNLOAD) + wire.file_key(APP, USER, "big") + bytes(16))
        assert client.receive_exactly(10)
        got = client.receive_exactly(1000)
        own_suite.storage.process.send_signal(signal.SIGTERM)
        time.sleep(0.5)
        got += client.receive_exactly(len(content) - 1000)
        assert got == content
        assert client.at_end()
    assert own_suite.storage.process.wait(120) == 0
    own_suite.storage.process = None
    own_suite.storage.err.close()
