#!/usr/bin/python3
"""The figures of docs/deployment.md, "Capacity": tests/bench/capacity.py [memory] [database] [volume]   (default: all three)

memory: what connections, cached rows, users and look-ups take in the daemons (resident pages, before and after).
database: what rows take in a MariaDB server of its own and in SQLite files.
volume: inodes and bytes on the bricks of a GlusterFS volume with an arbiter, in the lab of tests/cluster (root).
The daemons are those of build/release (REEL_BUILD names others): a sanitizer's memory says nothing.
"""
import http.client
import os
import pathlib
import random
import resource
import sqlite3
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
os.environ.setdefault("REEL_BUILD", str(HERE.parents[1] / "build" / "release"))
sys.path.insert(0, str(HERE.parent / "system"))

import wire  # noqa: E402
from suite import APP, MariaDB, Suite  # noqa: E402

CONNECTIONS = 4000
ROWS = 200_000
FILES_A_USER = 10
DICE = random.Random(1)


class File:
    """A file's row as uploads make it: names of 27 bytes, users of 22."""

    def __init__(self, number):
        seconds = 0x68000000 + number // 3
        self.user = f"user-{number // FILES_A_USER * 2654435761 % (1 << 64):017x}"
        self.id = f"{seconds:08x}{DICE.randrange(1000000):06x}{DICE.randrange(1 << 64):016x}{number % 10000:04d}{DICE.randrange(100):02d}"
        self.path = f"group001/{number >> 27:03X}/{number >> 18 & 511:03X}/{number >> 9 & 511:03X}/{seconds:08X}_{number & 511:03X}"
        self.size = DICE.randrange(1 << 30)
        self.name = f"holiday film {number:010d}.mp4"
        self.digest = f"{DICE.randrange(1 << 128):032x}"

    def values(self):
        return (f"('{self.id}','{APP}','{self.user}',0,'{self.path}',{self.size},'group001','{self.name}','video/mp4',"
                f"'{self.digest}')")


def statements(files):
    """What fills t_file_01 to t_file_03, in portions."""
    tables = {n: [] for n in (1, 2, 3)}
    for file in files:
        tables[wire.file_table(file.user)].append(file)
    for n, members in tables.items():
        for at in range(0, len(members), 1000):
            yield (f"INSERT INTO t_file_0{n} (id, appid, userid, status, file_path, file_size, group_name, file_name, content_type, "
                   f"digest) VALUES {','.join(f.values() for f in members[at:at + 1000])};")


def router_statements(users):
    for at in range(0, len(users), 1000):
        yield ("INSERT INTO t_router (appid, userid, group_name) VALUES "
               + ",".join(f"('{APP}','{user}','group001')" for user in users[at:at + 1000]) + ";")


def users_of(files):
    return sorted({file.user for file in files}, key=lambda user: user[::-1])


def sqlite_fill(suite, name, lines):
    database = sqlite3.connect(suite.dir / "meta" / f"{name}.db", timeout=30)
    with database:
        for line in lines:
            database.execute(line)
    database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    size = database.execute("SELECT page_count * page_size FROM pragma_page_count(), pragma_page_size()").fetchone()[0]
    database.close()
    return size


# --- memory ---

def many_connections(suite, daemon, what, prepare=None):
    fresh(suite, daemon)
    before = daemon.memory_kib()
    clients = []
    for _ in range(CONNECTIONS):
        client = wire.Client(daemon.address)
        if prepare:
            prepare(client)
        clients.append(client)
    ask(daemon)
    print(f"{daemon.name}: a connection, {what}: {(daemon.memory_kib() - before) * 1024 / CONNECTIONS:.0f} bytes")
    for client in clients:
        client.close()


def fresh(suite, daemon):
    """Memory that was used before and given back would hide what is measured."""
    daemon.restart()
    suite.wait_active()
    ask(daemon)


def ask(daemon):
    """When this is answered the daemon has accepted what came before it on every loop, or nearly so."""
    for _ in range(20):
        daemon.http("/healthz")
        if daemon.name != "httpd":
            wire.ask(daemon.address, wire.GROUPS if daemon.name == "tracker" else wire.FILESIZE,
                     b"" if daemon.name == "tracker" else wire.file_key(APP, "nobody", "nothing"))


def pipelined(daemon, command, bodies):
    """Every request is answered with success."""
    with wire.Client(daemon.address) as client:
        for at in range(0, len(bodies), 50):
            some = bodies[at:at + 50]
            client.send(b"".join(wire.header(len(body), command) + body for body in some))
            for _ in some:
                reply = client.receive()
                assert reply.ok, reply


