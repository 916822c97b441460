"""What the compiler and the linker put around the programs, read from the programs themselves: Debian's hardening=+all."""
import os
import pathlib
import subprocess

import pytest

from suite import BIN, ROOT, wait_for

RELEASE = ROOT / "build" / "release"
PROGRAMS = ["bin/reel-tracker", "bin/reel-idserver", "bin/reel-storage", "bin/reel-httpd", "bin/reel"]


@pytest.fixture(scope="module")
def release():
    subprocess.run([str(ROOT / "scripts" / "build.sh"), "release"], check=True)
    return RELEASE


def readelf(build, program, *what):
    return subprocess.run(["readelf", "-W", *what, str(build / program)], capture_output=True, text=True, check=True,
                          env={**os.environ, "LC_ALL": "C"}).stdout


@pytest.mark.parametrize("build", [BIN.parent.name, RELEASE.name])
@pytest.mark.parametrize("program", PROGRAMS)
def test_addresses_are_random_and_tables_are_read_only(release, build, program):
    directory = release if build == RELEASE.name else BIN.parent
    head, dynamic, segments = (readelf(directory, program, what) for what in ("-h", "-d", "-l"))
    assert "DYN (Position-Independent Executable file)" in head
    assert "BIND_NOW" in dynamic or " NOW" in dynamic
    assert "GNU_RELRO" in segments and "RWE" not in segments
    assert "RPATH" not in dynamic


@pytest.mark.parametrize("program", PROGRAMS)
def test_a_release_is_checked_against_overruns_and_wild_jumps(release, program):
    symbols = readelf(release, program, "--dyn-syms")
    assert "__stack_chk_fail" in symbols and "_chk@" in symbols.replace("__stack_chk_fail", "")
    producers = [line for line in readelf(release, program, "--debug-dump=info").splitlines() if "DW_AT_producer" in line]
    ours = [line for line in producers if "GNU C11" in line]
    assert ours and all("-fstack-clash-protection" in line and "-fstack-protector-strong" in line for line in ours)
    if os.uname().machine == "x86_64":
        assert all("-fcf-protection" in line for line in ours)


def test_a_password_on_the_command_line_does_not_stay_there(own_suite):
    """`ps` shows command lines to everybody."""
    tracker = own_suite.add_tracker()
    tracker.init_db()
    url = own_suite.database_url("trackerdb")
    given = url if "@" in url else f"sqlite:{own_suite.dir}/p@ss.db"
    if given != url:
        assert tracker.command("-o", f"database.url={given}", "--init-db").returncode == 0
    line = tracker.command_line
    tracker.command_line = lambda *arguments: line("-o", f"database.url={given}", *arguments)
    tracker.start()
    seen = pathlib.Path(f"/proc/{tracker.process.pid}/cmdline").read_bytes().split(b"\0")
    assert seen[-2] == b"database.url=" + b"*" * len(given), seen
    tracker.hup()  # the URL is still known
    wait_for(lambda: "configuration reloaded" in tracker.log(), what="a reload")
    assert tracker.status()["daemon"]["reload_refused"] is False
