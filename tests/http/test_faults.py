"""What clients of reel-httpd see while storage servers and trackers die, hang and come back."""
import http.client
import json
import os
import pathlib
import re
import signal
import socket
import subprocess
import threading
import time

import pytest

import wire
from suite import APP, USER, wait_for
from web import fetch

# The kernel's buffers on the way (up to 10 MB) are to hold a part only, wherever a reader stands still.
LARGE = 36_000_000
CONTENT = os.urandom(LARGE)


@pytest.fixture
def pair(own_suite):
    """Two storage servers of one group, one HTTP server, and a large file."""
    yield from running(own_suite, 2)


@pytest.fixture
def single(own_suite):
    yield from running(own_suite, 1)


def running(own_suite, storages):
    own_suite.add_tracker()
    own_suite.add_idserver()
    for number in range(storages):
        own_suite.add_storage("storage" + ("2" if number else ""))
    # Longer than a busy machine holds a storage server: that would be another one that hangs.
    own_suite.add_httpd(storage_timeout="3s", call_timeout="5s", connect_timeout="2s", lookup_age="1s",
                        lookup_negative_age="100ms", location_age="1s", retry_after="4s", failover_tries=3)
    own_suite.launch()
    own_suite.put("large", CONTENT, content_type="video/mp4")
    yield own_suite
    for left in own_suite.more.pop("sockets", []):
        left.close()
    for daemon in own_suite.daemons.values():
        if daemon.process:
            daemon.process.send_signal(signal.SIGCONT)


def serving(suite):
    """The storage server that was asked for most: pieces of one body come from the first that answers."""
    asked = {label: daemon.downloads()
             for label, daemon in suite.daemons.items() if daemon.name == "storage" and daemon.process}
    assert max(asked.values()) > 0
    return max(asked, key=asked.get)


def freeze(daemon):
    """SIGSTOP, and none of its threads runs any more."""
    daemon.process.send_signal(signal.SIGSTOP)
    wait_for(lambda: all((task / "stat").read_text().rsplit(")", 1)[1].split()[0] == "T"
                         for task in pathlib.Path(f"/proc/{daemon.process.pid}/task").iterdir()), 10, "a stop")


class Reader:
    """One answer, read at will over a small window."""

    def __init__(self, suite, **headers):
        self.suite = suite
        self.socket = socket.socket()
        suite.more.setdefault("sockets", []).append(self.socket)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16384)
        self.socket.settimeout(90)
        self.socket.connect(("127.0.0.1", suite.httpd.port))
        fields = "".join(f"{k.replace('_', '-')}: {v}\r\n" for k, v in headers.items())
        self.socket.sendall(f"GET /files/large HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{fields}\r\n".encode())
        self.data = bytearray()
        while b"\r\n\r\n" not in self.data:
            self.data += self.socket.recv(4096)

    def until(self, size):
        while len(self.data) < size:
            part = self.socket.recv(65536)
            assert part, f"ended after {len(self.data)} bytes"
            self.data += part

    def server(self):
        """Who sends to us."""
        return serving(self.suite)

    def rest(self):
        """(head, body, whether the connection ended in order)"""
        orderly = True
        try:
            while part := self.socket.recv(1 << 20):
                self.data += part
        except ConnectionResetError:
            orderly = False
        self.socket.close()
        head, body = bytes(self.data).split(b"\r\n\r\n", 1)
        return head.decode(), body, orderly


def length_of(head):
    return int(re.search(r"(?im)^content-length: (\d+)", head).group(1))


def test_a_storage_server_killed_mid_body_is_not_seen(pair):
    reader = Reader(pair)
    reader.until(2_000_000)
    first = reader.server()
    pair.daemons[first].kill()
    head, body, _ = reader.rest()
    assert head.startswith("HTTP/1.1 200 ") and length_of(head) == LARGE
    assert body == CONTENT
    assert pair.httpd.metric("reel_httpd_cut_total") == 0


def test_each_server_of_the_group_killed_in_turn_during_one_body_is_not_seen(pair):
    reader = Reader(pair)
    # What the kernel has of a dead server (up to 10 MB) is behind us before the next one is looked for.
    for at in (1_000_000, 13_000_000, 25_000_000):
        reader.until(at)
        victim = reader.server()
        pair.daemons[victim].kill()
        # The other one goes on meanwhile; this one is back before that one goes.
        reader.until(at + 2_500_000)
        pair.daemons[victim].start()
        pair.wait_active(2)
    head, body, _ = reader.rest()
    assert length_of(head) == LARGE and body == CONTENT
    assert pair.httpd.metric("reel_httpd_cut_total") == 0


