"""reel-httpd as its clients see it."""
import email.utils
import os
import re
import socket
import subprocess
import time

import pytest
import xxhash

import wire
from suite import APP, ROOT, USER, new_id, wait_for
from web import fetch, path, raw

CLIP = ROOT / "tests" / "media" / "clip.mp4"


@pytest.fixture(autouse=True)
def routed(request):
    """Uploads here go straight to the storage server; a client would have asked a tracker first."""
    if "suite" in request.fixturenames:
        suite = request.getfixturevalue("suite")
        assert wire.ask(suite.tracker.address, wire.SADDRS, wire.file_key(APP, USER, "f")).ok


@pytest.fixture
def clip(suite):
    file, content = new_id(), CLIP.read_bytes()
    with suite.client() as client:
        assert client.put(APP, USER, file, content, name="clip.mp4").ok
    return file, content


def test_get_gives_the_bytes_with_the_headers_of_media(suite, clip):
    file, content = clip
    for target in (f"/files/{file}", path(file), path(file, name="any name.mp4"), path(file) + "?x=1"):
        answer, body = fetch(suite, target)
        assert answer.status == 200 and body == content
        assert answer.headers["Content-Length"] == str(len(content))
        assert answer.headers["Content-Type"] == "video/mp4"
        assert answer.headers["Accept-Ranges"] == "bytes"
        etag = answer.headers["ETag"]
        assert re.fullmatch(r'"[^"]+"', etag) and xxhash.xxh3_128(content).hexdigest() in etag
        modified = email.utils.parsedate_to_datetime(answer.headers["Last-Modified"]).timestamp()
        assert abs(modified - time.time()) < 120
        assert "Date" in answer.headers


def test_head_gives_the_same_headers_and_no_body(suite, clip):
    file, content = clip
    get, _ = fetch(suite, path(file))
    head, body = fetch(suite, path(file), "HEAD")
    assert head.status == 200 and body == b""
    same = lambda answer: {k: v for k, v in answer.headers.items() if k.lower() not in ("date", "x-request-id")}
    assert same(head) == same(get)


@pytest.mark.parametrize("wanted, first, last", [
    ("bytes=0-0", 0, 0), ("bytes=0-", 0, None), ("bytes=100-199", 100, 199), ("bytes=-500", -500, None),
    ("bytes=1000-99999999999", 1000, None), ("bytes=-99999999999", 0, None)])
def test_a_range_gives_206(suite, clip, wanted, first, last):
    file, content = clip
    size = len(content)
    begin = size + first if first < 0 else first
    end = size - 1 if last is None else last
    answer, body = fetch(suite, path(file), Range=wanted)
    assert answer.status == 206
    assert answer.headers["Content-Range"] == f"bytes {begin}-{end}/{size}"
    assert answer.headers["Content-Length"] == str(end - begin + 1)
    assert body == content[begin:end + 1]


@pytest.mark.parametrize("wanted", ["bytes=99999999-", "bytes=-0"])
def test_a_range_outside_gives_416(suite, clip, wanted):
    file, content = clip
    answer, _ = fetch(suite, path(file), Range=wanted)
    assert answer.status == 416
    assert answer.headers["Content-Range"] == f"bytes */{len(content)}"


@pytest.mark.parametrize("wanted", ["lines=1-2", "bytes=2-1", "bytes=a-b", "bytes"])
def test_a_range_that_is_none_is_ignored(suite, clip, wanted):
    answer, body = fetch(suite, path(clip[0]), Range=wanted)
    assert answer.status == 200 and body == clip[1]


def test_unknown_and_deleted_files_give_404(suite, clip):
    file, _ = clip
    assert fetch(suite, path(new_id()))[0].status == 404
    assert fetch(suite, path(file, user="nobody-" + new_id()[:8]))[0].status == 404
    assert fetch(suite, "/")[0].status == 404
    assert fetch(suite, "/nothing")[0].status == 404
    assert fetch(suite, path(file))[0].status == 200
    with suite.client() as client:
        assert client.call(wire.DELETE, wire.file_key(APP, USER, file)).ok
    wait_for(lambda: fetch(suite, path(file))[0].status == 404, 12, "404 after the delete")


