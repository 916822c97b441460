#!/usr/bin/env python3
"""Many slow streams through reel-httpd, as an audience makes them: each connection reads a film at its own pace. Prints the
longest stall, what was read of what the pace allows, and the memory and processor time of every daemon.

Everything runs in a temporary directory on free ports and is gone afterwards. Client and servers are processes of their own,
each with its own limit of open files; a relayed stream takes two in reel-httpd.

    tests/bench/streams.py [--connections 10000] [--rate 125000] [--seconds 30] [--way relayed|local] [--option NAME=VALUE]...
"""
import argparse
import json
import os
import pathlib
import resource
import subprocess
import sys
import tempfile
import threading
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "system"))
os.environ.setdefault("REEL_BUILD", str(ROOT / "build" / "release"))

import suite as suites  # noqa: E402
import wire  # noqa: E402
from processes import cpu_seconds  # noqa: E402

BENCH = suites.BIN / "http-bench"
PIPES = 64
OTHER_DESCRIPTORS = 100
MIB = 1 << 20


def store(suite, count, size):
    piece = os.urandom(MIB)
    with suite.client() as client:
        for number in range(count):
            client.send(wire.header(408 + size, wire.UPLOAD) + wire.upload_head(suites.APP, suites.USER, f"film{number}", size))
            for _ in range(size // MIB):
                client.send(piece)
            assert client.receive().ok
    assert wire.ask(suite.tracker.address, wire.SADDRS, wire.file_key(suites.APP, suites.USER, "film0")).ok


class Watch(threading.Thread):
    """The largest resident memory of the daemons while it runs."""

    def __init__(self, daemons):
        super().__init__()
        self.daemons, self.over = daemons, threading.Event()
        self.largest = {d.label: 0 for d in daemons}
        self.kernel_kib = 0

    def run(self):
        while not self.over.wait(0.5):
            for daemon in self.daemons:
                self.largest[daemon.label] = max(self.largest[daemon.label], daemon.memory_kib())
            for line in open("/proc/net/sockstat"):
                if line.startswith("TCP:"):
                    self.kernel_kib = max(self.kernel_kib, int(line.split()[-1]) * 4)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--connections", type=int, default=10000)
    parser.add_argument("--rate", type=int, default=125000, help="bytes a second of each")
    parser.add_argument("--seconds", type=int, default=30)
    parser.add_argument("--ramp", type=int, default=8, help="seconds over which the streams begin")
    parser.add_argument("--buffer", type=int, help="bytes of the client's receive buffers; the kernel's where left out")
    parser.add_argument("--threads", type=int, default=1, help="of the client")
    parser.add_argument("--files", type=int, default=32, help="of 32 MiB")
    parser.add_argument("--way", choices=["relayed", "local"], default="relayed")
    parser.add_argument("--option", action="append", default=[], help="of reel-httpd, NAME=VALUE")
    options = parser.parse_args()

    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    if options.way == "relayed":
        most = (hard - 2 * PIPES - OTHER_DESCRIPTORS) // 2
        if hard != resource.RLIM_INFINITY and options.connections > most:
            print(f"{hard} open files are allowed: {most} streams instead of {options.connections}")
            options.connections = most
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    suite = suites.Suite("sqlite")
    try:
        settings = {"connections_max": options.connections + 100, "pipes_max": PIPES,
                    **dict(option.split("=", 1) for option in options.option)}
        if options.way == "local":
            settings["local_groups"] = f"group001:{suite.dir / 'data'}={suite.dir / 'data'}"
        quiet = {"log": {"level": "info"}}
        suite.add_tracker()
        suite.add_idserver()
        suite.add_storage(connections_max=options.connections + 1000)
        suite.add_httpd(**settings)
        for daemon in suite.daemons.values():
            daemon.configure({**daemon.config, **quiet})
        suite.launch()
        store(suite, options.files, 32 * MIB)
        daemons = [suite.httpd, suite.storage]
        before = {d.label: (d.memory_kib(), cpu_seconds(d.process.pid)) for d in daemons}
        watch = Watch(daemons)
        watch.start()
        with tempfile.NamedTemporaryFile("w", suffix=".paths") as paths:
            paths.write("".join(f"/files/{suites.APP}/{suites.USER}/film{n}\n" for n in range(options.files)))
            paths.flush()
            done = subprocess.run([str(BENCH), "--connections", str(options.connections), "--rate", str(options.rate), "--seconds",
                                   str(options.seconds), "--threads", str(options.threads), "--ramp", str(options.ramp), "--paths", paths.name,
                                   *(["--buffer", str(options.buffer)] if options.buffer else []), f"127.0.0.1:{suite.httpd.port}"], stdout=subprocess.PIPE, text=True)
        watch.over.set()
        watch.join()
        result = json.loads(done.stdout)
        usage = resource.getrusage(resource.RUSAGE_CHILDREN)
        goal = options.connections * options.rate / 1e6
        print(f"{options.connections} streams of {options.rate} B/s, {options.way}, {options.seconds} s: "
              f"{result['megabytes_per_second']:.0f} MB/s of {goal:.0f} ({100 * result['megabytes_per_second'] / goal:.0f} %), "
              f"longest stall {result['worst_stall_ms'] / 1000:.2f} s, of which the client itself at most "
              f"{result['client_late_ms'] / 1000:.2f} s, errors {result['errors']} {result['first_error']}")
        for daemon in daemons:
            resident, cpu = before[daemon.label]
            now = cpu_seconds(daemon.process.pid)
            print(f"   reel-{daemon.name}: {watch.largest[daemon.label] / 1024:.0f} MiB resident at most, "
                  f"{resident / 1024:.0f} before: {(watch.largest[daemon.label] - resident) / options.connections:.1f} KiB a stream; "
                  f"{(now - cpu) / result['seconds']:.2f} cores, {(now - cpu) / max(result['bytes'] / 1e9, 1e-9):.2f} CPU s/GB")
        print(f"   http-bench: {(usage.ru_utime + usage.ru_stime) / result['seconds']:.2f} cores; "
              f"the kernel's TCP buffers: {watch.kernel_kib / 1024:.0f} MiB", flush=True)
        if result["errors"]:
            print(suite.httpd.tail(20))
    finally:
        suite.stop()


main()
