"""The upload journal: what it promised is there after a power cut that takes files, rows and names that nobody synced; and what was
deleted, refused or purged does not come back."""
import threading

import pytest
import power
import wire
from crash import check_rows_have_files, died, points, rows, start
from suite import APP, USER, Suite, new_id, wait_for
from test_crash_points import ROUNDS
from test_power import load, missing

OPTIONS = {"journal": "on", "journal_size": "4M", "probe_interval": "200ms", "trash_keep": "0", "purge_interval": "100ms",
           "lease": "1s"}
LOST = (OSError, EOFError)
SIZES = (0, 10, 3000, 65536)


@pytest.fixture(scope="module")
def suite():
    made = Suite("sqlite")
    try:
        yield made.start(storage_options=dict(OPTIONS))
    finally:
        made.stop()


def revive(suite):
    start(suite.storage)
    suite.wait_active()


def cut(suite, point, nth, dice, seconds=0.6, fail=None, **more):
    """Uploads until the server dies at POINT, or is killed; then the power goes."""
    suite.storage.stop()
    power.begin(suite, point, nth, fail=fail, database=True)
    acknowledged = load(suite, seconds, dice, sizes=more.pop("sizes", SIZES), **more)
    if point:
        died(suite.storage)
    else:
        suite.storage.kill()
    lost = power.cut(suite, one_journal=True)
    revive(suite)
    return acknowledged, lost


POINTS = ["journal-synced", "journal-files-synced", "journal-tail-moved"]
MORE_POINTS = ["row-committed", "journal-rows-synced", "upload-file-closed", "row-before-insert", "upload-replied", "journal-written", "journal-checkpoint"]
FAILURES = ["fsync:5:0:-uploads", "syncfs:5:1"]
MORE_FAILURES = ["write:28:2:-uploads", "fsync:5:3:-uploads", "write:5:3:-uploads", "syncfs:5:0"]  # these need REEL_TORTURE_ROUNDS


def some(few, more):
    return few + more if ROUNDS > 1 else few


@pytest.mark.parametrize("point", some(POINTS, MORE_POINTS))
def test_a_power_cut_at_any_step_loses_nothing_that_was_promised(suite, point, dice):
    nth = 2 if point in points("journal-") and point not in ("journal-written", "journal-synced") else dice.randint(5, 30)
    acknowledged, _ = cut(suite, point, nth, dice, seconds=30)
    assert not missing(suite, acknowledged)
    check_rows_have_files(suite)


def test_no_moment_loses_anything(suite, dice):
    replayed = lost = 0
    for _ in range(2 * ROUNDS):
        acknowledged, taken = cut(suite, None, 1, dice, seconds=dice.uniform(0.3, 0.9), at_least=10, connections=8)
        replayed += suite.storage.metric("reel_storage_journal_replayed_total")
        lost += sum(taken)
        assert len(acknowledged) > 9 and not missing(suite, acknowledged)
    assert replayed > 0 and lost > 0
    check_rows_have_files(suite)


@pytest.mark.parametrize("point", some(["journal-file-replayed"], ["journal-row-replayed", "journal-replayed"]))
def test_a_power_cut_in_the_replay_loses_nothing_either(suite, point, dice):
    suite.storage.stop()
    power.begin(suite, database=True)
    acknowledged = load(suite, 0.3, dice, sizes=SIZES, at_least=10)
    suite.storage.kill()
    power.cut(suite, one_journal=True)
    power.begin(suite, point, 1 if point == "journal-replayed" else 2, database=True)
    died(suite.storage)
    power.cut(suite, one_journal=True)
    revive(suite)
    assert len(acknowledged) > 9 and not missing(suite, acknowledged)
    check_rows_have_files(suite)


def test_what_was_deleted_and_purged_does_not_come_back(suite, dice):
    """Right after the upload, before any checkpoint: the record is still there when the power goes."""
    gone = []
    suite.storage.stop()
    power.begin(suite, database=True)
    with suite.client() as client:
        for _ in range(30):
            file = new_id()
            assert client.upload(APP, USER, file, dice.randbytes(3000)).ok
            assert client.call(wire.DELETE, wire.file_key(APP, USER, file)).ok
            gone.append(file)
    wait_for(lambda: not {row[0] for row in rows(suite).values()} & set(gone), 20, "the purge")
    suite.storage.kill()
    power.cut(suite, one_journal=True)
    revive(suite)
    with suite.client() as client:
        for file in gone:
            assert client.download(APP, USER, file).number == wire.NOT_FOUND
    check_rows_have_files(suite)


