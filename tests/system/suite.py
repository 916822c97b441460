"""Starts real daemons in a private directory on free ports, and ends exactly those."""
import fcntl
import http.client
import json
import os
import pathlib
import random
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import urllib.parse
import urllib.request

import wire

# A shell starts what it leaves in the background with SIGINT ignored; programs under test would inherit that, and tests send it.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ.get("REEL_BUILD", ROOT / "build" / "asan")).resolve()
BIN = BUILD / "bin"
USER, APP = "alice", "tnvideo"


def end_session(process):
    """Ends a process that leads a session of its own, with its children: browsers have many."""
    try:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(10 * PATIENCE)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    except ProcessLookupError:
        process.wait()


RESERVATIONS = open(pathlib.Path(tempfile.gettempdir()) / f"reel-test-ports-{os.getuid()}", "a+b")
RESERVED = set()


def reserve(port):
    """True when PORT is this process's from now until it ends: a lock on one byte of a file that all test runs of the
    account share, which the kernel releases with the process. No other run and no later call gives the port again."""
    if port in RESERVED:
        return False
    try:
        fcntl.lockf(RESERVATIONS, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, port)
    except OSError:
        return False
    RESERVED.add(port)
    return True


def bindable(ports):
    for port in ports:
        with socket.socket() as s:
            try:
                s.bind(("127.0.0.1", port))
            except OSError:
                return False
    return True


def listening_ports():
    """Those outside of the range from which the kernel takes the ports of outgoing connections, so that none of those is in the
    way when a daemon binds later, or binds again. A machine whose range leaves too few has no better ones than the usual."""
    low, high = map(int, pathlib.Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split())
    for first, last in ((10000, 32000), (2000, 65000)):
        outside = [port for port in range(first, last) if not low <= port <= high]
        if len(outside) > 5000:
            return outside
    return list(range(10000, 32000))


PORTS = listening_ports()
PORTS_SET = set(PORTS)


def port_block(count):
    """The first of COUNT ports in a row that are free, and reserved for this process as long as it lives."""
    for _ in range(5000):
        base = random.choice(PORTS)
        block = range(base, base + count)
        if PORTS_SET.issuperset(block) and bindable(block) and all(reserve(port) for port in block):
            return base
    raise RuntimeError(f"no {count} free ports in a row; {len(RESERVED)} are reserved by this process")


def free_ports(count):
    """COUNT ports as port_block() gives them, anywhere."""
    return [port_block(1) for _ in range(count)]


PATIENCE = float(os.environ.get("REEL_PATIENCE", "4"))  # a busy machine is no failure: limits of waiting are so much longer


def wait_for(condition, seconds=20, what="the condition"):
    """What CONDITION says once it is true; while it fails it is not. SECONDS are those of a calm machine."""
    end = time.monotonic() + PATIENCE * seconds
    while True:
        try:
            value = condition()
        except (OSError, EOFError, AssertionError, ValueError, http.client.HTTPException):
            value = None
        if value:
            return value
        assert time.monotonic() < end, f"{what} did not come true within {PATIENCE * seconds:.0f} s"
        time.sleep(0.05)


