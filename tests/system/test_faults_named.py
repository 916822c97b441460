"""Each fault of the table in docs/operations.md ("What reports a fault, and how soon") is caused on running daemons: the command, /healthz, the log and an
alert name its cause within the seconds that the table says. Prints what was measured (pytest -s)."""
import contextlib
import os
import re
import shutil
import signal
import subprocess
import time

import pytest
from suite import free_ports, new_id
from test_alerts_fire import fires, reconfigure, scrape

pytestmark = [pytest.mark.skipif(not os.environ.get("REEL_FAULTS"), reason="takes minutes: scripts/nightly.sh runs it"),
              pytest.mark.skipif(not shutil.which("promtool"), reason="promtool is missing (package prometheus)"),
              pytest.mark.skipif(os.getuid() != 0, reason="not root: no file system can be mounted")]


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
            assert took < 4 * within, f"{self.name}: {who} does not say {pattern} but {said[-600:]}"  # the table's time is measured on an idle machine
            time.sleep(0.1)
        self.took[who] = time.monotonic() - self.begun

    def command(self, pattern, within=15):
        def ask():
            done = doctor(self.suite)
            return (done.stdout + done.stderr).decode(errors="replace")
        self.named("command", pattern, ask, within)

    def healthz(self, daemon, pattern, within=10):
        def ask():
            code, body = daemon.http("/healthz")
            return f"{code} {body}"
        self.named("healthz", pattern, ask, within)

    def log(self, daemon, pattern, within=10):
        self.named("log", pattern, lambda: daemon.log()[self.marks.get(daemon.label, 0):], within)

    def done(self):
        print(f"\nFAULT {self.name}: " + ", ".join(f"{who} {seconds:.1f} s" for who, seconds in self.took.items()))


@pytest.fixture
def backend():
    return "sqlite"


FAST = {"probe_interval": "1s", "hang_timeout": "2s", "cache_age": "1s", "id_range": "1"}
GONE = r"storage .*(suspect|offline|OFFLINE|late|silent|broke|closed)"
NOBODY = r"no storage server is active"


@pytest.fixture
def pair(own_suite):
    own_suite.add_tracker(heartbeat_timeout="10s")
    own_suite.add_idserver()
    own_suite.add_storage("storage", **FAST)
    own_suite.add_storage("two", **FAST)
    own_suite.launch()
    own_suite.put(new_id(), b"routed")
    return own_suite


def again(suite, daemon, section, **options):
    """With other options, from a new start on; then as it was."""
    was = daemon.config
    reconfigure(daemon, section, **options)
    daemon.stop()
    daemon.start()
    yield
    daemon.configure(was)
    daemon.restart()


def nobody():
    return f"127.0.0.1:{free_ports(1)[0]}"


# ---- the causes: each is a generator that causes the fault, is left alone while it is looked at, and mends it ----

def killed(suite):
    suite.storage.kill()
    yield
    suite.storage.start()


def hanging(*labels):
    def cause(suite):
        for label in labels:
            suite.daemons[label].process.send_signal(signal.SIGSTOP)
        yield
        for label in labels:
            suite.daemons[label].process.send_signal(signal.SIGCONT)
    return cause


def stopped(*labels):
    def cause(suite):
        for label in labels:
            suite.daemons[label].stop()
        yield
        for label in labels:
            suite.daemons[label].start()
    return cause


def volume_gone(suite):
    (suite.dir / "data").rename(suite.dir / "away")
    yield
    (suite.dir / "away").rename(suite.dir / "data")


def volume_empty(suite):
    (suite.dir / "data").rename(suite.dir / "away")
    (suite.dir / "data").mkdir()
    yield
    (suite.dir / "data").rmdir()
    (suite.dir / "away").rename(suite.dir / "data")


def volume_read_only(suite):
    data = suite.dir / "data"
    subprocess.run(["mount", "--bind", data, data], check=True)
    try:
        subprocess.run(["mount", "-o", "remount,bind,ro", data], check=True)
        yield
    finally:
        subprocess.run(["umount", "-l", data], check=False)


def disk_full(suite):
    was = [(daemon, daemon.config) for daemon in (suite.storage, suite.two)]
    for daemon, _ in was:
        reconfigure(daemon, "storage", reserve_space="1000T")
        daemon.hup()
    yield
    for daemon, config in was:
        daemon.configure(config)
        daemon.hup()


