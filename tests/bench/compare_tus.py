#!/usr/bin/env python3
"""Uploads by tus to reel-httpd beside the tus project's own server for Node.js, in one run: alternating, the median of several rounds.

Everything runs in a temporary directory on free ports and is gone afterwards. Ours is a suite whose parts prove who they are; each
offset that it answers is on disk, with the row of the upload. The peer writes a plain file and a file of JSON, and syncs neither.
The client is this program: sockets, bodies sent from memory. CPU is that of the server processes, all hops. npm fetches the peer
as tests/bench/tus/package-lock.json pins it. tusd itself is written in Go and not in Debian. Ends with 1 below the target.

    tests/bench/compare_tus.py [--rounds 5] [--megabytes 512] [--work one,four,pieces,small]

"""
import argparse
import concurrent.futures
import os
import pathlib
import re
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "system"))
os.environ.setdefault("REEL_BUILD", str(ROOT / "build" / "release"))

import suite as suites  # noqa: E402
import wire  # noqa: E402
from identity import SecureSuite  # noqa: E402
from processes import children, cpu_seconds  # noqa: E402

PIECE = 8 << 20
SMALL, SMALL_FILES, SMALL_CONNECTIONS = 4096, 400, 16


class Connection:
    """A connection that stays open, and answers whose bodies do not count."""

    def __init__(self, port, token):
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=600)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.common = f"Host: 127.0.0.1:{port}\r\nTus-Resumable: 1.0.0\r\n" + (f"Authorization: Bearer {token}\r\n" if token else "")

    def ask(self, method, target, body=b"", **fields):
        lines = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in fields.items())
        self.socket.sendall(f"{method} {target} HTTP/1.1\r\n{self.common}{lines}Content-Length: {len(body)}\r\n\r\n".encode())
        self.socket.sendall(body)
        head = b""
        while b"\r\n\r\n" not in head:
            part = self.socket.recv(65536)
            if not part:
                raise RuntimeError(f"{method} {target}: the connection ended")
            head += part
        head, rest = head.split(b"\r\n\r\n", 1)
        fields = {name.lower(): value.strip() for name, value in (line.split(":", 1) for line in head.decode().split("\r\n")[1:])}
        left = int(fields.get("content-length", 0)) - len(rest)
        while left > 0:
            left -= len(self.socket.recv(65536))
        status = int(head.split(b" ", 2)[1])
        if status not in (201, 204):
            raise RuntimeError(f"{method} {target}: {head.decode()}")
        return fields

    def create(self, base, size, body=b"", **more):
        fields = self.ask("POST", base, body, Upload_Length=size, **more)
        return re.sub(r"^https?://[^/]+", "", fields["location"])

    def append(self, target, offset, body):
        fields = self.ask("PATCH", target, body, Upload_Offset=offset, Content_Type="application/offset+octet-stream")
        if int(fields["upload-offset"]) != offset + len(body):
            raise RuntimeError(f"{target}: {fields}")


def upload(side, content, piece):
    connection = Connection(side["port"], side["token"])
    target = connection.create(side["base"], len(content))
    for offset in range(0, len(content), piece):
        connection.append(target, offset, content[offset:offset + piece])
    connection.socket.close()


def many_small(side, content, count):
    connection = Connection(side["port"], side["token"])
    for _ in range(count):
        connection.create(side["base"], len(content), content, Content_Type="application/offset+octet-stream")
    connection.socket.close()


