#!/usr/bin/python3
"""What cheap attacks cost everybody else: tests/bench/attack.py [status] [bytes] [uploads] [log]   (default: all four)

status:  600 STATUS of 10 bytes against a tracker whose table is full; meanwhile LOCATE of another client: p99 at most 50 ms.
bytes:   10,050 connections with one byte each from one address, against each port; another address is served within 100 ms.
uploads: 1,000 uploads that send one byte of their content and no more; another upload starts within 1 s.
log:     requests that fail, as fast as they go, for 10 s: at most 1 MB of log a second; and with a standard error that nobody reads
         no loop is ever more than 50 ms late.

The daemons are those of build/release (REEL_BUILD names others). Ends with 1 where a target is missed. The clients run on the same
cores as the daemons, so on a busy machine the figures are its own.
"""
import os
import pathlib
import resource
import socket
import subprocess
import sys
import threading
import time

HERE = pathlib.Path(__file__).resolve().parent
os.environ.setdefault("REEL_BUILD", str(HERE.parents[1] / "build" / "release"))
sys.path.insert(0, str(HERE.parent / "system"))

import wire  # noqa: E402
from suite import APP, USER, Suite, new_id, wait_for  # noqa: E402

ATTACKER, OTHER = "127.0.0.1", "127.0.0.2"
missed = []


def report(what, value, target, unit):
    good = value <= target
    print(f"{what:<72} {value:10.2f} {unit:<5} (target {target:g} {unit}){'' if good else '  MISSED'}", flush=True)
    if not good:
        missed.append(what)


class From(wire.Client):
    """A client at an address of its own."""

    def __init__(self, address, source, timeout=60):
        self.socket = socket.create_connection(address, timeout=timeout, source_address=(source, 0))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def percentile(values, share):
    return sorted(values)[min(len(values) - 1, int(len(values) * share))]


def timed(act):
    start = time.monotonic()
    act()
    return (time.monotonic() - start) * 1000


# --- status ---

def fill_table(tracker, count):
    with From(tracker.address, ATTACKER) as client:
        for number in range(count):
            client.send(wire.header(171, wire.JOIN) + wire.join_body("group001", f"host{number}", 10000 + number))
            if number % 100 == 99:
                for _ in range(100):
                    assert client.receive().ok


def status(suite):
    suite.add_tracker(storages_per_address=0, storages_max=4200)
    suite.tracker.init_db()
    suite.tracker.start()
    assert wire.ask(suite.tracker.address, wire.SADDRS, wire.file_key(APP, USER, "x")).status != 99
    fill_table(suite.tracker, 4000)
    locate = wire.header(400, wire.LOCATE) + wire.file_key(APP, USER, "x")
    with From(suite.tracker.address, OTHER) as other:
        def ask():
            other.send(locate)
            other.receive()
        calm = [timed(ask) for _ in range(300)]
        attackers = [From(suite.tracker.address, ATTACKER) for _ in range(100)]
        for attacker in attackers:
            attacker.send(wire.header(0, wire.STATUS) * 6)
        under = [timed(ask) for _ in range(1000)]
        for attacker in attackers:
            attacker.close()
    print(f"{'LOCATE before: median':<72} {percentile(calm, .5):10.2f} ms")
    report("600 STATUS of 10 bytes, a table of 4,000 servers: LOCATE p99", percentile(under, .99), 50, "ms")


# --- bytes ---

def open_many(address, count):
    sockets = []
    for _ in range(count):
        s = socket.socket()
        s.setblocking(False)
        s.bind((ATTACKER, 0))
        s.connect_ex(address)
        sockets.append(s)
        if len(sockets) % 200 == 0:
            time.sleep(0.005)
    return sockets


def one_byte_each(sockets):
    for s in sockets:
        try:
            s.send(b"\0")
        except OSError:
            pass  # refused, or closed again


def served_packet(address, command, body):
    with From(address, OTHER) as client:
        client.call(command, body)


