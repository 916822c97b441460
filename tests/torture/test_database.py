"""The database is stopped, killed, slow, out of connections, full, cut off in the middle of a commit, locked, corrupt, while
clients upload: files that are known are served meanwhile, uploads end within a bounded time, stored or clearly refused,
everything becomes whole without a restart, and no acknowledged row is missing or there twice."""
import contextlib
import os
import pathlib
import shutil
import signal
import sqlite3
import subprocess
import threading
import time

import pytest
import wire
from crash import check_rows_have_files, leftovers, rows, store
from proxy import Proxied
from suite import APP, USER, MariaDB, Suite, new_id, wait_for

BOUND = 30  # seconds within which every upload is answered, whatever the database does
REFUSALS = {wire.UNAVAILABLE, wire.NO_SPACE, -1}
STORAGE = {"cache_age": "100ms"}


class Uploader(threading.Thread):
    """Uploads one file after the other, and each one again until it is stored or there is no time left."""

    def __init__(self, suite):
        super().__init__(daemon=True)
        self.suite, self.ending = suite, threading.Event()
        self.stored, self.refused, self.slowest, self.problems, self.numbers = {}, {}, 0, [], set()

    def run(self):
        try:
            with self.suite.client() as client:
                client.socket.settimeout(90)
                while not self.ending.is_set():
                    self.one(client)
        except Exception as problem:
            self.problems.append(repr(problem))

    def one(self, client):
        file, content = new_id(), os.urandom(1000)
        while not self.ending.is_set():
            begin = time.monotonic()
            reply = client.upload(APP, USER, file, content)
            self.slowest = max(self.slowest, time.monotonic() - begin)
            if reply.ok:
                self.stored[file] = content
                self.refused.pop(file, None)
                return
            self.refused[file] = content
            self.numbers.add(reply.number)
            if reply.number not in REFUSALS or not reply.text:
                self.problems.append(f"{file}: {reply}")
            time.sleep(0.05)


class Load:
    """Four uploaders, and a file that is known."""

    def __init__(self, suite):
        self.suite = suite
        self.known = new_id()
        with suite.client() as client:
            store(client, self.known, b"known" * 1000)
            assert client.download(APP, USER, self.known).ok

    def __enter__(self):
        self.uploaders = [Uploader(self.suite) for _ in range(4)]
        for uploader in self.uploaders:
            uploader.start()
        self.progress("the first uploads")
        return self

    def __exit__(self, kind, *_):
        for uploader in self.uploaders:
            uploader.ending.set()
        for uploader in self.uploaders:
            uploader.join(240)
        if kind:
            return
        assert not any(uploader.is_alive() for uploader in self.uploaders)
        problems = [problem for uploader in self.uploaders for problem in uploader.problems]
        assert not problems, problems[:3]
        slowest = max(uploader.slowest for uploader in self.uploaders)
        assert slowest < BOUND, f"an upload took {slowest:.1f} s"
        self.check()

    def count(self):
        return sum(len(uploader.stored) for uploader in self.uploaders)

    def refusals(self):
        return set().union(*(uploader.numbers for uploader in self.uploaders))

    def progress(self, what, seconds=40):
        before = self.count()
        wait_for(lambda: self.count() > before + 8, seconds, what)

    def reads_go_on(self, seconds=1):
        """Of what is known, without delay, also while every thread of the database waits."""
        time.sleep(0.3)
        end = time.monotonic() + seconds
        with self.suite.client() as client:
            while time.monotonic() < end:
                begin = time.monotonic()
                assert client.download(APP, USER, self.known).body == b"known" * 1000
                assert time.monotonic() - begin < BOUND
                time.sleep(0.05)

    def refused(self, what):
        wait_for(self.refusals, BOUND + 5, what)

    def check(self):
        known = {}
        for file, status, _ in rows(self.suite).values():
            assert file not in known and status == 0, f"{file} has two rows"
            known[file] = True
        check_rows_have_files(self.suite)
        stored = {f: c for uploader in self.uploaders for f, c in uploader.stored.items()}
        refused = {f: c for uploader in self.uploaders for f, c in uploader.refused.items()}
        assert not set(stored) - set(known), "acknowledged rows are missing"
        with self.suite.client() as client:
            for file, content in stored.items():
                assert client.download(APP, USER, file).body == content
            for file, content in refused.items():
                reply = client.download(APP, USER, file)
                assert reply.body == content if reply.ok else reply.number == wire.NOT_FOUND
                store(client, file, content)  # trying again is safe
        assert self.suite.storage.process.poll() is None


