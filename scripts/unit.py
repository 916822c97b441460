#!/usr/bin/env python3
"""Runs unit tests beside each other: scripts/unit.py [-j N] [--timeout SECONDS] BUILD_DIR [NAME...]

BUILD_DIR is for example build/asan; without names all of BUILD_DIR/unit/test_* run, those that took longest last time
first. Each has a directory of its own. Prints a line per program, what a failing one printed, and at the end
"N passed, N failed, N skipped" (single tests). Exits with 1 if one failed.
"""
import argparse, concurrent.futures, json, os, re, shutil, subprocess, sys, tempfile, time
from pathlib import Path

arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
arguments.add_argument("-j", type=int, default=2 * (os.cpu_count() or 1), metavar="N",
                       help="programs at once (default: two per core, because most of them wait)")
arguments.add_argument("--timeout", type=float, default=300, metavar="SECONDS", help="for each program (default 300)")
arguments.add_argument("build", type=Path, metavar="BUILD_DIR")
arguments.add_argument("names", nargs="*", metavar="NAME")
options = arguments.parse_args()
unit = options.build.resolve() / "unit"
times_file = options.build / "unit-times.json"


def run(name):
    """(name, seconds, passed, failed, skipped, lines to print)"""
    began = time.monotonic()
    directory = tempfile.mkdtemp(prefix="reel-unit-")
    with open(f"{directory}/out", "wb") as out, open(f"{directory}/err", "wb") as err:
        process = subprocess.Popen([unit / name], cwd=directory, stdin=subprocess.DEVNULL, stdout=out, stderr=err,
                                   env=os.environ | {"CMOCKA_MESSAGE_OUTPUT": "TAP"}, start_new_session=True)
        try:
            code = process.wait(options.timeout)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, 9)
            process.wait()
            code = f"none after {options.timeout:.0f} s"
    output = open(f"{directory}/out", errors="replace").read().splitlines()
    errors = open(f"{directory}/err", errors="replace").read().splitlines()
    shutil.rmtree(directory, ignore_errors=True)
    # cmocka reports a skipped test as "not ok N # SKIP NAME".
    skipped = [line for line in output if re.match(r"(not )?ok .*# SKIP", line)]
    passed = [line for line in output if line.startswith("ok ") and line not in skipped]
    failed = len([line for line in output if line.startswith("not ok ") and line not in skipped])
    # A program that died or found a leak failed, whatever its tests said before; so did one without a test.
    if failed == 0 and (code != 0 or not passed + skipped):
        failed = 1
    seconds = time.monotonic() - began
    if failed:
        lines = [f"FAILED {name} (exit code {code}, {seconds:.1f} s)"]
        lines += [line for line in output if not line.startswith("ok ")][:60] + errors[-60:]
    else:
        note = f", {len(skipped)} SKIPPED: {skipped[0]}" if skipped else ""
        lines = [f"ok     {name}: {len(passed)} passed in {seconds:.1f} s{note}"]
    return name, seconds, len(passed), failed, len(skipped), lines


names = options.names or sorted(path.name for path in unit.glob("test_*") if os.access(path, os.X_OK))
missing = [name for name in names if not (unit / name).exists()]
if missing or not names:
    sys.exit(f"unit.py: {' '.join(missing) or 'nothing'} in {unit}; build first: scripts/build.sh {options.build.name}")
try:
    times = json.loads(times_file.read_text())
except (OSError, ValueError):
    times = {}
names.sort(key=lambda name: -times.get(name, 1e9))
totals = [0, 0, 0]
with concurrent.futures.ThreadPoolExecutor(options.j) as pool:
    for done in concurrent.futures.as_completed([pool.submit(run, name) for name in names]):
        name, seconds, *counts, lines = done.result()
        times[name] = round(seconds, 1)
        totals = [total + count for total, count in zip(totals, counts)]
        print("\n".join(lines), flush=True)
times_file.write_text(json.dumps(times, indent=0))
print("{} passed, {} failed, {} skipped".format(*totals))
sys.exit(totals[1] > 0)
