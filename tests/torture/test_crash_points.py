"""Every named step of upload, delete and restore: the storage server dies there by kill -9, comes back, and what it
acknowledged is there, what it did not is there as a whole or not at all, and trying again is safe."""
import os

import pytest
import wire
from crash import check_rows_have_files, died, http_get, points, rows, start
from suite import APP, USER, new_id

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