def test_an_unknown_user_gets_no_route_by_asking(suite):
    user = "stranger-" + new_id()[:10]
    assert fetch(suite, path("f", user=user))[0].status == 404
    assert suite.sql("trackerdb", f"SELECT * FROM t_router WHERE userid = '{user}'") == []


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH"])
def test_other_methods_give_405(suite, clip, method):
    answer, _ = fetch(suite, path(clip[0]), method)
    assert answer.status == 405 and "GET" in answer.headers["Allow"] and "HEAD" in answer.headers["Allow"]


@pytest.mark.parametrize("data", [
    b"GARBAGE\r\n\r\n", b"GET /files/x\r\n\r\n", b"GET / HTTP/1.1\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
    b"GET /files/%zz HTTP/1.1\r\nHost: a\r\n\r\n", b"GET /files/%00 HTTP/1.1\r\nHost: a\r\n\r\n"])
def test_bad_requests_give_400_and_close(suite, data):
    answer = raw(suite, data.replace(b"%zz HTTP/1.1\r\nHost: a", b"%zz HTTP/1.1\r\nHost: a\r\nConnection: close")
                 .replace(b"%00 HTTP/1.1\r\nHost: a", b"%00 HTTP/1.1\r\nHost: a\r\nConnection: close"))
    assert answer.startswith(b"HTTP/1.1 400 "), answer[:100]


def test_keep_alive_and_pipelining(suite, clip):
    file, content = clip
    get = f"GET {path(file)} HTTP/1.1\r\nHost: x\r\nRange: bytes=%d-%d\r\n\r\n"
    requests = "".join(get % (i * 1000, i * 1000 + 999) for i in range(30))
    last = f"GET {path(file)} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    answer = raw(suite, (requests + last).encode())
    for i in range(30):
        head, answer = answer.split(b"\r\n\r\n", 1)
        assert head.startswith(b"HTTP/1.1 206 ")
        assert answer[:1000] == content[i * 1000:i * 1000 + 1000]
        answer = answer[1000:]
    head, answer = answer.split(b"\r\n\r\n", 1)
    assert head.startswith(b"HTTP/1.1 200 ") and answer == content


def test_http_1_0_closes_unless_asked(suite, clip):
    answer = raw(suite, f"GET {path(clip[0])} HTTP/1.0\r\n\r\n".encode())
    assert answer.split(b"\r\n\r\n", 1)[1] == clip[1]


def test_empty_files(suite):
    file = new_id()
    with suite.client() as client:
        assert client.upload(APP, USER, file, b"").ok
    answer, body = fetch(suite, path(file))
    assert answer.status == 200 and body == b"" and answer.headers["Content-Length"] == "0"
    # There is nothing that a range could be of: it is ignored (RFC 9110 section 14.2), as nginx's slice needs it.
    assert fetch(suite, path(file), Range="bytes=0-")[0].status == 200


def test_names_in_utf_8(suite):
    user, file, content = "用户 ü/%", "文件 + name?.mp4", os.urandom(1000)
    with suite.client() as client:
        assert client.put(APP, user, file, content, name="电影 é.mp4").ok
    wire.ask(suite.tracker.address, wire.SADDRS, wire.file_key(APP, user, file))
    answer, body = fetch(suite, path(file, user=user))
    assert answer.status == 200 and body == content


def test_curl_and_wget_resume(suite, clip, tmp_path):
    file, content = clip
    url = suite.url(file)
    for command in (["curl", "-sS", "--fail", "-C", "-", "-o"], ["wget", "-q", "-c", "-O"]):
        part = tmp_path / command[0]
        part.write_bytes(content[:100_000])
        subprocess.run([*command, str(part), url], check=True, timeout=60)
        assert part.read_bytes() == content


