"""A storage server that is stopped (SIGSTOP: its machine takes connections and bytes, and it never answers) costs the
uploads of its group a moment each at most, and no file; when it goes on nothing is there twice."""
import hashlib
import signal
import statistics
import time

from suite import wait_for


def upload(suite, path):
    begin = time.monotonic()
    id = suite.reel("upload", path).stdout.decode().split()[0]
    return id, time.monotonic() - begin


def test_uploads_go_on_while_one_of_two_storage_servers_is_stopped(own_suite, tmp_path):
    suite = own_suite
    suite.add_tracker()
    suite.add_idserver()
    suite.add_storage()
    suite.add_storage(label="second")
    suite.launch()
    paths = []
    for i in range(24):
        paths.append(tmp_path / f"{i}.bin")
        paths[-1].write_bytes(hashlib.shake_128(str(i).encode()).digest(50000 if i % 2 else 3000000))
    stored = [upload(suite, path) for path in paths[:8]]
    usual = statistics.median(seconds for _, seconds in stored)
    suite.second.process.send_signal(signal.SIGSTOP)
    try:
        stored += [upload(suite, path) for path in paths[8:16]]
        gap = max(seconds for _, seconds in stored[8:]) - usual
        print(f"an upload takes {usual:.2f} s, at most {gap:.2f} s more while a storage server is stopped")
        assert gap <= 2.0
        # By now the tracker has missed its heartbeats: nobody is sent there any more.
        wait_for(lambda: suite.tracker.metric("reel_tracker_storages_suspect") == 1 or suite.active() == 1, 10,
                 "the stopped server is suspect")
        stored += [upload(suite, path) for path in paths[16:]]
        assert statistics.median(seconds for _, seconds in stored[16:]) - usual <= 0.5
    finally:
        suite.second.process.send_signal(signal.SIGCONT)
    suite.wait_active(2)
    for (id, _), path in zip(stored, paths):
        copy = tmp_path / "copy"
        suite.reel("download", id, copy)
        assert copy.read_bytes() == path.read_bytes()
        copy.unlink()
    listed = [line.split()[0] for line in suite.reel("list").stdout.decode().splitlines()]
    assert sorted(listed) == sorted(id for id, _ in stored)
