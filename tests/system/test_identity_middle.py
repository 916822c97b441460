"""Somebody sits between a client and its servers, and changes, repeats or answers what they say. Under `required` nothing of
it helps; what `prefer` does about servers that know no sessions."""
import socket
import ssl
import struct
import subprocess

import pytest

import wire
from identity import SecureSuite
from relay import Listening, Pair, Relay
from suite import BIN, USER, free_ports
from test_tls import certificate


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
def secure(tmp_path_factory):
    """Its tracker listens under TLS too, at `tls_port`, with the certificate `site` of the authority `ca`, both in `certificates`."""
    directory = tmp_path_factory.mktemp("certificates")
    certificate(directory, "ca", [])
    certificate(directory, "site", ["DNS:localhost", "IP:127.0.0.1"], "ca")
    suite = SecureSuite()
    try:
        suite.certificates = directory
        suite.tls_port, = free_ports(1)
        tracker = suite.add_tracker(listen_tls=f"127.0.0.1:{suite.tls_port}")
        tracker.configure({**tracker.config, "tls": {"cert": directory / "site.pem", "key": directory / "site.key"}})
        suite.add_idserver()
        suite.add_storage()
        yield suite.launch()
    finally:
        suite.stop()


def size_at(suite, tmp_path, tracker, mode="required"):
    """`reel size` of a file that is not there, asked of TRACKER: 3 is the answer of a tracker that is believed."""
    return subprocess.run([str(BIN / "reel"), "-t", tracker, "-u", USER, "--timeout", "20s", "--max-time", "60s", "size", "nothing"],
                          capture_output=True, timeout=120,
                          env=suite.environment(REEL_KEYS=suite.keys.only("app", tmp_path / "keys"), REEL_AUTH=mode,
                                                REEL_TLS_CA=suite.certificates / "ca.pem"))


def size_through(suite, tmp_path, change, mode="required"):
    with Middle(suite.tracker.address, change) as middle:
        done = size_at(suite, tmp_path, f"127.0.0.1:{middle.port}", mode)
        return middle.seen, done


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
    with Middle(secure.idserver.address, lambda command, request, ask: ask(request)) as middle:
        done = size_at(secure, tmp_path, f"127.0.0.1:{middle.port}")
        assert b"another kind of server" in done.stderr and middle.seen.count(wire.PROVE) == 0, done


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


class Terminating(Middle):
    """Has the server's certificate and private key: it ends the client's TLS, and speaks to the server under TLS of its own, or in
    the clear. Packets pass unchanged, but for HELLO's wish that the proofs cover the TLS connection where UNBOUND. REPLIES has
    what the server said."""

    def __init__(self, suite, onward, unbound):
        self.replies, self.unbound = [], unbound
        self.inward = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.inward.load_cert_chain(suite.certificates / "site.pem", suite.certificates / "site.key")
        self.onward = ssl.create_default_context(cafile=str(suite.certificates / "ca.pem")) if onward == "tls" else None
        super().__init__(("127.0.0.1", suite.tls_port) if onward == "tls" else suite.tracker.address, None)

    def serve(self, client):
        with self.inward.wrap_socket(client, server_side=True) as client, socket.create_connection(self.server) as server:
            if self.onward:
                server = self.onward.wrap_socket(server, server_hostname="localhost")
            with server:
                while True:
                    request = bytearray(wire.packet(client))
                    self.seen.append(request[8])
                    if request[8] == wire.HELLO and self.unbound:
                        assert request[13] == 3
                        request[13] = 1
                    server.sendall(request)
                    reply = wire.packet(server)
                    self.replies.append(reply)
                    client.sendall(reply)


@pytest.mark.parametrize("onward, unbound, numbers", [
    ("tls", False, [0, wire.UNAUTHENTICATED]), ("tls", True, [0, wire.UNAUTHENTICATED]),  # PROVE: the proof is wrong
    ("plain", False, [wire.UNAVAILABLE]),  # the server cannot do what HELLO asks for
    ("plain", True, [0])])  # the client sees that the server did not do it, and proves nothing
def test_a_proof_is_bound_to_its_tls_connection(secure, tmp_path, onward, unbound, numbers):
    """Whoever ends TLS in the middle passes on proofs that cover another connection than the server's: no end believes the other."""
    assert size_at(secure, tmp_path, f"tls://localhost:{secure.tls_port}").returncode == 3
    with Relay(("127.0.0.1", secure.tls_port)) as relay:  # it passes TLS on as it is, and changes nothing
        assert size_at(secure, tmp_path, f"tls://localhost:{relay.port}").returncode == 3
    with Terminating(secure, onward, unbound) as middle:
        done = size_at(secure, tmp_path, f"tls://localhost:{middle.port}")
        seen, replies = middle.seen, middle.replies
    assert done.returncode != 3, done
    said = [struct.unpack(">h", reply[10:12])[0] if reply[9] else 0 for reply in replies]
    assert seen[:len(numbers)] == [wire.HELLO, wire.PROVE][:len(numbers)] and said[:len(numbers)] == numbers, (seen, said, done)
    assert wire.LOCATE not in seen and (len(numbers) > 1 or wire.PROVE not in seen), (seen, done)


def test_a_session_that_was_recorded_is_not_believed_again(secure, tmp_path):
    """All that a real server said to a client is said again to another one: its nonce is another, and so the old proof is wrong."""
    said = []

    def record(command, request, ask):
        said.append(ask(request))
        return said[-1]
    seen, done = size_through(secure, tmp_path, record)
    assert seen[:3] == [wire.HELLO, wire.PROVE, wire.LOCATE] and done.returncode == 3, (seen, done)
    assert all(reply[9] == 0 for reply in said[:2])

    class Playback(Listening):
        seen = []

        def serve(self, client):
            for reply in said:
                self.seen.append(wire.packet(client)[8])
                client.sendall(reply)
    with Playback() as playback:
        done = size_at(secure, tmp_path, f"127.0.0.1:{playback.port}")
        assert b"proof is wrong" in done.stderr and done.returncode != 3, done
        assert playback.seen[:2] == [wire.HELLO, wire.PROVE] and wire.LOCATE not in playback.seen


def test_a_tls_connection_that_was_recorded_opens_no_other(secure, tmp_path):
    """The same below TLS, byte by byte: the handshake does not come about, and the client says nothing."""
    said = []

    class Recorded(Pair):
        def backward(self):
            while piece := self.server.recv(16384):
                said.append(piece)
                self.client.sendall(piece)
    with Relay(("127.0.0.1", secure.tls_port), Recorded) as relay:
        assert size_at(secure, tmp_path, f"tls://localhost:{relay.port}").returncode == 3
    assert len(b"".join(said)) > 1000

    class Playback(Listening):
        def serve(self, client):
            client.recv(16384)
            for piece in said:
                client.sendall(piece)
            client.recv(16384)
    with Playback() as playback:
        done = size_at(secure, tmp_path, f"tls://localhost:{playback.port}")
        assert done.returncode != 3 and b"TLS" in done.stderr, done