class MariaDB:
    """A MariaDB server of the test's own."""

    def __init__(self, directory=None):
        self.dir = pathlib.Path(directory or tempfile.mkdtemp(prefix="reel-mariadb-"))
        self.process = None
        account = ["--user=mysql"] if os.getuid() == 0 else []
        if account:
            shutil.chown(self.dir, "mysql")
        # Its own: a server that starts removes the temporary tables of every other one in a directory they share.
        self.tmp = self.dir / "tmp"
        self.tmp.mkdir()
        if account:
            shutil.chown(self.tmp, "mysql")
        subprocess.run(["mariadb-install-db", "--no-defaults", f"--datadir={self.dir}/data", f"--tmpdir={self.tmp}", *account,
                        "--auth-root-authentication-method=normal", "--skip-test-db"],
                       check=True, stdout=subprocess.DEVNULL, stderr=subprocess.STDOUT)
        self.port, = free_ports(1)
        self.account = account
        self.start()
        self.sql("CREATE USER reel@'%' IDENTIFIED BY 'p@ss:w/rd'; GRANT ALL ON *.* TO reel@'%'")

    def start(self):
        self.log = open(self.dir / "log", "ab")
        self.process = subprocess.Popen(
            ["mariadbd", "--no-defaults", f"--datadir={self.dir}/data", f"--tmpdir={self.tmp}", f"--socket={self.dir}/s",
             f"--port={self.port}", "--bind-address=127.0.0.1", f"--pid-file={self.dir}/pid", "--skip-name-resolve",
             "--innodb-buffer-pool-size=64M", "--performance-schema=off", "--max-connections=200", *self.account],
            stdout=self.log, stderr=self.log)
        wait_for(lambda: subprocess.run(["mariadb-admin", "--no-defaults", "-uroot", f"-S{self.dir}/s", "ping"],
                                        capture_output=True).returncode == 0, 60, "MariaDB's start")

    def sql(self, text, database=""):
        done = subprocess.run(["mariadb", "--no-defaults", "-uroot", f"-S{self.dir}/s", "-BN",
                               "--default-character-set=utf8mb4", database],
                              input=text.encode(), capture_output=True, check=False)
        assert done.returncode == 0, done.stderr.decode()
        return done.stdout.decode(errors="surrogateescape")

    def url(self, database):
        return f"mysql://reel:{urllib.parse.quote('p@ss:w/rd', safe='')}@127.0.0.1:{self.port}/{database}"

    def kill(self):
        self.process.kill()
        self.process.wait()

    def stop(self):
        if self.process and self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(30 * PATIENCE)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()

    def remove(self):
        self.stop()
        self.log.close()
        shutil.rmtree(self.dir, ignore_errors=True)


