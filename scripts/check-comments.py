#!/usr/bin/env python3
"""Where a reader or a profile would not know what he sees: scripts/check-comments.py [--names]

Lists every .c and .h of the house that does not begin with a comment, or with one that says nothing ("router: see
router.h."); with --names also the static functions whose name stands in more than one file. Ends with 1 where a first
comment is missing or says nothing."""
import re, subprocess, sys
from collections import defaultdict

files = subprocess.check_output(["git", "ls-files", "*.c", "*.h"], text=True).split()
files = [path for path in files if not path.startswith("tests/") or path.startswith("tests/unit/")]
bad, names = [], defaultdict(set)
for path in files:
    text = open(path).read()
    comment = re.match(r"/\*(.*?)\*/", text, re.S)
    words = re.sub(r"\bsee \S+\.h\.?|[\s*]+|^\s*\w+:", " ", comment.group(1)).split() if comment else []
    if len(words) < 4:
        bad.append(f"{path}:1: the first comment " + ("says nothing" if comment else "is missing"))
    if path.endswith(".c") and not path.startswith("tests/"):
        for name in re.findall(r"^static [^=;{}]*?\b(\w+)\([^;]*?\)\n\{", text, re.M):
            names[name].add(path)
print("\n".join(bad), end="\n" if bad else "")
if "--names" in sys.argv:
    for name, places in sorted(names.items(), key=lambda item: (-len(item[1]), item[0])):
        if len(places) > 1:
            print(f"{name}: {', '.join(sorted(places))}")
sys.exit(bool(bad))
