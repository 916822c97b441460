"""Runs a command as a unit of conf/systemd would have it run: filtered.py UNIT COMMAND... sets the unit's UMask= and a seccomp
filter of its SystemCallFilter= lines, then becomes the command. What is refused fails with EPERM, as it does under systemd."""
import ctypes
import os
import pathlib
import re
import struct
import subprocess
import sys

ALLOW, ERRNO_EPERM, ARCHITECTURE = 0x7FFF0000, 0x00050001, {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP, MODE_FILTER = 38, 22, 2


def numbers():
    """The system calls of this machine by name, from the headers of its C library."""
    listing = subprocess.run(["gcc", "-E", "-dM", "-x", "c", "-"], input="#include <sys/syscall.h>\n", text=True,
                             capture_output=True, check=True).stdout
    return {name: int(number) for name, number in re.findall(r"^#define __NR_(\w+) (\d+)$", listing, re.M)}


def members(word, known):
    """The system calls that WORD stands for: itself, or a set of systemd's with the sets inside of it."""
    if not word.startswith("@"):
        return {word}
    if word not in known:
        listing = subprocess.run(["systemd-analyze", "syscall-filter", word], text=True, capture_output=True,
                                 check=True).stdout
        found = set()
        for line in listing.splitlines()[1:]:
            if line.strip() and not line.strip().startswith("#"):
                found |= members(line.strip(), known)
        known[word] = found
    return known[word]


def settings(unit):
    text = pathlib.Path(unit).read_text()
    return re.findall(r"^SystemCallFilter=(.*)$", text, re.M), int(re.search(r"^UMask=(\d+)$", text, re.M)[1], 8)


def allowed(lines):
    known, calls = {}, set()
    for line in lines:
        words = set().union(*(members(word, known) for word in line.lstrip("~").split()))
        calls = calls - words if line.startswith("~") else calls | words
    return calls | members("@default", known)


def program(calls):
    """Load the architecture, then the number; equal to one that is allowed: go."""
    one = lambda code, yes, no, value: struct.pack("=HBBI", code, yes, no, value)
    listed = sorted(number for name, number in numbers().items() if name in calls)
    steps = [one(0x20, 0, 0, 4), one(0x15, 1, 0, ARCHITECTURE[os.uname().machine]), one(0x06, 0, 0, ERRNO_EPERM),
             one(0x20, 0, 0, 0)]
    for number in listed:
        steps += [one(0x15, 0, 1, number), one(0x06, 0, 0, ALLOW)]
    steps.append(one(0x06, 0, 0, ERRNO_EPERM))
    return steps


def main():
    lines, mask = settings(sys.argv[1])
    steps = program(allowed(lines))
    code = ctypes.create_string_buffer(b"".join(steps))
    prog = ctypes.create_string_buffer(struct.pack("HL", len(steps), ctypes.addressof(code)))
    libc = ctypes.CDLL(None, use_errno=True)
    os.umask(mask)
    if libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) or libc.prctl(PR_SET_SECCOMP, MODE_FILTER, prog, 0, 0):
        sys.exit(f"filtered.py: no filter: {os.strerror(ctypes.get_errno())}")
    os.execv(sys.argv[2], sys.argv[2:])


if __name__ == "__main__":
    main()
