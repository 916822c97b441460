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
    suite.add_tracker(heartbeat_timeout="4s")
    suite.add_idserver()
    suite.add_storage()
    suite.add_storage(label="second")
    suite.launch()
    stored = {}

    def eight():
        """The seconds that each of as many uploads takes."""
        took = []
        for i in range(8):
            path = tmp_path / f"{len(stored)}.bin"
            path.write_bytes(hashlib.shake_128(path.name.encode()).digest(50000 if i % 2 else 3000000))
            id, seconds = upload(suite, path)
            stored[id] = path
            took.append(seconds)
        return took

    def goes_on():
        usual = statistics.median(eight())
        suite.second.process.send_signal(signal.SIGSTOP)
        try:
            gap = max(eight()) - usual
            # By now the tracker has missed its heartbeats: nobody is sent there any more.
            wait_for(lambda: suite.tracker.metric("reel_tracker_storages_suspect") == 1 or suite.active() == 1, 10,
                     "the stopped server is suspect")
            later = statistics.median(eight()) - usual
        finally:
            suite.second.process.send_signal(signal.SIGCONT)
        suite.wait_active(2)
        print(f"an upload takes {usual:.2f} s, at most {gap:.2f} s more while a storage server is stopped, then {later:.2f} s more")
        return gap <= 2.0 and later <= 0.5

    # What the machine costs differs from time to time; what the stopped server costs does not.
    assert any(goes_on() for _ in range(5))
    for id, path in stored.items():
        copy = tmp_path / "copy"
        suite.reel("download", id, copy)
        assert copy.read_bytes() == path.read_bytes()
        copy.unlink()
    listed = [line.split()[0] for line in suite.reel("list").stdout.decode().splitlines()]
    assert sorted(listed) == sorted(stored)