# --- MariaDB ---

@pytest.fixture(scope="module")
def server():
    """One that may be harmed, on a file system of its own where that can be had: it fills up quickly."""
    directory = small_file_system("size=500m")
    try:
        made = MariaDB(directory)
        made.small = bool(directory)
        try:
            yield made
        finally:
            made.remove()
    finally:
        if directory:
            subprocess.run(["umount", "-l", directory], check=False)
            shutil.rmtree(directory, ignore_errors=True)


@contextlib.contextmanager
def behind_proxy(server, url_options, **storage):
    """A suite, not started yet, whose daemons reach SERVER through a proxy."""
    database = Proxied(server)
    url = database.url
    database.url = lambda name: f"{url(name)}?{url_options}"
    suite = Suite("mariadb", database)
    try:
        suite.add_tracker()
        suite.add_idserver()
        suite.add_storage(**STORAGE, **storage)
        yield suite
    finally:
        try:
            suite.stop()
        finally:
            database.proxy.close()


@pytest.fixture(scope="module")
def proxied_suite(server):
    with behind_proxy(server, "connect_timeout=1s&read_timeout=2s&write_timeout=2s", database_timeout="6s") as suite:
        suite.storage.config["database"]["threads"] = "4"
        suite.storage.configure(suite.storage.config)
        yield suite.launch()


def small_file_system(options):
    """The directory of a tmpfs; "" where this account may not mount."""
    if os.getuid() != 0:
        return ""
    directory = subprocess.run(["mktemp", "-d", "/tmp/reel-small-XXXXXX"], capture_output=True, text=True).stdout.strip()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", options, "small", directory], capture_output=True).returncode != 0:
        os.rmdir(directory)
        return ""
    return directory


def fill(directory):
    """Writes until there is no room; the file to remove."""
    filler = pathlib.Path(directory) / "filler"
    with open(filler, "wb", buffering=0) as out:
        for size in (1 << 20, 4096, 1):
            try:
                while True:
                    out.write(bytes(size))
            except OSError:
                pass
    return filler


def test_a_stopped_mariadb(proxied_suite, server):
    with Load(proxied_suite) as load:
        server.process.send_signal(signal.SIGSTOP)
        try:
            load.reads_go_on()
            load.refused("a refusal while the database stands still")
        finally:
            server.process.send_signal(signal.SIGCONT)
        load.progress("uploads after SIGCONT")
        assert load.refusals() == {wire.UNAVAILABLE}


def test_a_killed_mariadb(proxied_suite, server):
    with Load(proxied_suite) as load:
        server.kill()
        load.reads_go_on()
        load.refused("a refusal while the database is away")
        server.start()
        load.progress("uploads after the database's return")


def test_a_slow_mariadb(proxied_suite):
    proxy = proxied_suite.mariadb.proxy
    with Load(proxied_suite) as load:
        proxy.delay = 0.3
        try:
            load.reads_go_on()
            load.progress("uploads through a slow database")
        finally:
            proxy.delay = 0
        load.progress("uploads at full speed")
        assert not load.refusals() - {wire.UNAVAILABLE}


