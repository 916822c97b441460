"""The units of conf/systemd: how much they leave open, and whether the daemons do their work under what they close."""
import os
import re
import shutil
import stat
import subprocess
import sys
import urllib.request

import pytest

from filtered import allowed, settings
from suite import ROOT, Suite, wait_for

UNITS = sorted((ROOT / "conf" / "systemd").glob("*.service"))
EXPOSURE_MAX = 1.0

needs_systemd = pytest.mark.skipif(not shutil.which("systemd-analyze"),
                                   reason="systemd-analyze is not here: NOBODY LOOKS AT WHAT THE UNITS LEAVE OPEN")


@needs_systemd
@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.stem)
def test_a_unit_leaves_little_open(unit):
    done = subprocess.run(["systemd-analyze", "security", "--offline=yes", "--no-pager", str(unit)],
                          capture_output=True, text=True)
    exposure = float(re.search(r"exposure level for .*: ([0-9.]+)", done.stdout)[1])
    assert exposure <= EXPOSURE_MAX, "\n".join(line for line in done.stdout.splitlines() if "✗" in line)


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.stem)
def test_no_core_file_is_written(unit):
    assert unit.stem.startswith("reel-backup") or re.search(r"^LimitCORE=0$", unit.read_text(), re.M)


@needs_systemd
def test_what_no_daemon_needs_is_closed():
    calls = allowed(settings(ROOT / "conf/systemd/reel-storage.service")[0])
    assert {"openat2", "fsync", "sendfile", "splice", "landlock_restrict_self", "prlimit64"} <= calls
    assert not {"mount", "ptrace", "bpf", "chown", "setuid", "init_module", "keyctl", "reboot"} & calls


class Filtered:
    """Starts the daemons of a suite under the filters of their units."""

    def __init__(self, suite):
        for daemon in suite.daemons.values():
            plain, unit = daemon.command_line, ROOT / "conf" / "systemd" / f"reel-{daemon.name}.service"
            daemon.command_line = lambda *more, plain=plain, unit=unit: [
                sys.executable, str(ROOT / "tests/system/filtered.py"), str(unit), *plain(*more)]


@needs_systemd
def test_the_daemons_do_their_work_under_the_filters_of_their_units(monkeypatch):
    # A search for leaks traces the process, which the filter does not allow.
    monkeypatch.setenv("ASAN_OPTIONS", os.environ.get("ASAN_OPTIONS", "") + ":detect_leaks=0")
    suite = Suite("sqlite")
    try:
        suite.add_tracker(), suite.add_idserver(), suite.add_storage(), suite.add_httpd()
        Filtered(suite)
        suite.launch()
        content = os.urandom(300000)
        file_id = suite.reel("upload", "-", input=content).stdout.decode().strip()
        assert urllib.request.urlopen(suite.url(file_id), timeout=60).read() == content
        suite.reel("delete", file_id), suite.reel("restore", file_id)
        for daemon in suite.daemons.values():
            daemon.hup()
            wait_for(lambda d=daemon: "configuration reloaded" in d.log(), what=f"{daemon.name}'s reload")
            wait_for(lambda d=daemon: d.http("/healthz")[0] == 200, what=f"{daemon.name}'s health")
            assert daemon.status()["daemon"]["reload_refused"] is False
            assert daemon.metric("process_start_time_seconds") > 1e9
            assert "Operation not permitted" not in daemon.log(), daemon.tail()
        assert {stat.S_IMODE(path.stat().st_mode) for path in suite.files()} == {0o640}
        assert stat.S_IMODE((suite.dir / "meta" / "storagedb.db").stat().st_mode) & 0o007 == 0
    finally:
        suite.stop()
