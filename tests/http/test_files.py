"""What a file's answer says about it: type, validators, ranges; checked against models rather than single examples."""
import email.parser
import http.client
import json
import random
import re
import signal
import socket
import subprocess

import pytest
import xxhash

from conftest import DIGITS
from suite import new_id, wait_for
from web import fetch, raw

# name: (type that is served, ffmpeg's arguments)
MEDIA = {
    "a.mp4": ("video/mp4", ["-c:v", "mpeg4"]),
    "a.mkv": ("video/x-matroska", ["-c:v", "mpeg4"]),
    "a.webm": ("video/webm", ["-c:v", "libvpx", "-c:a", "libopus"]),
    "a.ts": ("video/mp2t", ["-c:v", "mpeg2video"]),
    "a.flv": ("video/x-flv", ["-c:v", "flv", "-ar", "44100"]),
    "a.avi": ("video/x-msvideo", ["-c:v", "mpeg4"]),
    "a.m4a": ("audio/mp4", ["-vn"]),
    "a.mp3": ("audio/mpeg", ["-vn"]),
    "a.flac": ("audio/flac", ["-vn"]),
    "a.aac": ("audio/aac", ["-vn"]),
    "a.ogg": ("audio/ogg", ["-vn", "-c:a", "libvorbis"]),
    "a.wav": ("audio/wav", ["-vn"]),
    "a.png": ("image/png", ["-an", "-frames:v", "1"]),
    "a.jpg": ("image/jpeg", ["-an", "-frames:v", "1", "-pix_fmt", "yuvj420p"]),
    "a.gif": ("image/gif", ["-an", "-frames:v", "1"]),
}
TEXTS = {
    "a.m3u8": ("application/vnd.apple.mpegurl", b"#EXTM3U\n#EXT-X-VERSION:3\n#EXTINF:4,\na0.ts\n#EXT-X-ENDLIST\n"),
    "a.vtt": ("text/vtt; charset=utf-8", b"WEBVTT\n\n00:00.000 --> 00:02.000\nhello\n"),
}


@pytest.fixture(scope="module")
def media(tmp_path_factory):
    """{name: (type, bytes)} of real files."""
    directory = tmp_path_factory.mktemp("media")
    made = dict(TEXTS)
    for name, (kind, arguments) in MEDIA.items():
        subprocess.run(["ffmpeg", "-v", "error", "-f", "lavfi", "-i", "testsrc=size=160x120:rate=25", "-f", "lavfi", "-i",
                        "sine", "-t", "1", *arguments, str(directory / name)], check=True, timeout=60)
        made[name] = (kind, (directory / name).read_bytes())
    return made


def alike(name, kind):
    """What content alone may be taken for: the container's more general kind."""
    return (kind, "video/mp4") if name == "a.m4a" else (kind,)


def served_type(suite, content, **row):
    file = new_id()
    suite.put(file, content, **row)
    answer, _ = fetch(suite, f"/files/{file}", "HEAD")
    assert answer.status == 200
    return answer.headers["Content-Type"]


@pytest.mark.parametrize("name", [*MEDIA, *TEXTS])
def test_the_type_is_found_in_the_content(suite, media, name):
    kind, content = media[name]
    assert served_type(suite, content) in alike(name, kind)


@pytest.mark.parametrize("row", ["application/octet-stream", "text/plain", "binary/octet-stream", "nonsense"])
@pytest.mark.parametrize("name", [*MEDIA, *TEXTS])
def test_a_vague_or_broken_type_is_repaired_by_the_name(suite, media, name, row):
    kind, content = media[name]
    assert served_type(suite, content, name="film." + name.split(".")[1].upper(), content_type=row) == kind


@pytest.mark.parametrize("name", [*MEDIA, *TEXTS])
def test_a_vague_type_without_a_name_is_repaired_by_the_content(suite, media, name):
    kind, content = media[name]
    assert served_type(suite, content, content_type="application/octet-stream") in alike(name, kind)


def test_a_right_type_is_left_alone(suite, media):
    assert served_type(suite, media["a.mp4"][1], name="x.mp3", content_type="video/mp4") == "video/mp4"
    assert served_type(suite, b"...", content_type="application/x-own; v=1") == "application/x-own; v=1"


