"""Small files that many clients want at once: asked for together, each answered right, whatever becomes of the server."""
import http.client
import os
import random
import signal
import socket
import threading

import pytest

import wire
from suite import APP, USER, wait_for
from web import fetch

FILES = {f"small{number}": os.urandom(1 + number * 397) for number in range(40)}  # up to 15 KiB


@pytest.fixture
def pair(own_suite):
    """Two storage servers of one group and one HTTP server."""
    own_suite.add_tracker()
    own_suite.add_idserver()
    own_suite.add_storage("storage")
    own_suite.add_storage("storage2")
    own_suite.add_httpd(storage_timeout="3s", call_timeout="5s", connect_timeout="2s", lookup_age="1s",
                        lookup_negative_age="100ms", location_age="1s", failover_tries=3)
    own_suite.launch()
    for name, content in FILES.items():
        own_suite.put(name, content)
    yield own_suite
    for daemon in own_suite.daemons.values():
        if daemon.process:
            daemon.process.send_signal(signal.SIGCONT)


class Crowd:
    """Clients with a kept connection each, asking for files at random until they are told to stop."""

    def __init__(self, suite, clients=32):
        self.suite, self.wrong, self.right, self.lock = suite, [], 0, threading.Lock()
        self.stopping = threading.Event()
        self.threads = [threading.Thread(target=self.client, args=(number,)) for number in range(clients)]
        for thread in self.threads:
            thread.start()

    def client(self, number):
        chance = random.Random(number)
        connection = http.client.HTTPConnection("127.0.0.1", self.suite.httpd.port, timeout=90)
        try:
            while not self.stopping.is_set():
                name, content = chance.choice(list(FILES.items()))
                connection.request("GET", f"/files/{name}")
                answer = connection.getresponse()
                body = answer.read()
                with self.lock:
                    if answer.status == 200 and body == content:
                        self.right += 1
                    else:
                        self.wrong.append((name, answer.status, len(body), len(content)))
        except (OSError, http.client.HTTPException) as error:
            with self.lock:
                self.wrong.append((name, repr(error)))
        finally:
            connection.close()

    def answers(self, more):
        """Waits until so many more answers were right."""
        least = self.right + more
        wait_for(lambda: self.wrong or self.right >= least, 60, f"{more} more answers")
        assert not self.wrong, self.wrong[:5]

    def stop(self):
        self.stopping.set()
        for thread in self.threads:
            thread.join(60)
        assert not self.wrong, self.wrong[:5]


@pytest.fixture
def crowd(pair):
    crowd = Crowd(pair)
    yield crowd
    crowd.stopping.set()
    for thread in crowd.threads:
        thread.join(60)


def gathered(suite):
    return suite.httpd.metric("reel_call_requests_gathered_total")


def test_small_files_are_asked_for_together_and_each_arrives_whole(pair, crowd):
    crowd.answers(1500)
    crowd.stop()
    assert gathered(pair) >= 500
    assert pair.httpd.metric("reel_call_shared_connections_broken_total") == 0


def test_the_death_of_a_storage_server_is_not_seen(pair, crowd):
    crowd.answers(500)
    for label in ("storage", "storage2"):
        before = gathered(pair)
        pair.daemons[label].kill()
        crowd.answers(500)
        pair.daemons[label].start()
        pair.wait_active(2)
        crowd.answers(500)
        # Who was away is asked again, when its time has passed.
        wait_for(lambda: gathered(pair) > before + 100, 40, "requests that share a connection again")
    crowd.stop()


def test_a_storage_server_that_hangs_is_left_for_another(pair, crowd):
    crowd.answers(500)
    for label in ("storage", "storage2"):
        pair.daemons[label].process.send_signal(signal.SIGSTOP)
        crowd.answers(300)
        pair.daemons[label].process.send_signal(signal.SIGCONT)
        pair.wait_active(2)
        crowd.answers(300)
    crowd.stop()


def test_a_deleted_file_is_gone_soon_also_under_load(pair):
    pair.put("doomed", b"doomed" * 100)
    stop, seen = threading.Event(), []

    def ask():
        while not stop.is_set():
            answer, body = fetch(pair, "/files/doomed")
            seen.append((answer.status, body if answer.status == 200 else b""))

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    try:
        wait_for(lambda: len(seen) > 200, 30, "answers")
        for label in ("storage", "storage2"):
            with pair.client(label) as client:
                client.call(wire.DELETE, wire.file_key(APP, USER, "doomed"))
        wait_for(lambda: {status for status, _ in seen[-20:]} == {404}, 15, "404 for everybody")
    finally:
        stop.set()
        for thread in threads:
            thread.join(30)
    assert set(seen) == {(200, b"doomed" * 100), (404, b"")}


def test_a_client_that_reads_late_gets_every_answer(pair):
    name, content = max(FILES.items(), key=lambda item: len(item[1]))
    client = socket.create_connection(("127.0.0.1", pair.httpd.port), timeout=60)
    count, got = 1500, bytearray()

    def ask():
        for _ in range(count):
            client.sendall(f"GET /files/{name} HTTP/1.1\r\nHost: x\r\n\r\n".encode())

    asking = threading.Thread(target=ask)
    asking.start()
    fetched = pair.httpd.metric("reel_httpd_sent_bytes_total")

    def stands_still():
        nonlocal fetched
        before, fetched = fetched, pair.httpd.metric("reel_httpd_sent_bytes_total")
        return fetched == before > 100_000

    wait_for(stands_still, 30, "a server that waits for its client")
    for _ in range(count):
        while b"\r\n\r\n" not in got:
            part = client.recv(1 << 20)
            assert part
            got += part
        head, _, got = got.partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200 ")
        while len(got) < len(content):
            part = client.recv(1 << 20)
            assert part
            got += part
        assert got[:len(content)] == content
        got = got[len(content):]
    asking.join(30)
    client.close()