def test_a_mariadb_without_connections(proxied_suite, server):
    with Load(proxied_suite) as load:
        # One that is there before all are taken.
        admin = subprocess.Popen(["mariadb", "--no-defaults", "-nN", "-uroot", f"-S{server.dir}/s"], stdin=subprocess.PIPE,
                                 stdout=subprocess.PIPE)
        admin.stdin.write(b"SET GLOBAL max_connections = 10; SELECT 'set';\n")
        admin.stdin.flush()
        assert admin.stdout.readline().strip() == b"set"
        proxy, taken = proxied_suite.mariadb.proxy, []
        try:
            proxy.leave()
            for _ in range(12):
                taken.append(subprocess.Popen(
                    ["mariadb", "--no-defaults", "-ureel", "-pp@ss:w/rd", "-h127.0.0.1", f"-P{server.port}", "-e", "DO SLEEP(60)"],
                    stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))
            wait_for(lambda: any(client.poll() for client in taken), 20, "a client that finds no place")
            for uploader in load.uploaders:
                uploader.numbers.clear()
            proxy.away = False
            load.refused("a refusal while there is no connection")
            load.reads_go_on()
        finally:
            proxy.away = False
            admin.communicate(b"SET GLOBAL max_connections = 200;\n")
            for client in taken:
                client.kill()
                client.wait()
            sleeping = "SELECT id FROM information_schema.processlist WHERE info LIKE 'DO SLEEP%'"
            for number in server.sql(sleeping).split():
                with contextlib.suppress(AssertionError):  # gone by itself meanwhile
                    server.sql(f"KILL {number}")
        load.progress("uploads after there are connections again")


def test_a_mariadb_whose_disk_is_full(proxied_suite, server):
    if not server.small:
        pytest.skip("no file system can be mounted here")
    with Load(proxied_suite) as load:
        filler = fill(server.dir)
        try:
            load.reads_go_on()
            # The tables have some pages left: they are used up first.
            wait_for(load.refusals, 60, "a refusal by a full database")
            load.reads_go_on()
        finally:
            filler.unlink()
            if server.process.poll() is not None:  # InnoDB may end itself when it cannot write
                server.start()
        load.progress("uploads after there is room again")
        assert load.refusals() <= REFUSALS


def test_a_replaced_mariadb_that_comes_back_with_its_rows(proxied_suite, server):
    """All connections are cut while statements are under way, again and again."""
    with Load(proxied_suite) as load:
        for _ in range(10):
            time.sleep(0.1)
            proxied_suite.mariadb.proxy.cut_all()
        load.progress("uploads after the connections broke")


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("what", ["insert", "commit"])
def test_a_connection_that_breaks_as_a_single_row_is_added_is_resolved_by_reading(proxied_suite, what, when):
    proxy, before, left = proxied_suite.mariadb.proxy, len(rows(proxied_suite)), leftovers(proxied_suite)
    file, content = new_id(), os.urandom(700)
    with proxied_suite.client() as client:
        assert client.upload(APP, USER, new_id(), b"the table is known").ok
        cuts = proxy.cuts
        proxy.armed = (what, when)
        assert client.upload(APP, USER, file, content).ok
        assert proxy.cuts == cuts + 1, "nothing was cut"
        assert client.download(APP, USER, file).body == content
    assert len(rows(proxied_suite)) == before + 2 and leftovers(proxied_suite) == left


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_connection_that_breaks_in_the_commit_of_many_rows_is_resolved_by_reading(proxied_suite, when):
    proxy, left = proxied_suite.mariadb.proxy, leftovers(proxied_suite)
    cuts = proxy.cuts
    with Load(proxied_suite) as load:
        proxy.delay = 0.02  # rows meet while the database is busy
        proxy.armed = ("commit", when)
        wait_for(lambda: proxy.cuts > cuts, 30, "a commit of several rows")
        proxy.delay = 0
        load.progress("uploads after the cut")
        assert not load.refusals(), "what can be resolved is not refused"
    assert leftovers(proxied_suite) == left


