"""A machine: Debian with a real systemd, booted by systemd-nspawn from an overlay over a root that is never changed."""
import os
import pathlib
import signal
import subprocess
import time


PATIENCE = float(os.environ.get("REEL_PATIENCE", "4"))  # as tests/system/suite.py has it


def wait_for(condition, seconds, what):
    """SECONDS are those of a calm machine."""
    end = time.monotonic() + PATIENCE * seconds
    while time.monotonic() < end:
        value = condition()
        if value:
            return value
        time.sleep(0.1)
    raise AssertionError(f"{what}: not within {PATIENCE * seconds:.0f} s")


class Machine:
    def __init__(self, directory, name, lower, network="/proc/self/ns/net", options=()):
        self.directory, self.name, self.network, self.options = pathlib.Path(directory) / name, name, network, options
        self.root = self.directory / "root"
        for part in ("upper", "work", "root"):
            (self.directory / part).mkdir(parents=True)
        subprocess.run(["mount", "-t", "overlay", "overlay", "-o", f"lowerdir={lower},upperdir={self.directory}/upper,workdir={self.directory}/work",
                        self.root], check=True)
        (self.root / "etc/hostname").write_text(name + "\n")
        self.nspawn = None

    def path(self, inside):
        return self.root / str(inside).lstrip("/")

    def boot(self):
        began = time.monotonic()
        self.console = open(self.directory / "console", "ab")
        self.nspawn = subprocess.Popen(
            ["systemd-nspawn", "-q", "-D", self.root, "--hostname", self.name, "--network-namespace-path=" + self.network, "--register=no",
             "--keep-unit", "--resolv-conf=off", "--timezone=off", *self.options, "-b", "--console=read-only"],
            stdin=subprocess.DEVNULL, stdout=self.console, stderr=self.console, env=os.environ | {"SYSTEMD_NSPAWN_UNIFIED_HIERARCHY": "1"})
        self.wait_until_up()
        return time.monotonic() - began

    def wait_until_up(self):
        wait_for(self.up, 120, f"{self.name}: systemd is up; its console says: {(self.directory / 'console').read_text()[-2000:]}")

    def init(self):
        """The process 1 of the machine, as the tests see it; None where there is none."""
        children = pathlib.Path(f"/proc/{self.nspawn.pid}/task/{self.nspawn.pid}/children")
        return next(iter(children.read_text().split()), None) if children.exists() else None

    def up(self):
        assert self.nspawn.poll() is None, f"systemd-nspawn ended: {(self.directory / 'console').read_text()[-2000:]}"
        return bool(self.init()) and self.run("systemctl", "is-system-running", check=False).stdout.strip() in ("running", "degraded")

    def command(self, *command):
        return ["nsenter", "-t", self.init(), "-m", "-u", "-i", "-n", "-p", "-C", "env", "-i", "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root",
                "LC_ALL=C.UTF-8", "DEBIAN_FRONTEND=noninteractive", *map(str, command)]

    def run(self, *command, check=True, timeout=120 * PATIENCE, **more):
        done = subprocess.run(self.command(*command), capture_output=True, text=True, timeout=timeout, stdin=subprocess.DEVNULL, **more)
        assert not check or done.returncode == 0, \
            f"{self.name}: {' '.join(map(str, command))}: code {done.returncode}\n{done.stdout}{done.stderr}\n{self.journal() if check else ''}"
        return done

    def sh(self, script, **more):
        return self.run("sh", "-ec", script, **more)

    def start(self, *command):
        return subprocess.Popen(self.command(*command), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def journal(self, unit="reel-*"):
        return self.run("journalctl", "--no-pager", "-o", "cat", "-n", "60", "-u", unit, check=False).stdout

    def reboot(self):
        """As `reboot` does it. systemd-nspawn boots the root again."""
        before = self.init()
        self.run("systemctl", "reboot", check=False)
        wait_for(lambda: self.nspawn.poll() is not None or self.init() not in (None, before), 60, f"{self.name}: the reboot")
        if self.nspawn.poll() is not None:
            return self.boot()
        return self.wait_until_up()

    def stop(self):
        if self.nspawn and self.nspawn.poll() is None:
            init = self.init()
            if init:
                os.kill(int(init), signal.SIGRTMIN + 4)  # power off
            try:
                self.nspawn.wait(30 * PATIENCE)
            except subprocess.TimeoutExpired:
                self.nspawn.kill()
                self.nspawn.wait()
        subprocess.run(["umount", "-l", self.root])
