"""reel-httpd with a group whose volume is mounted on its own machine (httpd.local_groups)."""
import contextlib
import http.client
import os
import pathlib
import socket
import subprocess
import time

import pytest

import wire
from suite import APP, BIN, USER, new_id, wait_for

SENDFILE = 'reel_httpd_body_bytes_total{way="sendfile"}'
COPIED = 'reel_httpd_body_bytes_total{way="copied"}'
FAILURES = "reel_httpd_local_failures_total"


@pytest.fixture(scope="module")
def local(suite):
    """A second HTTP server that has the group's volume at hand. It believes nothing for longer than half a second."""
    data = suite.dir / "data"
    daemon = suite.add_httpd("httpd-local", local_groups=f"group001:{data}={data}", lookup_age="500ms",
                             local_open_age="500ms")
    daemon.start()
    assert wire.ask(suite.tracker.address, wire.SADDRS, wire.file_key(APP, USER, "f")).ok
    yield daemon
    daemon.stop()
    del suite.daemons["httpd-local"]


def fetch(daemon, file, method="GET", **headers):
    connection = http.client.HTTPConnection("127.0.0.1", daemon.port, timeout=30)
    connection.request(method, f"/files/{APP}/{USER}/{file}",
                       headers={name.replace("_", "-"): value for name, value in headers.items()})
    answer = connection.getresponse()
    body = answer.read()
    connection.close()
    return answer, body


def store(suite, content, label="storage"):
    file = new_id()
    with suite.client(label) as client:
        assert client.put(APP, USER, file, content, content_type="video/mp4").ok
    return file


def place(suite, file):
    with suite.client() as client:
        reply = client.call(wire.WHERE, wire.file_key(APP, USER, file))
    assert reply.ok, reply
    return suite.dir / "data" / reply.body[508:636].split(b"\0", 1)[0].decode()


@pytest.mark.parametrize("size", [0, 1, 4096, 65536, 65537, 300_000, 9_000_001])
def test_a_file_of_any_size_comes_from_the_volume(suite, local, size):
    content = os.urandom(size)
    file = store(suite, content)
    before = suite.storage.downloads()
    own = local.metric(SENDFILE) + local.metric(COPIED)
    for _ in range(3):
        answer, body = fetch(local, file)
        assert answer.status == 200 and body == content
        assert int(answer.headers["Content-Length"]) == size
    # A body is counted when it has left: its last bytes may be here before.
    wait_for(lambda: local.metric(SENDFILE) + local.metric(COPIED) == own + 3 * size, 10, "bodies that were counted")
    assert suite.storage.downloads() == before
    relayed, body = fetch(suite.httpd, file)
    assert body == content and relayed.headers["ETag"] == answer.headers["ETag"]
    assert relayed.headers["Last-Modified"] == answer.headers["Last-Modified"]


def test_ranges_are_those_of_the_file(suite, local):
    content = os.urandom(3_000_000)
    file = store(suite, content)
    for first, last in ((0, 0), (1, 4096), (70_000, 170_000), (1_048_575, 2_500_000), (2_999_999, 2_999_999)):
        answer, body = fetch(local, file, Range=f"bytes={first}-{last}")
        assert answer.status == 206 and body == content[first:last + 1]
        assert answer.headers["Content-Range"] == f"bytes {first}-{last}/3000000"
    answer, body = fetch(local, file, Range="bytes=-5")
    assert answer.status == 206 and body == content[-5:]
    answer, body = fetch(local, file, Range="bytes=0-99,1000000-1999999,2999990-")
    assert answer.status == 206 and answer.headers["Content-Type"].startswith("multipart/byteranges")
    assert len(body) == int(answer.headers["Content-Length"])
    for part in (content[:100], content[1_000_000:2_000_000], content[2_999_990:]):
        assert part in body
    assert fetch(local, file, "HEAD")[1] == b""


def test_pipelined_requests_for_small_files_are_answered_in_order(suite, local):
    contents = [os.urandom(100 + n) for n in range(20)]
    files = [store(suite, content) for content in contents]
    with socket.create_connection(("127.0.0.1", local.port), timeout=30) as s:
        s.sendall(b"".join(f"GET /files/{APP}/{USER}/{file} HTTP/1.1\r\nHost: x\r\n{close}\r\n".encode()
                           for file, close in zip(files, [""] * 19 + ["Connection: close\r\n"])))
        out = bytearray()
        while part := s.recv(65536):
            out += part
    for content in contents:
        head, _, rest = bytes(out).partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200") and rest[:len(content)] == content
        out = bytearray(rest[len(content):])
    assert not out