@pytest.mark.parametrize("when", ["before", "after"])
def test_an_unknown_outcome_is_reported_as_such_and_the_next_try_finds_out(proxied_suite, when):
    proxy, before = proxied_suite.mariadb.proxy, len(rows(proxied_suite))
    content = os.urandom(700)
    with proxied_suite.client() as client:
        client.socket.settimeout(60)
        assert client.upload(APP, USER, new_id(), b"the table is known").ok
        # The commit that is cut may be another one's, after which the upload does not get to its own: then it surely failed.
        for _ in range(8):
            file = new_id()
            proxy.then_away, proxy.armed = True, ("commit", when)
            try:
                reply = client.upload(APP, USER, file, content)
            finally:
                proxy.then_away = proxy.away = False
            assert not reply.ok and reply.number == wire.UNAVAILABLE, reply
            if "not known" in reply.text:
                break
            wait_for(lambda: client.upload(APP, USER, file, content).ok, 30, "the same upload again")
            before += 1
        else:
            pytest.fail("no outcome was unknown")
        wait_for(lambda: client.upload(APP, USER, file, content).ok, 30, "the same upload again")
        assert client.download(APP, USER, file).body == content
        other = client.upload(APP, USER, file, content[::-1])
        assert not other.ok and other.number == wire.EXISTS
    assert len(rows(proxied_suite)) == before + 2
    check_rows_have_files(proxied_suite)


@pytest.mark.parametrize("late", ["delete", "restore"])
def test_a_statement_that_the_network_delivers_late_undoes_nothing(proxied_suite, late):
    """An UPDATE is lost on its way; it is done again on another connection and acknowledged, and so is the opposite. Then
    the server gets the lost one."""
    proxy, file, content = proxied_suite.mariadb.proxy, new_id(), os.urandom(700)
    proxy.release.clear()
    proxy.delivered.clear()
    del proxy.endings[:]
    with proxied_suite.client() as client:
        client.socket.settimeout(60)
        assert client.upload(APP, USER, file, content).ok
        key, changes = wire.file_key(APP, USER, file), [wire.DELETE, wire.RESTORE]
        if late == "restore":
            assert client.call(wire.DELETE, key).ok
            changes.reverse()
        proxy.armed = ("update", "late")
        for change in changes:
            reply = client.call(change, key)
            assert reply.ok, reply
        wait_for(lambda: proxy.endings, 10, "the end of the connection that was given up")
        assert proxy.endings == ["reset"], "the kernel would go on delivering for minutes"
        proxy.release.set()
        assert proxy.delivered.wait(60), "the server did not answer the late statement"
        time.sleep(0.3)  # the cache's age, three times
        reply = client.download(APP, USER, file)
        assert reply.body == content if late == "delete" else reply.number == wire.NOT_FOUND, reply


@pytest.fixture
def sweeping_suite(server):
    """What has no row is put aside after two seconds."""
    with behind_proxy(server, "read_timeout=1s&write_timeout=1s", leftover_age="1901ms", progress_timeout="700ms", database_timeout="600ms",
                      sweep_interval="1s", leftovers_share="100", drain_timeout="1s") as suite:
        yield suite.launch()


def test_a_commit_that_the_network_delivers_late_finds_its_file(sweeping_suite):
    """The COMMIT of an upload is lost on its way, and the clean-up comes by meanwhile: nobody sees the row yet, but its
    transaction has not ended. Then the server gets the COMMIT."""
    suite, proxy = sweeping_suite, sweeping_suite.mariadb.proxy
    content = os.urandom(700)
    with suite.client() as client:
        client.socket.settimeout(60)
        store(client, new_id(), b"the table is known")
        # What is held may be another one's commit, or the machine held the upload before it came to its own.
        for _ in range(8):
            file = new_id()
            proxy.release.clear()
            proxy.delivered.clear()
            proxy.armed = ("commit", "late")
            reply = client.upload(APP, USER, file, content)
            if not reply.ok and "not known" in reply.text:
                break
            assert reply.ok or reply.number == wire.UNAVAILABLE, reply
            proxy.armed = None
            proxy.release.set()
        else:
            pytest.fail("no outcome was unknown")
        assert not any(name == file for name, _, _ in rows(suite).values())
        asked = lambda: "the clean-up pauses" in suite.storage.tail(10_000) or suite.storage.metric("reel_storage_quarantined_total")
        wait_for(asked, 30, "the clean-up's question")
        assert not suite.storage.metric("reel_storage_quarantined_total")
        proxy.release.set()
        assert proxy.delivered.wait(60), "the server did not answer the late statement"
        wait_for(lambda: client.download(APP, USER, file).body == content, 10, "the file of the row that came late")
    check_rows_have_files(suite)


