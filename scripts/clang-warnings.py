#!/usr/bin/env python3
"""The warnings of clang for every file, with the options that a build used: scripts/clang-warnings.py BUILD_DIR
(for example build/asan, as its compile_commands.json has them). Nothing is written. Ends with 1 and what clang says."""
import concurrent.futures, json, os, shlex, subprocess, sys

commands = {entry["file"]: entry for entry in json.load(open(os.path.join(sys.argv[1], "compile_commands.json")))
            if os.path.exists(entry["file"])}


def check(entry):
    words = shlex.split(entry["command"])
    words = [word for word in words if word not in ("-c", "ccache") and not word.endswith("/ccache")]
    at = words.index("-o")
    command = ["clang", "-fsyntax-only", *words[1:at], *words[at + 2:]]
    return subprocess.run(command, cwd=entry["directory"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
    results = list(pool.map(check, commands.values()))
bad = [result.stdout for result in results if result.returncode]
print("".join(bad)[:20000], end="")
print(f"clang: {len(results) - len(bad)} of {len(results)} files without a warning")
sys.exit(bool(bad))
