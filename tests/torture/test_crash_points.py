"""Every named step of upload, delete and restore: the storage server dies there by kill -9, comes back, and what it
acknowledged is there, what it did not is there as a whole or not at all, and trying again is safe."""
import os

import pytest
import wire
import xxhash
from crash import check_rows_have_files, died, http_get, leftovers, points, rows, start
from suite import APP, USER, new_id, wait_for

ROUNDS = int(os.environ.get("REEL_TORTURE_ROUNDS", "1"))
UPLOAD_POINTS = points("upload-") + points("row-") + points("directory-")
LOST = (EOFError, ConnectionError)


def reborn(suite):
    died(suite.storage)
    start(suite.storage)
    suite.wait_active()


def with_point(suite, point, nth=1):
    suite.storage.stop()
    start(suite.storage, point, nth)
    suite.wait_active()


def test_the_documentation_names_every_point():
    from suite import ROOT
    text = (ROOT / "docs" / "durability.md").read_text()
    missing = [name for name in points() if f"`{name}`" not in text]
    assert not missing and len(points()) > 15


# A small file is written in one piece: it has no point between two.
POINTS_AND_SIZES = [(point, size) for point in UPLOAD_POINTS for size in (3000, 300_000)
                    if not (point == "upload-part-written" and size < 65536)]


@pytest.mark.parametrize("point, size", POINTS_AND_SIZES)
def test_a_crash_in_an_upload_leaves_the_file_whole_or_not_there(suite, point, size, dice):
    for _ in range(ROUNDS):
        file, content, earlier = new_id(), dice.randbytes(size), new_id()
        with_point(suite, point, 2)
        with suite.client() as client:
            acknowledged = {}
            try:
                for name in (earlier, file, new_id(), new_id()):
                    if client.upload(APP, USER, name, content).ok:
                        acknowledged[name] = content
            except LOST:
                pass
        reborn(suite)
        check_rows_have_files(suite)
        assert not set(acknowledged) - {row[0] for row in rows(suite).values()}
        with suite.client() as client:
            for name in acknowledged:
                assert client.download(APP, USER, name).body == content
                assert http_get(suite, name, USER) == (200, content)
            reply = client.download(APP, USER, file)
            assert reply.body == content if reply.ok else reply.number == wire.NOT_FOUND
            assert client.upload(APP, USER, file, content).ok, "trying again is safe"
            assert client.download(APP, USER, file).body == content
            other = client.upload(APP, USER, file, content[:-1] + bytes([content[-1] ^ 1]))
            assert not other.ok and other.number == wire.EXISTS
        check_rows_have_files(suite)


@pytest.mark.parametrize("point", points("undo-"))
def test_a_crash_while_a_refused_upload_is_undone_leaves_no_row(suite, point, dice):
    for _ in range(ROUNDS):
        file = new_id()
        with_point(suite, point)
        with suite.client() as client, pytest.raises(LOST):
            client.put(APP, USER, file, dice.randbytes(3000), digest=bytes(16))
        reborn(suite)
        assert file not in {row[0] for row in rows(suite).values()}
        with suite.client() as client:
            assert client.download(APP, USER, file).number == wire.NOT_FOUND
            assert client.upload(APP, USER, file, b"again").ok
        check_rows_have_files(suite)


@pytest.mark.parametrize("point", points("delete-") + points("restore-"))
def test_a_crash_in_delete_or_restore_leaves_one_state_or_the_other(suite, point, dice):
    for _ in range(ROUNDS):
        file, content = new_id(), dice.randbytes(3000)
        deleting = point.startswith("delete-")
        with suite.client() as client:
            assert client.upload(APP, USER, file, content).ok
            if not deleting:
                assert client.call(wire.DELETE, wire.file_key(APP, USER, file)).ok
        with_point(suite, point)
        command = wire.DELETE if deleting else wire.RESTORE
        with suite.client() as client, pytest.raises(LOST):
            client.call(command, wire.file_key(APP, USER, file))
        reborn(suite)
        check_rows_have_files(suite)
        with suite.client() as client:
            there = client.download(APP, USER, file)
            assert there.ok == (point.endswith("before-row") == deleting)
            assert there.body == content if there.ok else there.number in (wire.NOT_FOUND, wire.DELETED)
            client.call(command, wire.file_key(APP, USER, file))
            there = client.download(APP, USER, file)
            assert there.ok != deleting


