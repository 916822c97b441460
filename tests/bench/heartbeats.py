#!/usr/bin/python3
"""What a heartbeat costs a tracker: tests/bench/heartbeats.py [BIN_DIR ...]   (default: build/release/bin)

Storage servers (--servers) that have joined send LOAD, evenly spread over --interval seconds, each over its own connection. The
processor time of the tracker per heartbeat, from the scheduler's own count in nanoseconds, and how often its threads went to sleep;
with several directories of programs each has a tracker of its own, and they take turns of --seconds. Medians of --rounds.
"""
import argparse
import heapq
import os
import pathlib
import resource
import select
import socket
import sqlite3
import statistics
import struct
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "system"))
os.environ.setdefault("REEL_BUILD", str(ROOT / "build" / "release"))

import suite as suites  # noqa: E402
import wire  # noqa: E402

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("directories", nargs="*", default=[str(ROOT / "build" / "release" / "bin")])
parser.add_argument("--servers", type=int, default=1000)
parser.add_argument("--interval", type=float, default=1, help="seconds between two heartbeats of one")
parser.add_argument("--seconds", type=float, default=5)
parser.add_argument("--rounds", type=int, default=5)
options = parser.parse_args()

BLOCK = 128  # addresses of 127/8 that servers come from: the tracker bounds the connections of one


def names(number):
    return f"group{number // 3:05d}", f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}"


def join(number):
    group, host = names(number)
    body = wire.join_body(group, host, 21002, int(time.time()), int(time.time()))
    return wire.header(len(body), wire.JOIN) + body


def load(number):
    group, host = names(number)
    body = wire.field(group, 17) + wire.field(host, 129) + struct.pack(">HB3xqqqIIIqI", 21002, 0, 1 << 40, 1 << 39, 1 << 30, 10, 1, 100, 0, 0)
    assert len(body) == 200
    return wire.header(len(body), wire.LOAD) + body


def used(process):
    """Nanoseconds on a processor, and how often a thread went to sleep, of all threads."""
    spent = slept = 0
    for thread in pathlib.Path(f"/proc/{process.pid}/task").iterdir():
        spent += int((thread / "schedstat").read_text().split()[0])
        status = (thread / "status").read_text()
        slept += int(status.split("\nvoluntary_ctxt_switches:")[1].split()[0])
    return spent, slept


class Crowd:
    """A tracker of its own and the servers that have joined it."""

    def __init__(self, directory):
        suites.BIN = pathlib.Path(directory).resolve()
        self.suite, self.name = suites.Suite(), directory
        tracker = self.suite.add_tracker(heartbeat_timeout="1h", storages_max=options.servers + 100, groups_max=options.servers,
                                         connections_max=options.servers + 1000, idle_timeout="0s")
        tracker.configure({**tracker.config, "log": {"level": "warning"}})
        tracker.init_db()
        with sqlite3.connect(self.suite.dir / "meta" / "trackerdb.db") as database:
            database.executemany("INSERT INTO t_groups_info (group_name) VALUES (?)",
                                 ((f"group{number:05d}",) for number in range(options.servers // 3 + 1)))
        tracker.start()
        self.process, self.sockets, self.figures = tracker.process, [], []
        for number in range(options.servers):
            at = (f"127.0.{1 + number // BLOCK % 200}.{1 + number % BLOCK}", 0)
            connection = socket.create_connection(tracker.address, source_address=at)
            connection.sendall(join(number))
            assert connection.recv(100)[9] == 0
            connection.setblocking(False)
            self.sockets.append(connection)
        self.loads = [load(number) for number in range(options.servers)]

    def turn(self):
        """Heartbeats for some seconds: what each has cost."""
        poll, sent, got, late = select.epoll(), {}, 0, 0
        by_fd = {one.fileno(): one for one in self.sockets}
        for fd in by_fd:
            poll.register(fd, select.EPOLLIN)
        begin = time.monotonic()
        due = [(begin + options.interval * number / options.servers, number) for number in range(options.servers)]
        heapq.heapify(due)
        before, times, end = used(self.process), [], begin + options.seconds
        while sent or due[0][0] < end:
            now = time.monotonic()
            while due[0][0] <= now and due[0][0] < end:
                at, number = heapq.heappop(due)
                connection = self.sockets[number]
                if connection.fileno() in sent:
                    late += 1
                else:
                    sent[connection.fileno()] = now
                    connection.send(self.loads[number])
                heapq.heappush(due, (at + options.interval, number))
            for fd, _ in poll.poll(max(0, min(due[0][0], end + 1) - time.monotonic())):
                reply = by_fd[fd].recv(4096)
                assert len(reply) == 10 and reply[9] == 0, reply
                times.append(time.monotonic() - sent.pop(fd))
                got += 1
        after = used(self.process)
        poll.close()
        self.figures.append(((after[0] - before[0]) / 1e3 / got, (after[1] - before[1]) / got, 1e3 * statistics.median(times), 1e3 * max(times)))
        return got, late


hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
crowds = []
try:
    for directory in options.directories:
        crowds.append(Crowd(directory))
    for number in range(options.rounds):
        for crowd in crowds if number % 2 == 0 else reversed(crowds):
            crowd.turn()
    for crowd in crowds:
        costs = [one[0] for one in crowd.figures]
        rate = options.servers / options.interval
        print(f"{crowd.name}: {options.servers:,} storage servers, {rate:,.0f} heartbeats per second: "
              f"{statistics.median(costs):.1f} us of processor time each ({min(costs):.1f} to {max(costs):.1f}), "
              f"{statistics.median(costs) * rate / 1e4:.1f} % of a core; {statistics.median(one[1] for one in crowd.figures):.2f} sleeps each; "
              f"reply after {statistics.median(one[2] for one in crowd.figures):.2f} ms (median), {max(one[3] for one in crowd.figures):.0f} (longest); "
              f"load {os.getloadavg()[0]:.0f} on {os.cpu_count()} cores", flush=True)
finally:
    for crowd in crowds:
        crowd.suite.stop()
