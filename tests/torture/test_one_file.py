"""Several clients upload (two contents), delete, restore and read the same few files, over connections that are slow, cut
and abandoned, while the storage servers are killed with -9 and stopped, the database's connections break, deleted files are
purged every 100 ms, leftovers looked for every second, and `fsck --repair` runs without pause. Every answer is recorded, and
for each file one order must explain them all (linear.py).

By itself four combinations of database, servers and trash_keep that hold each pair of them. REEL_TORTURE_SECONDS=n: all
eight, n seconds each. REEL_TORTURE_SEED replays the choices, though not the moments."""
import collections
import json
import os
import random
import signal
import socket
import struct
import threading
import time

import pytest
import wire
from crash import SEED, check_rows_have_files, leftovers, rows, stored_files
from linear import ABSENT, DELETE, DELETED, DONE, GONE, PUT, READ, RESTORE, TAKEN, UNKNOWN, Operation, explains, shortest
from proxy import Proxied
from suite import APP, PATIENCE, USER, Suite, new_id, wait_for

LONG = "REEL_TORTURE_SECONDS" in os.environ
SECONDS = float(os.environ.get("REEL_TORTURE_SECONDS", "3"))
CASES = [(backend, servers, keep) for backend in os.environ.get("REEL_BACKENDS", "sqlite,mariadb").split(",")
         for servers in (1, 2) for keep in (0, 2) if LONG or (backend == "sqlite") == (servers * 2 - 2 == keep)]
CLIENTS, FILES = 8, 4
OPERATIONS = 90                   # of one file, then another one takes its place
LIVES = (0.3, 1, 2, 6)            # seconds over which they are spread
SIZES = (0, 1, 700, 16 * 1024, 50_000, 200_000)
CACHE_AGE, SLACK = 0.3, 2.0       # SLACK: a busy machine between the database's answer and its place in the cache
STORAGE = {"lease": "1s", "progress_timeout": "700ms", "database_timeout": "600ms", "leftover_age": "1901ms", "drain_timeout": "2s",
           "purge_interval": "100ms", "sweep_interval": "1s", "leftovers_share": "100", "leftovers_max": "1000000",
           "scrub_rate": "0", "scrub_interval": "0", "cache_age": f"{CACHE_AGE * 1000:.0f}ms", "open_age": "300ms",
           "chunk_size": "16K", "id_range": "10", "uploads_wait": "2s"}
FSCK, PROGRESS, REPAIR = 80, 0, 2
TOO_SLOW = -14
FOR_A_TIME = {wire.UNAVAILABLE, wire.NO_SERVER, wire.NO_SPACE, TOO_SLOW}
HEARD = {wire.NOT_FOUND: GONE, wire.DELETED: DELETED, wire.EXISTS: TAKEN}


class NotSent(Exception):
    """The server has not got all of the request, and so cannot have done it."""


class NoAnswer(Exception):
    """It may have been done, or may still be."""


class File:
    def __init__(self, dice):
        self.name = new_id()
        self.contents = [b"", b""]
        while self.contents[0] == self.contents[1]:  # often of one length
            size = dice.choice(SIZES)
            self.contents = [dice.randbytes(size), dice.randbytes(size if dice.random() < 0.5 else dice.choice(SIZES))]
        self.key = wire.file_key(APP, USER, self.name)
        self.lock = threading.Lock()
        self.history, self.digests = [], {}
        self.begun, self.born, self.life = 0, time.monotonic(), dice.choice(LIVES)

    def take(self):
        """True where one more operation is due. They come in bursts, so that many meet."""
        with self.lock:
            share = (time.monotonic() - self.born) / self.life
            if self.begun >= min(OPERATIONS, 12 * (1 + int(share * OPERATIONS / 12))):
                return False
            self.begun += 1
            return True

    def spent(self):
        return self.begun >= OPERATIONS

    def put(self, number):
        content = self.contents[number]
        head = wire.put_head(APP, USER, self.name, len(content), name=f"content {number}", content_type="video/mp4")
        return wire.header(len(head) + len(content), wire.PUT) + head + content

    def ask(self, command, more=b""):
        return wire.header(len(self.key + more), command) + self.key + more