def unknown_group(suite):
    (suite.dir / "other").mkdir()
    yield from again(suite, suite.storage, "storage", group="group999", paths=suite.dir / "other")


def trackers_typo(suite):
    yield from again(suite, suite.storage, "storage", trackers=nobody())


def idservers_typo(suite):
    yield from again(suite, suite.storage, "storage", idservers=nobody())


def network_cut(suite):
    """Nothing comes through between the storage server and the tracker, in either direction: packets are dropped, not refused."""
    rules = [["-p", "tcp", end, str(suite.tracker.port), "-j", "DROP"] for end in ("--dport", "--sport")]
    for rule in rules:
        subprocess.run(["iptables", "-I", "INPUT", *rule], check=True)
    try:
        yield
    finally:
        for rule in rules:
            subprocess.run(["iptables", "-D", "INPUT", *rule], check=True)


SHIM = """#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>
#include <sys/time.h>
#include <time.h>
int clock_gettime(clockid_t id, struct timespec *at)
{
    static int (*real)(clockid_t, struct timespec *);
    if (!real)
        real = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
    int result = real(id, at);
    if (id == CLOCK_REALTIME || id == CLOCK_REALTIME_COARSE)
        at->tv_sec += atol(getenv("REEL_CLOCK_AHEAD"));
    return result;
}
time_t time(time_t *at)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (at)
        *at = now.tv_sec;
    return now.tv_sec;
}
"""


def clock_ahead(suite, seconds):
    """The environment of a process whose clock, and its libraries', is off by SECONDS."""
    shim = suite.dir / "clock.so"
    subprocess.run(["gcc", "-shared", "-fPIC", "-x", "c", "-", "-o", shim, "-ldl"], input=SHIM.encode(), check=True)
    return {"LD_PRELOAD": str(shim), "REEL_CLOCK_AHEAD": str(seconds), "ASAN_OPTIONS": os.environ.get("ASAN_OPTIONS", "") + ":verify_asan_link_order=0"}


def clock_off(suite):
    suite.storage.environment = clock_ahead(suite, 3600)
    suite.storage.restart()
    yield
    suite.storage.environment = {}
    suite.storage.restart()


def certificate_expired(suite):
    (port,) = free_ports(1)
    was = suite.storage.config
    pem, key = suite.dir / "site.pem", suite.dir / "site.key"
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", key, "-out", pem,
                    "-subj", "/CN=localhost", "-days", "30"], env={**os.environ, **clock_ahead(suite, -40 * 86400)}, check=True, capture_output=True)
    key.chmod(0o600)
    suite.storage.configure({**was, "storage": {**was["storage"], "listen_tls": f"127.0.0.1:{port}"}, "tls": {"cert": pem, "key": key}})
    suite.storage.restart()
    yield
    suite.storage.configure(was)
    suite.storage.restart()


def database_stopped(suite):
    suite.mariadb.stop()
    yield
    suite.mariadb.start()


def wrong_password(suite):
    url = suite.storage.config["database"]["url"]
    wrong = re.sub(r"://[^@]*@", "://nobody:wrong@", url)
    assert wrong != url
    yield from again(suite, suite.storage, "database", url=wrong)


def upload(suite):
    """Whoever asks for a server, or a number, makes the tracker and the storage server notice that there is none."""
    suite.reel("--max-time", "14s", "upload", "-", input=b"x", check=False, timeout=100)


def want_numbers(suite):
    """Uploads until the storage server that is looked at has used what it keeps in reserve; the other one may take some of them."""
    for _ in range(10):
        suite.reel("--max-time", "3s", "upload", "-", input=b"x", check=False, timeout=100)
        if "no numbers for" in suite.storage.log():
            return


def doctor(suite):
    return suite.reel("--idservers", f"127.0.0.1:{suite.idserver.port}", "doctor", check=False, timeout=100)