def growth(suite, daemon, what, count, do):
    fresh(suite, daemon)
    before = daemon.memory_kib()
    do()
    print(f"{daemon.name}: {what}: {(daemon.memory_kib() - before) * 1024 / count:.0f} bytes each, of {count}")


def heads(daemon, files):
    connection = http.client.HTTPConnection("127.0.0.1", daemon.port, timeout=30)
    for file in files:
        connection.request("HEAD", f"/files/{APP}/{file.user}/{file.id}")
        answer = connection.getresponse()
        answer.read()
        assert answer.status == 200, answer.status
    connection.close()


def memory():
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
    suite = Suite()
    try:
        suite.add_tracker(route_cache_entries=ROWS, route_cache_age="1d")
        suite.add_idserver()
        suite.add_storage(cache_entries=ROWS, cache_age="1d", paths=f"group001={suite.dir}/data")
        suite.add_httpd(lookup_entries=ROWS, lookup_age="1d")
        suite.launch()
        key = wire.file_key(APP, "nobody", "nothing")
        many_connections(suite, suite.storage, "never used")
        many_connections(suite, suite.storage, "idle after a request", lambda c: c.call(wire.FILESIZE, key))
        many_connections(suite, suite.storage, "in the middle of a request", lambda c: c.send(wire.header(400, wire.FILESIZE) + key[:200]))
        many_connections(suite, suite.tracker, "idle after a request", lambda c: c.call(wire.LOCATE, key))

        def get(client):
            client.send(b"GET /nothing HTTP/1.1\r\nHost: x\r\n\r\n")
            client.socket.recv(4096)
        many_connections(suite, suite.httpd, "kept alive after a request", get)

        files = [File(n) for n in range(ROWS // 2)]
        sqlite_fill(suite, "storagedb", statements(files))
        users = users_of(File(n * FILES_A_USER) for n in range(ROWS // 2))
        sqlite_fill(suite, "trackerdb", router_statements(users))
        keys = [wire.file_key(APP, file.user, file.id) for file in files]
        DICE.shuffle(keys)
        growth(suite, suite.storage, "file rows in the cache", len(keys), lambda: pipelined(suite.storage, wire.FILESIZE, keys))
        keys = [wire.file_key(APP, user, "") for user in users]
        growth(suite, suite.tracker, "users in the cache", len(keys), lambda: pipelined(suite.tracker, wire.LOCATE, keys))
        growth(suite, suite.httpd, "files looked up, with their users' location", 20_000, lambda: heads(suite.httpd, files[:20_000]))
    finally:
        suite.stop()


# --- database ---

def database():
    files = [File(n) for n in range(ROWS)]
    users = users_of(File(n * FILES_A_USER) for n in range(ROWS))
    million = lambda size, count: f"{size * 1_000_000 / count / 1e6:.0f} MB a million"
    mariadb = MariaDB()
    suite = Suite("mariadb", mariadb)
    try:
        suite.start()
        mariadb.sql("".join(statements(files)), suite.prefix + "storagedb")
        mariadb.sql("".join(router_statements(users)), suite.prefix + "trackerdb")
        print(f"MariaDB {mariadb.sql('SELECT VERSION()').strip()}, {len(files)} files, {len(users)} users:")
        for name, tables, count in (("storagedb", "t_file_01,t_file_02,t_file_03", len(files)), ("trackerdb", "t_router", len(users))):
            mariadb.sql(f"ANALYZE TABLE {tables}; FLUSH TABLES", suite.prefix + name)
            data, index = (int(part) for part in mariadb.sql(
                f"SELECT SUM(data_length), SUM(index_length) FROM information_schema.tables WHERE table_schema = '{suite.prefix}{name}' "
                f"AND FIND_IN_SET(table_name, '{tables}')").split())
            disk = sum((mariadb.dir / "data" / (suite.prefix + name) / f"{table}.ibd").stat().st_size for table in tables.split(","))
            print(f"  {tables}: rows {million(data, count)}, indices {million(index, count)}, files on disk {million(disk, count)}")
    finally:
        suite.stop()
        mariadb.remove()
    suite = Suite()
    try:
        suite.start()
        print(f"SQLite {sqlite3.sqlite_version}: t_file_xx {million(sqlite_fill(suite, 'storagedb', statements(files)), len(files))}, "
              f"t_router {million(sqlite_fill(suite, 'trackerdb', router_statements(users)), len(users))}")
    finally:
        suite.stop()


# --- volume ---

def volume():
    subprocess.run([HERE.parent / "cluster" / "run.py", HERE.parent / "cluster" / "test_capacity.py"], check=True,
                   env={"REEL_CAPACITY_FILES": "20000", **os.environ})


if __name__ == "__main__":
    for part in sys.argv[1:] or ["memory", "database", "volume"]:
        {"memory": memory, "database": database, "volume": volume}[part]()