class Connection(wire.Client):
    """With the manners of bad networks and impatient people."""

    def __init__(self, address, dice):
        super().__init__(address, timeout=20)
        self.dice = dice

    def reset(self):
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close()

    def leave(self):
        self.reset() if self.dice.random() < 0.5 else self.close()

    def deliver(self, request, slow):
        """False where the server closed before it had everything: it may have answered."""
        try:
            while slow and len(request) > 1:
                size = self.dice.randint(1, len(request))
                self.send(request[:size])
                request = request[size:]
                time.sleep(self.dice.uniform(0, 0.15))
            self.send(request)
            return True
        except OSError:
            return False

    def answer(self, slow, whole):
        try:
            if slow:
                time.sleep(self.dice.uniform(0, 0.3))
            reply = self.receive()
        except (OSError, EOFError) as problem:
            raise (NoAnswer if whole else NotSent) from problem
        if not whole:
            self.close()
            assert not reply.ok, "success for half a request"
        return reply

    def exchange(self, request, manner):
        if manner == "cut":
            if not self.deliver(request[:self.dice.randrange(len(request))], False):
                raise NotSent
            time.sleep(self.dice.choice((0, 0, 0.05)))
            self.leave()
            raise NotSent
        if manner == "stalled":  # its other end has to end it
            self.deliver(request[:self.dice.randrange(len(request))], False)
            raise NotSent
        whole = self.deliver(request, manner == "slow")
        if manner == "abandoned" and whole:
            time.sleep(self.dice.choice((0, 0, 0.002, 0.02)))
            self.leave()
            raise NoAnswer
        return self.answer(manner == "slow", whole)


class Worker(threading.Thread):
    def __init__(self, room, index):
        super().__init__(daemon=True)
        self.room, self.index = room, index
        self.dice = random.Random(f"{SEED} {room.case} client {index}")
        self.connections, self.stalled = {}, []

    def exchange(self, member, request):
        manner = self.dice.choices(("plain", "slow", "cut", "abandoned", "stalled"), (80, 5, 4, 8, 1))[0]
        self.room.counts[manner] += 1
        connection = self.connections.pop(member, None)
        try:
            connection = connection or Connection(self.room.suite.daemons[member].address, self.dice)
        except OSError as problem:
            raise NotSent from problem
        try:
            reply = connection.exchange(request, manner)
        except (NotSent, NoAnswer):
            if manner == "stalled":
                self.stalled.append(connection)
            else:
                connection.close()
            raise
        if connection.socket.fileno() >= 0 and self.dice.random() < 0.9:
            self.connections[member] = connection
        else:
            connection.close()
        return reply

    def change(self, file, member, kind):
        number = self.dice.randrange(2) if kind == PUT else None
        request = file.put(number) if kind == PUT else file.ask(wire.DELETE if kind == DELETE else wire.RESTORE)
        one = Operation(kind, UNKNOWN, time.monotonic(), content=number, who=f"client {self.index} at {member}")
        try:
            reply = self.exchange(member, request)
        except NotSent:
            return
        except NoAnswer:
            self.room.note(file, one, member)
            return
        one.answer = DONE if reply.ok else HEARD.get(reply.number, UNKNOWN)
        if one.answer != UNKNOWN:
            one.end = time.monotonic()
        elif reply.number not in FOR_A_TIME:
            self.room.problems.append(f"{one} of {file.name}: {reply}")
        self.room.note(file, one, member)

    def read(self, file, member):
        stat = self.dice.random() < 0.5
        begin = time.monotonic()
        one = Operation(READ, GONE, begin, who=f"client {self.index} at {member}, {'STAT' if stat else 'DOWNLOAD'}")
        try:
            reply = self.exchange(member, file.ask(wire.STAT) if stat else file.ask(wire.DOWNLOAD, struct.pack(">qq", 0, 0)))
        except (NotSent, NoAnswer):
            return
        one.end = time.monotonic()
        if reply.ok and not self.room.judge(file, one, reply, stat):
            self.room.problems.append(f"{one} of {file.name} gives what nobody stored: {reply}")
        elif not reply.ok and reply.number == wire.NOT_FOUND:
            one.answer = ABSENT if stat else GONE
        elif not reply.ok:
            if reply.number not in FOR_A_TIME:
                self.room.problems.append(f"{one} of {file.name}: {reply}")
            return
        self.room.note(file, one, member)

    def step(self):
        file = self.room.file(self.dice)
        if not file:
            time.sleep(self.dice.uniform(0, 0.02))
            return
        member = self.dice.choice(self.room.members)
        kind = self.dice.choices((PUT, DELETE, RESTORE, READ), (35, 20, 15, 30))[0]
        if kind == READ:
            self.read(file, member)
        else:
            self.change(file, member, kind)

    def run(self):
        try:
            while not self.room.over.is_set() and not self.room.problems:
                self.step()
        except Exception as problem:  # a broken test must not look like a quiet one
            self.room.problems.append(f"client {self.index}: {problem!r}")
        for connection in [*self.connections.values(), *self.stalled]:
            connection.close()