@pytest.mark.parametrize("point", some(["journal-voided"], ["journal-before-void"]))
def test_what_was_refused_does_not_come_instead(suite, point, dice):
    file, content = new_id(), dice.randbytes(3000)
    suite.storage.stop()
    power.begin(suite, point, database=True)
    with suite.client() as client:
        assert client.upload(APP, USER, file, content).ok
        with pytest.raises(LOST):
            client.upload(APP, USER, file, content[::-1])
    died(suite.storage)
    power.cut(suite, one_journal=True)
    revive(suite)
    with suite.client() as client:
        assert client.download(APP, USER, file).body == content
        assert client.upload(APP, USER, file, content[::-1]).number == wire.EXISTS
    check_rows_have_files(suite)


def test_a_deletion_or_restoration_that_was_answered_stays(suite, dice):
    states = {}
    storage = suite.storage
    storage.stop()
    storage.config["storage"]["trash_keep"] = "1h"
    storage.configure(storage.config)
    try:
        power.begin(suite, database=True)
        with suite.client() as client:
            for i in range(60):
                file, content = new_id(), dice.randbytes(2000)
                assert client.upload(APP, USER, file, content).ok
                states[file] = content
                if i % 3 > 0:
                    assert client.call(wire.DELETE, wire.file_key(APP, USER, file)).ok
                    states[file] = None
                if i % 3 > 1:
                    assert client.call(wire.RESTORE, wire.file_key(APP, USER, file)).ok
                    states[file] = content
        suite.storage.kill()
        power.cut(suite, one_journal=True)
        revive(suite)
        with suite.client() as client:
            for file, content in states.items():
                reply = client.download(APP, USER, file)
                assert reply.body == content if content else reply.number == wire.NOT_FOUND
                if not content:
                    assert client.call(wire.RESTORE, wire.file_key(APP, USER, file)).ok
                    assert len(client.download(APP, USER, file).body) == 2000
    finally:
        storage.stop()
        storage.config["storage"]["trash_keep"] = "0"
        storage.configure(storage.config)
        revive(suite)


@pytest.mark.parametrize("fail", some(FAILURES, MORE_FAILURES))
def test_a_call_that_fails_loses_nothing_and_refuses_nothing(suite, fail, dice):
    """The journal, or the file system below the store path: uploads go on, synced one by one where need be."""
    suite.storage.stop()
    power.begin(suite, fail=fail, database=True)
    acknowledged, refused = {}, []

    def one(seed):
        import random
        own = random.Random(seed)
        with suite.client() as client:
            for _ in range(40):
                file, content = new_id(), own.randbytes(own.choice(SIZES))
                reply = client.upload(APP, USER, file, content)
                if reply.ok:
                    acknowledged[file] = content
                else:
                    refused.append(reply)
    threads = [threading.Thread(target=one, args=(dice.random(),)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    wait_for(lambda: power.failures(suite), 10, "the call that fails")
    if fail.startswith("fsync:5:0"):
        wait_for(lambda: "one by one" in suite.storage.http("/healthz")[1], 10, "the state in /healthz")
    suite.storage.kill()
    power.cut(suite, one_journal=True)
    revive(suite)
    # A store path that failed takes no uploads until a trial write works, whatever failed.
    assert len(acknowledged) > 8 and (not refused or "syncfs" in fail), refused[:3]
    assert not missing(suite, acknowledged)
    check_rows_have_files(suite)


def test_a_clean_stop_leaves_nothing_to_replay_and_checkpoint_empties_it_after_a_crash(suite, dice):
    suite.storage.restart()
    assert suite.storage.metric("reel_storage_journal_replayed_total") == 0
    content = dice.randbytes(3000)
    suite.storage.stop()
    power.begin(suite, database=True)
    with suite.client() as client:
        assert client.upload(APP, USER, "promised-" + new_id(), content).ok
        assert client.upload(APP, USER, "last", content).ok
    refused = suite.storage.command("--checkpoint")
    assert refused.returncode == 1 and "is running" in refused.stderr
    suite.storage.kill()
    power.cut(suite, one_journal=True)
    done = suite.storage.command("--checkpoint")
    assert done.returncode == 0 and "is empty" in done.stdout, done.stdout + done.stderr
    journal = suite.dir / "meta" / "storagedb.db-uploads"
    assert journal.stat().st_size == 0
    revive(suite)
    with suite.client() as client:
        assert client.download(APP, USER, "last").body == content


def test_a_damaged_record_keeps_the_server_from_starting(suite, dice):
    suite.storage.stop()
    power.begin(suite, "journal-checkpoint", 1, database=True)
    load(suite, 30, dice, sizes=(3000,), connections=1)
    died(suite.storage)
    power.cut(suite, one_journal=True)
    journal = suite.dir / "meta" / "storagedb.db-uploads"
    whole = journal.read_bytes()
    assert whole.count(b"RJLR") > 2
    at = whole.index(b"RJLR") + 500
    journal.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1:])
    suite.storage.start(wait=False)
    assert suite.storage.process.wait(30) == 1 and "is damaged" in suite.storage.tail()
    suite.storage.process = None
    journal.write_bytes(whole)
    revive(suite)