@pytest.mark.parametrize("point", points("rename-"))
def test_a_crash_in_a_rename_leaves_one_name_or_the_other(suite, point, dice):
    file, content = new_id(), dice.randbytes(3000)
    body = wire.file_key(APP, USER, file) + b"new.mp4".ljust(256, b"\0")
    with suite.client() as client:
        assert client.put(APP, USER, file, content, name="old.mp4").ok
    with_point(suite, point)
    with suite.client() as client, pytest.raises(LOST):
        client.call(wire.RENAME, body)
    reborn(suite)
    check_rows_have_files(suite)
    with suite.client() as client:
        expected = "old.mp4" if point == "rename-before-row" else "new.mp4"
        assert client.stat(APP, USER, file)["name"] == expected
        assert client.call(wire.RENAME, body).ok, "trying again is safe"
        assert client.download(APP, USER, file).body == content


# --- partial uploads ---

class Resumed:
    """An uploader of one file who loses its server now and then, and goes on: what was answered must hold."""

    def __init__(self, suite, content, file=None):
        self.suite, self.content, self.file = suite, content, file or new_id()
        self.token, self.answered, self.deaths = None, 0, 0

    def again(self, step):
        """STEP(client) until it is answered."""
        while True:
            try:
                with self.suite.client() as client:
                    return step(client)
            except LOST:
                self.deaths += 1
                assert self.deaths < 3, "the server died again, without a point"
                reborn(self.suite)
                if self.token:
                    self.look()

    def look(self):
        with self.suite.client() as client:
            state = client.offset(APP, USER, self.file, self.token)
        assert state["offset"] >= self.answered, f"offset {self.answered} was answered, now it is {state}"
        return state["offset"]

    def begin(self, size):
        self.token = self.again(lambda client: client.begin(APP, USER, self.file, size))

    def append(self, piece=100_000):
        def step(client):
            offset = self.look()
            reply = client.append(APP, USER, self.file, self.token, offset, self.content[offset:offset + piece])
            assert reply.ok, reply
            return wire.parse_state(reply.body)["offset"]
        while self.answered < len(self.content):
            self.answered = self.again(step)

    def finish(self, parts=None):
        def step(client):
            if parts is None:
                return client.finish(APP, USER, self.file, self.token)
            return client.join_parts(APP, USER, self.file, self.token, parts)
        reply = self.again(step)
        assert reply.ok, reply

    def check(self):
        with self.suite.client() as client:
            assert client.download(APP, USER, self.file).body == self.content
            assert client.offset(APP, USER, self.file, self.token)["complete"]
        assert http_get(self.suite, self.file, USER) == (200, self.content)
        check_rows_have_files(self.suite)


def partials(suite):
    """file_path -> state of every partial upload."""
    return {path: int(state) for path, state in suite.sql("storagedb", "SELECT file_path, state FROM t_partial;")}


PARTIAL_POINTS = [point for prefix in ("partial-", "append-", "offset-", "finish-") for point in points(prefix)]


def few(backend, chosen):
    """One back end for all points, the other one for those where the database matters most; with more rounds everything."""
    if backend == "mariadb" and not chosen and ROUNDS == 1:
        pytest.skip("with REEL_TORTURE_ROUNDS")