class Room:
    def __init__(self, suite, case, proxy):
        self.suite, self.case, self.proxy = suite, case, proxy
        self.servers, self.keep = case[1:]
        self.members = ["storage", "second"][:self.servers]
        self.dice = random.Random(f"{SEED} {case} chaos")
        self.over, self.lock = threading.Event(), threading.Lock()
        self.problems, self.counts, self.done = [], collections.Counter(), collections.Counter()
        self.files = [File(self.dice) for _ in range(FILES)]
        self.live = list(self.files)
        self.troubles = []  # (member, from, to) of a server that stood still
        self.orphans = 0

    # --- files and what is known of them ---

    def file(self, dice):
        with self.lock:
            at = dice.randrange(FILES)
            if self.live[at].spent():
                self.live[at] = File(self.dice)
                self.files.append(self.live[at])
            file = self.live[at]
        return file if file.take() else None

    def judge(self, file, one, reply, stat):
        """What a READ gave; False: nothing that was ever sent."""
        if not stat:
            one.answer, one.content = DONE, file.contents.index(reply.body) if reply.body in file.contents else None
            return one.content is not None
        found = wire.parse_stat(reply.body)
        number = {"content 0": 0, "content 1": 1}.get(found["name"])
        if number is None or found["size"] != len(file.contents[number]) or found["status"] not in (0, 1):
            return False
        one.answer = DONE if found["status"] == 0 else DELETED
        one.content = number if found["status"] == 0 else None
        return file.digests.setdefault(number, found["digest"]) == found["digest"]

    def stale(self, one, member):
        """From when on what a member with another one beside it reads may be: it may answer from memory, but never with
        what was before a change that it has acknowledged itself."""
        begin = one.begin - CACHE_AGE - SLACK
        with self.lock:
            stood = [start for who, start, end in self.troubles if who == member and end >= begin and start <= one.end]
        return min([begin] + [start - CACHE_AGE - SLACK for start in stood])

    def note(self, file, one, member):
        self.done[f"{one.kind} {one.answer}"] += 1
        one.member = member
        with file.lock:
            if one.kind == READ and self.servers > 1:
                one.after = tuple(other for other in file.history if other.kind != READ and other.answer == DONE
                                  and other.member == member and other.end <= one.begin)
                one.begin = self.stale(one, member)
            file.history.append(one)

    # --- trouble ---

    def kill(self, daemon):
        daemon.kill()
        time.sleep(self.dice.uniform(0, 0.2))
        daemon.start()
        self.counts["kills"] += 1

    def pause(self, daemon):
        start = time.monotonic()
        trouble = [daemon.label, start, float("inf")]
        with self.lock:
            self.troubles.append(trouble)
        daemon.process.send_signal(signal.SIGSTOP)
        time.sleep(self.dice.choice((0.1, 0.3, 1, 2, 3)) * self.dice.uniform(0.5, 1))
        daemon.process.send_signal(signal.SIGCONT)
        trouble[2] = time.monotonic()
        self.counts["stops"] += 1

    def break_database(self):
        """Connections are slow, cut in the middle, or given up before what they carry arrives."""
        choice, proxy = self.dice.random(), self.proxy
        if choice < 0.2:
            proxy.delay = self.dice.uniform(0, 0.1)
            time.sleep(self.dice.uniform(0.1, 0.5))
            proxy.delay = 0
        elif choice < 0.4:
            proxy.cut_all()
        else:
            what, when = self.dice.choice(("insert", "update", "commit")), self.dice.choice(("before", "after", "late", "late"))
            cuts, left, proxy.armed = proxy.cuts, len(proxy.endings), (what, when)
            end = time.monotonic() + 1
            while proxy.cuts == cuts and time.monotonic() < end:
                time.sleep(0.01)
            proxy.armed = None
            if when == "late" and proxy.cuts > cuts:
                wait_for(lambda: len(proxy.endings) > left, 20, "the end of a database connection that hears nothing")
                time.sleep(self.dice.uniform(0, 2))
                proxy.release.set()
                proxy.delivered.wait(1)
                proxy.release.clear()
                proxy.delivered.clear()
        self.counts["database"] += 1

    def enough(self):
        """Something has come of it, however slow the machine is."""
        return (self.counts["kills"] and self.counts["stops"] and self.counts["repairs"]
                and all(self.done[f"{kind} {DONE}"] > 10 for kind in (PUT, DELETE, RESTORE, READ)))

    def trouble(self):
        begin = time.monotonic()
        while (time.monotonic() < begin + SECONDS or not self.enough()) and not self.problems:
            assert time.monotonic() < begin + SECONDS + 60 * PATIENCE, f"too little happens: {self.counts} {self.done}"
            time.sleep(self.dice.uniform(0.05, 0.4))
            daemon = self.suite.daemons[self.dice.choice(self.members)]
            for one in self.suite.daemons.values():
                assert one.process.poll() is None, one.tail()
            choice = self.dice.random()
            if self.proxy and choice < 0.4:
                self.break_database()
            elif choice < 0.75:
                self.kill(daemon)
            else:
                self.pause(daemon)

    # --- fsck ---

    def fsck(self, action):
        body = wire.field(APP, 16) + wire.field(USER, 256) + wire.field("", 128) + bytes([action])
        with wire.Client(self.suite.daemons[self.members[-1]].address, timeout=10) as client:
            reply = client.call(FSCK, body)
        assert reply.ok or reply.number in FOR_A_TIME, reply
        return json.loads(reply.body) if reply.ok else None

    def found_nothing(self, report):
        progress = report["progress"] or {}
        return not any(progress.get("findings", {}).values()) and not progress.get("repaired") and not progress.get("healed")

    def fsck_without_pause(self):
        wanted = None
        while not self.over.is_set() and not self.problems:
            try:
                report = self.fsck(PROGRESS if wanted else REPAIR)
            except (OSError, EOFError):
                report = None
            if report and not self.found_nothing(report):
                self.problems.append(f"fsck --repair finds damage where there is none: {report}")
            if report and report["done"] >= (wanted or float("inf")):
                self.counts["repairs"] += 1
                wanted = None
            elif report and not wanted:
                wanted = report["wanted"]
            time.sleep(0.05)

    def guarded(self, function):
        def run():
            try:
                function()
            except Exception as problem:
                self.problems.append(f"{function.__name__}: {problem!r}")
        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        return thread

    # --- the end ---

    def settled(self):
        """No row that is deleted, or on its way out, and no file without a row."""
        found = rows(self.suite)
        return all(status == 0 for _, status, _ in found.values()) and set(stored_files(self.suite)) == set(found)

    def last_look(self, file, there):
        """Every member says the same, and it is what the database holds: no memory is old any more."""
        def look():
            said = []
            for member in self.members:
                one = Operation(READ, ABSENT, begin, who=f"at the end, {member}")
                with self.suite.client(member) as client:
                    stat, content = client.call(wire.STAT, file.key), client.download(APP, USER, file.name)
                if stat.ok:  # a file that is deleted is gone from the database, but may still be in a member's memory
                    assert self.judge(file, one, stat, True) and one.answer == DONE
                    assert content.body == file.contents[one.content]
                else:
                    assert stat.number == content.number == wire.NOT_FOUND
                assert stat.ok == there
                one.end = time.monotonic()
                said.append(one)
            assert len({one.content for one in said}) == 1
            return said
        begin = time.monotonic()
        file.history += wait_for(look, 20, f"one answer of all members about {file.name}")

    def check(self):
        undecided = 0
        for file in self.files:
            verdict = explains(file.history, self.keep)
            undecided += verdict is None
            assert verdict is not False, (f"{file.name}, of {list(map(len, file.contents))} bytes, trash_keep {self.keep} s: no order "
                                          f"explains this:\n{shortest(file.history, self.keep)}")
        assert undecided == 0, f"{undecided} of {len(self.files)} histories have too many orders"


