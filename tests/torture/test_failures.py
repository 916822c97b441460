"""System calls that fail, one after the other, at every call on the paths of start, upload, undo, delete and purge: a clear
error or success, never a lie; nothing half-visible; the server lives and takes uploads again by itself."""
import contextlib
import errno
import json
import os
import threading

import power
import pytest
import wire
from crash import check_rows_have_files, leftovers, make, rows, start
from suite import APP, USER, Suite, new_id, wait_for

OPTIONS = {"chunk_size": "16K", "journal": "off", "probe_interval": "100ms", "hang_timeout": "30s", "trash_keep": "0",
           "purge_interval": "100ms", "lease": "1s", "cache_age": "1ms"}
CALLS_MAX = int(os.environ.get("REEL_TORTURE_CALLS", "8"))  # of one kind, from the start on
CASES = [(call, number) for call, numbers in {
    "open": ("ENOSPC", "EDQUOT", "EIO", "EMFILE", "EROFS"), "write": ("ENOSPC", "EDQUOT", "EIO"), "short": ("ENOSPC",),
    "fsync": ("EIO", "ENOSPC", "EDQUOT"), "close": ("EIO", "ENOSPC"), "mkdir": ("ENOSPC", "EIO"),
    "unlink": ("EIO", "EROFS")}.items() for number in numbers]


@pytest.fixture(scope="module")
def failing_suite(backend, request):
    suite = make(backend, request)
    try:
        yield suite.start(storage_options=dict(OPTIONS))
    finally:
        suite.stop()


def exercise(suite, dice):
    """Small and large uploads, a refused one, a download, a deletion; what was acknowledged and what was not."""
    stored, refused, deleted = {}, {}, []
    with suite.client() as client:
        for size in (100, 60_000, 0, 3000):
            file, content = new_id(), dice.randbytes(size)
            reply = client.upload(APP, USER, file, content)
            (stored if reply.ok else refused)[file] = content
            if not reply.ok:
                assert reply.number in (wire.NO_SPACE, wire.UNAVAILABLE, -13) and reply.text, reply
        wrong = client.put(APP, USER, new_id(), b"x" * 1000, digest=bytes(16))
        assert not wrong.ok
        for file in list(stored)[-1:]:
            if client.call(wire.DELETE, wire.file_key(APP, USER, file)).ok:
                deleted.append(file)
                del stored[file]
    return stored, refused, deleted


def check(suite, stored, refused, deleted):
    with suite.client() as client:
        for file, content in stored.items():
            assert client.download(APP, USER, file).body == content
        for file in list(refused) + deleted:
            assert client.download(APP, USER, file).number in (wire.NOT_FOUND, wire.DELETED)
    assert not set(refused) & {row[0] for row in rows(suite).values() if row[1] == 0}
    files = {file: content for file, content in stored.items()}
    assert set(files) <= {row[0] for row in rows(suite).values()}


@pytest.mark.parametrize("call,number", CASES)
def test_a_failing_call_is_reported_and_survived(failing_suite, call, number, dice):
    suite = failing_suite
    reached = 0
    for nth in range(1, CALLS_MAX + 1):
        suite.storage.stop()
        before = set(leftovers(suite))
        power.begin(suite, fail=f"{call}:{getattr(errno, number)}:{nth}")
        results = exercise(suite, dice)
        assert suite.storage.process.poll() is None, suite.storage.tail()

        def upload():
            with suite.client() as client:
                return client.upload(APP, USER, new_id(), b"again").ok
        wait_for(upload, 20, "an upload after the failure")
        check(suite, *results)
        reached = len(power.failures(suite))
        # The removal itself may be what failed; then the clean-up has something to do, and says so.
        # An upload's file may go just after its reply.
        left = lambda: set(leftovers(suite)) - before
        wait_for(lambda: len(left()) <= (1 if call == "unlink" else 0), 10,
                 f"the end of what failed uploads made ({call} {number} {nth})")
        if not reached:
            break
    assert nth > 1, f"{call} was never called"


UPKEEP = {**OPTIONS, "leftover_age": "4s", "progress_timeout": "1s", "database_timeout": "1400ms", "sweep_interval": "1s",
          "scrub_rate": "0", "leftovers_share": "100",
          "cache_age": "1ms", "open_age": "1ms"}
EVERY_CALL = "REEL_TORTURE_CALLS" in os.environ
READING = [(call, number) for call, numbers in {
    "read": ("EIO",), "stat": ("EIO", "EACCES"), "statvfs": ("EIO",), "readdir": ("EIO", "ENOMEM"), "open": ("EIO", "EMFILE"),
    "rename": ("EIO", "ENOSPC", "EROFS"), "mkdir": ("EROFS",), "unlink": ("EIO",), "syncdir": ("EIO",)}.items()
    for number in (numbers if EVERY_CALL else numbers[:1])]


