"""A real file system that becomes read-only, runs full, or runs out of inodes under a store path, while clients upload: clear
errors, nothing half-visible, downloads go on, and the path is used again by itself."""
import os
import pathlib
import shutil
import subprocess
import threading

import pytest
import wire
from crash import check_rows_have_files, leftovers, start
from suite import APP, USER, Suite, new_id, wait_for
from test_power import load, missing

OPTIONS = {"probe_interval": "100ms", "chunk_size": "64K"}

pytestmark = pytest.mark.skipif(os.getuid() != 0, reason="not root: no file system can be mounted")


def mount(*arguments):
    return subprocess.run(["mount", *map(str, arguments)], capture_output=True, text=True)


@pytest.fixture
def mounted():
    """On SQLite: what fails here is the store's, whatever holds the rows."""
    suite = Suite("sqlite")
    data = suite.dir / "data"
    try:
        done = mount("-t", "tmpfs", "-o", "size=32m,nr_inodes=200", "reel-test", data)
        if done.returncode != 0:
            pytest.skip(f"mounting is not allowed here: {done.stderr.strip()}")
        try:
            yield suite.start(storage_options=dict(OPTIONS))
            for daemon in reversed(list(suite.daemons.values())):
                daemon.stop()
        finally:
            subprocess.run(["umount", "-l", data], check=False)
    finally:
        suite.stop()


def upload(suite, content, file=None):
    with suite.client() as client:
        client.socket.settimeout(60)
        return client.upload(APP, USER, file or new_id(), content)


def writable(suite):
    return suite.storage.metric("reel_storage_path_writable") == 1


def is_whole_again(suite, kept):
    wait_for(lambda: upload(suite, b"again" * 1000).ok and writable(suite), 30, "the path in use again")
    check_rows_have_files(suite)
    assert not leftovers(suite) and suite.storage.process.poll() is None
    with suite.client() as client:
        assert client.download(APP, USER, "kept").body == kept


def test_a_file_system_that_becomes_read_only(mounted):
    suite, kept = mounted, os.urandom(100_000)
    assert upload(suite, kept, "kept").ok
    data = suite.dir / "data"
    # A large upload is on its way; as long as its file is open the kernel says that the file system is busy.
    with suite.client() as client:
        head = wire.upload_head(APP, USER, new_id(), 1_000_000)
        client.send(wire.header(1_000_408, wire.UPLOAD) + head + bytes(300_000))
        wait_for(lambda: len(suite.files()) == 2, 20, "its file")
        assert mount("-o", "remount,ro", data).returncode != 0
    wait_for(lambda: len(suite.files()) == 1, 20, "the removal of what was cut off")
    wait_for(lambda: mount("-o", "remount,ro", data).returncode == 0, 20, "the remount")
    for size in (100, 300_000):
        reply = upload(suite, os.urandom(size))
        assert not reply.ok and reply.number == wire.UNAVAILABLE and "read-only" in reply.text.lower(), reply
    wait_for(lambda: not writable(suite), 20, "the path out of choice")
    assert "read-only" in upload(suite, b"x").text.lower()
    with suite.client() as client:
        assert client.download(APP, USER, "kept").body == kept
        assert client.call(wire.DELETE, wire.file_key(APP, USER, "kept")).ok
        assert client.call(wire.RESTORE, wire.file_key(APP, USER, "kept")).ok
    assert mount("-o", "remount,rw", data).returncode == 0
    is_whole_again(suite, kept)


