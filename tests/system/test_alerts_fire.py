"""Each alert of conf/prometheus fires when its fault is there, and only then: a fault is caused on running daemons, what /metrics says
before and after becomes the series of a `promtool test rules`."""
import ctypes
import json
import os
import pathlib
import re
import shutil
import subprocess
import time

import pytest
import wire
from suite import APP, ROOT, USER, free_ports, new_id, wait_for
from test_tls import certificate

RULES = ROOT / "conf/prometheus/reelstore-alerts.yml"
pytestmark = [pytest.mark.skipif(not shutil.which("promtool"), reason="promtool is missing (package prometheus)"),
              pytest.mark.skipif(os.getuid() != 0, reason="not root: no file system can be mounted, no thread held")]
STEP, BEFORE, LENGTH = 60, 20, 100  # seconds; how many steps things are well, and in all


@pytest.fixture
def backend():
    return "sqlite"


def scrape(daemon):
    """What Prometheus would have of DAEMON: name{labels} -> value. One that does not answer is `up` 0 and nothing else."""
    labels = {"job": f"reel-{daemon.name}", "instance": f"media1:{daemon.admin_port}"}
    if daemon.name == "storage":
        labels["group"] = "group001"  # as reelstore-scrape.yml has it
    def series(name, more=""):
        return name + "{" + ",".join([f'{k}="{v}"' for k, v in labels.items()] + ([more] if more else [])) + "}"
    try:
        code, body = daemon.http("/metrics")
    except OSError:
        return {series("up"): 0.0}
    assert code == 200
    found = {series("up"): 1.0}
    for line in body.splitlines():
        match = re.fullmatch(r"(\w+)(?:\{(.*)\})? ([^ ]+)", line)
        if match and not line.startswith("#"):
            found[series(match[1], match[2] or "")] = float(match[3])
    return found


def fires(directory, before, after):
    """(what fires when things are well, what fires at some time after the fault), of series that are as BEFORE and then as AFTER."""
    used = set(re.findall(r"\b(?:up|reel_[a-z0-9_]+)\b", RULES.read_text()))
    series = []
    for name in sorted({*before, *after}):
        if name.split("{")[0] in used:
            values = [[f"{had[name]:.17g}" if name in had else "_"] for had in (before, after)]
            series.append({"series": name, "values": " ".join(values[0] * BEFORE + values[1] * (LENGTH - BEFORE))})
    # promtool prints what an expression gives where that is not what was expected: here it never is.
    asked = [{"expr": 'count by (alertname) (ALERTS{alertstate="firing"})', "eval_time": f"{step * STEP}s", "exp_samples": [{"labels": "{}", "value": -1}]}
             for step in (BEFORE - 1, *range(BEFORE, LENGTH, 3))]
    file = directory / "alerts.json"  # JSON is YAML
    file.write_text(json.dumps({"rule_files": [str(RULES)], "evaluation_interval": f"{STEP}s",
                                "tests": [{"interval": f"{STEP}s", "input_series": series, "promql_expr_test": asked}]}))
    done = subprocess.run(["promtool", "test", "rules", str(file)], capture_output=True, text=True)
    answers = (done.stdout + done.stderr).split("got:")[1:]
    assert len(answers) == len(asked), done.stdout + done.stderr
    firing = [set(re.findall(r'alertname="(\w+)"', answer.split("expr:")[0])) for answer in answers]
    return firing[0], set().union(*firing[1:])


def check(suite, alert, daemon, cause, wait, mend=None, adjust=lambda series: series):
    """ALERT fires once CAUSE was done to DAEMON and WAIT has become true of it, and not before."""
    before = adjust(scrape(daemon))
    cause()
    wait_for(wait, 30, f"what {alert} is about")
    after = adjust(scrape(daemon))
    if mend:
        mend()
    well, ill = fires(suite.dir, before, after)
    assert alert not in well and alert in ill, (alert, well, ill)  # others may still fire: of what was wrong before
    return ill


def reconfigure(daemon, section, **options):
    daemon.configure({**daemon.config, section: {**daemon.config[section], **options}})


