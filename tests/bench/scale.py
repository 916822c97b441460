#!/usr/bin/python3
"""What many of something cost: tests/bench/scale.py [servers] [idle] [rows]   (default: all three)

servers: 10,000 simulated storage servers (--servers) that beat every 10 s at one tracker, and 2,000 SADDRS per second beside them: the
         tracker's processor time, and the latency of SADDRS (targets: 5 % of a core, p99 of 5 ms).
idle:    10,000 connections (--connections) that do nothing at each daemon: resident bytes of each (target: 8 KiB).
rows:    10^3, 10^5, 10^6 rows (--rows 1000,100000,...; 10000000 takes some GB and minutes) loaded in bulk into SQLite, or with
         --mariadb into MariaDB: start to serving, look-ups of rows that the server has not seen, its memory.
Each figure is printed with the load average it was measured at. The daemons are those of build/release (REEL_BUILD names others).
"""
import argparse
import asyncio
import os
import pathlib
import random
import resource
import socket
import sqlite3
import statistics
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "system"))
os.environ.setdefault("REEL_BUILD", str(ROOT / "build" / "release"))

import suite as suites  # noqa: E402
import wire  # noqa: E402
from processes import cpu_seconds  # noqa: E402

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("parts", nargs="*", default=["servers", "idle", "rows"])
parser.add_argument("--servers", type=int, default=10000)
parser.add_argument("--interval", type=float, default=10, help="seconds between two heartbeats of one")
parser.add_argument("--lookups", type=int, default=2000, help="SADDRS per second")
parser.add_argument("--seconds", type=float, default=20)
parser.add_argument("--port", type=int, help=argparse.SUPPRESS)
parser.add_argument("--connections", type=int, default=10000)
parser.add_argument("--rows", default="1000,100000,1000000")
parser.add_argument("--mariadb", action="store_true")
options = parser.parse_args()

BLOCK = 128  # addresses of 127/8 that clients come from: a daemon bounds the connections of one
QUIET = {"log": {"level": "warning"}}


def load():
    return f"load {os.getloadavg()[0]:.0f} on {os.cpu_count()} cores"


def source(number):
    return f"127.0.{1 + number // BLOCK % 200}.{1 + number % BLOCK}"


def percentile(times, share):
    return sorted(times)[min(len(times) - 1, int(len(times) * share))]


# --- servers ---

async def call(stream, command, body):
    reader, writer = stream
    writer.write(wire.header(len(body), command) + body)
    size, _, status = wire.struct.unpack(">qBb", await reader.readexactly(10))
    body = await reader.readexactly(size)
    assert status == 0, (status, body)
    return body


