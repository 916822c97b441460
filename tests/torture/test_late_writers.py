"""A storage server that was stopped right before it writes into a partial upload, or cuts its file, goes on when another member has
taken the upload over, appended to it, or finished it. Nothing of what it does late may get into the file."""
import signal
import subprocess

import pytest
import wire
from crash import check_rows_have_files, start, stored_files
from suite import APP, USER, Suite, new_id, wait_for

WHOLE, PIECE = 300_000, 100_000


@pytest.fixture(scope="module")
def suite():
    running = Suite("sqlite")
    try:
        running.add_tracker()
        running.add_idserver()
        for label in ("storage", "second"):
            running.add_storage(label, chunk_size="16K", cache_age="100ms")
        running.launch()
        assert wire.ask(running.tracker.address, wire.SADDRS, wire.file_key(APP, USER, "any")).ok
        yield running
    finally:
        running.stop()


class Late:
    """An upload of which WHOLE bytes are CONTENT; the first PIECE of them is recorded. Then "storage" stops at POINT in an APPEND of
    other bytes."""

    def __init__(self, suite, dice, point, nth, size=WHOLE):
        self.suite, self.file = suite, new_id()
        self.content, self.others = dice.randbytes(WHOLE), dice.randbytes(WHOLE)
        suite.storage.stop()
        start(suite.storage, REEL_STOP_POINT=f"{point}:{nth}")
        suite.wait_active(2)
        self.first, self.second = suite.client(), suite.client("second")
        self.token = self.first.begin(APP, USER, self.file, size)
        assert self.append(self.first, 0, self.content[:PIECE]).ok
        head = wire.append_head(APP, USER, self.file, self.token, PIECE, PIECE)
        self.first.send(wire.header(len(head) + PIECE, wire.APPEND) + head + self.others[:PIECE])
        wait_for(suite.storage.is_stopped, 20, f"a stop at {point}")

    def append(self, client, offset, content):
        return client.append(APP, USER, self.file, self.token, offset, content)

    def go_on(self):
        """What the late one says, which is no success."""
        self.suite.storage.process.send_signal(signal.SIGCONT)
        reply = self.first.receive()
        assert reply.number == wire.UNAVAILABLE, reply
        self.first.close()

    def check(self, content):
        self.second.close()
        self.suite.wait_active(2)
        for label in ("storage", "second"):
            with self.suite.client(label) as client:
                assert client.download(APP, USER, self.file).body == content
        check_rows_have_files(self.suite)
        paths = {path for table in (1, 2, 3)
                 for path, in self.suite.sql("storagedb", f"SELECT file_path FROM t_file_0{table} WHERE id = '{self.file}';")}
        assert len(paths) == 1 and paths <= set(stored_files(self.suite))


# Right before a piece is written; and before the file is opened and cut back.
POINTS = [("append-to-write", 1 + -(-PIECE // 16384)), ("append-to-write", 3 + -(-PIECE // 16384)), ("append-taken", 2)]


@pytest.mark.parametrize("point, nth", POINTS)
def test_what_is_written_late_does_not_get_into_a_finished_file(suite, dice, point, nth):
    late = Late(suite, dice, point, nth)
    at = late.second.offset(APP, USER, late.file, late.token)["offset"]
    assert at == PIECE
    assert late.append(late.second, at, late.content[at:]).ok
    assert late.second.finish(APP, USER, late.file, late.token).ok
    late.go_on()
    late.check(late.content)


@pytest.mark.parametrize("point, nth", POINTS)
def test_what_is_written_late_does_not_get_into_a_file_whose_digest_nobody_states(suite, dice, point, nth):
    late = Late(suite, dice, point, nth)
    assert late.append(late.second, PIECE, late.content[PIECE:2 * PIECE]).ok
    late.go_on()
    assert late.append(late.second, 2 * PIECE, late.content[2 * PIECE:]).ok
    assert late.second.finish(APP, USER, late.file, late.token).ok
    late.check(late.content)


def test_what_is_written_late_does_not_lengthen_a_file_that_was_finished_without_it(suite, dice):
    late = Late(suite, dice, *POINTS[0], size=-1)
    assert late.second.finish(APP, USER, late.file, late.token).ok
    late.go_on()
    late.check(late.content[:PIECE])


def test_who_was_killed_is_waited_for_by_nobody(suite, dice):
    """Where one kernel has all locks it is known that nothing comes any more: nothing is copied."""
    system = subprocess.run(["stat", "-f", "-c", "%T", suite.dir], capture_output=True, text=True, check=True).stdout.strip()
    if system not in ("ext2/ext3", "xfs", "btrfs"):
        pytest.skip(f"{suite.dir} is on {system}")
    late = Late(suite, dice, "append-to-write", POINTS[1][1])
    where = suite.sql("storagedb", f"SELECT file_path FROM t_partial WHERE id = '{late.file}';")
    suite.storage.kill()
    late.first.close()
    assert late.append(late.second, PIECE, late.content[PIECE:]).ok
    assert late.second.finish(APP, USER, late.file, late.token).ok
    assert suite.sql("storagedb", f"SELECT file_path FROM t_partial WHERE id = '{late.file}';") == where
    suite.storage.start()
    late.check(late.content)


def test_who_has_ended_his_request_is_waited_for_by_nobody(suite, dice):
    """Then the file stays what it is, whoever goes on with it; so after an APPEND that its uploader broke off."""
    file, content = new_id(), dice.randbytes(WHOLE)
    with suite.client() as first, suite.client("second") as second:
        token = first.begin(APP, USER, file, WHOLE)
        where = suite.sql("storagedb", f"SELECT file_path FROM t_partial WHERE id = '{file}';")
        assert first.append(APP, USER, file, token, 0, content[:PIECE]).ok
        with suite.client() as broken:
            head = wire.append_head(APP, USER, file, token, PIECE, PIECE)
            broken.send(wire.header(len(head) + PIECE, wire.APPEND) + head + content[PIECE:PIECE + 50_000])
        claim = lambda: suite.sql("storagedb", f"SELECT claim, epoch FROM t_partial WHERE id = '{file}';") == [["0", "2"]]
        wait_for(claim, 20, "the end of the request that was broken off")
        at = second.offset(APP, USER, file, token)["offset"]
        assert second.append(APP, USER, file, token, at, content[at:]).ok
        assert second.finish(APP, USER, file, token).ok
        assert suite.sql("storagedb", f"SELECT file_path FROM t_partial WHERE id = '{file}';") == where
        assert first.download(APP, USER, file).body == content
