"""Hosts on one machine: each has its own addresses, mounts, host name, /run, /tmp and processes, and a cable to one switch.

To be used inside the namespaces that run.py makes; whatever is started here ends with them at the latest."""
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "system"))

from suite import BIN, wait_for  # noqa: E402, F401

NETWORK = "10.77.0."
PRIVATE = ("/etc", "/run", "/srv", "/var/lib", "/var/log")
INSIDE = ("/run/gluster", "/run/lock", "/var/lib/glusterd", "/var/lib/reelstore", "/var/log/glusterfs", "/etc/reelstore",
          "/etc/keepalived")


def run(*command, check=True, timeout=60, **more):
    done = subprocess.run([str(c) for c in command], capture_output=True, text=True, timeout=timeout, **more)
    assert not check or done.returncode == 0, f"{' '.join(map(str, command))}: code {done.returncode}\n{done.stdout}{done.stderr}"
    return done


class Lab:
    """The switch, and the hosts on it."""

    def __init__(self, directory):
        self.dir = pathlib.Path(directory)
        self.hosts = {}
        self.names = {}
        run("ip", "link", "add", "br0", "type", "bridge", "forward_delay", "0", "stp_state", "0")
        run("ip", "addr", "add", NETWORK + "254/24", "dev", "br0")
        run("ip", "link", "set", "br0", "up")
        # Where the sources lie may be hidden from the hosts by a directory of theirs.
        self.bin = self.dir / "bin"
        shutil.copytree(BIN, self.bin)

    def host(self, name):
        """The host of that name; made when it is first asked for."""
        if name not in self.hosts:
            self.hosts[name] = Host(self, name, len(self.hosts) + 1)
            self.name(name, self.hosts[name].ip)
        return self.hosts[name]

    def name(self, name, ip):
        """Makes a name known to every host, and to the tests."""
        self.names[name] = ip
        text = "127.0.0.1 localhost\n" + "".join(f"{ip} {name}\n" for name, ip in self.names.items())
        for host in self.hosts.values():
            host.path("/etc/hosts").write_text(text)


class Host:
    def __init__(self, lab, name, number):
        self.lab, self.label = lab, name
        self.ip = NETWORK + str(number)
        self.dir = lab.dir / name
        self.cable = f"v{number}"
        self.path("/").mkdir(parents=True)
        run("cp", "-a", "/etc", self.path("/etc"))
        for directory in (*PRIVATE, *INSIDE):
            self.path(directory).mkdir(parents=True, exist_ok=True)
        for file, text in (("hosts", ""), ("resolv.conf", "")):  # without a name server: else each unknown name costs seconds
            self.path(f"/etc/{file}").unlink(missing_ok=True)
            self.path(f"/etc/{file}").write_text(text)
        setup = [f"hostname {name}", *(f"mount --bind {self.path(p)} {p}" for p in PRIVATE), "ip link set lo up",
                 f"touch {self.dir}/up", "exec sleep infinity"]
        self.keeper = subprocess.Popen(["unshare", "--net", "--mount", "--uts", "sh", "-ec", "\n".join(setup)])
        wait_for((self.dir / "up").exists, 10, f"host {name}")
        run("ip", "link", "add", self.cable, "type", "veth", "peer", "name", "eth0", "netns", self.keeper.pid)
        run("ip", "link", "set", self.cable, "master", "br0", "up")
        self.run("ip", "addr", "add", f"{self.ip}/24", "dev", "eth0")
        self.run("ip", "link", "set", "eth0", "up")

    def __repr__(self):
        return self.label

    def command(self, *command):
        """The command line that runs COMMAND on this host; its process is COMMAND's own."""
        return ["nsenter", "-t", str(self.keeper.pid), "-m", "-n", "-u", "--", *map(str, command)]

    def run(self, *command, **more):
        return run(*self.command(*command), **more)

    def start(self, *command, log=None, **more):
        """A process on this host, in the background. Killing it kills COMMAND."""
        out = open(self.dir / log, "ab") if log else subprocess.DEVNULL
        try:
            return subprocess.Popen(self.command(*command), stdin=subprocess.DEVNULL, stdout=out, stderr=out, **more)
        finally:
            if log:
                out.close()

    def path(self, inside):
        """Where a path below a private directory of this host lies for the tests (what is mounted there does not show)."""
        return self.dir / "root" / str(inside).lstrip("/")

    def pid(self, file):
        """The process that a pid file below a private directory names."""
        return int(self.path(file).read_text())

    # --- cables ---
    def cut(self):
        """The cable is pulled out of the host: both sides lose the carrier."""
        run("ip", "link", "set", self.cable, "down")

    def isolate(self):
        """The switch port dies: no packet passes, and the host does not see why."""
        run("ip", "link", "set", self.cable, "nomaster")

    def mend(self):
        run("ip", "link", "set", self.cable, "master", "br0")
        run("ip", "link", "set", self.cable, "up")

    def addresses(self):
        return [line.split()[3].split("/")[0] for line in self.run("ip", "-4", "-o", "addr", "show", "dev", "eth0").stdout.splitlines()]


def alive(pid):
    try:
        return open(f"/proc/{pid}/stat").read().rsplit(")", 1)[1].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def end(process, seconds=20):
    """SIGTERM, and SIGKILL where that does not help."""
    if process.poll() is None:
        process.send_signal(signal.SIGCONT)
        process.terminate()
        try:
            return process.wait(seconds)
        except subprocess.TimeoutExpired:
            process.kill()
    return process.wait()


def kill(pid):
    os.kill(pid, signal.SIGKILL)
    wait_for(lambda: not alive(pid), 10, f"the end of process {pid}")


class Stopwatch:
    def __init__(self):
        self.begin = time.monotonic()

    @property
    def seconds(self):
        return time.monotonic() - self.begin
