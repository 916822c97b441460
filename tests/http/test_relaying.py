"""How reel-httpd fetches: inside the kernel or copied, over how many connections, and how much of what it learned it remembers."""
import os
import socket
import threading
import time

import pytest

from suite import wait_for
from web import fetch

SPLICED = 'reel_httpd_body_bytes_total{way="spliced"}'
COPIED = 'reel_httpd_body_bytes_total{way="copied"}'


@pytest.fixture
def server(suite):
    """Makes an HTTP server of its own configuration, with one event loop, for one test."""
    made = []

    def make(**options):
        daemon = suite.add_httpd(f"own{len(made)}", **options)
        daemon.configure({**daemon.config, "daemon": {"loops": 1}})
        daemon.start()
        made.append(daemon)
        return daemon

    yield make
    for daemon in made:
        daemon.stop()
        del suite.daemons[daemon.label]


@pytest.fixture(scope="module")
def large(suite):
    return suite.put("relayed", os.urandom(8_000_000))


def test_body_bytes_stay_inside_the_kernel(server, suite, large):
    daemon = server()
    answer, body = fetch(suite, "/files/relayed", port=daemon.port)
    assert answer.status == 200 and body == large
    # What comes with the heads of the storage server's replies is in memory already.
    wait_for(lambda: daemon.metric(SPLICED) > 0.8 * len(large), 10, "the body's bytes to be counted, as they are once they have left")
    assert daemon.metric(SPLICED) + daemon.metric(COPIED) <= len(large)


def test_without_pipes_bodies_are_copied(server, suite, large):
    daemon = server(pipes_max=0)
    answer, body = fetch(suite, "/files/relayed", port=daemon.port)
    assert answer.status == 200 and body == large
    wait_for(lambda: daemon.metric(COPIED) > 0.8 * len(large), 10, "the body's bytes to be counted, as they are once they have left")
    assert daemon.metric(SPLICED) == 0


class Standing:
    """A client that asks for much and reads nothing of it."""

    def __init__(self, daemon):
        self.socket = socket.socket()
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        self.socket.settimeout(60)
        self.socket.connect(("127.0.0.1", daemon.port))
        self.socket.sendall(b"GET /files/relayed HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")

    def close(self):
        self.socket.close()


def test_over_the_limit_of_connections_a_request_waits_and_then_gets_503(server, suite, large):
    daemon = server(storage_connections=1, call_timeout="6s", unsent_max="16K", retry_after="7s")
    standing = Standing(daemon)
    try:
        # The group has two storage servers, with a connection each.
        other = Standing(daemon)
        wait_for(lambda: daemon.metric("reel_httpd_relays") == 2, 10, "two relays")
        time.sleep(0.5)
        assert daemon.metric("reel_httpd_relays") == 2
        began = time.monotonic()
        answer, body = fetch(suite, "/files/letters", port=daemon.port)
        assert answer.status == 503 and answer.headers["Retry-After"] == "7", (answer.status, body)
        assert time.monotonic() - began > 1
        # A connection that comes free goes to whoever waits.
        late = []
        waiting = threading.Thread(target=lambda: late.append(fetch(suite, "/files/letters", port=daemon.port)))
        waiting.start()
        time.sleep(0.3)
        other.close()
        waiting.join(60)
        assert late[0][0].status == 200
    finally:
        standing.close()


def test_so_many_files_are_remembered_and_no_more(server, suite):
    daemon = server(lookup_entries=16, lookup_age="1h", lookup_negative_age="1h")
    asked = lambda: daemon.metric('reel_httpd_lookups_total{result="asked"}')
    get = lambda name: fetch(suite, f"/files/{name}", port=daemon.port)[0].status
    assert [get("letters"), get("digits"), get("letters"), get("digits")] == [200] * 4
    assert asked() == 2
    assert [get(f"none{n}") for n in range(20)] == [404] * 20  # also what is not there takes a place
    assert asked() == 22 and get("none19") == 404 and asked() == 22
    assert get("letters") == 200 and asked() == 23
