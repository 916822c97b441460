"""What is the same for every daemon: command line, configuration, signals, admin port."""
import contextlib
import http.client
import re
import sqlite3
import subprocess
import time

import pytest

from suite import BIN, ROOT, wait_for

NAMES = ["tracker", "idserver", "storage", "httpd"]
VERSION = re.search(r"VERSION (\d+\.\d+\.\d+)", (ROOT / "CMakeLists.txt").read_text()).group(1)


@pytest.fixture(params=NAMES)
def daemon(request, suite):
    return suite.daemons[request.param]


def test_check_config_accepts_what_runs_and_print_config_can_be_read_back(daemon, tmp_path):
    done = daemon.command("--check-config")
    assert done.returncode == 0, done.stderr
    printed = daemon.command("--print-config")
    assert printed.returncode == 0 and f"[{daemon.name}]" in printed.stdout
    if "***" not in printed.stdout:
        again = tmp_path / "again.conf"
        again.write_text(printed.stdout)
        twice = subprocess.run([str(BIN / f"reel-{daemon.name}"), "-c", str(again), "--print-config"],
                               capture_output=True, text=True)
        assert twice.returncode == 0 and twice.stdout == printed.stdout


def test_the_admin_port_is_not_read_by_pages_of_a_name_that_means_this_machine(daemon):
    """DNS rebinding: to the browser the page and the port are of one origin, and the field Host alone shows the difference."""
    for host, status in (("evil.example", 421), (f"evil.example:{daemon.admin_port}", 421), ("localhost", 200),
                         (f"127.0.0.1:{daemon.admin_port}", 200), ("[::1]", 200)):
        for path in ("/metrics", "/healthz", "/status"):
            connection = http.client.HTTPConnection("127.0.0.1", daemon.admin_port, timeout=20)
            connection.request("GET", path, headers={"Host": host})
            answer = connection.getresponse()
            body = answer.read()
            connection.close()
            assert answer.status == status and (status == 200 or len(body) < 100), (host, path, body)