def test_a_range_and_several_ranges_survive_the_death_of_a_server(pair):
    reader = Reader(pair, Range="bytes=1000000-24999999")
    reader.until(1_000_000)
    pair.daemons[reader.server()].kill()
    head, body, _ = reader.rest()
    assert head.startswith("HTTP/1.1 206 ") and body == CONTENT[1_000_000:25_000_000]
    for label in ("storage", "storage2"):
        if pair.daemons[label].process is None:
            pair.daemons[label].start()
    pair.wait_active(2)

    reader = Reader(pair, Range="bytes=0-16999999,18000000-34999999")
    reader.until(1_000_000)
    pair.daemons[reader.server()].kill()
    head, body, _ = reader.rest()
    assert head.startswith("HTTP/1.1 206 ") and len(body) == length_of(head)
    boundary = re.search(r"boundary=(\w+)", head).group(1)
    parts = body.split(f"--{boundary}".encode())
    assert pair.httpd.metric("reel_httpd_cut_total") == 0
    assert [part.split(b"\r\n\r\n", 1)[1][:-2] for part in parts[1:3]] == [CONTENT[:17_000_000], CONTENT[18_000_000:35_000_000]]


def test_a_storage_server_that_hangs_mid_body_is_left_for_another(pair):
    reader = Reader(pair)
    reader.until(2_000_000)
    freeze(pair.daemons[reader.server()])
    head, body, _ = reader.rest()
    assert length_of(head) == LARGE and body == CONTENT


def test_many_streams_survive_the_death_of_a_server(pair):
    results, lock = [], threading.Lock()

    def stream():
        answer, body = fetch(pair, "/files/large")
        with lock:
            results.append(answer.status == 200 and body == CONTENT)

    threads = [threading.Thread(target=stream) for _ in range(12)]
    for thread in threads:
        thread.start()
    time.sleep(0.05)
    pair.storage.kill()
    for thread in threads:
        thread.join(300)
    assert results == [True] * 12


def test_without_another_server_the_connection_is_cut_and_nothing_looks_whole(single):
    for fields in ({}, {"Range": "bytes=0-29999999"}, {"Range": "bytes=0-16999999,18000000-34999999"}):
        reader = Reader(single, **fields)
        reader.until(1_000_000)
        single.storage.kill()
        head, body, _ = reader.rest()
        assert head.startswith("HTTP/1.1 20") and 1 < len(body) < length_of(head)
        if "multipart" in head:
            assert not body.endswith(b"--\r\n")
        elif fields:
            assert CONTENT.startswith(body)
        single.storage.start()
        single.wait_active()
        wait_for(lambda: fetch(single, "/files/large", "HEAD")[0].status == 200, 20, "service again")
    # As clients see it
    part = single.dir / "part"
    download = subprocess.Popen(["curl", "-sS", "--limit-rate", "2M", "-o", part,
                                 f"http://127.0.0.1:{single.httpd.port}/files/large"], stderr=subprocess.PIPE)
    wait_for(lambda: part.stat().st_size > 0, 20, "a part")
    single.storage.kill()
    download.communicate(timeout=120)
    assert download.returncode in (18, 56), "curl took a part for the whole"
    wait_for(lambda: single.httpd.metric("reel_httpd_cut_total") >= 3, 20, "the answers that were cut to be counted")


def status(suite, file, **headers):
    answer, body = fetch(suite, f"/files/{file}", **headers)
    return answer.status, answer.headers, body


def test_502_503_and_504_are_told_apart(single):
    # A server that hangs: 504
    freeze(single.storage)
    code, headers, body = status(single, "nothing-1")
    assert code == 504 and b"request " in body and headers["X-Request-Id"].encode() in body
    single.storage.process.send_signal(signal.SIGCONT)
    wait_for(lambda: status(single, "large")[0] == 200, 20, "service again")

    # A server that is named and does not answer the call: 502, until the tracker has noticed. Then 503.
    single.storage.kill()
    killed, seen = time.monotonic(), []
    seen.append(status(single, "nothing-2")[0])
    held = time.monotonic() - killed > 0.9  # by the machine, so that the tracker may have noticed: suspect_grace is 1 s
    wait_for(lambda: seen.append(status(single, "nothing-2")[0]) or seen[-1] == 503, 30, "503")
    assert (seen[0] == 502 or held) and set(seen) <= {502, 503}, seen
    code, headers, body = status(single, "large", Accept="application/json")
    answer = json.loads(body)
    assert (code, headers["Retry-After"], headers["Content-Type"]) == (503, "4", "application/json")
    assert answer["status"] == 503 and answer["request_id"] == headers["X-Request-Id"] and answer["message"]
    assert headers["Cache-Control"] == "no-store"
    code, headers, body = status(single, "large")
    assert code == 503 and headers["Content-Type"].startswith("text/plain") and body.startswith(b"503 Service Unavailable: ")


