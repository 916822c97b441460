#!/usr/bin/python3
"""What signed links cost: tests/bench/links.py [--rounds 10] [--seconds 1]

Small files of a local group over keep-alive connections, from two reel-httpd with open and two with signed access, in a random order
of turns: 200 links, which they remember, and 8,000, which they cannot. Prints the CPU time of the servers per request, which other load
on the machine changes less than the rate; ratios are open / signed, their targets 0.99 and 0.96. Ends with 1 where one is missed.
"""
import argparse
import json
import os
import pathlib
import random
import statistics
import subprocess
import sys
import time

HERE = pathlib.Path(__file__).resolve().parent
os.environ.setdefault("REEL_BUILD", str(HERE.parents[1] / "build" / "release"))
sys.path.insert(0, str(HERE.parent / "system"))

import links  # noqa: E402
from suite import APP, BIN, USER, Suite  # noqa: E402

SECRET = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="  # 0, 1, ..., 31
FILES = 200
TARGETS = {"cached": 0.99, "uncached": 0.96}


def run(daemon, paths, seconds):
    """CPU microseconds of the server per request."""
    cpu = daemon.metric("process_cpu_seconds_total")
    done = subprocess.run([str(BIN / "http-bench"), "--connections", "32", "--seconds", str(seconds), "--paths", str(paths),
                           f"127.0.0.1:{daemon.port}", paths.read_text().splitlines()[0]], capture_output=True, text=True, check=True)
    said = json.loads(done.stdout)
    count = said["requests"]
    assert said.get("errors", 0) == 0, said
    return (daemon.metric("process_cpu_seconds_total") - cpu) / count * 1e6


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--seconds", type=int, default=1)
    options = parser.parse_args()
    suite, missed = Suite("sqlite"), False
    try:
        suite.add_tracker(), suite.add_idserver(), suite.add_storage()
        keys = suite.dir / "etc" / "keys"
        keys.write_text(f"app-a issuer {SECRET}\n")
        keys.chmod(0o600)
        local = {"local_groups": f"group001:{suite.dir / 'data'}", "keepalive_requests": "0", "lookup_age": "1h"}
        for label in ("open", "signed", "open2", "signed2"):
            daemon = suite.add_httpd(label, access=label.rstrip("2"), **local)
            daemon.configure({**daemon.config, "auth": {"keys": keys}, "log": {"level": "info"}})
        suite.launch()
        ids = [f"{number:08x}" for number in range(FILES)]
        for file in ids:
            suite.put(file, os.urandom(4096))
        signer, until = links.Signer("app-a", bytes(range(32))), int(time.time()) + 3600
        sets = {"cached": 1, "uncached": 40}
        for name, times in sets.items():
            signed = [signer.query(APP, USER, file, until + n) for n in range(times) for file in ids]
            # The same length, and as many of them, for the side that does not look at them.
            (suite.dir / f"{name}.signed").write_text("\n".join(signed) + "\n")
        for name in sets:
            costs = {"open": [], "signed": []}
            for _ in range(options.rounds):
                for label in random.sample(["open", "signed", "open2", "signed2"], 4):
                    costs[label.rstrip("2")].append(run(suite.daemons[label], suite.dir / f"{name}.signed", options.seconds))
            middle, least = ({side: choose(values) for side, values in costs.items()} for choose in (statistics.median, min))
            ratio = middle["open"] / middle["signed"]
            missed = missed or ratio < TARGETS[name]
            print(f"{name}: CPU per request, median open {middle['open']:.2f} us, signed {middle['signed']:.2f} us, ratio "
                  f"{ratio:.3f} (target {TARGETS[name]}){'  MISSED' if ratio < TARGETS[name] else ''}; least {least['open']:.2f} and {least['signed']:.2f} us, ratio "
                  f"{least['open'] / least['signed']:.3f}", flush=True)
    finally:
        suite.stop()
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