# --- SQLite ---

@pytest.fixture(scope="module")
def sqlite_suite():
    suite = Suite("sqlite")
    small = small_file_system("size=64m")
    try:
        if small:
            (suite.dir / "meta").rmdir()
            (suite.dir / "meta").symlink_to(small)
        suite.small = small
        suite.add_tracker()
        suite.add_idserver()
        suite.add_storage(**STORAGE)
        # Of the others, whose databases are whole: what is harmed is the storage server's.
        suite.storage.config["database"].update(timeout="2s", url=f"sqlite:{suite.dir}/meta/storagedb.db?busy_timeout=1s")
        suite.storage.configure(suite.storage.config)
        yield suite.launch()
    finally:
        suite.stop()
        if small:
            subprocess.run(["umount", "-l", small], check=False)
            os.rmdir(small)


def test_an_sqlite_file_that_another_process_has_locked(sqlite_suite):
    with Load(sqlite_suite) as load:
        other = sqlite3.connect(sqlite_suite.dir / "meta" / "storagedb.db", isolation_level=None, timeout=60)
        other.execute("BEGIN IMMEDIATE")
        try:
            load.reads_go_on()
            load.refused("a refusal while the file is locked")
        finally:
            other.execute("ROLLBACK")
            other.close()
        load.progress("uploads after the lock is gone")
        assert load.refusals() == {wire.UNAVAILABLE}


def test_an_sqlite_file_on_a_full_disk(sqlite_suite):
    if not sqlite_suite.small:
        pytest.skip("no file system can be mounted here")
    with Load(sqlite_suite) as load:
        filler = fill(sqlite_suite.small)
        try:
            load.refused("a refusal by a full disk")
            load.reads_go_on()
        finally:
            filler.unlink()
        load.progress("uploads after there is room again")
        assert load.refusals() <= REFUSALS and wire.NO_SPACE in load.refusals()


def test_a_corrupt_sqlite_file_that_is_put_right(sqlite_suite):
    """Pages are overwritten under the running server; then the copy that the administrator made comes into its place."""
    directory = sqlite_suite.dir / "meta"
    file, copy = directory / "storagedb.db", directory / "copy.db"
    with Load(sqlite_suite) as load:
        load.progress("uploads before")
        for uploader in load.uploaders:
            uploader.ending.set()
        for uploader in load.uploaders:
            uploader.join(60)
        sqlite_suite.sql("storagedb", f"VACUUM INTO '{copy}';")
        with sqlite3.connect(file) as own:
            own.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        with open(file, "r+b") as out:
            out.write(os.urandom(file.stat().st_size))
        with sqlite_suite.client() as client:
            refused = new_id()
            reply = wait_for(lambda: (r := client.upload(APP, USER, refused, b"x" * 100)).ok is False and r, 20, "the refusal")
            assert reply.number in REFUSALS and reply.text
            assert client.download(APP, USER, load.known).body == b"known" * 1000
            for suffix in ("-wal", "-shm"):
                (directory / f"storagedb.db{suffix}").unlink(missing_ok=True)
            copy.rename(file)
            wait_for(lambda: client.upload(APP, USER, refused, b"x" * 100).ok, 30, "uploads with the good file")