def test_the_name_in_the_link_helps_where_the_row_has_none(suite):
    file = new_id()
    suite.put(file, b"\x01\x02\x03nothing that anybody knows")
    answer, _ = fetch(suite, f"/files/tnvideo/alice/{file}/film.mkv", "HEAD")
    assert answer.headers["Content-Type"] == "video/x-matroska"
    answer, _ = fetch(suite, f"/files/tnvideo/alice/{file}", "HEAD")
    assert answer.headers["Content-Type"] == "application/octet-stream"


# --- ranges against a model ---

def model(specs, size):
    """The ranges of an answer: those that can be satisfied, joined where the gap is at most 80 bytes, each at the place of
    the first one that it was joined into; None for a set that is broken."""
    found = []
    for first, last in specs:
        if first is None:
            begin, end = max(0, size - last), size - 1
            if last == 0:
                continue
        else:
            begin, end = first, size - 1 if last is None else min(last, size - 1)
            if first >= size:
                continue
        found.append([begin, end])
    joined = True
    while joined:
        joined = False
        for i in range(len(found)):
            for j in range(i + 1, len(found)):
                a, b = sorted((found[i], found[j]))
                if b[0] - a[1] - 1 <= 80:
                    found[i] = [a[0], max(a[1], b[1])]
                    del found[j]
                    joined = True
                    break
            if joined:
                break
    return found


def parse_multipart(answer, body):
    boundary = re.fullmatch(r"multipart/byteranges; boundary=(\S+)", answer.headers["Content-Type"]).group(1).encode()
    assert body.startswith(b"\r\n--" + boundary + b"\r\n") and body.endswith(b"\r\n--" + boundary + b"--\r\n")
    parts = body[:-len(boundary) - 8].split(b"\r\n--" + boundary + b"\r\n")[1:]
    for part in parts:
        head, content = part.split(b"\r\n\r\n", 1)
        fields = email.parser.Parser().parsestr(head.decode())
        assert fields["Content-Type"] == "text/plain; charset=utf-8"
        begin, end, size = map(int, re.fullmatch(r"bytes (\d+)-(\d+)/(\d+)", fields["Content-Range"]).groups())
        assert size == len(DIGITS)
        yield [begin, end], content


def test_sets_of_ranges_are_answered_as_a_model_says(suite):
    random.seed(9110)
    size = len(DIGITS)
    connection = http.client.HTTPConnection("127.0.0.1", suite.httpd.port, timeout=30)
    seen = set()
    for _ in range(400):
        specs = []
        for _ in range(random.choice((1, 2, 2, 3, 3, 5, 12, 32))):
            first = random.choice((random.randrange(size), random.randrange(size), size + 5, None))
            length = random.choice((0, 1, 50, 200, 3000)) if first is None else random.choice((0, 1, 9, 90, 500, 4000))
            specs.append((first, length if first is None else random.choice((first + length,) * 9 + (None,))))
        text = ",".join(("" if a is None else str(a)) + "-" + ("" if b is None else str(b)) for a, b in specs)
        connection.request("GET", "/files/digits", headers={"Range": "bytes=" + text})
        answer = connection.getresponse()
        body = answer.read()
        wanted = model(specs, size)
        seen.add((answer.status, min(len(wanted), 2)))
        if not wanted:
            assert answer.status == 416, text
        elif len(wanted) == 1:
            (begin, end), = wanted
            assert answer.status == 206 and answer.headers["Content-Range"] == f"bytes {begin}-{end}/{size}", text
            assert body == DIGITS[begin:end + 1]
        elif answer.status == 200:
            assert body == DIGITS
            assert sum(end - begin + 1 for begin, end in wanted) + 200 + 120 * len(wanted) >= size, text
        else:
            assert answer.status == 206, text
            parts = list(parse_multipart(answer, body))
            assert [part[0] for part in parts] == wanted, text
            assert all(content == DIGITS[begin:end + 1] for (begin, end), content in parts)
            assert len(body) < size
    connection.close()
    assert {(206, 1), (206, 2), (416, 0)} <= seen


# --- validators ---

def validators(suite, file, port=None):
    answer, _ = fetch(suite, f"/files/{file}", "HEAD", port=port)
    assert answer.status == 200
    return answer.headers["ETag"], answer.headers["Last-Modified"]