def test_backup_copies_what_is_in_use_and_says_where_it_cannot(daemon, tmp_path):
    copy = tmp_path / "copy.db"
    done = daemon.command("--backup", str(copy))
    if daemon.name == "httpd":
        assert done.returncode == 2 and "no database" in done.stderr
    elif "mysql:" in daemon.config_file.read_text():
        assert done.returncode == 1 and "mariadb-dump" in done.stderr
    else:
        assert done.returncode == 0 and str(copy) in done.stdout, done.stderr
        with contextlib.closing(sqlite3.connect(copy)) as database:
            names = {name for name, in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        assert names & {"t_router", "t_id_gen", "t_file_01"}
    assert copy.exists() == (done.returncode == 0)


def test_the_database_url_may_stand_in_a_file_of_its_own(daemon, tmp_path):
    if daemon.name == "httpd":
        return
    secret = tmp_path / "url"
    secret.write_text("mysql://reel:sesame@127.0.0.1:1/reel?tls=perhaps\n")
    secret.chmod(0o600)
    done = daemon.command("-o", f"database.url_file={secret}", "--check-config")
    assert done.returncode == 2 and "database.url_file" in done.stderr and "required, prefer, off" in done.stderr
    assert "sesame" not in done.stdout + done.stderr
    secret.write_text("sqlite:/nowhere/at/all.db\n")
    assert daemon.command("-o", f"database.url_file={secret}", "--check-config").returncode == 0
    done = daemon.command("-o", f"database.url_file={secret}.gone", "--check-config")
    assert done.returncode == 2 and f"{secret}.gone" in done.stderr


def test_help_shows_every_option_and_version_the_version(daemon):
    done = subprocess.run([str(BIN / f"reel-{daemon.name}"), "--help"], capture_output=True, text=True)
    assert done.returncode == 0 and "listen" in done.stdout and "pid_file" in done.stdout
    version = subprocess.run([str(BIN / f"reel-{daemon.name}"), "--version"], capture_output=True, text=True)
    assert version.returncode == 0 and version.stdout == f"reel-{daemon.name} {VERSION}\n"
    assert subprocess.run([str(BIN / f"reel-{daemon.name}"), "--nonsense"], capture_output=True).returncode == 2


def options_of(markdown):
    """{(section, option): default} of a page written by --help-markdown."""
    options, section = {}, None
    for line in markdown.splitlines():
        if head := re.match(r"### \[(\w+)\]", line):
            section = head[1]
        elif row := re.match(r"\| `(\w+)` \| .*? \| (.*?) \| (?:yes|no) \| ", line):
            options[section, row[1]] = "" if row[2] == "empty" else row[2].strip("`")
    return options


@pytest.mark.parametrize("name", NAMES)
def test_the_example_has_every_option_with_its_default(name):
    described = options_of(subprocess.run([str(BIN / f"reel-{name}"), "--help-markdown"], check=True, capture_output=True,
                                     text=True).stdout)
    example, section = {}, None
    for line in (ROOT / "conf" / f"{name}.conf").read_text().splitlines():
        if head := re.match(r"\[(\w+)\]", line):
            section = head[1]
        elif row := re.match(r"#?(\w+) =(.*)", line):
            example[section, row[1]] = row[2].strip()
    assert len(described) > 10 and set(example) == set(described)
    assert {k: v for k, v in example.items() if described[k] != "must be given"} == \
        {k: v for k, v in described.items() if v != "must be given"}
    assert subprocess.run([str(BIN / f"reel-{name}"), "-c", str(ROOT / "conf" / f"{name}.conf"), "--check-config"],
                          capture_output=True).returncode == 0


def test_the_page_of_options_is_what_the_daemons_say():
    done = subprocess.run([str(ROOT / "scripts" / "generate-docs.sh"), "--check", str(BIN)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("line, expected", [
    ("listn = 127.0.0.1:1", "listn"), ("listen = 127.0.0.1:99999", "99999"), ("listen = [::1", "[::1"),
    ("[nosuchsection]\nx = 1", "nosuchsection")])
def test_a_wrong_option_is_reported_with_file_and_line(daemon, tmp_path, line, expected):
    file = tmp_path / "wrong.conf"
    file.write_text(f"# a comment\n[{daemon.name}]\n{line}\n")
    done = subprocess.run([str(BIN / f"reel-{daemon.name}"), "-c", str(file), "--check-config"],
                          capture_output=True, text=True)
    assert done.returncode == 2
    assert f"{file}:{2 + len(line.splitlines())}:" in done.stderr and expected in done.stderr, done.stderr


def test_a_second_instance_says_what_is_in_the_way(daemon):
    done = daemon.command()
    assert done.returncode != 0
    text = done.stderr + daemon.log()
    assert "in use" in text or "already" in text or "runs" in text


def test_the_admin_port_shows_metrics_health_and_status(daemon):
    code, text = daemon.http("/metrics")
    assert code == 200 and "# TYPE" in text and "process_resident_memory_bytes" in text
    wait_for(lambda: daemon.http("/healthz")[0] == 200, 20, "health")
    assert isinstance(daemon.status(), dict)
    assert daemon.http("/nothing")[0] == 404


def test_sighup_takes_what_can_be_reloaded_and_says_what_cannot(own_suite):
    tracker = own_suite.add_tracker()
    tracker.init_db()
    tracker.start()
    config = {s: dict(o) for s, o in tracker.config.items()}
    config["tracker"]["listen"] = "127.0.0.1:1"
    config["log"] = {"level": "warning", "file": tracker.log_file}
    tracker.configure(config)
    tracker.hup()
    wait_for(lambda: "restart" in tracker.log() and "tracker.listen" in tracker.log(), 10, "the log's word on listen")
    tracker.config_file.write_text("[tracker]\nnonsense = 1\n")
    tracker.hup()
    wait_for(lambda: "nonsense" in tracker.log(), 10, "the log's word on the bad file")
    assert tracker.process.poll() is None


def test_sighup_reopens_the_log(own_suite):
    tracker = own_suite.add_tracker()
    tracker.init_db()
    tracker.start()
    tracker.log_file.rename(tracker.log_file.with_suffix(".1"))
    tracker.hup()
    wait_for(lambda: tracker.log_file.exists() and tracker.log(), 10, "a new log file")


def test_a_stop_says_that_the_upkeep_waits_for_the_database(own_suite):
    """Another program writes to the SQLite file and does not end its transaction."""
    if own_suite.mariadb:
        pytest.skip("a lock on the whole database is SQLite's")
    storage = own_suite.add_storage(trackers="127.0.0.1:1", idservers="127.0.0.1:1", lease="2s", database_timeout="8s")
    storage.config["database"]["url"] += "?busy_timeout=8s"
    storage.configure(storage.config)
    storage.init_db()
    storage.start()
    wait_for(lambda: storage.metric("reel_storage_lease_held") == 1, 20, "the lease")
    with contextlib.closing(sqlite3.connect(own_suite.dir / "meta" / "storagedb.db", isolation_level=None, timeout=60)) as other:
        other.execute("BEGIN IMMEDIATE")
        storage.wait_logged("no upkeep for now")
        time.sleep(3)  # a second later it waits again, for eight
        storage.process.terminate()
        storage.wait_logged("the upkeep does not end: it waits for the database")
        assert storage.process.wait(120) == 0
        other.execute("ROLLBACK")
    log = storage.log()
    assert "file system" not in log.partition("SIGTERM")[2] and "daemon: ended" in log


def test_a_database_that_forgets_in_a_power_cut_is_a_concern_of_whoever_does_not_accept_that(mariadb_suite):
    mariadb_suite.mariadb.sql("SET GLOBAL innodb_flush_log_at_trx_commit = 2")
    mariadb_suite.start(storage_options={"durability": "relaxed"})
    for daemon in (mariadb_suite.tracker, mariadb_suite.idserver):
        wait_for(lambda: "degraded: the database" in daemon.http("/healthz")[1], 20, f"{daemon.label} is degraded")
    wait_for(lambda: mariadb_suite.storage.http("/healthz")[1].strip() == "ok", 20, "the storage server is well")
    mariadb_suite.storage.stop()
    mariadb_suite.storage.configure({**mariadb_suite.storage.config, "storage": {**mariadb_suite.storage.config["storage"], "durability": "durable"}})
    mariadb_suite.storage.start()
    wait_for(lambda: "innodb_flush_log_at_trx_commit = 2" in mariadb_suite.storage.http("/healthz")[1], 20, "a durable one is degraded")
