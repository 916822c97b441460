"""The project's daemons on hosts of the lab, with the ports that they have in the world."""
import subprocess
import time

import suite
import wire
from lab import wait_for
from suite import APP, new_id  # noqa: F401

PORTS = {"tracker": 21000, "idserver": 22000, "storage": 23000, "httpd": 8080}
ADMIN = {"tracker": 21100, "idserver": 22100, "storage": 23100, "httpd": 8180}


class Daemon(suite.Daemon):
    """One daemon on a host. SHIFT distinguishes several of a kind on one host."""

    def __init__(self, host, name, config, shift=0):
        self.machine = host
        for part in ("etc", "log", "run"):
            (host.dir / part).mkdir(exist_ok=True)
        port = PORTS[name] + shift
        # Another address beside the stated one may be given, for a virtual address that moves here.
        config.setdefault(name, {}).setdefault("listen", f"0.0.0.0:{port}")
        config.setdefault("daemon", {})["stop_timeout"] = "5s"  # who was cut off is not waited for
        config.setdefault("admin", {})["listen"] = f"0.0.0.0:{ADMIN[name] + shift}"
        super().__init__(name, host.dir, config, port, ADMIN[name] + shift, f"{name}{shift or ''}")
        self.address, self.host = (host.ip, port), host.ip

    def __repr__(self):
        return f"{self.label} on {self.machine}"

    def command_line(self, *arguments):
        return self.machine.command(self.machine.lab.bin / f"reel-{self.name}", "-c", self.config_file, *arguments)

    @property
    def running(self):
        return self.process is not None and self.process.poll() is None

    def healthy(self):
        return self.http("/healthz")[0] == 200


def tracker(host, database, shift=0, **options):
    return Daemon(host, "tracker", {
        "tracker": {"heartbeat_timeout": "4s", "suspect_grace": "1s", "groups_refresh": "1s", **options},
        "database": {"url": database.url("tnv_trackerdb")}}, shift)


def idserver(host, database, shift=0, **options):
    return Daemon(host, "idserver", {"idserver": options, "database": {"url": database.url("tnv_idsdb")}}, shift)


def storage(host, database, group, paths, trackers, idservers, shift=0, **options):
    return Daemon(host, "storage", {
        "storage": {"group": group, "paths": paths, "mount_check": "mount", "heartbeat_interval": "1s", "probe_interval": "1s",
                    "hang_timeout": "2s", "reserve_space": "0", "reserve_inodes": "0",
                    "trackers": ", ".join(str(t) for t in trackers), "idservers": ", ".join(str(i) for i in idservers), **options},
        "database": {"url": database.url("tnv_storagedb")}}, shift)


def httpd(host, trackers, user="alice", **options):
    return Daemon(host, "httpd", {"httpd": {"trackers": ", ".join(str(t) for t in trackers), "user": user, "application": APP,
                                            **options}})


def groups_text(tracker):
    reply = wire.ask(tracker.address, wire.GROUPS)
    assert reply.ok, reply
    return reply.body.rstrip(b"\0").decode()


def states(tracker):
    """Of each storage server that TRACKER knows: (host name, "address:port") -> state."""
    found, host, address = {}, None, None
    for line in groups_text(tracker).splitlines():
        label, value = (part.strip() for part in line.split(":", 1))
        if label == "HOSTNAME":
            host = value
        elif label == "ADDRESS":
            address = value
        elif label == "STATUS":
            found[host, address] = value
    return found


def active(tracker, count, seconds=30):
    wait_for(lambda: list(states(tracker).values()).count("ACTIVE") >= count, seconds, f"{count} ACTIVE storage servers")


def route(tracker, user, app=APP, file="x"):
    """(group, [address...]) as SADDRS answers, or the failure, a wire.Reply."""
    reply = wire.ask(tracker.address, wire.SADDRS, wire.file_key(app, user, file))
    if not reply.ok:
        return reply
    group = reply.body[:17].split(b"\0", 1)[0].decode()
    return group, [a for a in reply.body[17:].split(b"\0", 1)[0].decode().split(";") if a]


def group_of(tracker, user):
    """The group that TRACKER sends USER to; None for a failure."""
    answer = route(tracker, user)
    return answer[0] if isinstance(answer, tuple) else None


class Reel:
    """The reel command, run beside the hosts."""

    def __init__(self, lab, trackers, user="alice", app=APP):
        self.lab, self.trackers, self.user, self.app = lab, ",".join(trackers), user, app

    def __call__(self, *arguments, input=None, check=True, timeout=120):
        done = subprocess.run([str(self.lab.bin / "reel"), "-t", self.trackers, "-u", self.user, "-a", self.app,
                               *map(str, arguments)], input=input, capture_output=True, timeout=timeout)
        assert not check or done.returncode == 0, (done.returncode, done.stdout[-500:], done.stderr.decode())
        return done

    def upload(self, content, **more):
        return self("upload", "-q", "-", input=content, **more).stdout.decode().strip()

    def download(self, file, **more):
        return self("download", "-q", file, "-", **more).stdout


def eventually(call, seconds, what):
    """How long it took until CALL() was true."""
    begin = time.monotonic()
    wait_for(call, seconds, what)
    return time.monotonic() - begin