def test_ffprobe_and_ffmpeg_play_and_seek(suite, clip):
    url = suite.url(clip[0], name="clip.mp4")
    probe = subprocess.run(["ffprobe", "-v", "error", "-show_entries", "format=duration:stream=codec_name", "-of",
                            "csv=p=0", url], capture_output=True, text=True, check=True, timeout=60)
    assert "h264" in probe.stdout and "aac" in probe.stdout and re.search(r"^12\.0", probe.stdout, re.M)
    done = subprocess.run(["ffmpeg", "-v", "error", "-xerror", "-ss", "9", "-i", url, "-f", "null", "-"],
                          capture_output=True, text=True, timeout=120)
    assert done.returncode == 0 and done.stderr == ""


def test_a_slow_reader_gets_every_byte(suite):
    file, content = new_id(), os.urandom(8_000_000)
    with suite.client() as client:
        assert client.upload(APP, USER, file, content).ok
    wire.ask(suite.tracker.address, wire.SADDRS, wire.file_key(APP, USER, file))
    with socket.create_connection(("127.0.0.1", suite.httpd.port), timeout=30) as s:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16384)
        s.sendall(f"GET {path(file)} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
        out = bytearray()
        while part := s.recv(100_000):
            out += part
            if len(out) < 2_000_000:
                time.sleep(0.02)
    assert bytes(out).split(b"\r\n\r\n", 1)[1] == content


def test_another_server_of_the_group_is_asked_when_one_is_away(own_suite):
    own_suite.start(httpd_options={})
    second = own_suite.add_storage("storage2")
    second.start()
    own_suite.wait_active(2)
    file, content = new_id(), os.urandom(300_000)
    assert own_suite.reel("upload", "--file-id", file, "-", input=content)
    for victim in ("storage", "storage2"):
        own_suite.daemons[victim].kill()
        for _ in range(5):
            answer, body = fetch(own_suite, path(file))
            assert answer.status == 200 and body == content
        own_suite.daemons[victim].start()
        own_suite.wait_active(2)


def test_with_no_storage_server_it_says_503_and_recovers(own_suite):
    own_suite.start()
    file = new_id()
    own_suite.reel("upload", "--file-id", file, "-", input=b"x" * 1000)
    assert fetch(own_suite, path(file))[0].status == 200
    own_suite.storage.kill()
    # Until the tracker has noticed, the server is named and cannot be reached: 502.
    wait_for(lambda: own_suite.active() == 0, 20, "the tracker's notice")
    wait_for(lambda: fetch(own_suite, path(file))[0].status == 503, 20, "503 without a storage server")
    for _ in range(5):
        answer, body = fetch(own_suite, path(file))
        assert answer.status == 503 and int(answer.headers["Retry-After"]) > 0 and body
    own_suite.storage.start()
    wait_for(lambda: fetch(own_suite, path(file))[0].status == 200, 20, "200 again")


def test_a_server_that_dies_mid_body_never_leaves_a_short_answer_that_looks_whole(own_suite):
    own_suite.start()
    second = own_suite.add_storage("storage2")
    second.start()
    own_suite.wait_active(2)
    file, content = new_id(), os.urandom(30_000_000)
    own_suite.reel("upload", "--file-id", file, "-", input=content)
    with socket.create_connection(("127.0.0.1", own_suite.httpd.port), timeout=60) as s:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16384)
        s.sendall(f"GET {path(file)} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
        out = bytearray(s.recv(65536))
        serving = max(("storage", "storage2"), key=lambda d: own_suite.daemons[d].metric("reel_packet_sent_bytes_total"))
        own_suite.daemons[serving].kill()
        while part := s.recv(1 << 20):
            out += part
    assert bytes(out).split(b"\r\n\r\n", 1)[1] == content
