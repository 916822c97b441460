#!/usr/bin/env python3
"""No module shows more than others use: scripts/check-exports.py BUILD_DIR (for example build/asan)

Names, as nm lists them for the object files, that no other file of the daemons, the command or the library needs: they should be
static, or go. What tests alone call is production code that production does not need: let them observe it as operators do
(metrics, replies, files), or have it in tests/unit/library. Free are main(), the functions of client/reel.h (REEL_API), and
those of TESTED, each with its reason. Ends with 1 and a line for each fault, also for a name in TESTED that is not there or is
used by others now.
"""
import os, re, subprocess, sys
from collections import defaultdict
from pathlib import Path

TOPS = ("common", "client", "tracker", "idserver", "storage", "httpd")
# Used within their own file, and called by a unit test one by one, or a seam that only tests move.
TESTED = {
    "access_log_format_line": "pure: each form of a line, without the writer's thread and file",
    "clock_set_source": "the seam by which tests have a clock of their own",
    "command_verbs": "every verb of the table has its help: the table is what the test goes through",
    "db_url_redact": "pure: no password in any spelling of a URL; the fuzzer calls it too",
    "link_cache_count": "the bound on what is remembered, which no answer shows",
    "link_scope_parse": "pure: every form of a scope, without a signature around it",
    "http_unsent_share": "pure: the share at limits that no machine reaches",
    "sandbox_abi": "the test asks, as the daemon does, whether this kernel has Landlock",
    "meta_move_former_id": "pure: the name of what a move leaves behind, at the longest names",
    "spellings_check": "its daemon-wide caller logs only; the test asks for the verdict itself",
    "store_path_report": "failures of a disk that no test can have: each number and what it makes of the path",
    "store_system_advise_on": "a file system and a glusterd that are made up",
}


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    build = Path(sys.argv[1]).resolve()
    top = Path(__file__).resolve().parent.parent
    objects = sorted(str(path) for room in TOPS for path in (build / room).rglob("*.c.o"))
    if not objects:
        sys.exit(f"check-exports: no object files in {build}: build it first")
    public = set(re.findall(r"\b(reel_\w+)\(", "".join(re.findall(r"REEL_API[^;]*;", (top / "client/reel.h").read_text()))))
    defined, needed = {}, defaultdict(set)
    for line in subprocess.check_output(["nm", "--print-file-name", *objects], text=True).splitlines():
        file, rest = line.split(":", 1)
        *_, kind, symbol = rest.split()
        source = re.sub(r"/CMakeFiles/[^/]+\.dir/", "/", os.path.relpath(file, build)).removesuffix(".o")
        if not (top / source).exists():
            continue  # left over in the build directory
        if kind == "U":
            needed[symbol].add(source)
        elif kind.isupper() and not symbol.startswith(("__", "_GLOBAL_", ".")):
            defined[symbol] = source
    unused = {symbol for symbol in defined if not needed[symbol] - {defined[symbol]}}
    free = {"main"} | public | set(TESTED)
    faults = [f"{defined[symbol]}: {symbol} is used by no other file: make it static, or remove it"
              for symbol in sorted(unused - free)]
    faults += [f"check-exports: {symbol} is {'used by others' if symbol in defined else 'not there'}: take it off TESTED"
               for symbol in sorted(set(TESTED) - unused)]
    print("\n".join(faults), end="\n" if faults else "")
    return bool(faults)


sys.exit(main())