def test_a_file_system_that_runs_full_in_the_middle_of_an_upload(mounted):
    suite, kept = mounted, os.urandom(100_000)
    assert upload(suite, kept, "kept").ok
    filler = pathlib.Path(suite.dir / "data" / "filler")
    free = os.statvfs(suite.dir / "data")
    filler.write_bytes(bytes(free.f_bavail * free.f_frsize - 8_000_000))
    wait_for(lambda: suite.storage.metric("reel_storage_free_bytes") < 9_000_000, 20, "the look at the space")
    # Two that fit one by one, and not together.
    with suite.client() as first, suite.client() as second:
        files = [(client, new_id(), os.urandom(5_000_000)) for client in (first, second)]
        for client, file, content in files:
            client.socket.settimeout(60)
            client.send(wire.header(len(content) + 408, wire.UPLOAD) + wire.upload_head(APP, USER, file, len(content))
                        + content[:4_000_000 - (500_000 if client is first else 0)])
        wait_for(lambda: len(suite.files()) >= 2, 20, "both under way")
        for client, file, content in files:
            try:
                client.send(content[4_000_000 - (500_000 if client is first else 0):])
            except OSError:
                pass
        replies = [client.receive() for client, _, _ in files]
    assert sum(reply.ok for reply in replies) <= 1, replies
    for (_, file, content), reply in zip(files, replies):
        with suite.client() as client:
            got = client.download(APP, USER, file)
            assert got.body == content if reply.ok else reply.number == wire.NO_SPACE and got.number == wire.NOT_FOUND, reply
    assert not leftovers(suite)
    filler.unlink()
    is_whole_again(suite, kept)


def test_a_file_system_without_inodes(mounted):
    suite, kept = mounted, os.urandom(100_000)
    assert upload(suite, kept, "kept").ok
    made = []
    try:
        while True:
            path = suite.dir / "data" / f"filler{len(made)}"
            path.touch()
            made.append(path)
    except OSError:
        pass
    reply = upload(suite, b"x" * 100)
    assert not reply.ok and reply.number == wire.NO_SPACE and reply.text, reply
    wait_for(lambda: upload(suite, b"x").number == wire.NO_SPACE, 20, "the refusal without a try")
    with suite.client() as client:
        assert client.download(APP, USER, "kept").body == kept
    for path in made:
        path.unlink()
    is_whole_again(suite, kept)


IMAGE_BYTES = 64 << 20


def mount_image(image, data):
    done = mount("-o", "loop", image, data)
    if done.returncode != 0:
        pytest.skip(f"mounting is not allowed here: {done.stderr.strip()}")


@pytest.fixture
def without_a_journal():
    """On an ext4 that was made without a journal of its own; the options are the defaults."""
    suite = Suite("sqlite")
    data, image = suite.dir / "data", suite.dir / "image"
    image.touch()
    os.truncate(image, IMAGE_BYTES)
    subprocess.run(["mkfs.ext4", "-q", "-F", "-O", "^has_journal", image], check=True)
    try:
        mount_image(image, data)
        try:
            yield suite.start()
        finally:
            suite.stop()
            subprocess.run(["umount", "-l", data], check=False)
    finally:
        shutil.rmtree(suite.dir, ignore_errors=True)


def test_a_power_cut_of_an_ext4_without_a_journal_loses_no_upload(without_a_journal, dice):
    """What the disk has when the server is killed is a copy of the image: the kernel has written nothing else to it."""
    suite = without_a_journal
    data, image, after = suite.dir / "data", suite.dir / "image", suite.dir / "after"
    checkpoints = "reel_storage_journal_checkpoints_total"
    early = {}

    def has_checkpoints():  # of what is uploaded meanwhile: nothing new, no checkpoint
        early.update(load(suite, 1, dice, sizes=(10, 3000)))
        return suite.storage.metric(checkpoints) > 1
    wait_for(has_checkpoints, 20, "checkpoints of the upload journal, which auto uses here")
    uploads = lambda: suite.storage.metric("reel_storage_uploads_total")
    before = uploads()

    def kill():
        """In the middle of uploads: there is what no checkpoint has come to."""
        wait_for(lambda: uploads() > before + 10, 20, "uploads")
        suite.storage.kill()
    killer = threading.Thread(target=kill)
    killer.start()
    late = load(suite, 60, dice, sizes=(10, 3000))
    killer.join()
    assert early and late
    shutil.copyfile(image, after)
    subprocess.run(["umount", data], check=True)
    mended = subprocess.run(["e2fsck", "-fy", after], capture_output=True, text=True)
    assert mended.returncode < 4, mended.stdout + mended.stderr
    mount_image(after, data)
    start(suite.storage)
    suite.wait_active()
    assert suite.storage.metric("reel_storage_journal_replayed_total") > 0
    assert not missing(suite, {**early, **late})
    check_rows_have_files(suite)
