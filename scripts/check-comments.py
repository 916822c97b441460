#!/usr/bin/env python3
"""Where readers or profiles would not know what they see: scripts/check-comments.py

Lists every .c and .h of the house that does not begin with a comment, or with one that says nothing ("router: see
router.h."), and every static function whose name another file of the house has too, static or not: a profile or a core
dump shows the name alone; every file, a test too, that includes another one twice; and every source file of more than 600 lines,
but for tests and fuzzers (test_*, fuzz_*), which are as long as their subject needs. Ends with 1 where there is one of these."""
import os, re, subprocess, sys
from collections import defaultdict

LINES_MAX = 600
files = subprocess.check_output(["git", "ls-files", "*.c", "*.h"], text=True).split()
bad, places, shared = [], defaultdict(set), set()
for path in files:
    included = re.findall(r'^#include "(.*)"', open(path).read(), re.M)
    bad += [f"{path}: includes {name} twice" for name in sorted(set(included)) if included.count(name) > 1]
for path in subprocess.check_output(["git", "ls-files", "*.c", "*.h", "*.py", "*.js", "*.css", "*.sh"], text=True).split():
    lines = len(open(path).readlines())
    if lines > LINES_MAX and not os.path.basename(path).startswith(("test_", "fuzz_")):
        bad.append(f"{path}: {lines} lines; at most {LINES_MAX}: it is probably two rooms")
files = [path for path in files if not path.startswith("tests/") or path.startswith("tests/unit/")]
for path in files:
    text = open(path).read()
    comment = re.match(r"/\*(.*?)\*/", text, re.S)
    words = re.sub(r"\bsee \S+\.h\.?|[\s*]+|^\s*\w+:", " ", comment.group(1)).split() if comment else []
    if len(words) < 4:
        bad.append(f"{path}:1: the first comment " + ("says nothing" if comment else "is missing"))
    if not path.startswith("tests/"):
        for static, name in re.findall(r"^(static )?(?!typedef)[a-z][^=;{}#\n]*?\b(\w+)\([^;{}]*?\)\n\{", text, re.M):
            places[name].add(path)
            if static:
                shared.add(name)
for name in sorted(shared):
    if len(places[name]) > 1:
        bad.append(f"{name}: the name of functions in {', '.join(sorted(places[name]))}; put the module's name in front")
print("\n".join(bad), end="\n" if bad else "")
sys.exit(bool(bad))
