"""What every packet server does with a connection: order, broken framing, half-closed peers, refused bodies."""
import os
import socket
import struct

import pytest

import wire
from suite import APP, USER, new_id
from wire import DELETE, DOWNLOAD, FILESIZE, GET, GROUPS, STORAGE, UPLOAD, Client, file_key, header, upload_head

SERVERS = {"tracker": (GROUPS, b"", 100), "idserver": (GET, b"../connections\0", 101)}


@pytest.fixture(params=["tracker", "idserver", "storage"])
def server(request, suite):
    """(address, a request that succeeds, who answers)"""
    daemon = suite.daemons[request.param]
    if request.param == "storage":
        file = "probe-" + new_id()
        with Client(daemon.address) as client:
            assert client.upload(APP, USER, file, b"probe").ok
        return daemon.address, (FILESIZE, file_key(APP, USER, file)), STORAGE
    command, body, who = SERVERS[request.param]
    return daemon.address, (command, body), who


def packed(request):
    command, body = request
    return header(len(body), command) + body


def test_requests_may_come_byte_by_byte(server):
    address, request, who = server
    with Client(address) as client:
        for byte in packed(request):
            client.send(bytes([byte]))
        reply = client.receive()
        assert (reply.command, reply.status) == (who, 0)


def test_pipelined_requests_are_answered_in_order(server):
    address, request, who = server
    with Client(address) as client:
        unknown = header(3, 99) + b"abc"
        client.send(packed(request) * 50 + unknown + packed(request) * 50)
        for number in range(101):
            reply = client.receive()
            assert reply.command == who
            assert reply.ok == (number != 50), (number, reply)
            if number == 50:
                assert reply.number == wire.UNKNOWN_COMMAND


def test_a_half_closed_peer_gets_its_replies(server):
    address, request, who = server
    with Client(address) as client:
        client.send(packed(request) * 3)
        client.socket.shutdown(socket.SHUT_WR)
        assert all(client.receive().ok for _ in range(3))
        assert client.at_end()


def test_the_requests_status_byte_is_ignored(server):
    address, (command, body), who = server
    with Client(address) as client:
        for status in (1, -3, 127):
            assert client.call(command, body, status).ok


def test_an_unknown_command_with_a_body_costs_nothing_else(server):
    address, request, who = server
    with Client(address) as client:
        client.send(header(200_000, 9) + os.urandom(200_000) + packed(request))
        reply = client.receive()
        assert (reply.command, reply.status, reply.number) == (who, 0xFD, wire.UNKNOWN_COMMAND)
        assert client.receive().ok


@pytest.mark.parametrize("length", [-1, -(1 << 63), (1 << 63) - 1])
def test_an_impossible_length_is_answered_and_ends_the_connection_in_order(server, length):
    address, request, who = server
    with Client(address) as client, Client(address) as other:
        client.send(header(length, request[0]) + os.urandom(50_000))
        reply = client.receive()
        assert (reply.command, reply.status, reply.number) == (who, 0xFD, wire.MALFORMED)
        assert other.call(*request).ok
        if length < 0:
            client.socket.shutdown(socket.SHUT_WR)
            assert client.at_end(), "the reply is not eaten by a reset"


@pytest.mark.parametrize("change", [-1, 1, 1000])
def test_a_body_of_the_wrong_length_is_malformed_and_the_stream_stays_in_step(server, change):
    address, (command, body), who = server
    with Client(address) as client:
        wrong = body[:change] if change < 0 else body + b"\1" * change
        reply = client.call(command, wrong)
        # GROUPS has no body to shorten; what follows the NUL of GET's key is nobody's business up to 65 bytes.
        if wrong == body or command == GET and change == 1:
            assert reply.ok
        else:
            assert reply.number == wire.MALFORMED
        assert client.call(command, body).ok


