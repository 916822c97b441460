"""[daemon] sandbox: a running daemon opens no file but those that it has a use for."""
import shutil
import subprocess
import sys

import pytest

import wire
from identity import Keys
from suite import APP, ROOT, USER, Suite, new_id, wait_for

needs_systemd = pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="systemd-analyze expands the filter's sets")


@pytest.fixture
def one():
    suite = Suite("sqlite")
    try:
        yield suite
    finally:
        suite.stop()


def confined(daemon):
    """Skips, loudly, where the kernel cannot do it."""
    if wait_for(daemon.status)["daemon"]["confined"]:
        return True
    daemon.wait_logged("NOT CONFINED to its files: this kernel has no Landlock")
    pytest.skip("THIS KERNEL HAS NO LANDLOCK: NOTHING IS TESTED HERE")


def secret_elsewhere(directory):
    """A file that is no business of the daemon's: its mode lets it be read, so that only the sandbox can refuse."""
    secret = directory / "url"
    secret.write_text("sqlite:/nowhere/at/all.db\n")
    secret.chmod(0o600)
    return secret


def point_to(daemon, secret):
    """Reloads a configuration in which database.url_file names SECRET, which a reload reads."""
    daemon.config["database"]["url_file"] = secret
    daemon.configure(daemon.config)
    daemon.hup()
    return wait_for(lambda: "configuration reloaded" in daemon.log() or "the configuration stays as it was" in daemon.log())


@pytest.mark.parametrize("name", ["tracker", "storage"])
def test_a_running_daemon_cannot_open_another_path(one, name, tmp_path):
    daemon = one.add_tracker() if name == "tracker" else one.add_storage(trackers="127.0.0.1:1", idservers="127.0.0.1:1")
    daemon.config["daemon"] = {"sandbox": "auto"}
    daemon.configure(daemon.config)
    daemon.init_db()
    daemon.start()
    confined(daemon)
    point_to(daemon, secret_elsewhere(tmp_path))
    assert daemon.status()["daemon"]["reload_refused"]
    daemon.wait_logged("Permission denied")
    daemon.log_file.rename(daemon.log_file.with_suffix(".1"))
    daemon.hup()
    assert wait_for(daemon.log_file.exists, what="the log is made anew beside the one that was moved")


@pytest.mark.parametrize("sandbox", ["auto", "off"])
def test_reel_httpd_writes_and_reads_no_other_directory(one, tmp_path, sandbox):
    """Directories that it may use are exchanged for others of the same names and modes: Landlock knows those that were there
    at the start, and nothing else refuses the new ones. Without a sandbox both are used."""
    keys = Keys(tmp_path / "keys" / "file")
    access = tmp_path / "web" / "access.log"
    for directory in (keys.path.parent, access.parent):
        directory.mkdir()
    keys.add("web-1", "gateway").write()
    httpd = one.add_httpd(trackers="127.0.0.1:1", access_log=access)
    httpd.configure({**httpd.config, "daemon": {"sandbox": sandbox}, "auth": {"mode": "prefer", "keys": keys.path}})
    httpd.start()
    if sandbox == "auto":
        confined(httpd)
    assert wait_for(httpd.status)["daemon"]["confined"] is (sandbox == "auto")
    httpd.hup()
    wait_for(lambda: "configuration reloaded" in httpd.log(), what="a reload while everything is in its place")
    for directory in (keys.path.parent, access.parent):
        directory.rename(directory.with_suffix(".moved"))
        directory.mkdir()
    keys.write()
    httpd.hup()
    if sandbox == "off":
        wait_for(access.exists, what="the access log is made anew")
        wait_for(lambda: httpd.log().count("configuration reloaded") == 2)
        return
    wait_for(lambda: f"cannot reopen {access}: Permission denied" in httpd.log(), what="the access log is refused")
    wait_for(lambda: httpd.status()["daemon"]["reload_refused"], what="the keys file is refused")
    refusals = [line for line in httpd.log().splitlines() if str(keys.path) in line and "Permission denied" in line]
    assert refusals and not access.exists(), httpd.tail()


def test_without_a_sandbox_it_can(one, tmp_path):
    daemon = one.add_tracker()
    daemon.config["daemon"] = {"sandbox": "off"}
    daemon.configure(daemon.config)
    daemon.init_db()
    daemon.start()
    assert daemon.status()["daemon"]["confined"] is False
    daemon.wait_logged("daemon.sandbox is off")
    point_to(daemon, secret_elsewhere(tmp_path))
    assert daemon.status()["daemon"]["reload_refused"] is False


