#!/usr/bin/python3
"""What signed links cost: tests/bench/links.py [--rounds 10] [--seconds 4]

Small files of a local group over keep-alive connections, from two reel-httpd with open and two with signed access, all of which are up
and asked in turns of 50 ms, in a random order: by 200 links, which they remember, and by 8,000, which they cannot. The servers have one
CPU and the clients another. What is compared is the CPU time of the servers per request, which other load on the machine changes less
than the rate; the ratio of a round is open / signed, and the median of the rounds is to reach 0.99 and 0.96. Beside it: its quartiles
and, as a measure of the noise, the ratios between the two servers with open access. Ends with 1 where a target is missed.
"""
import argparse
import json
import os
import pathlib
import sys
import time

HERE = pathlib.Path(__file__).resolve().parent
os.environ.setdefault("REEL_BUILD", str(HERE.parents[1] / "build" / "release"))
sys.path[:0] = [str(HERE.parent / "system"), str(HERE)]

import links  # noqa: E402
import slices  # noqa: E402
from suite import APP, BIN, USER, Suite  # noqa: E402

SECRET = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="  # 0, 1, ..., 31
FILES = 200
TARGETS = {"cached": 0.99, "uncached": 0.96}
LABELS = ("open", "signed", "signed2", "open2")


def measure(suite, paths, seconds, cpu):
    """CPU microseconds of each server per request."""
    first = paths.read_text().splitlines()[0]
    before = {label: slices.cpu_ns(suite.daemons[label].process.pid) for label in LABELS}
    outputs = slices.run_in_turns({label: [str(BIN / "http-bench"), "--connections", "32", "--seconds", str(seconds), "--paths", str(paths),
                                           f"127.0.0.1:{suite.daemons[label].port}", first] for label in LABELS}, seconds, cpu)
    said = {label: json.loads(output) for label, output in outputs.items()}
    assert all(one["errors"] == 0 for one in said.values()), said
    return {label: (slices.cpu_ns(suite.daemons[label].process.pid) - before[label]) / said[label]["requests"] / 1e3 for label in LABELS}


def compare(suite, name, paths, options, cpu):
    """Prints what was measured. False: the target is missed."""
    rounds = [measure(suite, paths, options.seconds, cpu) for _ in range(options.rounds + 1)][1:]  # the first one warms caches
    return slices.judge(name, rounds, "open", "signed", TARGETS[name])


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--seconds", type=int, default=4)
    options = parser.parse_args()
    suite, missed = Suite("sqlite"), False
    try:
        suite.add_tracker(), suite.add_idserver(), suite.add_storage()
        keys = suite.dir / "etc" / "keys"
        keys.write_text(f"app-a issuer {SECRET}\n")
        keys.chmod(0o600)
        local = {"local_groups": f"group001:{suite.dir / 'data'}", "keepalive_requests": "0", "lookup_age": "1h"}
        for label in LABELS:
            daemon = suite.add_httpd(label, access=label.rstrip("2"), **local)
            daemon.configure({**daemon.config, "auth": {"keys": keys}, "log": {"level": "info"}})
        suite.launch()
        server_cpu, client_cpu = slices.two_cpus()
        for label in LABELS:
            slices.pin(suite.daemons[label].process.pid, server_cpu)
        ids = [f"{number:08x}" for number in range(FILES)]
        for file in ids:
            suite.put(file, os.urandom(4096))
        signer, until = links.Signer("app-a", bytes(range(32))), int(time.time()) + 7200
        for name, times in {"cached": 1, "uncached": 40}.items():
            paths = suite.dir / name
            # As many for the side that does not look at them, and of the same length.
            paths.write_text("".join(signer.query(APP, USER, file, until + n) + "\n" for n in range(times) for file in ids))
            missed = not compare(suite, name, paths, options, client_cpu) or missed
    finally:
        suite.stop()
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