async def one_server(tracker, number, dice, ready, until):
    """Joins, then beats until the end."""
    stream = await asyncio.open_connection(*tracker.address, local_addr=(source(number), 0), limit=4096)
    await call(stream, wire.JOIN, wire.join_body(f"group{number // 3:05d}", f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}", 21002))
    ready.append(number)
    await asyncio.sleep(dice.random() * options.interval)
    while time.monotonic() < until[0]:
        await call(stream, wire.BEAT, wire.field(f"group{number // 3:05d}", 17) + wire.field(
            f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}", 129))
        await asyncio.sleep(options.interval)
    stream[1].close()


KEYS = [wire.file_key(suites.APP, f"user{number}", "file") for number in range(1000)]


async def ask_all(address, until, times):
    """SADDRS of users that are routed, at an even pace, over a few connections."""
    streams = [await asyncio.open_connection(*address) for _ in range(32)]

    async def asker(number, stream):
        due = time.monotonic() + number / options.lookups
        while due < until[0]:
            await asyncio.sleep(max(0, due - time.monotonic()))
            begin = time.monotonic()
            await call(stream, wire.SADDRS, random.choice(KEYS))
            times.append(time.monotonic() - begin)
            due = max(due + len(streams) / options.lookups, time.monotonic() - 0.1)
    await asyncio.gather(*(asker(*one) for one in enumerate(streams)))
    for _, writer in streams:
        writer.close()


async def beat(tracker):
    ready, dice, until = [], random.Random(1), [float("inf")]
    servers = []
    for number in range(options.servers):
        servers.append(asyncio.create_task(one_server(tracker, number, dice, ready, until)))
        if number % 200 == 199:
            while len(ready) < number - 200:
                await asyncio.sleep(0.01)
    while len(ready) < options.servers:
        done = [task for task in servers if task.done()]
        if done:
            done[0].result()
        await asyncio.sleep(0.05)
    end = time.monotonic() + 10 * options.interval
    while tracker.metric('reel_tracker_storages{state="active"}') < options.servers:
        if time.monotonic() > end:
            raise RuntimeError("not all of them became ACTIVE: this machine is too busy for the simulation")
        await asyncio.sleep(1)
    stream = await asyncio.open_connection(*tracker.address)
    for key in KEYS:  # each user gets a group
        await call(stream, wire.SADDRS, key)
    begin, spent = time.monotonic(), cpu_seconds(tracker.process.pid)
    # A process of its own asks: its latency is the tracker's, not the simulation's.
    asker = await asyncio.create_subprocess_exec(sys.executable, __file__, "asker", "--port", str(tracker.port), "--lookups",
                                                 str(options.lookups), "--seconds", str(options.seconds))
    failed = await asker.wait()
    share = (cpu_seconds(tracker.process.pid) - spent) / (time.monotonic() - begin)
    until[0] = 0
    for task in servers:
        task.cancel()
    assert not failed
    return share


def asker():
    times = []
    asyncio.run(ask_all(("127.0.0.1", options.port), [time.monotonic() + options.seconds], times))
    print(f"  SADDRS: {len(times) / options.seconds:,.0f} per second, p50 {1e3 * statistics.median(times):.2f} ms, "
          f"p99 {1e3 * percentile(times, 0.99):.2f} ms, {load()}", flush=True)


def servers():
    suite = suites.Suite()
    try:
        tracker = suite.add_tracker(heartbeat_timeout="40s", storages_max=options.servers + 100, groups_max=options.servers, connections_max=options.servers + 1000)
        tracker.configure({**tracker.config, **QUIET})
        tracker.init_db()
        with sqlite3.connect(suite.dir / "meta" / "trackerdb.db") as database:
            database.executemany("INSERT INTO t_groups_info (group_name) VALUES (?)",
                                 ((f"group{number:05d}",) for number in range(options.servers // 3 + 1)))
        tracker.start()
        print(f"{options.servers:,} storage servers, each beating every {options.interval:.0f} s, and {options.lookups:,} SADDRS per second:",
              flush=True)
        share = asyncio.run(beat(tracker))
        print(f"  tracker: {100 * share:.1f} % of a core, {tracker.memory_kib() / 1024:.0f} MiB resident, {load()}", flush=True)
    finally:
        suite.stop()


# --- idle ---

def idle():
    suite = suites.Suite()
    most = {"connections_max": options.connections + 1000}
    try:
        suite.add_tracker(**most)
        suite.add_idserver(**most)
        suite.add_storage(**most)
        suite.add_httpd(**most)
        for daemon in suite.daemons.values():
            daemon.configure({**daemon.config, **QUIET})
        suite.launch()
        for daemon in suite.daemons.values():
            before, sockets = daemon.memory_kib(), []
            for number in range(options.connections):
                sockets.append(socket.create_connection(daemon.address, source_address=(source(number), 0)))
            daemon.http("/healthz")
            time.sleep(1)
            grown = (daemon.memory_kib() - before) * 1024 / options.connections
            print(f"{options.connections:,} idle connections on reel-{daemon.name}: {grown:,.0f} bytes each, {load()}", flush=True)
            for one in sockets:
                one.close()
    finally:
        suite.stop()


# --- rows ---

def users_of_table(number, count=100):
    """Users whose rows lie in t_file_0NUMBER."""
    found = (f"user-{n:06d}" for n in range(1000000))
    return [next(user for user in found if wire.file_table(user) == number) for _ in range(count)]


def name_of(number):
    """A file's number spread over all values, as names that clients choose are: a row's neighbours in the index are others."""
    return f"{number * 2654435761 % (1 << 32):08x}-{number:010d}"


def fill_sqlite(path, rows):
    database = sqlite3.connect(path)
    database.create_function("file_name", 1, name_of, deterministic=True)
    database.executescript("PRAGMA synchronous = OFF; PRAGMA cache_size = -200000;")
    for table in (1, 2, 3):
        indices = database.execute("SELECT name, sql FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL AND tbl_name = ?",
                                   (f"t_file_0{table}",)).fetchall()
        for name, _ in indices:
            database.execute(f"DROP INDEX {name}")
        users = users_of_table(table)
        database.execute("CREATE TEMP TABLE users (n INTEGER PRIMARY KEY, name TEXT)")
        database.executemany("INSERT INTO users VALUES (?, ?)", enumerate(users))
        share = rows // 3 + (table <= rows % 3)
        database.execute(
            f"WITH RECURSIVE c(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM c WHERE i + 1 < ?) "
            f"INSERT INTO t_file_0{table} (id, appid, userid, status, file_path, file_size, group_name, file_name, content_type, digest) "
            f"SELECT file_name(i), '{suites.APP}', u.name, 0, printf('group001/%03X/%03X/%03X/68000000_%03X', i >> 27, i >> 18 & 511, "
            f"i >> 9 & 511, i & 511), 4096, 'group001', '', 'video/mp4', printf('%032x', i) FROM c JOIN users u ON u.n = c.i % {len(users)}",
            (share,))
        for _, text in indices:
            database.execute(text)
        database.execute("DROP TABLE users")
        database.commit()
    database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    database.close()


def fill_mariadb(mariadb, database, rows):
    for table in (1, 2, 3):
        users, share = users_of_table(table), rows // 3 + (table <= rows % 3)
        for at in range(0, share, 5000):
            mariadb.sql(f"SET unique_checks = 0; INSERT INTO t_file_0{table} (id, appid, userid, status, file_path, file_size, group_name, file_name, "
                        "content_type, digest) VALUES " + ",".join(
                            f"('{name_of(n)}','{suites.APP}','{users[n % len(users)]}',0,'group001/{n >> 27:03X}/{n >> 18 & 511:03X}/"
                            f"{n >> 9 & 511:03X}/68000000_{n & 511:03X}',4096,'group001','','video/mp4','{n:032x}')"
                            for n in range(at, min(at + 5000, share))), database)


def look_up(daemon, rows, count=2000):
    """Rows that the server has not seen: milliseconds of each."""
    dice, times, seen = random.Random(rows), [], set()
    users = {table: users_of_table(table) for table in (1, 2, 3)}
    with wire.Client(daemon.address) as client:
        while len(times) < min(count, rows * 9 // 10):
            table = dice.randrange(3) + 1
            number = dice.randrange(rows // 3)
            if (table, number) in seen:
                continue
            seen.add((table, number))
            key = wire.file_key(suites.APP, users[table][number % len(users[table])], name_of(number))
            begin = time.monotonic()
            reply = client.call(wire.FILESIZE, key)
            times.append((time.monotonic() - begin) * 1e3)
            assert reply.ok, (reply, table, number)
    return times


def forget_pages(path):
    """The kernel forgets what it has of the file in memory."""
    fd = os.open(path, os.O_RDONLY)
    os.fsync(fd)
    os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
    os.close(fd)


def rows_once(count, mariadb):
    suite = suites.Suite("mariadb" if mariadb else "sqlite", mariadb)
    try:
        suite.add_tracker()
        suite.add_idserver()
        suite.add_storage()
        for daemon in suite.daemons.values():
            daemon.configure({**daemon.config, **QUIET})
            daemon.init_db()
        begin, path = time.monotonic(), suite.dir / "meta" / "storagedb.db"
        if mariadb:
            fill_mariadb(mariadb, suite.prefix + "storagedb", count)
        else:
            fill_sqlite(path, count)
            forget_pages(path)
        filled = time.monotonic() - begin
        suite.tracker.start()
        suite.idserver.start()
        begin = time.monotonic()
        suite.storage.start()
        wire.ask(suite.storage.address, wire.FILESIZE, wire.file_key(suites.APP, "nobody", "nothing"))
        started = time.monotonic() - begin
        from_disk = look_up(suite.storage, count, min(1000, count // 3))
        suite.storage.restart()  # its cache is empty again; the kernel's, or the database's, is not
        times = look_up(suite.storage, count)
        print(f"{count:,} rows ({'MariaDB' if mariadb else f'SQLite, {path.stat().st_size >> 20} MiB'}, loaded in {filled:.0f} s): start to serving "
              f"{started:.2f} s; look-up of an unseen row p50 {statistics.median(times):.2f} ms, p99 {percentile(times, 0.99):.2f} ms "
              f"(from a file that nothing is in memory of: p50 {statistics.median(from_disk):.2f}, p99 {percentile(from_disk, 0.99):.2f}); "
              f"{suite.storage.memory_kib() / 1024:.0f} MiB resident, {load()}", flush=True)
    finally:
        suite.stop()


def rows():
    mariadb = suites.MariaDB() if options.mariadb else None
    try:
        for count in options.rows.split(","):
            rows_once(int(count), mariadb)
    finally:
        if mariadb:
            mariadb.remove()


hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
for part in options.parts:
    {"servers": servers, "idle": idle, "rows": rows, "asker": asker}[part]()