@pytest.mark.parametrize("point", PARTIAL_POINTS)
def test_a_crash_in_a_partial_upload_takes_back_no_offset_and_no_byte(suite, backend, point, dice):
    few(backend, point in ("append-taken", "offset-recorded", "finish-row-added"))
    for _ in range(ROUNDS):
        before = set(leftovers(suite))  # of tests that came earlier
        uploader = Resumed(suite, dice.randbytes(300_000))
        with_point(suite, point, 2 if point in ("append-written", "append-synced", "offset-recorded") else 1)
        uploader.begin(dice.choice((-1, 300_000)))
        uploader.append()
        uploader.finish()
        assert uploader.deaths == 1
        uploader.check()
        # Only the BEGIN that died leaves something: an empty file, or one with a partial upload that nobody knows the token of.
        unknown = set(leftovers(suite)) - set(partials(suite)) - before
        assert len(unknown) <= (1 if point == "partial-created" else 0), unknown
        suite.sql("storagedb", "DELETE FROM t_partial WHERE state = 2;")
        for path in unknown:
            os.unlink(path)


@pytest.mark.parametrize("point", points("renew-"))
def test_a_crash_while_a_file_of_its_own_is_made_takes_back_no_byte(suite, backend, point, dice):
    """Another process was in the middle of an APPEND, and nobody knows whether it goes on."""
    few(backend, point == "renew-moved")
    for _ in range(ROUNDS):
        before = set(leftovers(suite)) - set(partials(suite))
        uploader = Resumed(suite, dice.randbytes(300_000))
        uploader.begin(-1)
        with suite.client() as client:
            assert client.append(APP, USER, uploader.file, uploader.token, 0, uploader.content[:100_000]).ok
        uploader.answered = 100_000
        former = [path for path in partials(suite) if path not in rows(suite)]
        suite.sql("storagedb", f"UPDATE t_partial SET writer = 6, claim = 7 WHERE id = '{uploader.file}';")
        with_point(suite, point)
        uploader.append()
        uploader.finish()
        assert uploader.deaths == 1
        uploader.check()
        assert not set(former) & set(rows(suite))
        unknown = set(leftovers(suite)) - set(partials(suite)) - before
        assert len(unknown) <= 2, unknown  # the former file, and a copy that was not finished
        for path in unknown:
            os.unlink(path)


@pytest.mark.parametrize("point", points("join-") + ["finish-row-added", "finish-stored"])
def test_a_crash_while_parts_are_joined_is_made_good_by_the_same_request(suite, backend, point, dice):
    few(backend, False)
    for _ in range(ROUNDS):
        content = dice.randbytes(300_000)
        parts = [Resumed(suite, content[:100_000]), Resumed(suite, content[100_000:])]
        for part in parts:
            part.begin(-1)
            part.append()
        whole = Resumed(suite, content)
        whole.begin(len(content))
        with_point(suite, point)
        whole.finish([part.token for part in parts])
        assert whole.deaths == 1
        whole.check()


def test_a_crash_while_an_expired_file_is_deleted_leaves_it_in_the_trash(suite, backend, dice):
    few(backend, False)
    content, kept, over = dice.randbytes(1000), new_id(), new_id()
    with suite.client() as client:
        for file in (kept, over):
            assert client.put(APP, USER, file, content).ok
    suite.storage.stop()
    for table in range(1, 4):
        suite.sql("storagedb", f"UPDATE t_file_0{table} SET expires_at = 1 WHERE id = '{over}';")
    start(suite.storage, "expire-row-deleted")
    died(suite.storage)
    suite.sql("storagedb", "UPDATE t_lease SET owner = '';")  # the dead one's term need not be waited for
    start(suite.storage)
    suite.wait_active()
    with suite.client() as client:
        assert client.download(APP, USER, over).number == wire.NOT_FOUND
        assert client.call(wire.RESTORE, wire.file_key(APP, USER, over)).ok
        for file in (kept, over):  # the time that was over went with the restoration
            assert client.download(APP, USER, file).body == content


