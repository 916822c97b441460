#!/usr/bin/env python3
"""Prints what gcovr counted, a line per room: scripts/coverage-table.py [--files] [--missing PATH] COVERAGE.json
(scripts/coverage.sh calls it). Exits with 1 below the limits."""
import argparse, json, sys
from collections import defaultdict

EACH, ALL = 80, 85  # per cent of lines

arguments = argparse.ArgumentParser(description=__doc__)
arguments.add_argument("--files", action="store_true", help="a line per file too")
arguments.add_argument("--missing", action="append", default=[], metavar="PATH", help="lines that no test executes")
arguments.add_argument("json")
options = arguments.parse_args()

rooms = defaultdict(dict)
for entry in json.load(open(options.json))["files"]:
    lines = {}
    for line in entry["lines"]:
        if not line.get("gcovr/noncode"):
            lines[line["line_number"]] = lines.get(line["line_number"], 0) + line["count"]
    rooms[entry["file"].rsplit("/", 1)[0]][entry["file"]] = lines


def count(files):
    return sum(len(lines) for lines in files), sum(sum(n > 0 for n in lines.values()) for lines in files)


def row(name, files, limit=None):
    lines, executed = count(files)
    share = 100 * executed / lines if lines else 100
    low = limit is not None and share < limit
    print(f"{name:<34} {lines:>6} {executed:>8} {share:>6.1f} %" + (f"  below {limit} %" if low else ""))
    return low


def ranges(numbers):
    spans = []
    for number in sorted(numbers):
        if spans and number == spans[-1][1] + 1:
            spans[-1][1] = number
        else:
            spans.append([number, number])
    return " ".join(f"{a}-{b}" if a != b else str(a) for a, b in spans)


print(f"{'room':<34} {'lines':>6} {'executed':>8}")
low = False
for room, files in sorted(rooms.items()):
    low |= row(room + "/", files.values(), EACH)
    if options.files:
        for path, lines in sorted(files.items()):
            row("    " + path.rsplit("/", 1)[1], [lines])
low |= row("all", [lines for files in rooms.values() for lines in files.values()], ALL)
for prefix in options.missing:
    for files in rooms.values():
        for path, lines in sorted(files.items()):
            if path.startswith(prefix) and 0 in lines.values():
                print(f"{path}: {ranges(n for n, times in lines.items() if not times)}")
sys.exit(low)
