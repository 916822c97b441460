"""httpd.local_groups on a GlusterFS mount, whose file system does not say what is cached: files come from the mount on the HTTP
server's own host, and from a storage server where the mount fails them, at the byte that it failed at."""
import os
import socket
import time
import urllib.request

import pytest

from daemons import APP, Daemon, new_id
from lab import kill, wait_for
from site_of_group import USER

FAILURES = "reel_httpd_local_failures_total"
DOWNLOADS = ['reel_packet_requests_total{command="%s"}' % command for command in ("download", "read")]


@pytest.fixture
def local(whole):
    """A second HTTP server on the first host, which has the group's volume mounted."""
    host = whole.media[0]
    daemon = Daemon(host, "httpd", {"httpd": {
        "trackers": ", ".join(str(t) for t in whole.control), "user": USER, "application": APP,
        "local_groups": "group001:group001=/srv/group001", "lookup_age": "1s", "storage_timeout": "5s"}}, shift=1)
    daemon.start()
    wait_for(daemon.healthy, 20, "the HTTP server's health")
    yield daemon
    daemon.stop()


def own_bytes(daemon):
    return sum(daemon.metric(f'reel_httpd_body_bytes_total{{way="{way}"}}') for way in ("sendfile", "copied"))


def asked(whole):
    return sum(storage.metric(name) for storage in whole.storages for name in DOWNLOADS)


def url(daemon, file):
    return f"http://{daemon.address[0]}:{daemon.address[1]}/files/{APP}/{USER}/{file}"


def get(daemon, file, **headers):
    with urllib.request.urlopen(urllib.request.Request(url(daemon, file), headers=headers), timeout=30) as answer:
        return answer.status, answer.read()


class Slow:
    """A client that takes little at a time."""

    def __init__(self, daemon, file):
        self.socket = socket.socket()
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16384)
        self.socket.settimeout(60)
        self.socket.connect(daemon.address)
        self.socket.sendall(f"GET /files/{APP}/{USER}/{file} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
        self.data = bytearray()

    def until(self, size, pause=0.0):
        while len(self.data) < size:
            part = self.socket.recv(32768)
            assert part, f"ended after {len(self.data)} bytes"
            self.data += part
            time.sleep(pause)

    def rest(self):
        while part := self.socket.recv(1 << 20):
            self.data += part
        self.socket.close()
        return bytes(self.data).split(b"\r\n\r\n", 1)[1]


def test_a_file_of_any_size_comes_from_the_mount_whoever_stored_it(whole, local):
    before = asked(whole)
    for size in (0, 1, 4096, 65_537, 300_000, 9_000_001):
        for index in (0, 1):
            file, content = new_id(), os.urandom(size)
            assert whole.upload(index, file, content).ok
            own = own_bytes(local)
            for _ in range(2):
                assert get(local, file) == (200, content)
            # Counted when the last bytes have left: the client may have them a moment earlier.
            wait_for(lambda: own_bytes(local) >= own + 2 * size, 20, "both bodies counted")
            assert own_bytes(local) == own + 2 * size
    assert get(local, file, Range="bytes=1000000-1999999") == (206, content[1_000_000:2_000_000])
    assert get(local, file, Range="bytes=-3") == (206, content[-3:])
    # Nobody said what those files are: their first bytes were asked for, once by each of the two event loops.
    assert asked(whole) - before <= 24 and local.metric(FAILURES) == 0


def test_slow_readers_get_every_byte(whole, local):
    file, content = new_id(), os.urandom(12_000_000)
    assert whole.upload(1, file, content).ok
    assert get(local, file) == (200, content)
    readers = [Slow(local, file) for _ in range(40)]
    for reader in readers:
        reader.until(100_000)
    # They stand still now, each in the middle of what was read for it.
    readers[0].until(2_000_000, 0.005)
    assert all(reader.rest() == content for reader in readers[:8])
    for reader in readers[8:]:
        reader.socket.close()
    assert local.metric(FAILURES) == 0


def test_a_mount_that_dies_mid_body_is_left_for_a_storage_server(whole, local):
    file, content = new_id(), os.urandom(20_000_000)
    assert whole.upload(1, file, content).ok
    reader = Slow(local, file)
    reader.until(1_000_000)
    kill(whole.volume.fuse_pid(whole.media[0]))
    assert reader.rest() == content
    assert local.metric(FAILURES) >= 1
    # So does a body that begins while the mount is dead, and the mount is used again when it is back.
    assert get(local, file) == (200, content)
    whole.make_whole()
    own = own_bytes(local)

    def from_the_mount():
        assert get(local, file) == (200, content)
        return own_bytes(local) >= own + len(content)

    wait_for(from_the_mount, 30, "a body from the mount that is back")


def test_a_brick_that_is_lost_is_not_seen(whole, local):
    file, content = new_id(), os.urandom(15_000_000)
    assert whole.upload(0, file, content).ok
    reader = Slow(local, file)
    reader.until(1_000_000)
    whole.volume.kill_brick(whole.media[0])
    assert reader.rest() == content
    assert get(local, file, Range="bytes=7000000-7999999") == (206, content[7_000_000:8_000_000])