@pytest.mark.parametrize("point", [point for point in points("expire-") if point != "expire-row-deleted"])
def test_a_crash_while_expired_uploads_are_removed_is_made_good(suite, backend, point, dice):
    few(backend, False)
    kept, over = Resumed(suite, dice.randbytes(100_000)), Resumed(suite, dice.randbytes(100_000))
    for uploader in (kept, over):
        uploader.begin(-1)
        uploader.append()
    suite.storage.stop()
    suite.sql("storagedb", f"UPDATE t_partial SET expires = 1 WHERE id = '{over.file}';")
    start(suite.storage, point)
    died(suite.storage)
    suite.sql("storagedb", "UPDATE t_lease SET owner = '';")  # the dead one's term need not be waited for
    start(suite.storage)
    suite.wait_active()
    wait_for(lambda: suite.sql("storagedb", f"SELECT COUNT(*) FROM t_partial WHERE id = '{over.file}';") == [["0"]], 30,
             "the end of the expired upload")
    kept.finish()
    kept.check()


@pytest.mark.parametrize("point", points("abort-"))
def test_a_crash_in_an_abort_brings_nothing_back(suite, backend, point, dice):
    few(backend, False)
    before = set(leftovers(suite))  # of tests that came earlier
    uploader = Resumed(suite, dice.randbytes(100_000))
    uploader.begin(-1)
    uploader.append()
    with_point(suite, point)
    with suite.client() as client, pytest.raises(LOST):
        client.call(wire.ABORT, wire.file_key(APP, USER, uploader.file) + uploader.token)
    reborn(suite)
    with suite.client() as client:
        for command in (wire.ABORT, wire.OFFSET):
            reply = client.call(command, wire.file_key(APP, USER, uploader.file) + uploader.token)
            assert reply.number == wire.NOT_FOUND
        assert client.append(APP, USER, uploader.file, uploader.token, 100_000, b"more").number == wire.NOT_FOUND
    suite.sql("storagedb", "UPDATE t_lease SET owner = '';")  # the dead one's term need not be waited for
    wait_for(lambda: suite.sql("storagedb", f"SELECT COUNT(*) FROM t_partial WHERE id = '{uploader.file}';") == [["0"]], 30,
             "the upkeep to finish what the abort began")
    assert not [path for path in leftovers(suite) if path not in before], "its file is gone"


# --- moving to another group ---

@pytest.fixture(scope="module")
def other_group(suite):
    """A second group, whose rows are in the same database; its server is the one that dies."""
    daemon = suite.add_storage("other", suite.dir / "data2", group="group002", cache_age="100ms")
    suite.sql("trackerdb", "INSERT INTO t_groups_info(group_name, state) VALUES ('group002', 1)")
    yield daemon
    daemon.stop()
    del suite.daemons["other"]


def move(client, file, content):
    digest = xxhash.xxh3_128(content).digest()
    return client.call(wire.MOVE, wire.put_head(APP, USER, file, len(content), name="group001", group="group002") + content + digest)


@pytest.mark.parametrize("point, size", [(point, size) for point in points("move-") + ["upload-file-created", "upload-directory-synced", "upload-before-reply"]
                                         for size in (3000, 300_000)])
def test_a_crash_in_a_move_leaves_the_file_in_one_group(suite, other_group, point, size, dice):
    file, content = new_id(), dice.randbytes(size)
    with suite.client() as client:
        assert client.upload(APP, USER, file, content).ok
    start(other_group, point)
    suite.wait_active(2)
    with suite.client("other") as client, pytest.raises(LOST):
        move(client, file, content)
    died(other_group)
    with suite.client() as client:  # the old group serves it, moved or not
        assert client.download(APP, USER, file).body == content
    start(other_group)
    suite.wait_active(2)
    moved = point in ("move-committed", "upload-before-reply")
    with suite.client() as one, suite.client("other") as two:
        assert two.download(APP, USER, file).ok == moved
        assert move(two, file, content).ok, "trying again is safe"
        assert one.download(APP, USER, file).body == two.download(APP, USER, file).body == content
        assert two.call(wire.DELETE, wire.file_key(APP, USER, file)).ok
    other_group.stop()
