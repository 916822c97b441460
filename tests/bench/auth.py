#!/usr/bin/python3
"""What identities cost: tests/bench/auth.py [--rounds 10] [--seconds 4]

Downloads of 4 KiB, by packets over connections that stay open (under `required` each has proved its key once and shown a token, whose
rights are looked at in each request), and relayed over HTTP. Two whole suites with auth.mode = off and two with required are up at the
same time, and asked in turns of 50 ms, in a random order. The daemons on the way have one CPU and the clients another. What is compared
is the CPU time of these daemons per request, which other load on the machine changes less than the rate; the ratio of a round is
off / required, and the median of the rounds is to reach 0.98. Beside it: its quartiles and, as a measure of the noise, the ratios
between the two suites with off. Ends with 1 where the target is missed.
"""
import argparse
import json
import os
import pathlib
import random
import sys
import time

HERE = pathlib.Path(__file__).resolve().parent
os.environ.setdefault("REEL_BUILD", str(HERE.parents[1] / "build" / "release"))
sys.path[:0] = [str(HERE.parent / "system"), str(HERE)]

import slices  # noqa: E402
import wire  # noqa: E402
from identity import SecureSuite  # noqa: E402
from suite import APP, BIN, USER, Suite  # noqa: E402

TARGET = 0.98
FILES, SIZE = 200, 4096
LABELS = ("off", "required", "required2", "off2")
CLIENTS, AHEAD = 4, 8  # connections of the packet client, and requests that each has sent ahead


class Side:
    """A whole suite; its files, and the clients of its packets."""

    def __init__(self, mode):
        self.proved = mode == "required"
        self.suite = SecureSuite() if self.proved else Suite("sqlite")
        quiet = {"log": {"level": "info"}}
        for daemon in (self.suite.add_tracker(), self.suite.add_idserver(), self.suite.add_storage(),
                       self.suite.add_httpd(keepalive_requests="0", lookup_age="1h")):
            daemon.configure({**daemon.config, **quiet})
        self.suite.launch()
        self.pids = {label: self.suite.daemons[label].process.pid for label in ("storage", "httpd")}
        for pid in self.pids.values():
            slices.pin(pid, slices.two_cpus()[0])
        self.files = [f"{number:08x}" for number in range(FILES)]
        with self.connect("tracker") as tracker, self.connect("storage") as storage:
            assert tracker.call(wire.SADDRS, wire.file_key(APP, USER, self.files[0])).ok
            for file in self.files:
                assert storage.put(APP, USER, file, os.urandom(SIZE)).ok
        self.clients = [self.connect("storage") for _ in range(CLIENTS)]
        requests = [wire.header(400 + 16, wire.DOWNLOAD) + wire.file_key(APP, USER, file) + bytes(16) for file in self.files]
        self.batches = [b"".join(requests[at:at + AHEAD]) for at in range(0, FILES, AHEAD)]
        self.paths = self.suite.dir / "paths"
        self.paths.write_text("".join(self.suite.url(file).split(str(self.suite.httpd.port), 1)[1] + "\n" for file in self.files))

    def connect(self, label):
        if not self.proved:
            return self.suite.client(label)
        return self.suite.connect(label, "phone", [self.suite.keys.token(seconds=86400)])

    def cpu(self, *labels):
        return sum(slices.cpu_ns(self.pids[label]) for label in labels)

    def packets(self, seconds):
        """How many were asked for; nothing is under way any more."""
        count, end = 0, time.monotonic() + seconds
        while time.monotonic() < end:
            batch = self.batches[count // (AHEAD * CLIENTS) % len(self.batches)]
            for client in self.clients:
                client.send(batch)
            for client in self.clients:
                answers = client.receive_exactly(AHEAD * (10 + SIZE))
                assert answers[:10] == wire.header(SIZE, 102), answers[:10]
            count += AHEAD * CLIENTS
        return count


def packets(sides, seconds):
    """CPU microseconds of each storage server per request. SECONDS in all."""
    counts, end = dict.fromkeys(LABELS, 0), time.monotonic() + seconds
    before = {label: sides[label].cpu("storage") for label in LABELS}
    while time.monotonic() < end:
        for label in random.sample(LABELS, len(LABELS)):
            counts[label] += sides[label].packets(slices.SLICE)
    return {label: (sides[label].cpu("storage") - before[label]) / counts[label] / 1e3 for label in LABELS}


def http(sides, seconds):
    """CPU microseconds of each HTTP server and its storage server per request."""
    before = {label: sides[label].cpu("storage", "httpd") for label in LABELS}
    outputs = slices.run_in_turns({label: [str(BIN / "http-bench"), "--connections", "32", "--seconds", str(seconds), "--paths", str(side.paths),
                                           f"127.0.0.1:{side.suite.httpd.port}", side.paths.read_text().splitlines()[0]]
                                   for label, side in sides.items()}, seconds, slices.two_cpus()[1])
    said = {label: json.loads(output) for label, output in outputs.items()}
    assert all(one["errors"] == 0 for one in said.values()), said
    return {label: (sides[label].cpu("storage", "httpd") - before[label]) / said[label]["requests"] / 1e3 for label in LABELS}


def compare(name, measure, sides, options):
    """Prints what was measured. False: the target is missed."""
    rounds = [measure(sides, options.seconds) for _ in range(options.rounds + 1)][1:]  # the first one warms caches
    return slices.judge(name, rounds, "off", "required", TARGET)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--seconds", type=int, default=4)
    options = parser.parse_args()
    sides, missed = {}, False
    try:
        for label in LABELS:
            sides[label] = Side(label.rstrip("2"))
        os.sched_setaffinity(0, {slices.two_cpus()[1]})
        for name, measure in {"packets": packets, "http": http}.items():
            missed = not compare(name, measure, sides, options) or missed
    finally:
        for side in sides.values():
            for client in side.clients:
                client.close()
            side.suite.stop()
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