def test_a_slow_reader_gets_every_byte(suite, local):
    content = os.urandom(8_000_000)
    file = store(suite, content)
    with socket.create_connection(("127.0.0.1", local.port), timeout=30) as s:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16384)
        s.sendall(f"GET /files/{APP}/{USER}/{file} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
        out = bytearray()
        while part := s.recv(100_000):
            out += part
            if len(out) < 2_000_000:
                time.sleep(0.02)
    assert bytes(out).split(b"\r\n\r\n", 1)[1] == content


def test_cold_bytes_are_fetched_by_workers(suite, local):
    content = os.urandom(5_000_000)
    file = store(suite, content)
    with open(place(suite, file), "rb") as stored:
        for _ in range(2):
            os.fsync(stored.fileno())
            os.posix_fadvise(stored.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
            answer, body = fetch(local, file)
            assert answer.status == 200 and body == content


def away(path, how):
    hidden = path.with_name("hidden")
    path.rename(hidden)
    if how == "link":
        path.symlink_to(hidden)
    elif how == "other size":
        path.write_bytes(hidden.read_bytes()[:-1])
    elif how == "directory":
        path.mkdir()
    elif how == "fifo":
        os.mkfifo(path)
    return hidden


@pytest.mark.parametrize("how", ["missing", "link", "other size", "directory", "fifo"])
def test_what_cannot_be_read_on_the_volume_comes_from_a_storage_server(suite, how):
    """The HTTP server's own view of the volume is spoiled; the storage server's is not."""
    content = os.urandom(200_000)
    file = store(suite, content)
    stored = place(suite, file)
    view = suite.dir / f"view-{how.replace(' ', '-')}"
    copy = view / stored.relative_to(suite.dir / "data")
    copy.parent.mkdir(parents=True)
    copy.write_bytes(content)
    away(copy, how)
    daemon = suite.add_httpd("httpd-spoiled", local_groups=f"group001:{suite.dir / 'data'}={view}")
    try:
        daemon.start()
        for target, expected in (({}, content), ({"Range": "bytes=100-65600"}, content[100:65601])):
            answer, body = fetch(daemon, file, **target)
            assert answer.status in (200, 206) and body == expected
        assert daemon.metric(FAILURES) == 2
        assert daemon.metric(SENDFILE) == 0
    finally:
        daemon.stop()
        del suite.daemons["httpd-spoiled"]


def test_a_file_that_shrinks_mid_body_goes_on_from_a_storage_server(suite):
    content = os.urandom(40_000_000)
    file = store(suite, content)
    view = suite.dir / "view-shrinks"
    copy = view / place(suite, file).relative_to(suite.dir / "data")
    copy.parent.mkdir(parents=True)
    copy.write_bytes(content)
    daemon = suite.add_httpd("httpd-shrinks", local_groups=f"group001:{suite.dir / 'data'}={view}")
    try:
        daemon.start()
        with socket.create_connection(("127.0.0.1", daemon.port), timeout=60) as s:
            s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16384)
            s.sendall(f"GET /files/{APP}/{USER}/{file} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
            out = bytearray(s.recv(65536))
            # What the kernel holds already is gone from the file, so the cut is well behind it.
            os.truncate(copy, 20_000_000)
            while part := s.recv(1 << 20):
                out += part
        assert bytes(out).split(b"\r\n\r\n", 1)[1] == content
        wait_for(lambda: daemon.metric(SENDFILE) > 0, 10, "a body that was counted")
        assert daemon.metric(FAILURES) == 1
    finally:
        daemon.stop()
        del suite.daemons["httpd-shrinks"]


def test_a_deleted_file_is_gone_within_the_configured_age(suite, local):
    file = store(suite, b"x" * 5000)
    assert fetch(local, file)[0].status == 200
    with suite.client() as client:
        assert client.call(wire.DELETE, wire.file_key(APP, USER, file)).ok
    wait_for(lambda: fetch(local, file)[0].status == 404, 3, "404")


def test_open_files_are_let_go_after_their_age(suite, local):
    def held():
        paths = []
        for fd in pathlib.Path(f"/proc/{local.process.pid}/fd").iterdir():
            with contextlib.suppress(FileNotFoundError):  # closed since it was listed
                paths.append(os.readlink(fd))
        return [path for path in paths if "_" in os.path.basename(path) and str(suite.dir / "data") in path]

    def opens_one():
        return fetch(local, store(suite, b"y" * 5000))[0].status == 200 and held()
    wait_for(opens_one, 10, "an open file")  # whoever looks more than half a second later sees none
    wait_for(lambda: not held(), 10, "no open file")


def test_without_the_volume_in_the_configuration_bodies_are_relayed(suite, local):
    data = suite.dir / "data"
    content = os.urandom(100_000)
    file = store(suite, content)
    for groups, relayed in ((f"group002:{data}={data}", True), (f"group001:other={data}", True),
                            (f"group001:{data}", False)):
        daemon = suite.add_httpd("httpd-other", local_groups=groups)
        before = suite.storage.downloads()
        try:
            daemon.start()
            answer, body = fetch(daemon, file)
            assert answer.status == 200 and body == content
            # A body is counted when it has left: its last bytes may be here before.
            wait_for(lambda: (suite.storage.downloads() > before) == relayed and
                     (daemon.metric(SENDFILE) == 0) == relayed, 10, "a body that came the way it should")
            assert daemon.metric(FAILURES) == 0
        finally:
            daemon.stop()
            del suite.daemons["httpd-other"]


@pytest.mark.parametrize("groups, said", [
    ("/srv/media", "names no group"),
    ("group-1:/srv/media", "letters and digits"),
    ("group001:srv/media", "must be absolute"),
    ("group001:=/srv/media", "key of"),
    ("group001:/a, group001:/a=/b", "appears twice"),
])
def test_a_broken_entry_is_refused_at_the_start(groups, said):
    done = subprocess.run([str(BIN / "reel-httpd"), "-c", "/dev/null", "-o", f"httpd.local_groups={groups}", "--check-config"],
                          capture_output=True, text=True, timeout=60)
    assert done.returncode == 2 and said in done.stderr
