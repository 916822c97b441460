#!/usr/bin/env python3
"""Proves that the simulator finds what it is there for: puts back each fault of tests/simulation/faults in
a copy of the sources (build/mutation/prove) and runs seeds until one breaks the promise.

    tests/simulation/prove.py [-n SEEDS] [NAME...]     all of them, or those whose name contains one of these

Prints for each the number of the first seed that finds it. Exits with 1 when SEEDS (10,000) do not find one.
"""
import argparse
import re
import subprocess
import sys
import time
from pathlib import Path

TOP = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(TOP / "scripts"))
import mutate  # noqa: E402

BINARY = "build/simulation/simulation/reel-simulation"


def build(copy):
    copy.run(["cmake", "--preset", "simulation", "-DREEL_WERROR=OFF"], "configure")
    copy.run(["cmake", "--build", "--preset", "simulation"], "the build")


def first_seed(copy, mutant, seeds):
    """(the first seed that finds it or None, what it says, seconds)"""
    path = copy.top / mutant.file
    original = path.read_text()
    began = time.monotonic()
    try:
        path.write_text(mutant.apply(copy.top))
        build(copy)
        options = mutant.test[1:-2]  # before its seeds
        done = subprocess.run([copy.top / BINARY, *options, "1", str(seeds)], capture_output=True, text=True)
    finally:
        path.write_text(original)
    found = re.search(r"^seed (\d+) ", done.stdout, re.M)
    said = re.search(r"^VIOLATION.*", done.stdout, re.M)
    return found and int(found[1]), said[0] if said else "", time.monotonic() - began


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-n", type=int, default=10000, metavar="SEEDS", help="seeds for each fault (default 10000)")
    parser.add_argument("names", nargs="*", metavar="NAME")
    options = parser.parse_args()
    copy = mutate.Copy("prove")
    missed = 0
    for path in sorted((TOP / "tests/simulation/faults").glob("*.mutant")):
        if options.names and not any(name in path.stem for name in options.names):
            continue
        mutant = mutate.Mutant(path)
        seed, said, seconds = first_seed(copy, mutant, options.n)
        missed += seed is None
        print(f"{mutant.name}: {f'seed {seed}' if seed else 'NOT FOUND'} ({seconds:.0f} s) {said}", flush=True)
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