# name: cause, the daemon that is to name it, what /healthz says, what the log says, what `reel doctor` says, the alert; what else is done first
PAIR = [
    ("one of two storage servers killed", killed, "tracker", r"storage server", GONE, r"is (SUSPECT|OFFLINE)|late with its heartbeats|cannot be asked",
     "ReelStorageServersMissing", None),
    ("one of two storage servers hangs", hanging("storage"), "tracker", r"late with their heartbeats", GONE, r"late with its heartbeats|is OFFLINE|cannot be asked",
     "ReelStorageServersMissing", None),
    ("both storage servers hang", hanging("storage", "two"), "tracker", NOBODY, GONE, r"no active storage server|late with its heartbeats|cannot be asked",
     "ReelGroupWithoutServer", upload),
    ("all storage servers stopped", stopped("storage", "two"), "tracker", NOBODY, GONE, r"no active storage server", "ReelGroupWithoutServer", upload),
    ("ID server stopped", stopped("idserver"), "storage", r"no numbers", r"no numbers for", r"idserver .*cannot", "ReelIdServersAway", want_numbers),
    ("idservers typo", idservers_typo, "storage", r"no numbers", r"no numbers for", r"takes no uploads|no numbers", "ReelIdServersAway", want_numbers),
    ("mount gone", volume_gone, "storage", r"data", r"data", r"takes no uploads|is full", "ReelStoragePathNotWritable", None),
    ("empty volume in its place", volume_empty, "storage", r"data", r"data", r"takes no uploads|is full", "ReelStoragePathNotWritable", None),
    ("path not writable", volume_read_only, "storage", r"[Rr]ead-only", r"[Rr]ead-only", r"takes no uploads|is full", "ReelStoragePathNotWritable", None),
    ("disk full", disk_full, "storage", r"full|free|reserve", r"full|free|reserve", r"is full", "ReelStorageAlmostFull", None),
    ("unknown group", unknown_group, "storage", r"no tracker.*group999", r"group999", r"group999|is OFFLINE|1 of", "ReelTrackerNotJoined", None),
    ("trackers typo", trackers_typo, "storage", r"no tracker", r"127.0.0.1:\d+", r"is OFFLINE|SUSPECT|late|1 of", "ReelTrackerNotJoined", None),
    ("network cut", network_cut, "storage", r"no tracker", r"tracker.*(no reply|within|timed out|away|cannot)", r"tracker .*connecting took too long",
     "ReelTrackerNotJoined", None),
    ("certificate expired", certificate_expired, "storage", r"certificate.*expired", r"certificate.*expired", None, "ReelCertificateEnds", None),
    ("clock off", clock_off, "tracker", r"clocks of 1 storage server", r"its clock is 3[56]\d\d s ahead", r"its clock was 3[56]\d\d s ahead",
     "ReelClockOff", None),
]
DATABASE = [
    ("database stopped", database_stopped, "storage", r"database", r"database .*", r"database", "ReelDatabaseAway", None),
    ("wrong password", wrong_password, "storage", r"[Aa]ccess denied|password", r"[Aa]ccess denied|password", r"database|[Aa]ccess denied", "ReelDatabaseAway", None),
]


def look(suite, name, cause, label, healthz, log, command, alert, first):
    daemon = suite.daemons[label]
    with contextlib.closing(cause(suite)) as running:
        fault = Fault(suite, name)
        fault.now()
        next(running)
        if first:
            first(suite)
        fault.log(daemon, log)
        fault.healthz(daemon, healthz)
        if command:
            fault.command(command)
        well, deadline = None, time.monotonic() + 60
        while True:  # a state such as OFFLINE may come later than the first word about it
            now = {series: value - time.time() if "not_after" in series else value for series, value in scrape(daemon).items()}  # promtool begins at 0
            well, ill = fires(suite.dir, fault.before[daemon.label], now)
            if alert in ill or time.monotonic() > deadline:
                break
            first(suite) if first else time.sleep(1)
        assert alert not in well and alert in ill, (name, alert, well, ill)
        fault.done()
        for _ in running:
            pass


@pytest.mark.parametrize("case", PAIR, ids=[case[0] for case in PAIR])
def test_a_fault_is_named(pair, case):
    look(pair, *case)


@pytest.mark.parametrize("case", DATABASE, ids=[case[0] for case in DATABASE])
def test_a_fault_of_the_database_is_named(mariadb_suite, case):
    suite = mariadb_suite
    suite.add_tracker()
    suite.add_idserver()
    suite.add_storage(**FAST)
    suite.launch()
    suite.put(new_id(), b"stored")
    look(suite, *case)
