"""keepalived on hosts of the lab, with the files of conf/keepalived as they are; only the site file is written here."""
import pathlib
import shutil
import time

from lab import NETWORK, end, wait_for

CONF = pathlib.Path(__file__).resolve().parents[2] / "conf" / "keepalived"
ADDRESS = {"tracker": NETWORK + "100", "httpd": NETWORK + "101", "storage": NETWORK + "102"}
SETTLED = 3  # seconds; advertisements come every 0.2 s, and a host takes part after two checks of 1 s


class Keepalived:
    """The virtual address of ROLE over HOSTS; settle() puts the one that has it first."""

    def __init__(self, role, hosts):
        self.role, self.hosts, self.address = role, hosts, ADDRESS[role]
        self.processes = {}
        try:
            for number, host in enumerate(hosts):
                self.install(host, 150 - 10 * number)
                self.start(host)
        except BaseException:
            self.stop()
            raise

    def install(self, host, priority):
        etc = host.path("/etc/keepalived")
        shutil.rmtree(etc)
        etc.mkdir()
        for file in ("keepalived.conf", "check-reelstore", f"reelstore-role-{self.role}.conf"):
            shutil.copy(CONF / file, etc)
        others = "\\\n    ".join(h.ip for h in self.hosts if h is not host)
        values = {"HOST": host.label, "INTERFACE": "eth0", "PRIORITY": priority, "ADDRESS": host.ip, "PEERS": "\\\n    " + others,
                  "TRACKER_VIRTUAL": ADDRESS["tracker"], "HTTPD_VIRTUAL": ADDRESS["httpd"], "STORAGE_VIRTUAL": ADDRESS["storage"],
                  "TRACKER_ADMIN": 21100, "HTTPD_ADMIN": 8180, "STORAGE_ADMIN": 23100}
        text = (CONF / "reelstore-site.conf").read_text()
        assert {line[1:].split("=")[0] for line in text.splitlines() if line.startswith("$")} == values.keys()
        (etc / "reelstore-site.conf").write_text("".join(f"${k}={v}\n" for k, v in values.items()))
        done = host.run("keepalived", "-t", check=False)  # ends by a signal of its own, here: what it says counts
        assert done.stdout + done.stderr == "", done.stdout + done.stderr

    def start(self, host):
        self.processes[host] = host.start("keepalived", "-n", "-l", "-D", "-P", "-p", f"/run/ka-{self.role}.pid", "-r",
                                          f"/run/ka-{self.role}-vrrp.pid", log=f"keepalived-{self.role}.log")

    def owners(self):
        return [host for host in self.hosts if self.address in host.addresses()]

    def settle(self):
        """Both may own it for a moment while they learn of each other, and the first to be well need not keep it."""
        seen, since = [], time.monotonic()

        def stays():
            nonlocal seen, since
            owners = self.owners()
            if owners != seen:
                seen, since = owners, time.monotonic()
            return len(seen) == 1 and time.monotonic() - since >= SETTLED
        wait_for(stays, 20, f"one owner of {self.address}")
        self.hosts = sorted(self.hosts, key=lambda host: host not in seen)

    def owned_by(self, host, seconds=15):
        wait_for(lambda: self.owners() == [host], seconds, f"{self.address} on {host} alone")

    def logs(self):
        return {host: (host.dir / f"keepalived-{self.role}.log").read_text() for host in self.hosts}

    def log(self):
        return "\n".join(f"-- {host}: {text[-3000:]}" for host, text in self.logs().items())

    def killed(self):
        """The hosts on which the part of keepalived that keeps the address ended by itself and was started anew."""
        return [host for host, text in self.logs().items() if "died: Respawning" in text]

    def stop(self):
        for process in self.processes.values():
            end(process)
        self.processes = {}

    def cleared(self):
        """True once no host has the address; takes away what an ended keepalived has left, so that the next test begins without it."""
        for host in self.owners():
            host.run("ip", "address", "del", f"{self.address}/32", "dev", "eth0", check=False)
        return not self.owners()
