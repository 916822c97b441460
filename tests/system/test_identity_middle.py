"""Somebody sits between a client and its servers, and changes, repeats or answers what they say. Under `required` nothing of
it helps; what `prefer` does about servers that know no sessions."""
import socket
import struct
import subprocess

import pytest

import wire
from identity import SecureSuite
from relay import Listening
from suite import BIN, USER


class Middle(Listening):
    """Passes packets on, one request after the other. CHANGE(command, request, ask) gives the reply to a request;
    ask(bytes) is what the real server replies."""

    def __init__(self, server, change):
        self.server, self.change, self.seen = server, change, []
        super().__init__()

    def serve(self, client):
        with socket.create_connection(self.server) as server:
            def ask(request):
                server.sendall(request)
                return wire.packet(server)
            while True:
                request = wire.packet(client)
                self.seen.append(request[8])
                reply = self.change(request[8], request, ask)
                if reply is None:
                    return
                client.sendall(reply)


def failure(number, text):
    body = struct.pack(">h", number) + b"[middle] " + text + b"\0"
    return wire.header(len(body), 100, -3) + body


@pytest.fixture(scope="module")
def secure():
    suite = SecureSuite()
    try:
        suite.add_tracker()
        suite.add_idserver()
        suite.add_storage()
        yield suite.launch()
    finally:
        suite.stop()


def size_through(suite, tmp_path, change, mode="required"):
    middle = Middle(suite.tracker.address, change)
    try:
        done = subprocess.run([str(BIN / "reel"), "-t", "127.0.0.1:%d" % middle.address[1], "-u", USER, "--timeout", "2s", "--max-time", "5s", "size",
                               "nothing"], capture_output=True, timeout=60,
                              env=suite.environment(REEL_KEYS=suite.keys.only("app", tmp_path / "keys"), REEL_AUTH=mode))
        return middle.seen, done
    finally:
        middle.close()


def test_an_honest_middle_changes_nothing(secure, tmp_path):
    seen, done = size_through(secure, tmp_path, lambda command, request, ask: ask(request))
    assert seen[:3] == [wire.HELLO, wire.PROVE, wire.LOCATE] and done.returncode == 3, (seen, done)


@pytest.mark.parametrize("mode, goes_on", [("required", False), ("prefer", True)])
def test_a_downgrade_works_where_it_is_preferred_only(secure, tmp_path, mode, goes_on):
    """HELLO is answered as an older server would."""
    seen, done = size_through(secure, tmp_path, lambda command, request, ask:
                              failure(-3, b"command 1 is unknown here") if command == wire.HELLO else ask(request), mode)
    assert (wire.LOCATE in seen) == goes_on, (seen, done)
    assert done.returncode == (9 if goes_on else 5) or b"does not prove" in done.stderr, done


@pytest.mark.parametrize("at", [0, 20, 32, 95])
def test_no_byte_of_hellos_reply_may_change(secure, tmp_path, at):
    def change(command, request, ask):
        reply = bytearray(ask(request))
        if command == wire.HELLO:
            reply[10 + at] ^= 1
        return bytes(reply)
    seen, done = size_through(secure, tmp_path, change)
    assert wire.LOCATE not in seen and done.returncode != 3, (seen, done)


@pytest.mark.parametrize("proof", [bytes(32), None])
def test_a_server_without_the_key_is_asked_nothing(secure, tmp_path, proof):
    """It lets everybody in, and proves itself with zeros, or with the client's own proof sent back."""
    def change(command, request, ask):
        if command == wire.PROVE:
            return wire.header(48, 100) + (proof or request[10:42]) + struct.pack(">qq", 3600, 15)
        return ask(request)
    seen, done = size_through(secure, tmp_path, change)
    assert wire.LOCATE not in seen and b"proof is wrong" in done.stderr, (seen, done)


def test_another_kind_of_server_is_not_taken_for_a_tracker(secure, tmp_path):
    middle = Middle(secure.idserver.address, lambda command, request, ask: ask(request))
    try:
        done = subprocess.run([str(BIN / "reel"), "-t", "127.0.0.1:%d" % middle.address[1], "-u", USER, "--timeout", "2s", "--max-time", "5s", "size",
                               "nothing"], capture_output=True, timeout=60,
                              env=secure.environment(REEL_KEYS=secure.keys.only("app", tmp_path / "keys")))
        assert b"another kind of server" in done.stderr and middle.seen.count(wire.PROVE) == 0, done
    finally:
        middle.close()


def test_a_predecessors_server_is_asked_without_a_session_where_that_is_preferred(secure, tmp_path):
    """It answers what it does not know with -1 and closes."""
    asked = []

    def change(command, request, ask):
        if command == wire.HELLO:
            asked.append(command)
            return None if len(asked) % 2 else failure(-1, b"unknown")
        return failure(-4, b"no such user")
    seen, done = size_through(secure, tmp_path, change, "prefer")
    assert seen.count(wire.HELLO) == 1 and wire.LOCATE in seen, (seen, done)
    seen, done = size_through(secure, tmp_path, change, "required")
    assert wire.LOCATE not in seen and done.returncode != 3, (seen, done)
