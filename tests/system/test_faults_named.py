"""Each fault of the table in docs/operations.md ("Who says what, and how soon") is caused on running daemons: the command, /healthz, the log and an
alert name its cause within the seconds that the table says. Prints what was measured (pytest -s)."""
import os
import re
import shutil
import signal
import subprocess
import time

import pytest
from suite import free_ports, new_id, wait_for
from test_alerts_fire import fires, reconfigure, scrape

pytestmark = [pytest.mark.skipif(not os.environ.get("REEL_FAULTS"), reason="takes minutes: scripts/nightly.sh runs it"),
              pytest.mark.skipif(not shutil.which("promtool"), reason="promtool is missing (package prometheus)"),
              pytest.mark.skipif(os.getuid() != 0, reason="not root: no file system can be mounted")]
DOCTOR = ("doctor",)


class Fault:
    """A suite with one fault: looks at all who should name it, from the moment of `now()` on."""

    def __init__(self, suite, name):
        self.suite, self.name, self.took = suite, name, {}
        self.before, self.begun, self.marks = {}, None, {}

    def now(self):
        daemons = self.suite.daemons.values()
        self.before = {d.label: scrape(d) for d in daemons if d.process}
        self.marks = {d.label: len(d.log()) for d in daemons}
        self.begun = time.monotonic()

    def named(self, who, pattern, ask, within):
        while not re.search(pattern, said := ask(), re.S):
            took = time.monotonic() - self.begun
            assert took < 10 * within, f"{self.name}: {who} does not say {pattern} but {said[-600:]}"  # the table's time is measured on an idle machine
            time.sleep(0.1)
        self.took[who] = time.monotonic() - self.begun

    def command(self, pattern, *arguments, within=10):
        def ask():
            done = self.suite.reel(*(arguments or DOCTOR), check=False)
            return (done.stdout + done.stderr).decode(errors="replace")
        self.named("command", pattern, ask, within)

    def healthz(self, daemon, pattern, within=10):
        def ask():
            code, body = daemon.http("/healthz")
            return f"{code} {body}"
        self.named("healthz", pattern, ask, within)

    def log(self, daemon, pattern, within=10):
        self.named("log", pattern, lambda: daemon.log()[self.marks.get(daemon.label, 0):], within)

    def alert(self, daemon, name):
        """The rule fires of what the metrics are now; how long it waits (`for`) stands in the rule."""
        well, ill = fires(self.suite.dir, self.before[daemon.label], scrape(daemon))
        assert name not in well and name in ill, (self.name, name, well, ill)

    def done(self):
        print(f"\nFAULT {self.name}: " + ", ".join(f"{who} {seconds:.1f} s" for who, seconds in self.took.items()))


@pytest.fixture
def backend():
    return "sqlite"


FAST = {"probe_interval": "1s", "hang_timeout": "2s", "cache_age": "1s"}


@pytest.fixture
def pair(own_suite):
    own_suite.add_tracker(heartbeat_timeout="10s")
    own_suite.add_idserver()
    own_suite.add_storage("storage", **FAST)
    own_suite.add_storage("two", **FAST)
    return own_suite.launch()


def again(suite, daemon, section, **options):
    """With other options, from a new start on."""
    was = daemon.config
    reconfigure(daemon, section, **options)
    daemon.stop()
    daemon.start()
    return was


def back(suite, daemon, was, active=2):
    daemon.configure(was)
    if daemon.process:
        daemon.stop()
    daemon.start()
    suite.wait_active(active)


def test_storage_servers(pair):
    suite, tracker, one, two = pair, pair.tracker, pair.storage, pair.two
    suite.put(new_id(), b"routed")

    fault = Fault(suite, "one of two storage servers killed")
    fault.now()
    one.kill()
    fault.healthz(tracker, r"storage server", within=20)
    fault.log(tracker, r"storage .*(suspect|offline|OFFLINE|late|silent|broke|closed)", within=10)
    fault.command(r"is (SUSPECT|OFFLINE)|late with its heartbeats|cannot be asked", within=10)
    wait_for(lambda: tracker.metric('reel_tracker_storages{state="offline"}') == 1, 30, "offline")
    fault.alert(tracker, "ReelStorageServersMissing")
    fault.done()
    one.start()
    suite.wait_active(2)

    fault = Fault(suite, "one of two storage servers hangs")
    fault.now()
    one.process.send_signal(signal.SIGSTOP)
    fault.healthz(tracker, r"storage server", within=20)
    fault.log(tracker, r"storage .*(suspect|offline|OFFLINE|late|silent|broke|closed)", within=15)
    fault.command(r"late with its heartbeats|is OFFLINE|cannot be asked", within=15)
    wait_for(lambda: tracker.metric('reel_tracker_storages{state="offline"}') == 1, 30, "offline")
    fault.alert(tracker, "ReelStorageServersMissing")
    fault.done()

    fault = Fault(suite, "both storage servers hang")
    fault.now()
    two.process.send_signal(signal.SIGSTOP)
    fault.healthz(tracker, r"no storage server is active", within=20)
    fault.log(tracker, r"storage .*(suspect|offline|OFFLINE|late|silent|broke|closed)", within=20)
    fault.command(r"no active storage server", within=20)
    suite.reel("upload", "-", input=b"x", check=False, timeout=200)
    fault.alert(tracker, "ReelGroupWithoutServer")
    fault.done()
    for daemon in one, two:
        daemon.process.send_signal(signal.SIGCONT)
    suite.wait_active(2)

    fault = Fault(suite, "all storage servers stopped")
    fault.now()
    one.stop()
    two.stop()
    fault.healthz(tracker, r"no storage server is active", within=10)
    fault.log(tracker, r"storage .*(suspect|offline|OFFLINE|late|silent|broke|closed)", within=10)
    fault.command(r"no active storage server", within=10)
    suite.reel("upload", "-", input=b"x", check=False, timeout=200)
    fault.alert(tracker, "ReelGroupWithoutServer")
    fault.done()