def test_a_group_that_was_gone_comes_back(pair):
    _, before, _ = status(pair, "large")
    pair.storage.kill()
    pair.storage2.kill()
    wait_for(lambda: status(pair, "large")[0] == 503, 30, "503")
    # Errors do not end the connection, and are quick.
    connection = http.client.HTTPConnection("127.0.0.1", pair.httpd.port, timeout=60)
    began = time.monotonic()
    for _ in range(20):
        connection.request("GET", "/files/large")
        answer = connection.getresponse()
        assert answer.status == 503 and answer.headers["Retry-After"] == "4" and answer.read()
    assert time.monotonic() - began < 30
    pair.storage2.start()

    def back():
        connection.request("GET", "/files/large")
        answer = connection.getresponse()
        body = answer.read()
        return answer.status == 200 and answer.headers["ETag"] == before["ETag"] and body == CONTENT

    wait_for(back, 20, "the file again, on the same connection")
    connection.close()


def test_a_tracker_that_is_gone_is_reported_and_forgiven(single):
    single.put("known", b"known")
    single.httpd.stop()
    single.httpd.configure({**single.httpd.config, "daemon": {"loops": 6}})
    single.httpd.start()

    def known():
        answer, body = fetch(single, "/files/known")
        return answer.status, body

    assert known() == (200, b"known")
    reader = Reader(single)
    reader.until(1_000_000)
    single.tracker.kill()
    # Bodies that are under way go on, and so does what is known.
    assert reader.rest()[1] == CONTENT
    assert known() == (200, b"known")
    # Whichever loop takes the connection, and however old its own answer is.
    time.sleep(1.5)
    assert [known() for _ in range(30)] == [(200, b"known")] * 30
    # A user of whom nothing is known cannot be found.
    code, headers, body = fetch_other(single)
    assert code == 503 and headers["Retry-After"] == "4" and b"503 Service Unavailable" in body
    # Nor can anybody by a server that starts now.
    single.httpd.restart()
    code, headers, _ = status(single, "known")
    assert code == 503 and headers["Retry-After"] == "4"
    single.tracker.start()
    wait_for(lambda: status(single, "known")[0] == 200, 30, "service again")
    assert fetch_other(single)[0] == 404


def fetch_other(suite):
    answer, body = fetch(suite, "/files/tnvideo/somebody-else/film")
    return answer.status, answer.headers, body


def test_a_file_deleted_during_its_download_never_looks_whole_when_it_is_not(single):
    reader = Reader(single)
    reader.until(1_000_000)
    with single.client() as client:
        assert client.call(wire.DELETE, wire.file_key(APP, USER, "large")).ok
    wait_for(lambda: status(single, "large")[0] == 404, 8, "404")
    head, body, _ = reader.rest()
    assert length_of(head) == LARGE and len(body) < LARGE and body == CONTENT[:len(body)]


@pytest.fixture
def patient(single):
    """Asks for a body that no server gives for longer than a storage server takes to start."""
    single.httpd.stop()
    single.httpd.configure({"httpd": {**single.httpd.config["httpd"], "storage_timeout": "60s"}})
    single.httpd.start()
    return single


def test_a_slow_client_holds_no_connection_to_a_storage_server(patient):
    """Nor does it need one: the only server may be started again meanwhile."""
    reader = Reader(patient)

    def at_rest():
        reader.until(len(reader.data) + 8192)
        time.sleep(0.05)
        return len(reader.data) > 500_000 and patient.httpd.metric("reel_httpd_relays") == 0

    wait_for(at_rest, 60, "no relay while the client plays")
    assert patient.storage.downloads() > 3
    patient.storage.restart()
    patient.wait_active()
    head, body, _ = reader.rest()
    assert length_of(head) == LARGE and body == CONTENT
    assert patient.httpd.metric("reel_httpd_cut_total") == 0


def test_a_stream_goes_on_when_the_only_server_is_back_in_time(patient):
    reader = Reader(patient)
    reader.until(1_000_000)
    patient.storage.kill()
    rest = []
    reading = threading.Thread(target=lambda: rest.append(reader.rest()))
    reading.start()
    wait_for(lambda: "cannot read past byte" in patient.httpd.log(), 20, "a try that failed")
    patient.storage.start()
    reading.join(300)
    head, body, _ = rest[0]
    assert length_of(head) == LARGE and body == CONTENT
    assert patient.httpd.metric("reel_httpd_cut_total") == 0


def test_stopping_the_http_server_finishes_what_is_under_way(single):
    reader = Reader(single)
    reader.until(1_000_000)
    stopper = threading.Thread(target=single.httpd.stop)
    stopper.start()

    def refuses():
        try:
            socket.create_connection(("127.0.0.1", single.httpd.port), timeout=5).close()
        except ConnectionRefusedError:
            return True
    wait_for(refuses, 10, "a closed port")
    assert reader.rest()[1] == CONTENT
    stopper.join(150)
    assert single.httpd.process is None
