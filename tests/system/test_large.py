"""Files of 1 GiB, and how much memory transfers take. On a release build: a sanitizer's memory says nothing."""
import hashlib
import os
import socket
import struct
import subprocess
import time

import pytest

import suite as suite_module
import wire
from suite import APP, ROOT, USER, Suite, new_id

GIB = 1 << 30


@pytest.fixture(scope="module")
def release_suite():
    build = ROOT / "build" / "release"
    subprocess.run([str(ROOT / "scripts" / "build.sh"), "release"], check=True)
    before = suite_module.BIN
    suite_module.BIN = build / "bin"
    running = Suite("sqlite")
    try:
        yield running.start(storage_options={"workers": "4"})
    finally:
        try:
            running.stop()
        finally:
            suite_module.BIN = before


def blocks(seed):
    """1 GiB in blocks of 1 MiB that all differ."""
    base = hashlib.sha256(seed).digest() * (1 << 15)
    for number in range(1024):
        yield struct.pack(">q", number) + base[8:]


def test_a_file_of_1_gib_makes_the_round_trip(release_suite):
    file = new_id()
    with release_suite.client() as client:
        client.send(wire.header(408 + GIB, wire.UPLOAD) + wire.upload_head(APP, USER, file, GIB))
        for block in blocks(b"one"):
            client.send(block)
        assert client.receive().ok
        assert client.size(APP, USER, file) == GIB
        client.send(wire.header(416, wire.DOWNLOAD) + wire.file_key(APP, USER, file) + struct.pack(">qq", 0, 0))
        assert struct.unpack(">qBB", client.receive_exactly(10)) == (GIB, wire.STORAGE, 0)
        for block in blocks(b"one"):
            assert client.receive_exactly(len(block)) == block
    wire.ask(release_suite.tracker.address, wire.SADDRS, wire.file_key(APP, USER, file))
    curl = subprocess.run(["curl", "-sS", "--fail", release_suite.url(file)], stdout=subprocess.PIPE, check=True)
    at = 0
    for block in blocks(b"one"):
        assert curl.stdout[at:at + len(block)] == block
        at += len(block)
    assert at == len(curl.stdout)


def test_200_transfers_of_1_gib_take_less_than_100_mib_each(release_suite):
    file = new_id()
    with release_suite.client() as client:
        client.send(wire.header(408 + GIB, wire.UPLOAD) + wire.upload_head(APP, USER, file, GIB))
        for block in blocks(b"two"):
            client.send(block)
        assert client.receive().ok
    wire.ask(release_suite.tracker.address, wire.SADDRS, wire.file_key(APP, USER, file))
    open_transfers, uploads = [], []
    block = os.urandom(1 << 20)
    try:
        for i in range(200):
            http = socket.create_connection(("127.0.0.1", release_suite.httpd.port), timeout=30)
            http.sendall(f"GET /files/{APP}/{USER}/{file} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            open_transfers.append(http)
        for i in range(100):
            packet = release_suite.client()
            packet.send(wire.header(416, wire.DOWNLOAD) + wire.file_key(APP, USER, file) + struct.pack(">qq", 0, 0))
            open_transfers.append(packet.socket)
            upload = release_suite.client()
            upload.send(wire.header(408 + GIB, wire.UPLOAD) + wire.upload_head(APP, USER, new_id(), GIB))
            uploads.append(upload)
        peak = {"storage": 0, "httpd": 0}
        begun, enough = time.monotonic(), 100 << 20
        sink = bytearray(1 << 18)
        sent = received = 0
        # For twelve seconds; longer where the machine moves little meanwhile. A fast one does not fill its disk.
        while (took := time.monotonic() - begun) < 12 or (min(sent, received) <= enough and took < 240):
            for upload in uploads if sent < 3 * GIB else ():
                upload.send(block[:1 << 17])
                sent += 1 << 17
            for transfer in open_transfers:
                received += transfer.recv_into(sink)
            for name in peak:
                peak[name] = max(peak[name], release_suite.daemons[name].memory_kib())
        print(f"\n200 transfers of 1 GiB each way in flight, {sent >> 20} MiB in, {received >> 20} MiB out; "
              f"peak resident: reel-storage {peak['storage'] / 1024:.1f} MiB (300 transfers), "
              f"reel-httpd {peak['httpd'] / 1024:.1f} MiB (200)")
        assert sent > enough and received > enough
        assert peak["storage"] < 100 * 1024 and peak["httpd"] < 100 * 1024
    finally:
        for transfer in open_transfers:
            transfer.close()
        for upload in uploads:
            upload.close()