class Daemon:
    def __init__(self, name, directory, config, port, admin_port, label=None):
        self.name, self.label = name, label or name
        self.dir, self.port, self.admin_port = directory, port, admin_port
        self.address, self.host = ("127.0.0.1", port), "127.0.0.1"
        self.config_file = directory / "etc" / f"{self.label}.conf"
        self.log_file = directory / "log" / f"{self.label}.log"
        self.pid_file = directory / "run" / f"{self.label}.pid"
        self.process = None
        self.expected_code = 0
        self.environment = {}  # beside the test's own
        self.configure(config)

    def configure(self, config):
        self.config = config
        sections = {"daemon": {"pid_file": self.pid_file},
                    "log": {"file": self.log_file, "level": "debug"},
                    "admin": {"listen": f"127.0.0.1:{self.admin_port}"}}
        for section, options in config.items():
            sections.setdefault(section, {}).update(options)
        self.config_file.write_text("".join(
            f"[{section}]\n" + "".join(f"{k} = {v}\n" for k, v in options.items()) + "\n"
            for section, options in sections.items()))

    def command_line(self, *arguments):
        return [str(BIN / f"reel-{self.name}"), "-c", str(self.config_file), *arguments]

    def command(self, *arguments, **more):
        return subprocess.run(self.command_line(*arguments),
                              capture_output=True, text=True, timeout=60 * PATIENCE, **more)

    def init_db(self):
        done = self.command("--init-db")
        assert done.returncode == 0, done.stdout + done.stderr

    def start(self, wait=True):
        for library in self.environment.get("LD_PRELOAD", "").split():
            assert pathlib.Path(library).exists(), f"{library} is not built: without it the test would prove nothing"
        self.err = open(self.dir / "log" / f"{self.label}.err", "ab")
        self.process = subprocess.Popen(self.command_line(),
                                        stdout=self.err, stderr=self.err, stdin=subprocess.DEVNULL,
                                        env={**os.environ, **self.environment})
        if wait:
            def listening():
                assert self.process.poll() is None or self.fail(f"reel-{self.label} ended at start")
                socket.create_connection(self.address, timeout=1).close()
                if "listen" not in self.config.get("admin", {}):  # it comes last
                    socket.create_connection(("127.0.0.1", self.admin_port), timeout=1).close()
                return True
            wait_for(listening, 30, f"reel-{self.label} listening")

    def fail(self, text):
        raise RuntimeError(f"{text}\n{self.tail()}")

    def tail(self, lines=60):
        parts = []
        for file in (self.log_file, self.dir / "log" / f"{self.label}.err"):
            if file.exists():
                parts.append("\n".join(file.read_text(errors="replace").splitlines()[-lines:]))
        return "\n".join(parts)

    def log(self):
        return self.log_file.read_text(errors="replace")

    def wait_logged(self, text):
        """Lines are written by a thread of their own, a moment after what they report."""
        wait_for(lambda: text in self.log(), 20, f"a line with {text!r} in the log of {self.label}")

    def stop(self, seconds=30 * PATIENCE):
        """SIGTERM; the daemon must drain and end with 0, and a sanitizer must have found nothing."""
        if not self.process:
            return
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)
            self.process.terminate()
        try:
            code = self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise RuntimeError(f"reel-{self.label} did not end within {seconds} s of SIGTERM\n{self.tail()}")
        finally:
            self.process = None
            self.err.close()
        if code != 0:
            self.fail(f"reel-{self.label} ended with code {code}")

    def kill(self):
        self.process.kill()
        self.process.wait()
        self.process = None
        self.err.close()

    def restart(self):
        self.stop()
        self.start()

    def is_stopped(self):
        """By SIGSTOP: it would not answer."""
        return pathlib.Path(f"/proc/{self.process.pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "T"

    def hup(self):
        self.process.send_signal(signal.SIGHUP)

    def http(self, path):
        """The admin port: (status, body)."""
        try:
            with urllib.request.urlopen(f"http://{self.host}:{self.admin_port}{path}", timeout=60) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    def status(self):
        code, body = self.http("/status")
        assert code == 200
        return json.loads(body)

    def metric(self, name):
        """The sum over the label sets of a metric."""
        code, body = self.http("/metrics")
        assert code == 200
        values = [float(line.rsplit(" ", 1)[1]) for line in body.splitlines()
                  if line.startswith(name + " ") or line.startswith(name + "{")]
        return sum(values)

    def downloads(self):
        """Requests for content, by DOWNLOAD and by READ."""
        return sum(self.metric('reel_packet_requests_total{command="%s"}' % command) for command in ("download", "read"))

    def memory_kib(self, field="VmRSS"):
        for line in open(f"/proc/{self.process.pid}/status"):
            if line.startswith(field + ":"):
                return int(line.split()[1])
        raise RuntimeError(f"no {field}")


class Suite:
    """A tracker, an ID server, a storage server and an HTTP server (more where asked for), with their databases."""

    def __init__(self, backend="sqlite", mariadb=None):
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix="reel-suite-"))
        for part in ("etc", "log", "run", "data", "meta"):
            (self.dir / part).mkdir()
        self.backend, self.mariadb = backend, mariadb
        self.prefix = f"t{os.getpid()}_{self.dir.name[-8:].replace('-', '_').lower()}_"
        self.databases = set()
        self.daemons = {}
        self.more = {}

    def database_url(self, database):
        self.databases.add(self.prefix + database)
        if self.backend == "mariadb":
            return self.mariadb.url(self.prefix + database)
        return f"sqlite:{self.dir}/meta/{database}.db"

    def sql(self, database, text):
        """Runs a statement beside the daemons; returns rows of strings."""
        if self.backend == "mariadb":
            out = self.mariadb.sql(text, self.prefix + database)
            return [line.split("\t") for line in out.splitlines()]
        done = subprocess.run(["sqlite3", "-separator", "\t", "-cmd", ".timeout 60000",
                               str(self.dir / "meta" / f"{database}.db")],
                              input=text.encode(), capture_output=True, check=False)
        assert done.returncode == 0, done.stderr.decode()
        return [line.split("\t") for line in done.stdout.decode(errors="surrogateescape").splitlines()]

    def add(self, name, config, label=None):
        port, admin = free_ports(2)
        config.setdefault(name, {}).setdefault("listen", f"127.0.0.1:{port}")
        daemon = Daemon(name, self.dir, config, port, admin, label)
        self.daemons[daemon.label] = daemon
        return daemon

    def add_tracker(self, label="tracker", **options):
        # Nobody is away because the machine held it, or the tracker itself, for seconds.
        return self.add("tracker", {"tracker": {"heartbeat_timeout": "15s", "suspect_grace": "1s", **options},
                                    "database": {"url": self.database_url("trackerdb")}}, label)

    def add_idserver(self, label="idserver", **options):
        return self.add("idserver", {"idserver": dict(options),
                                     "database": {"url": self.database_url("idsdb")}}, label)

    def add_storage(self, label="storage", data=None, database_timeout="5s", **options):
        data = data or self.dir / "data"
        pathlib.Path(data).mkdir(exist_ok=True)
        of = lambda name: ", ".join(f"127.0.0.1:{d.port}" for d in self.daemons.values() if d.name == name)
        return self.add("storage", {
            "storage": {"group": "group001", "paths": data, "trackers": of("tracker"), "idservers": of("idserver"),
                        "heartbeat_interval": "500ms", "reserve_space": "0", "reserve_inodes": "0", **options},
            "database": {"url": self.database_url("storagedb"), "timeout": database_timeout}}, label)

    def add_httpd(self, label="httpd", **options):
        trackers = ", ".join(f"127.0.0.1:{d.port}" for d in self.daemons.values() if d.name == "tracker")
        return self.add("httpd", {"httpd": {"trackers": trackers, "user": USER, "application": APP, **options}}, label)

    def start(self, storage_options=None, httpd_options=None):
        self.add_tracker()
        self.add_idserver()
        self.add_storage(**(storage_options or {}))
        self.add_httpd(**(httpd_options or {}))
        return self.launch()

    def launch(self):
        """Starts everything that was added, in that order."""
        for daemon in self.daemons.values():
            if daemon.name != "httpd":
                daemon.init_db()
            daemon.start()
        self.wait_active(sum(daemon.name == "storage" for daemon in self.daemons.values()))
        return self

    def put(self, file, content, name="", content_type="", user=USER):
        """Stores CONTENT through the packet protocol; the user is routed first, as a client would have it."""
        assert wire.ask(self.tracker.address, wire.SADDRS, wire.file_key(APP, user, file)).ok
        with self.client() as client:
            reply = client.put(APP, user, file, content, name=name, content_type=content_type)
            assert reply.ok, reply
        return content

    def __getattr__(self, label):
        try:
            return self.__dict__["daemons"][label]
        except KeyError:
            raise AttributeError(label) from None

    def active(self):
        reply = wire.ask(self.tracker.address, wire.GROUPS)
        assert reply.ok, reply
        return reply.body.count(b"STATUS: ACTIVE")

    def wait_active(self, count=1, seconds=30):
        """COUNT servers are ACTIVE, by what the processes of now have said: after a crash the tracker holds the dead one
        for ACTIVE a moment longer."""
        def joined(daemon):
            running = daemon.process and daemon.process.poll() is None and not daemon.is_stopped()
            return running and daemon.metric("reel_storage_tracker_joined") >= 1

        def ready():
            return (sum(bool(joined(d)) for d in self.daemons.values() if d.name == "storage") >= count
                    and self.active() >= count)
        wait_for(ready, seconds, f"{count} ACTIVE storage servers")

    def client(self, label="storage"):
        return wire.Client(self.daemons[label].address)

    def reel(self, *arguments, user=USER, input=None, check=True, timeout=120 * PATIENCE):
        """The reel command against this suite's trackers."""
        trackers = ",".join(f"127.0.0.1:{d.port}" for d in self.daemons.values() if d.name == "tracker")
        done = subprocess.run([str(BIN / "reel"), "-t", trackers, "-u", user, *map(str, arguments)], input=input,
                              capture_output=True, timeout=timeout)
        if check:
            assert done.returncode == 0, (done.returncode, done.stdout[-500:], done.stderr)
        return done

    def url(self, file, user=USER, app=APP, name=None):
        path = f"/files/{app}/{urllib.parse.quote(user, safe='')}/{urllib.parse.quote(file, safe='')}"
        if name:
            path += "/" + urllib.parse.quote(name, safe="")
        return f"http://127.0.0.1:{self.httpd.port}{path}"

    def files(self, data=None):
        """Every regular file in the store."""
        return sorted(p for p in pathlib.Path(data or self.dir / "data").rglob("*_???") if p.is_file())

    def stop(self):
        problems = []
        for daemon in reversed(list(self.daemons.values())):
            try:
                daemon.stop()
            except RuntimeError as problem:
                problems.append(str(problem))
        if self.mariadb and self.mariadb.process.poll() is None:
            for database in self.databases:
                self.mariadb.sql(f"DROP DATABASE IF EXISTS `{database}`")
        shutil.rmtree(self.dir, ignore_errors=True)
        assert not problems, "\n".join(problems)


def new_id():
    """A file ID in the form that clients make (docs/protocol.md, "File IDs")."""
    now = time.time()
    return f"{int(now):08x}{int(now % 1 * 1e6):06x}{os.urandom(8).hex()}{os.getpid() % 10000:04d}{os.urandom(1)[0] % 100:02d}"