FAST = {"lease": "1s", "leftover_age": "4s", "progress_timeout": "1s", "database_timeout": "1400ms", "scrub_rate": "0", "probe_interval": "200ms",
        "leftovers_max": "20"}


@pytest.fixture
def running(own_suite):
    return own_suite.start(storage_options=FAST)


def test_what_is_wrong_with_a_storage_server(running):
    suite, storage = running, running.storage
    data = suite.dir / "data"
    wait_for(lambda: storage.metric("reel_storage_lease_held") == 1, 30, "the lease")
    # The volume is gone, and comes back.
    check(suite, "ReelStoragePathNotWritable", storage, lambda: data.rename(suite.dir / "away"), lambda: storage.metric("reel_storage_path_writable") == 0,
          lambda: (suite.dir / "away").rename(data))
    wait_for(lambda: storage.metric("reel_storage_path_writable") == 1, 30, "the path to be used again")
    # The tracker hears of it later.
    wait_for(lambda: wire.ask(suite.tracker.address, wire.SADDRS, wire.file_key(APP, USER, new_id())).ok, 30, "the tracker to name the server again")
    # A file is damaged, and the scrub finds it.
    suite.put(new_id(), b"whole" * 100)
    def damage():
        suite.files()[0].write_bytes(b"wrong" * 100)
        assert suite.reel("fsck", check=False).returncode == 6
    assert "ReelSweepStopped" not in check(suite, "ReelScrubFindings", storage, damage, lambda: storage.metric("reel_storage_scrub_findings_total") > 0)
    # The configuration is refused.
    def break_configuration():
        with open(storage.config_file, "a") as file:
            file.write("\n[storage]\nnonsense = 1\n")
        storage.hup()
    check(suite, "ReelReloadRefused", storage, break_configuration, lambda: storage.metric("reel_daemon_reload_refused") == 1)
    storage.configure(storage.config)
    storage.hup()
    wait_for(lambda: storage.metric("reel_daemon_reload_refused") == 0, 30, "the configuration to be taken")
    # The database of the ID server goes back in time.
    for _ in range(3):
        suite.put(new_id(), b"more")
    def set_back():
        suite.idserver.stop()
        storage.stop()
        suite.sql("idsdb", "UPDATE t_id_gen SET id_value = 0")
        suite.idserver.start()
        storage.start()
        suite.wait_active()
        suite.put(new_id(), b"skips")
    check(suite, "ReelNumbersGivenTwice", storage, set_back, lambda: storage.metric("reel_storage_number_collisions_total") > 0)
    # Many files without rows: the wrong database.
    def lose_rows():
        for i in range(40):
            (suite.files()[0].parent / f"5F9E3FA7_{i + 100:03X}").write_bytes(b"stray")
    def sweep_stops():  # once they are older than leftover_age
        assert suite.reel("fsck", check=False).returncode == 6
        return storage.metric("reel_storage_sweep_stopped") == 1
    check(suite, "ReelSweepStopped", storage, lose_rows, sweep_stops)
    # No tracker any more.
    check(suite, "ReelTrackerNotJoined", storage, suite.tracker.stop, lambda: storage.metric("reel_storage_tracker_joined") == 0, suite.tracker.start)
    # It dies.
    check(suite, "ReelDaemonDown", storage, storage.kill, lambda: scrape(storage).popitem()[1] == 0)


