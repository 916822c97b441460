"""MariaDB on hosts of the lab: alone, or as a Galera cluster of two nodes and an arbitrator."""
import shutil
import subprocess

from lab import end, run, wait_for

PASSWORD = "lab"
# As docs/deployment.md recommends: a lost node holds writes up for one to two seconds instead of six.
PROVIDER = "evs.suspect_timeout=PT1S;evs.inactive_timeout=PT3S;evs.keepalive_period=PT0.3S;evs.inactive_check_period=PT0.3S"


def seed(lab):
    """An empty data directory, made once and copied."""
    directory = lab.dir / "seed"
    if not directory.exists():
        begun = lab.dir / "seed-begun"
        shutil.rmtree(begun, ignore_errors=True)
        begun.mkdir()
        shutil.chown(begun, "mysql")
        run("mariadb-install-db", "--no-defaults", "--user=mysql", f"--datadir={begun}", f"--tmpdir={own_tmp(lab.dir)}",
            "--auth-root-authentication-method=normal", "--skip-test-db", "--innodb-log-file-size=16M")
        begun.rename(directory)
    return directory


def own_tmp(directory):
    """A server's own directory of temporary tables: one that starts removes those of every other one it shares it with."""
    tmp = directory / "tmp-of-mariadb"
    tmp.mkdir(exist_ok=True)
    shutil.chown(tmp, "mysql")
    return tmp


class Node:
    """A MariaDB server; with PEERS (addresses of all nodes) a member of a Galera cluster."""

    def __init__(self, host, peers=()):
        self.host, self.peers = host, peers
        self.process = None
        self.dir = host.dir / "mariadb"
        self.dir.mkdir()
        shutil.chown(self.dir, "mysql")
        if not peers or peers[0] == host.ip:
            run("cp", "-a", seed(host.lab), self.dir / "data")
        else:
            (self.dir / "data").mkdir()  # gets everything from the others
            shutil.chown(self.dir / "data", "mysql")
        options = {
            "user": "mysql", "datadir": self.dir / "data", "tmpdir": own_tmp(self.dir), "socket": self.dir / "s",
            "pid-file": self.dir / "pid", "log-error": self.dir / "log", "port": 3306, "bind-address": "0.0.0.0", "performance-schema": "off",
            "innodb-buffer-pool-size": "32M", "innodb-log-file-size": "16M", "max-connections": 300,
            "innodb-flush-log-at-trx-commit": 1 if not peers else 2,
        }
        if peers:
            options |= {
                "binlog-format": "ROW", "default-storage-engine": "InnoDB", "innodb-autoinc-lock-mode": 2, "wsrep-on": "ON",
                "wsrep-provider": "/usr/lib/galera/libgalera_smm.so", "wsrep-cluster-name": "reelstore",
                "wsrep-cluster-address": "gcomm://" + ",".join(peers), "wsrep-node-address": host.ip,
                "wsrep-node-name": host.label, "wsrep-sst-method": "rsync", "wsrep-slave-threads": 2,
                "wsrep-provider-options": f'"gcache.size=32M;{PROVIDER}"',
            }
        self.config = self.dir / "my.cnf"
        self.config.write_text("[mariadbd]\nskip-name-resolve\n" + "".join(f"{k} = {v}\n" for k, v in options.items()))

    def start(self, *options, wait=True):
        self.process = self.host.start("mariadbd", f"--defaults-file={self.config}", *options, log="mariadbd.out")
        if wait:
            wait_for(self.ready, 60, f"MariaDB on {self.host}")
        return self

    def ready(self):
        assert self.process.poll() is None or self.fail()
        return self.sql("SELECT 1", check=False) == "1\n" and \
            (not self.peers or self.wsrep("local_state_comment") == "Synced" and self.wsrep("cluster_status") == "Primary")

    def fail(self):
        raise RuntimeError(f"MariaDB on {self.host} ended\n" + "\n".join((self.dir / "log").read_text().splitlines()[-40:]))

    def sql(self, text, database="", check=True, timeout=30):
        done = subprocess.run(self.host.command("mariadb", "--no-defaults", "-uroot", f"-S{self.dir}/s", "-BN",
                                                "--default-character-set=utf8mb4", database),
                              input=text, capture_output=True, text=True, timeout=timeout)
        assert not check or done.returncode == 0, done.stderr
        return done.stdout

    def wsrep(self, name):
        return self.sql(f"SHOW STATUS LIKE 'wsrep_{name}'", check=False).split("\t")[-1].strip()

    def account(self):
        self.sql(f"CREATE USER reel@'%' IDENTIFIED BY '{PASSWORD}'; GRANT ALL ON *.* TO reel@'%'")

    def kill(self):
        self.process.kill()
        self.process.wait()

    def stop(self):
        if self.process:
            end(self.process, 30)


class Database:
    """One server."""

    def __init__(self, host):
        self.node = Node(host).start()
        self.node.account()
        self.hosts = host.ip

    def url(self, database):
        return f"mysql://reel:{PASSWORD}@{self.hosts}/{database}?tls=off"

    def sql(self, text, database=""):
        """Rows of strings."""
        return [line.split("\t") for line in self.node.sql(text, database).splitlines()]

    def kill(self):
        self.node.kill()

    def start(self):
        self.node.start()

    def stop(self):
        self.node.stop()


class Galera:
    """Two nodes, and garbd on a third host, so that either node alone is a majority with it."""

    def __init__(self, first, second, third):
        self.hosts = f"{first.ip},{second.ip}"
        self.nodes = [Node(h, (first.ip, second.ip)) for h in (first, second)]
        self.third = third
        self.nodes[0].start("--wsrep-new-cluster")
        self.nodes[0].account()
        self.nodes[1].start()
        self.start_arbitrator()
        self.whole()

    def start_arbitrator(self):
        members = ",".join(f"{ip}:4567" for ip in self.hosts.split(","))
        self.arbitrator = self.third.start("garbd", "--group", "reelstore", "--address", f"gcomm://{members}",
                                           "--options", PROVIDER, log="garbd.out")

    def whole(self, seconds=60):
        wait_for(lambda: all(n.ready() and n.wsrep("cluster_size") == "3" for n in self.nodes), seconds, "the cluster of three")

    def url(self, database):
        return f"mysql://reel:{PASSWORD}@{self.hosts}/{database}?tls=off&connect_timeout=1s&read_timeout=3s&write_timeout=3s"

    def sql(self, text, database=""):
        for node in self.nodes:
            try:
                return [line.split("\t") for line in node.sql(text, database, timeout=10).splitlines()]
            except (AssertionError, subprocess.TimeoutExpired) as error:
                problem = error
        raise problem

    def stop(self):
        end(self.arbitrator)
        for node in self.nodes:
            node.stop()