def test_store_paths(pair):
    suite, one = pair, pair.storage
    suite.put(new_id(), b"stored")
    data, away = suite.dir / "data", suite.dir / "away"

    fault = Fault(suite, "mount gone")
    fault.now()
    data.rename(away)
    fault.healthz(one, r"data", within=5)
    fault.log(one, r"data", within=5)
    fault.command(r"takes no uploads|is full", within=10)
    fault.alert(one, "ReelStoragePathNotWritable")
    fault.done()

    fault = Fault(suite, "empty volume in its place")
    away.rename(data)
    wait_for(lambda: one.metric("reel_storage_path_writable") == 1, 30, "the path to be used again")
    fault.now()
    data.rename(away)
    data.mkdir()
    fault.healthz(one, r"data", within=5)
    fault.log(one, r"data", within=5)
    fault.command(r"takes no uploads|is full", within=10)
    fault.alert(one, "ReelStoragePathNotWritable")
    fault.done()
    data.rmdir()
    away.rename(data)
    wait_for(lambda: one.metric("reel_storage_path_writable") == 1, 30, "the path to be used again")

    fault = Fault(suite, "path not writable")
    subprocess.run(["mount", "--bind", data, data], check=True)
    try:
        wait_for(lambda: one.metric("reel_storage_path_writable") == 1, 30, "the path to be used")
        fault.now()
        subprocess.run(["mount", "-o", "remount,bind,ro", data], check=True)
        fault.healthz(one, r"data.*[Rr]ead-only|[Rr]ead-only.*data", within=5)
        fault.log(one, r"[Rr]ead-only", within=5)
        fault.command(r"takes no uploads|is full", within=10)
        fault.alert(one, "ReelStoragePathNotWritable")
        fault.done()
    finally:
        subprocess.run(["umount", "-l", data], check=False)
    wait_for(lambda: one.metric("reel_storage_path_writable") == 1, 30, "the path to be used again")

    fault = Fault(suite, "disk full")
    fault.now()
    for daemon in suite.storage, suite.two:
        reconfigure(daemon, "storage", reserve_space="1000T")
        daemon.hup()
    fault.healthz(one, r"full|free|reserve", within=10)
    fault.log(one, r"full|free|reserve", within=10)
    fault.command(r"is full", within=15)
    fault.alert(one, "ReelStorageAlmostFull")
    fault.done()


def test_configurations(pair):
    suite, tracker, one = pair, pair.tracker, pair.storage
    suite.put(new_id(), b"stored")
    (nobody,) = free_ports(1)

    fault = Fault(suite, "unknown group")
    fault.now()
    (suite.dir / "other").mkdir()
    was = again(suite, one, "storage", group="group999", paths=suite.dir / "other")
    fault.log(one, r"group999", within=10)
    fault.healthz(one, r"no tracker.*group999", within=10)
    fault.command(r"group999|is OFFLINE|1 of", within=10)
    fault.alert(one, "ReelTrackerNotJoined")
    fault.done()
    back(suite, one, was)

    fault = Fault(suite, "trackers typo")
    fault.now()
    was = again(suite, one, "storage", trackers=f"127.0.0.1:{nobody}")
    fault.log(one, rf"127.0.0.1:{nobody}", within=10)
    fault.healthz(one, r"no tracker", within=10)
    fault.command(r"is OFFLINE|SUSPECT|late|1 of", within=20)
    fault.alert(one, "ReelTrackerNotJoined")
    fault.done()
    back(suite, one, was)


def test_databases(mariadb_suite):
    suite = mariadb_suite
    suite.add_tracker()
    suite.add_idserver()
    suite.add_storage(**FAST)
    suite.launch()
    storage = suite.storage
    suite.put(new_id(), b"stored")

    fault = Fault(suite, "database stopped")
    fault.now()
    suite.mariadb.stop()
    fault.healthz(storage, r"database", within=10)
    fault.log(storage, r"database .*", within=10)
    fault.command(r"database", within=20)
    fault.alert(storage, "ReelDatabaseAway")
    fault.done()
    suite.mariadb.start()
    wait_for(lambda: storage.metric("reel_db_up") == 1, 60, "the database to be back")

    fault = Fault(suite, "wrong password")
    fault.now()
    url = storage.config["database"]["url"]
    wrong = re.sub(r"://[^@]*@", "://nobody:wrong@", url)
    assert wrong != url
    again(suite, storage, "database", url=wrong)
    fault.healthz(storage, r"[Aa]ccess denied|password", within=10)
    fault.log(storage, r"[Aa]ccess denied|password", within=10)
    fault.command(r"database|[Aa]ccess denied", within=20)
    fault.alert(storage, "ReelDatabaseAway")
    fault.done()