def works(megabytes):
    """name: (what, connections, what each of them does, how much all of it is, in what unit)"""
    whole = memoryview(os.urandom(1 << 20) * megabytes)
    quarter = whole[:len(whole) // 4]
    small = os.urandom(SMALL)
    return {
        "one": (f"{megabytes} MiB in one PATCH", 1, lambda side: upload(side, whole, len(whole)), megabytes, "MiB"),
        "four": (f"{megabytes // 4} MiB in one PATCH each", 4, lambda side: upload(side, quarter, len(quarter)), megabytes, "MiB"),
        "pieces": (f"{megabytes // 4} MiB in PATCHes of 8 MiB", 1, lambda side: upload(side, quarter, PIECE), megabytes / 4, "MiB"),
        "small": ("4 KiB by creation-with-upload", SMALL_CONNECTIONS, lambda side: many_small(side, small, SMALL_FILES // SMALL_CONNECTIONS),
                  SMALL_FILES, "uploads"),
    }


def measured(side, connections, do, amount):
    before, began = cpu_seconds(*side["pids"]), time.monotonic()
    with concurrent.futures.ThreadPoolExecutor(connections) as pool:
        for done in [pool.submit(do, side) for _ in range(connections)]:
            done.result()
    took = time.monotonic() - began
    return amount / took, (cpu_seconds(*side["pids"]) - before) / amount


def peer(directory, port):
    here = ROOT / "tests" / "bench" / "tus"
    for name in ("package.json", "package-lock.json", "server.mjs"):
        shutil.copy(here / name, directory)
    subprocess.run(["npm", "ci", "--ignore-scripts", "--omit=optional", "--no-audit", "--no-fund", "--loglevel=error"], cwd=directory,
                   check=True, timeout=600)
    (directory / "uploads").mkdir()
    process = subprocess.Popen(["node", "server.mjs", str(port), str(directory / "uploads")], cwd=directory)
    suites.wait_for(lambda: socket.create_connection(("127.0.0.1", port)).close() or True)
    return process


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--megabytes", type=int, default=512, help="of the large uploads")
    parser.add_argument("--work", default="one,four,pieces,small")
    options = parser.parse_args()
    directory = pathlib.Path(tempfile.mkdtemp(prefix="reel-tus-"))
    suite, node, missed = SecureSuite(), None, False
    suite.keys.add("web-1", "gateway", "rights=rwd").write()
    try:
        suite.add_tracker(), suite.add_idserver(), suite.add_storage()
        suite.add_httpd(write="on")
        suite.launch()
        suite.wait_active()
        port, = suites.free_ports(1)
        node = peer(directory, port)
        sides = {
            "ours": {"port": suite.httpd.port, "token": wire.token_text(suite.keys.token(seconds=7200)), "base": f"/tus/{suites.APP}/{suites.USER}",
                     "pids": [suite.httpd.process.pid, suite.storage.process.pid]},
            "@tus/server": {"port": port, "token": None, "base": "/tus", "pids": children(node.pid)},
        }
        for name in options.work.split(","):
            what, connections, do, amount, unit = works(options.megabytes)[name]
            found = {label: [] for label in sides}
            for round_number in range(options.rounds + 1):
                for label, side in sides.items():
                    figures = measured(side, connections, do, amount)
                    if round_number:  # the first one warms up
                        found[label].append(figures)
                os.sync()  # what the peer left to do is not ours to wait for in the next round
            rates = {label: statistics.median(rate for rate, _ in rounds) for label, rounds in found.items()}
            cpu = {label: statistics.median(cost for _, cost in rounds) for label, rounds in found.items()}
            print(f"== {what}, {connections} connection(s), median of {options.rounds} rounds")
            for label in sides:
                print(f"   {label:12} {rates[label]:10.1f} {unit}/s   {cpu[label] * 1000:8.3f} ms of CPU per {unit.rstrip('s')}")
            ratio = rates["ours"] / rates["@tus/server"]
            missed = missed or ratio < 1
            print(f"   ratio: {ratio:.2f}x (target 1.00x){'  MISSED' if ratio < 1 else ''}, CPU {cpu['ours'] / cpu['@tus/server']:.2f}x", flush=True)
    finally:
        if node:
            node.send_signal(signal.SIGTERM)
            node.wait(20)
        suite.stop()
        shutil.rmtree(directory, ignore_errors=True)
    return 1 if missed else 0


sys.exit(main())