def run(room):
    workers = [Worker(room, i) for i in range(CLIENTS)]
    for worker in workers:
        worker.start()
    fsck = room.guarded(room.fsck_without_pause)
    try:
        room.trouble()
    finally:
        room.over.set()
        if room.proxy:
            room.proxy.release.set()  # nothing is held back any more: MariaDB keeps its locks so long
        for thread in [*workers, fsck]:
            thread.join(90)
    assert not any(thread.is_alive() for thread in [*workers, fsck])


@pytest.fixture
def room(request):
    case = backend, servers, keep = request.param
    database = Proxied(request.getfixturevalue("mariadb")) if backend == "mariadb" else None
    suite = Suite(backend, database)
    options = {**STORAGE, "trash_keep": f"{keep}s"}
    try:
        suite.add_tracker()
        suite.add_idserver()
        for label in ("storage", "second")[:servers]:
            suite.add_storage(label, **options)
        suite.launch()
        assert wire.ask(suite.tracker.address, wire.SADDRS, wire.file_key(APP, USER, "any")).ok
        yield Room(suite, case, database and database.proxy)
    finally:
        suite.stop()
        if database:
            database.proxy.close()


@pytest.mark.parametrize("room", CASES, indirect=True, ids=lambda case: f"{case[0]}-{case[1]}-servers-keep-{case[2]}")
def test_every_answer_about_a_file_fits_into_one_order(room):
    run(room)
    assert not room.problems, "\n".join(room.problems[:3])
    for file in room.files:  # whatever else there is to say, first the histories
        assert len(file.history) <= OPERATIONS
    room.check()

    calm = time.monotonic()
    room.suite.wait_active(room.servers)
    wait_for(room.settled, 40, "an end of purge and sweep")
    calm = time.monotonic() - calm
    present = {name for name, _, _ in rows(room.suite).values()}
    for file in room.files:
        room.last_look(file, file.name in present)
    room.check()
    check_rows_have_files(room.suite)
    assert not leftovers(room.suite)
    assert sum(room.suite.daemons[member].metric("reel_storage_number_collisions_total") for member in room.members) == 0
    print(f"\n{room.case}, seed {SEED}: {len(room.files)} files, {dict(room.counts)}, {sum(room.done.values())} operations "
          f"{dict(room.done)}; purge and sweep had ended {calm:.1f} s later")
