#!/usr/bin/python3
"""What identities cost: tests/bench/auth.py [--rounds 10] [--seconds 1]

Downloads of 4 KiB, by packets over connections that stay open (under `required` each has proved its key once and shown a token, whose
rights are looked at in each request), and relayed over HTTP. Two whole suites with auth.mode = off and two with required take turns in a
random order. Prints the CPU time of the daemons on the way per request, which other load on the machine changes less than the rate;
ratios are off / required, their target 0.98. Ends with 1 where it is missed.
"""
import argparse
import json
import os
import pathlib
import random
import statistics
import subprocess
import sys
import threading
import time

HERE = pathlib.Path(__file__).resolve().parent
os.environ.setdefault("REEL_BUILD", str(HERE.parents[1] / "build" / "release"))
sys.path.insert(0, str(HERE.parent / "system"))

import wire  # noqa: E402
from identity import SecureSuite  # noqa: E402
from suite import APP, BIN, USER, Suite  # noqa: E402

TARGET = 0.98
FILES, SIZE = 200, 4096
LABELS = ("off", "required", "off2", "required2")
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
        """Seconds, to the nanosecond: the daemons' own figure has the grain of the kernel's ticks."""
        pids = [self.suite.daemons[label].process.pid for label in labels]
        return sum(int(task.read_text().split()[0]) for pid in pids for task in pathlib.Path(f"/proc/{pid}/task").glob("*/schedstat")) / 1e9

    def packets(self, seconds):
        counts, end = [0] * CLIENTS, time.monotonic() + seconds

        def run(number):
            client = self.clients[number]
            while time.monotonic() < end:
                for batch in self.batches:
                    client.send(batch)
                    answers = client.receive_exactly(AHEAD * (10 + SIZE))
                    assert answers[:10] == wire.header(SIZE, 102), answers[:10]
                counts[number] += FILES
        threads = [threading.Thread(target=run, args=(number,)) for number in range(CLIENTS)]
        before = self.cpu("storage")
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return (self.cpu("storage") - before) / sum(counts) * 1e6

    def http(self, seconds):
        before = self.cpu("storage", "httpd")
        done = subprocess.run([str(BIN / "http-bench"), "--connections", "32", "--seconds", str(seconds), "--paths", str(self.paths),
                               f"127.0.0.1:{self.suite.httpd.port}", self.paths.read_text().splitlines()[0]],
                              capture_output=True, text=True, check=True)
        said = json.loads(done.stdout)
        assert said.get("errors", 0) == 0, said
        return (self.cpu("storage", "httpd") - before) / said["requests"] * 1e6


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--seconds", type=int, default=1)
    options = parser.parse_args()
    sides, missed = {}, False
    try:
        for label in LABELS:
            sides[label] = Side(label.rstrip("2"))
        for name in ("packets", "http"):
            costs = {"off": [], "required": []}
            for turn in range(options.rounds + 1):
                for label in random.sample(LABELS, len(LABELS)):
                    cost = getattr(sides[label], name)(options.seconds)
                    if turn > 0:  # the first one warms caches
                        costs[label.rstrip("2")].append(cost)
            off, required = (statistics.median(costs[side]) for side in ("off", "required"))
            missed = missed or off / required < TARGET
            print(f"{name}: CPU per request, median off {off:.2f} us, required {required:.2f} us, ratio {off / required:.3f} (target "
                  f"{TARGET}){'  MISSED' if off / required < TARGET else ''}; least {min(costs['off']):.2f} and "
                  f"{min(costs['required']):.2f} us", flush=True)
    finally:
        for side in sides.values():
            for client in side.clients:
                client.close()
            side.suite.stop()
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