@pytest.fixture(scope="module")
def upkeep_suite():
    """On SQLite: what fails here is the store's, whatever holds the rows."""
    suite = Suite("sqlite")
    try:
        yield suite.start(storage_options=dict(UPKEEP))
    finally:
        suite.stop()


def lay_about(suite, count):
    """Leftovers of a dead server, which are old enough a moment later."""
    with suite.client() as client:
        assert client.upload(APP, USER, new_id(), b"makes the directory").ok
    directory = suite.files()[-1].parent
    used = {path.name[-3:] for path in directory.iterdir()}
    for digits in [f"{number:03X}" for number in range(511, -1, -1) if f"{number:03X}" not in used][:count]:
        (directory / f"5F9E3FA7_{digits}").write_bytes(b"nobody's")


@pytest.mark.parametrize("call,number", READING)
def test_a_call_that_fails_in_the_start_a_download_the_clean_up_the_purge_or_a_scrub_is_survived(
        upkeep_suite, call, number, dice):
    """Whichever of them meets it: it is reported, nothing is lost, and the next round does what was left to do."""
    suite = upkeep_suite
    lay_about(suite, 6)
    for nth in range(1, CALLS_MAX + 1) if EVERY_CALL else [dice.randint(1, 2)]:
        suite.storage.stop()
        power.begin(suite, fail=f"{call}:{getattr(errno, number)}:{nth}")
        suite.wait_active()
        stored, refused, deleted = exercise(suite, dice)
        for file, content in stored.items():
            for _ in range(3):  # one of them may meet the failure; it says so, or breaks off where the head is out already
                with suite.client() as client, contextlib.suppress(EOFError):
                    reply = client.download(APP, USER, file)
                    assert reply.body == content if reply.ok else reply.number in (wire.UNAVAILABLE, -13, -14), reply
        done = suite.reel("--json", "fsck", check=False)
        assert done.returncode in (0, 5, 6), done
        assert suite.storage.process.poll() is None, suite.storage.tail()
        check(suite, stored, refused, deleted)
        if nth <= 2:
            wait_for(lambda: power.failures(suite), 20, f"call {nth} of {call}")
    suite.storage.stop()
    start(suite.storage)
    suite.wait_active()
    wait_for(lambda: not leftovers(suite), 30, "the clean-up of what lay about")
    wait_for(lambda: all(row[1] == 0 for row in rows(suite).values()), 30, "the purge of what was deleted")
    check_rows_have_files(suite)
    report = json.loads(suite.reel("--json", "fsck").stdout)["progress"]
    assert not any(report["findings"].values()), report


def test_a_sync_of_a_directory_that_fails_fails_every_upload_that_shares_it(failing_suite, dice):
    suite = failing_suite
    suite.storage.stop()
    before = set(leftovers(suite))
    power.begin(suite, fail=f"syncdir:{errno.EIO}:0", slow=30)
    replies = []

    def upload(seed):
        with suite.client() as client:
            replies.append(client.upload(APP, USER, new_id(), b"x" * seed))
    threads = [threading.Thread(target=upload, args=(i,)) for i in range(1, 13)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    assert len(replies) == 12 and not any(reply.ok for reply in replies), replies
    assert suite.storage.metric("reel_storage_uploads_total") >= 12
    wait_for(lambda: set(leftovers(suite)) <= before, 10, "the end of what the uploads made")
    suite.storage.stop()
    start(suite.storage)
    suite.wait_active()


@pytest.mark.parametrize("call,number", [("open", "EMFILE"), ("write", "ENOSPC"), ("write", "EIO"), ("fsync", "EIO"),
                                         ("close", "EIO"), ("short", "ENOSPC")])
def test_while_a_call_fails_all_the_time_nothing_is_stored_and_then_all_is_well(failing_suite, call, number, dice):
    suite = failing_suite
    suite.storage.stop()
    before = set(leftovers(suite))
    power.begin(suite, fail=f"{call}:{getattr(errno, number)}:0:")
    with suite.client() as client:
        for size in (100, 60_000):
            file = new_id()
            reply = client.upload(APP, USER, file, dice.randbytes(size))
            assert reply.ok == (call == "short"), reply
            assert client.download(APP, USER, file).ok == reply.ok
    wait_for(lambda: set(leftovers(suite)) == before, 10, "the end of what failed uploads made")
    suite.storage.stop()
    start(suite.storage)
    suite.wait_active()
    exercise(suite, dice)