@needs_systemd
@pytest.mark.parametrize("mode", ["auto", "required"])
def test_a_kernel_that_cannot_confine_is_reported_loudly(one, mode, tmp_path, monkeypatch):
    monkeypatch.setenv("ASAN_OPTIONS", "detect_leaks=0:exitcode=99")  # a search for leaks needs what the filter refuses
    unit = tmp_path / "without-landlock.service"
    unit.write_text("SystemCallFilter=@system-service\nUMask=0077\n")
    daemon = one.add_tracker()
    daemon.config["daemon"] = {"sandbox": mode}
    daemon.configure(daemon.config)
    daemon.init_db()
    plain = daemon.command_line
    daemon.command_line = lambda *more: [sys.executable, str(ROOT / "tests/system/filtered.py"), str(unit), *plain(*more)]
    if mode == "required":
        done = daemon.command()
        assert done.returncode == 1 and "daemon.sandbox is \"required\"" in done.stderr
        assert "this kernel has no Landlock" in done.stderr
        return
    daemon.start()
    wait_for(lambda: "NOT CONFINED to its files: this kernel has no Landlock" in daemon.log())
    assert daemon.status()["daemon"]["confined"] is False


# ---- volumes that come and go ----

class Apart:
    """A mount namespace of the test's own, in which a daemon runs; what is mounted there goes with it."""

    def __init__(self):
        self.keeper = subprocess.Popen(["unshare", "--mount", "--propagation", "private", "sh", "-c", "echo ready; exec sleep infinity"],
                                       stdout=subprocess.PIPE)
        assert self.keeper.stdout.readline() == b"ready\n"

    def command(self, *command):
        return ["nsenter", "-t", str(self.keeper.pid), "-m", "--", *map(str, command)]

    def run(self, *command):
        return subprocess.run(self.command(*command), check=True, capture_output=True, text=True).stdout

    def end(self):
        self.keeper.kill()
        self.keeper.wait()


@pytest.fixture
def apart():
    if subprocess.run(["unshare", "--mount", "true"], capture_output=True).returncode != 0:
        pytest.skip("THIS MACHINE ALLOWS NO MOUNT NAMESPACE: NOTHING IS TESTED HERE")
    namespace = Apart()
    yield namespace
    namespace.end()


@pytest.mark.parametrize("kind", ["the same file system again", "another mount of the volume", "a volume that comes later",
                                  "a directory inside the volume"])
def test_a_volume_may_be_mounted_anew_under_a_confined_daemon(one, apart, kind):
    one.add_tracker(), one.add_idserver()
    volume = one.dir / "volumes" / "disk1"
    inside = kind == "a directory inside the volume"
    store = volume / "group001" if inside else volume
    volume.mkdir(parents=True)
    for name in ("a", "b"):
        (one.dir / name / "group001").mkdir(parents=True)
    apart.run("mount", "-t", "tmpfs", "none", one.dir / "b")
    daemon = one.add_storage(data=one.dir / "data", mount_check="marker" if inside else "mount", probe_interval="200ms")
    daemon.config["storage"]["paths"] = f"group001={store}"
    daemon.config["daemon"] = {"sandbox": "auto"}
    daemon.configure(daemon.config)
    plain = daemon.command_line
    daemon.command_line = lambda *more: apart.command(*plain(*more))
    if kind != "a volume that comes later":
        apart.run("mount", "--bind", one.dir / "a", volume)
    for each in one.daemons.values():
        each.init_db()
        each.start()
    confined(daemon)

    def stores():
        file = new_id()
        assert wire.ask(one.tracker.address, wire.SADDRS, wire.file_key(APP, USER, file)).ok
        with one.client() as client:
            return client.put(APP, USER, file, b"film" * 1000)

    if kind != "a volume that comes later":
        wait_for(lambda: stores().ok, 30, "a file is stored")
        apart.run("umount", "-l", volume)
        apart.run("cp", "-a", f"{one.dir / 'a'}/.", one.dir / "b")

        def says_so():  # who meets it before the probe does only says what it met
            reply = stores()
            assert reply.ok or (reply.number == wire.UNAVAILABLE and "Permission" not in reply.text), reply
            return not reply.ok and "mounted" in reply.text

        wait_for(says_so, 20, "the loss is noticed")
    again = one.dir / ("b" if inside or kind == "another mount of the volume" else "a")
    apart.run("mount", "--bind", again, volume)
    wait_for(lambda: stores().ok, 30, "files are stored again")
    assert all(stores().ok for _ in range(5))
    assert "Permission denied" not in daemon.log()
    # And so quickly that nobody sees it away: the same directory, but of another mount.
    apart.run("sh", "-c", 'umount -l "$1" && mount --bind "$2" "$1"', "sh", volume, again)
    wait_for(lambda: stores().ok, 30, "files are stored in the new mount")
    assert wait_for(lambda: all(stores().ok for _ in range(5)), 30, "files are stored all the time")
    assert daemon.status()["daemon"]["confined"]
    daemon.wait_logged("and nowhere else")
    apart.run("umount", "-l", volume)