def test_a_refused_upload_is_drained_and_the_connection_goes_on(suite):
    file, content = new_id(), os.urandom(3_000_000)
    with suite.client() as client:
        assert client.upload(APP, USER, file, b"taken").ok
        assert client.upload(APP, USER, file, content).number == wire.EXISTS
        assert client.upload("nosuchapp", USER, new_id(), content).number == wire.REFUSED
        assert client.upload(APP, USER, new_id(), content).ok
        assert client.download(APP, USER, file).body == b"taken"


@pytest.mark.parametrize("size", [-1, 5, 99, 101, 1 << 40])
def test_a_size_that_contradicts_the_body_length_is_refused(suite, size):
    file = new_id()
    stored = len(suite.files())
    with suite.client() as client:
        client.send(header(408 + 100, UPLOAD) + upload_head(APP, USER, file, size) + b"x" * 100)
        assert client.receive().number == wire.MALFORMED
        assert client.call(FILESIZE, file_key(APP, USER, file)).number == wire.NOT_FOUND
    assert len(suite.files()) == stored


@pytest.mark.parametrize("what, key", [
    ("empty file", file_key(APP, USER, "")), ("empty user", file_key(APP, "", "f")),
    ("empty application", file_key("", USER, "f")), ("application with a sign", file_key("tn_video", USER, "f")),
    ("file unterminated", file_key(APP, USER, "f")[:272] + b"f" * 128),
    ("user unterminated", file_key(APP, USER, "f")[:16] + b"u" * 256 + file_key(APP, USER, "f")[272:]),
    ("application unterminated", b"a" * 16 + file_key(APP, USER, "f")[16:])])
@pytest.mark.parametrize("command", [UPLOAD, FILESIZE, DOWNLOAD, DELETE])
def test_malformed_keys_are_refused_by_every_storage_command(suite, command, what, key):
    more = {UPLOAD: struct.pack(">q", 10) + b"x" * 10, DOWNLOAD: bytes(16)}.get(command, b"")
    with suite.client() as client:
        reply = client.call(command, key + more)
        assert (reply.command, reply.status, reply.number) == (STORAGE, 0xFD, wire.MALFORMED)
        assert client.upload(APP, USER, new_id(), b"and goes on").ok


def test_one_connection_carries_uploads_and_downloads_without_a_pause(suite):
    files = [(new_id() + str(i), os.urandom(3000 * i)) for i in range(20)]
    with suite.client() as client:
        for file, content in files:
            head = upload_head(APP, USER, file, len(content))
            client.send(header(len(head) + len(content), UPLOAD) + head + content +
                        header(416, DOWNLOAD) + file_key(APP, USER, file) + bytes(16))
        for file, content in files:
            assert client.receive().ok
            assert client.receive().body == content


def test_a_stalled_peer_holds_nobody_up(suite):
    content = os.urandom(20_000_000)
    file = new_id()
    with suite.client() as client:
        assert client.upload(APP, USER, file, content).ok
    stalled = [suite.client() for _ in range(20)]
    for i, client in enumerate(stalled):
        if i % 2:
            client.send(header(416, DOWNLOAD) + file_key(APP, USER, file) + bytes(16))
        else:
            client.send(header(1_000_408, UPLOAD) + upload_head(APP, USER, new_id(), 1_000_000)[:300])
    with suite.client() as client:
        assert client.download(APP, USER, file).body == content
    for client in stalled:
        client.close()


def test_fuzzed_bytes_never_stop_a_server(server):
    address, request, who = server
    seed = int.from_bytes(os.urandom(4), "big")
    import random
    generator = random.Random(seed)
    for _ in range(150):
        with Client(address) as client:
            data = bytearray(packed(request) * 2)
            for _ in range(generator.randrange(1, 8)):
                data[generator.randrange(len(data))] = generator.randrange(256)
            try:
                client.send(data[:generator.randrange(1, len(data) + 1)])
                client.socket.settimeout(0.01)
                client.socket.recv(65536)
            except OSError:
                pass
    with Client(address) as client:
        assert client.call(*request).ok, f"seed {seed}"