def test_validators_are_the_same_from_every_server_and_after_restarts(own_suite):
    own_suite.add_tracker()
    own_suite.add_idserver()
    own_suite.add_storage()
    own_suite.add_storage("storage2")
    own_suite.add_httpd()
    own_suite.add_httpd("httpd2")
    own_suite.launch()
    files = {new_id(): content for content in (b"", b"a", bytes(range(256)) * 5000)}
    for file, content in files.items():
        own_suite.put(file, content)
    before = {file: validators(own_suite, file) for file in files}
    for file, content in files.items():
        assert before[file][0] == f'"{xxhash.xxh3_128(content).hexdigest()}"'
        assert validators(own_suite, file, own_suite.httpd2.port) == before[file]
    # One storage server alone, then the other
    for gone in ("storage", "storage2"):
        own_suite.daemons[gone].stop()
        own_suite.httpd.restart()
        assert {file: validators(own_suite, file) for file in files} == before
        own_suite.daemons[gone].start()
        own_suite.wait_active(2)
    own_suite.storage.restart()
    own_suite.httpd2.restart()
    own_suite.wait_active(2)
    assert {file: validators(own_suite, file, own_suite.httpd2.port) for file in files} == before


def test_the_access_log_is_opened_anew_and_has_a_line_a_request(suite):
    log = suite.dir / "log" / "access.log"
    fetch(suite, "/files/letters?before", Range="bytes=0-1", User_Agent='quo"te\\')
    find = lambda file, what: file.exists() and [line for line in file.read_text().splitlines() if what in line]
    line, = wait_for(lambda: find(log, "?before"), 10, "the line")
    entry = json.loads(line)
    assert entry["status"] == 206 and 'quo"te\\' in entry.values() and "bytes=0-1" in entry.values()
    log.rename(log.with_suffix(".1"))
    suite.httpd.process.send_signal(signal.SIGUSR1)
    wait_for(log.exists, 10, "a new access log")
    fetch(suite, "/files/letters?after")
    wait_for(lambda: find(log, "?after"), 10, "the line in the new file")
    assert not find(log.with_suffix(".1"), "?after")


def test_the_access_log_in_its_other_form_goes_to_standard_output_or_anew_on_sighup(suite):
    printed = suite.add_httpd("printed", access_log="-")
    kept = suite.add_httpd("kept", access_log=suite.dir / "log" / "combined.log")
    try:
        for daemon, log in ((printed, suite.dir / "log" / "printed.err"), (kept, suite.dir / "log" / "combined.log")):
            daemon.start()
            fetch(suite, "/files/letters?combined", port=daemon.port, Range="bytes=0-1", User_Agent="people", Referer="http://tv/")
            line = re.compile(r'^127\.0\.0\.1 - - \[\d\d/\w{3}/\d{4}:\d\d:\d\d:\d\d [+-]\d{4}\] '
                              r'"GET /files/letters\?combined HTTP/1\.1" 206 2 "http://tv/" "people"', re.M)
            wait_for(lambda: line.search(log.read_text()), 10, f"the line in {log}")
        log.rename(log.with_suffix(".1"))
        kept.hup()
        wait_for(log.exists, 10, "a new access log")
        fetch(suite, "/files/letters?after", port=kept.port)
        wait_for(lambda: "?after" in log.read_text(), 10, "the line in the new file")
    finally:
        for daemon in (printed, kept):
            daemon.stop()
            del suite.daemons[daemon.label]


def test_half_closing_after_the_request_loses_nothing(suite):
    with socket.create_connection(("127.0.0.1", suite.httpd.port), timeout=10) as s:
        s.sendall(b"GET /files/digits HTTP/1.1\r\nHost: x\r\n\r\n")
        s.shutdown(socket.SHUT_WR)
        out = b""
        while part := s.recv(65536):
            out += part
    assert out.split(b"\r\n\r\n", 1)[1] == DIGITS


def test_what_comes_behind_a_refused_body_does_not_destroy_the_answer(suite):
    answer = raw(suite, b"POST /files/letters HTTP/1.1\r\nHost: x\r\nContent-Length: 3000000\r\n\r\n" + b"x" * 3_000_000)
    assert answer.startswith(b"HTTP/1.1 405 ") and b"\r\nAllow: GET, HEAD, OPTIONS\r\n" in answer