def test_what_a_tracker_sees(running):
    suite, tracker = running, running.tracker
    suite.put(new_id(), b"routed")
    reconfigure(tracker, "tracker", heartbeat_timeout="2s")
    tracker.restart()
    suite.wait_active()
    def lose_servers():
        suite.storage.stop()
        wait_for(lambda: tracker.metric('reel_tracker_storages{state="offline"}') > 0, 30, "the server to be offline")
        assert wire.ask(tracker.address, wire.SADDRS, wire.file_key(APP, USER, "f")).number == wire.NO_SERVER
    ill = check(suite, "ReelStorageServersMissing", tracker, lose_servers, lambda: tracker.metric('reel_tracker_routes_total{command="saddrs",outcome="no_server"}') > 0)
    assert "ReelGroupWithoutServer" in ill
    suite.storage.start()
    suite.wait_active()
    # A certificate that ends in two days. In promtool's world it is 1970: the ends are moved there.
    pem, key = certificate(suite.dir, "short", ["IP:127.0.0.1"], days=2)
    (port,) = free_ports(1)
    def to_1970(series):
        now = time.time()
        return {name: value - now if name.startswith("reel_tls_certificate_not_after_seconds") else value for name, value in series.items()}
    def use_short():
        reconfigure(tracker, "tracker", listen_tls=f"127.0.0.1:{port}")
        tracker.configure({**tracker.config, "tls": {"cert": pem, "key": key}})
        tracker.restart()
    check(suite, "ReelCertificateEnds", tracker, use_short, lambda: tracker.metric("reel_tls_certificate_not_after_seconds") > 0, adjust=to_1970)
    # Its database cannot be reached.
    def lose_database():
        (nobody,) = free_ports(1)
        reconfigure(tracker, "database", url=f"mysql://reel:x@127.0.0.1:{nobody}/trackerdb")
        tracker.restart()
    check(suite, "ReelDatabaseAway", tracker, lose_database, lambda: tracker.metric("reel_db_up") == 0)
    reconfigure(tracker, "database", url=suite.database_url("trackerdb"))
    tracker.restart()


@pytest.mark.skipif(not os.environ.get("REEL_ALERTS_LONG"), reason="takes as long as the watch over loops: scripts/nightly.sh runs it")
def test_a_loop_that_stands_still(running):
    suite, tracker = running, running.tracker
    # Its loops stand still, and the main thread goes on: a debugger's stop of all other threads.
    libc = ctypes.CDLL(None, use_errno=True)
    threads = [int(task.name) for task in pathlib.Path(f"/proc/{tracker.process.pid}/task").iterdir() if int(task.name) != tracker.process.pid]
    def hold():
        for thread in threads:
            assert libc.ptrace(0x4206, thread, 0, 0) == 0, os.strerror(ctypes.get_errno())  # PTRACE_SEIZE
            assert libc.ptrace(0x4207, thread, 0, 0) == 0  # PTRACE_INTERRUPT
            os.waitpid(thread, 0x40000000)  # __WALL
    def let_go():
        for thread in threads:
            assert libc.ptrace(17, thread, 0, 0) == 0  # PTRACE_DETACH
    check(suite, "ReelLoopStuck", tracker, hold, lambda: tracker.metric("reel_daemon_loops_stuck") > 0, let_go)


def test_what_is_short(running):
    """Room, inodes, and somebody who does the upkeep."""
    suite, storage = running, running.storage
    room = suite.dir / "small"
    room.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64m,nr_inodes=1000", "reel-test", room]).returncode != 0:
        pytest.skip("mounting is not allowed here")
    try:
        wait_for(lambda: storage.metric("reel_storage_lease_held") == 1, 30, "the lease")
        def move_in():
            reconfigure(storage, "storage", paths=room, reserve_space="62M")
            storage.stop()
            storage.init_db()
            storage.start()
        assert "ReelStorageFewInodes" in check(suite, "ReelStorageAlmostFull", storage, move_in, lambda: storage.metric("reel_storage_capacity_bytes") == 64 << 20)
        def lose_database():
            (nobody,) = free_ports(1)
            reconfigure(storage, "database", url=f"mysql://reel:x@127.0.0.1:{nobody}/storagedb")
            storage.restart()
        wait_for(lambda: storage.metric("reel_storage_lease_held") == 1, 30, "the lease")
        before, alert = scrape(storage), "ReelNoLease"
        lose_database()
        wait_for(lambda: storage.metric("reel_db_up") == 0, 30, "the database to be away")
        well, ill = fires(suite.dir, before, scrape(storage))
        assert alert not in well and alert in ill
        storage.stop()
    finally:
        if storage.process:
            storage.stop()
        subprocess.run(["umount", "-l", room], check=False)