def served_http(address):
    with From(address, OTHER) as client:
        client.send(b"GET /files/none HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        assert client.receive_exactly(12).startswith(b"HTTP/1.1 404")


def bytes_(suite):
    suite.start()
    ports = {"tracker": lambda: served_packet(suite.tracker.address, wire.LOCATE, wire.file_key(APP, USER, "x")),
             "idserver": lambda: served_packet(suite.idserver.address, wire.GET, wire.field("key", 65)),
             "storage": lambda: served_packet(suite.storage.address, wire.FILESIZE, wire.file_key(APP, USER, "x")),
             "httpd": lambda: served_http(suite.httpd.address)}
    for name, served in ports.items():
        sockets = open_many(suite.daemons[name].address, 10050)
        one_byte_each(sockets)
        worst = max(timed(served) for _ in range(30))
        report(f"10,050 connections with one byte each: another client of {name}, slowest of 30", worst, 100, "ms")
        for s in sockets:
            s.close()
        wait_for(lambda d=suite.daemons[name]: d.metric("reel_packet_connections") < 100 or name == "httpd", what="calm")


# --- uploads ---

def uploads(suite):
    suite.start()
    user = wire.ask(suite.tracker.address, wire.SADDRS, wire.file_key(APP, USER, "x"))
    assert user.ok
    slow = []
    for number in range(1000):
        client = From(suite.storage.address, ATTACKER)
        head = wire.put_head(APP, USER, new_id() + str(number % 10), 1 << 20)
        client.send(wire.header(len(head) + (1 << 20), wire.PUT) + head + b"x")
        slow.append(client)

    def upload():
        with From(suite.storage.address, OTHER) as client:
            assert client.put(APP, USER, new_id(), b"content" * 1000).ok
    worst = max(timed(upload) for _ in range(5))
    report("1,000 uploads that stand still: another upload is stored, slowest of 5", worst / 1000, 1, "s")
    for client in slow:
        client.close()


# --- log ---

def flood(daemon, seconds):
    """Requests that fail as fast as they go, from four connections; how many were answered."""
    counts, until = [0] * 4, time.monotonic() + seconds
    bad = wire.header(400, wire.FILESIZE) + wire.field("none", 16) + wire.field("u", 256) + wire.field("f", 128)

    def run(number):
        with From(daemon.address, ATTACKER) as client:
            while time.monotonic() < until:
                client.send(bad * 50)
                for _ in range(50):
                    assert not client.receive().ok
                counts[number] += 50
    threads = [threading.Thread(target=run, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(counts)


def loop_delays(daemon):
    """{upper bound in seconds: count} of the delays of tasks that are posted to every loop."""
    lines = daemon.http("/metrics")[1].splitlines()
    bound = lambda line: float(line.split('le="')[1].split('"')[0].replace("+Inf", "inf"))
    return {bound(line): float(line.rsplit(" ", 1)[1]) for line in lines
            if line.startswith("reel_daemon_loop_delay_seconds_bucket")}


def log(suite):
    suite.start()
    before = suite.storage.log_file.stat().st_size
    answered = flood(suite.storage, 10)
    grown = suite.storage.log_file.stat().st_size - before
    report(f"{answered / 10:,.0f} failing requests a second: log grows by", grown / 10e6, 1, "MB/s")
    # A standard error that nobody reads: a pipe that is full. The service manager's watchdog makes the loops answer often.
    suite.storage.stop()
    suite.storage.config["log"] = {"file": ""}
    suite.storage.configure(suite.storage.config)
    notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    notify.bind(str(suite.dir / "notify"))
    threading.Thread(target=lambda: [notify.recv(4096) for _ in iter(int, 1)], daemon=True).start()
    suite.storage.environment = {"NOTIFY_SOCKET": str(suite.dir / "notify"), "WATCHDOG_USEC": "400000"}
    unread, pipe = os.pipe()
    start_with(suite.storage, pipe)
    os.close(pipe)
    answered = flood(suite.storage, 10)
    delays = loop_delays(suite.storage)
    late = delays[float("inf")] - max(count for bound, count in delays.items() if bound <= 0.05)
    print(f"{'standard error unread: failing requests answered a second':<72} {answered / 10:10,.0f}")
    report(f"of {delays[float('inf')]:.0f} tasks posted to loops meanwhile, later than 50 ms", late, 0, "")
    report("SIGTERM ends it within", timed(lambda: suite.storage.stop()) / 1000, 5, "s")
    os.close(unread)


def start_with(daemon, pipe):
    """As daemon.start() does, with another standard error."""
    daemon.err = open(daemon.dir / "log" / f"{daemon.label}.err", "ab")
    daemon.process = subprocess.Popen(daemon.command_line(), stdout=daemon.err, stderr=pipe, stdin=subprocess.DEVNULL,
                                      env={**os.environ, **daemon.environment})
    wait_for(lambda: socket.create_connection(daemon.address, timeout=1).close() is None)


ATTACKS = {"status": status, "bytes": bytes_, "uploads": uploads, "log": log}


def main():
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(65536, limit[1]), limit[1]))
    for name in sys.argv[1:] or ATTACKS:
        suite = Suite("sqlite")
        try:
            ATTACKS[name](suite)
        finally:
            suite.stop()
    sys.exit(1 if missed else 0)


if __name__ == "__main__":
    main()
