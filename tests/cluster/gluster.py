"""GlusterFS on hosts of the lab: the daemons, replicated volumes with an arbiter, FUSE mounts, what can happen to them."""
import contextlib
import re
import time

from lab import alive, kill, wait_for

# As docs/deployment.md recommends, but for the ping-timeout (10 s there): a test should not wait.
OPTIONS = {
    "network.ping-timeout": "3",
    "cluster.quorum-type": "auto",
    "cluster.server-quorum-type": "none",
    "performance.flush-behind": "off",
    "features.cache-invalidation": "off",
    "cluster.heal-timeout": "60",
    "storage.reserve": "0",
}


class Pool:
    """glusterd on each host, all of them peers."""

    def __init__(self, hosts):
        self.hosts = hosts
        for host in hosts:
            self.start(host)
        for host in hosts[1:]:
            self.gluster("peer", "probe", host.label)
        wait_for(self.joined, 40, "the peers' acquaintance")

    def start(self, host):
        host.run("glusterd", "-p", "/run/glusterd.pid")
        wait_for(lambda: host.run("gluster", "--mode=script", "pool", "list", check=False).returncode == 0, 30, f"glusterd of {host}")

    def gluster(self, *command, host=None, **more):
        return (host or self.hosts[0]).run("gluster", "--mode=script", *command, **more).stdout

    def joined(self):
        for host in self.hosts:
            text = self.gluster("peer", "status", host=host)
            if text.count("Peer in Cluster (Connected)") != len(self.hosts) - 1:
                return False
        return True

    def pids(self, host):
        """Every GlusterFS server process of a host: not the FUSE mounts."""
        found = []
        for file in host.path("/run").rglob("*.pid"):
            if file.name == "glusterd.pid" or "gluster" in str(file.parent):
                text = file.read_text().strip()
                if text and alive(int(text)):
                    found.append(int(text))
        return found

    def kill(self, host):
        """All of the host's GlusterFS servers, at once."""
        for pid in self.pids(host):
            with contextlib.suppress(ProcessLookupError):  # glusterd itself ends one now and then, to start it anew
                kill(pid)

    def make_whole(self):
        """glusterd runs on each host; where it does not, what it left behind goes first."""
        for host in self.hosts:
            file = host.path("/run/glusterd.pid")
            text = file.read_text().strip() if file.exists() else ""
            if not text or not alive(int(text)):
                self.kill(host)
                self.start(host)
        wait_for(self.joined, 60, "the GlusterFS peers")


class Volume:
    """replica 3 arbiter 1 over three hosts."""

    def __init__(self, pool, name, options=None, below=""):
        """BELOW: the bricks' directory inside /srv/brick/NAME, where something is mounted there."""
        self.pool, self.name = pool, name
        self.mounts, self.mount_count = {}, 0
        for host in pool.hosts:
            host.run("mkdir", "-p", f"/srv/brick/{name}")
        self.do("create", name, "replica", "3", "arbiter", "1", *[f"{host}:/srv/brick/{name}{below}" for host in pool.hosts], "force")
        for option, value in {**OPTIONS, **(options or {})}.items():
            self.do("set", name, option, value)
        self.do("start", name)

    def do(self, *command, **more):
        return self.pool.gluster("volume", *command, **more)

    def mount(self, host, directory=None, below=""):
        """Mounts the volume, or its directory BELOW, at DIRECTORY; what is mounted there goes first."""
        directory = directory or f"/srv/{self.name}"
        if below and (host, directory) not in self.mounts:
            self.mount(host)
            host.run("mkdir", "-p", f"/srv/{self.name}{below}")
        self.mounts[host, directory] = below
        servers = [str(h) for h in sorted(self.pool.hosts, key=lambda h: h is not host)]
        name = directory.strip("/").replace("/", "-")

        def mounted():
            host.run("umount", "-l", directory, check=False)
            host.run("mkdir", "-p", directory)
            # One that was unmounted lives, and locks its pid file, for as long as somebody has a file of it open.
            self.mount_count += 1
            host.path(f"/run/{name}.last").write_text(f"/run/{name}-{self.mount_count}.pid")
            host.run("glusterfs", "--process-name", "fuse", *[f"--volfile-server={s}" for s in servers], f"--volfile-id={self.name}",
                     *([f"--subdir-mount={below}"] if below else []), f"--pid-file=/run/{name}-{self.mount_count}.pid",
                     f"--log-file=/var/log/glusterfs/{name}.log", directory, check=False, timeout=40)
            until = time.monotonic() + 10
            while not self.mounted(host, directory):
                if time.monotonic() > until:
                    return False
                time.sleep(0.1)
            return True
        wait_for(mounted, 40, f"{self.name} on {host}")
        return directory

    def mounted(self, host, directory):
        return f" {directory} fuse.glusterfs " in host.run("cat", "/proc/mounts").stdout and \
            host.run("ls", directory, check=False, timeout=20).returncode == 0

    def make_whole(self):
        if self.pending()[0] != 3:
            self.revive()
        self.healed()
        for (host, directory), below in self.mounts.items():
            if not self.mounted(host, directory):
                self.mount(host, directory, below)

    def unmount(self, host, directory=None):
        """As it happens to a volume: it is gone from its place; who uses its files holds on to them."""
        host.run("umount", "-l", directory or f"/srv/{self.name}")

    def forget(self, host, directory):
        del self.mounts[host, directory]

    def fuse_pid(self, host, directory=None):
        name = (directory or f"/srv/{self.name}").strip("/").replace("/", "-")
        return host.pid(host.path(f"/run/{name}.last").read_text())

    def brick(self, host):
        return host.path(f"/srv/brick/{self.name}")

    def brick_pid(self, host):
        for file in host.path(f"/run/gluster/vols/{self.name}").glob("*.pid"):
            return int(file.read_text())
        raise FileNotFoundError(f"no brick of {self.name} on {host}")

    def kill_brick(self, host):
        kill(self.brick_pid(host))

    def revive(self):
        """Starts what bricks are dead."""
        self.do("start", self.name, "force")

    def pending(self):
        """Connected bricks, entries to heal, entries in split brain."""
        text = self.do("heal", self.name, "info", "summary", check=False)
        total = sum(int(n) for n in re.findall(r"^Total Number of entries: (\d+)", text, re.M))
        split = sum(int(n) for n in re.findall(r"in split-brain: (\d+)", text))
        return len(re.findall(r"^Status: Connected", text, re.M)), total, split

    def healed(self, seconds=90):
        last = [0.0]

        def clean():
            if self.pending() == (3, 0, 0):
                return True
            if time.monotonic() - last[0] > 2:  # the crawler itself comes only now and then
                last[0] = time.monotonic()
                self.do("heal", self.name, check=False)
            return False
        wait_for(clean, seconds, f"healing of {self.name}")

    def bricks_agree(self):
        """How many files are stored on both data bricks; their names and contents are the same there.

        The trial files by which running storage servers probe a path come and go, on one brick before the other.
        """
        def listing(host):
            root = self.brick(host)
            return {str(p.relative_to(root)): p.read_bytes() for p in root.rglob("*")
                    if not p.name.startswith(".trial-") and p.is_file() and ".glusterfs" not in p.relative_to(root).parts[0]}
        first, second = (listing(h) for h in self.pool.hosts[:2])
        assert first.keys() == second.keys(), first.keys() ^ second.keys()
        assert first == second, [name for name in first if first[name] != second[name]]
        return len(first)
