"""Clients upload, read, delete and restore without pause and note what was acknowledged, while every daemon is killed with
-9, stopped and continued, or dies at a named step. Afterwards everything that was acknowledged is there, byte by byte, on
both protocols and on every member; what was deleted is gone; no number was used twice; fsck is clean.

REEL_TORTURE_SECONDS (8) and REEL_TORTURE_KILLS (0: by time alone) say how long; REEL_TORTURE_SEED replays the choices;
REEL_TORTURE_JOURNAL (auto) is storage.journal, whose steps are among the named ones where it is on."""
import json
import os
import random
import re
import signal
import threading
import time

import wire
from crash import SEED, check_rows_have_files, died, http_get, leftovers, points, rows, start, stored_files
from suite import APP, new_id, wait_for

SECONDS = float(os.environ.get("REEL_TORTURE_SECONDS", "8"))
KILLS = int(os.environ.get("REEL_TORTURE_KILLS", "0"))
CLIENTS = 6
FILES = 60  # of a client, from then on it seldom uploads
JOURNAL = os.environ.get("REEL_TORTURE_JOURNAL", "auto")
STORAGE = {"journal": JOURNAL, "lease": "2s", "leftover_age": "8s", "progress_timeout": "3s", "database_timeout": "2s", "scrub_rate": "0",
           "chunk_size": "32K", "cache_age": "20ms", "open_age": "20ms", "trash_keep": "1h", "purge_interval": "1s", "id_range": "20",
           "sweep_interval": "2s", "leftovers_share": "100"}
FOR_A_TIME = {wire.UNAVAILABLE, wire.NO_SERVER, wire.NO_SPACE, -13, -14, -1}
MEMBERS = ("storage", "second")
STEPS = ("upload", "row", "directory", "delete", "restore", "lease", "sweep", *(["journal"] if JOURNAL == "on" else []))
POINTS = [p for p in points() if p.split("-")[0] in STEPS]


class Lost(Exception):
    """No answer: it is not known what was done."""


class File:
    def __init__(self, user, name, content):
        self.user, self.name, self.content = user, name, content
        self.there = None     # True, False: as was acknowledged last; None: not known
        self.frozen = False   # an unanswered request may still be under way: nothing that contradicts it is asked


class Worker(threading.Thread):
    def __init__(self, suite, index, stop):
        super().__init__(daemon=True)
        self.suite, self.stop, self.user = suite, stop, f"user{index}"
        self.dice = random.Random(f"{SEED} client {index}")
        self.files, self.problems, self.connection = [], [], None
        self.counts = {"upload": 0, "download": 0, "delete": 0, "restore": 0, "lost": 0, "refused": 0}

    def ask(self, function):
        """The reply; Lost where there is none."""
        try:
            if not self.connection:
                self.member = self.suite.daemons[self.dice.choice(MEMBERS)]
                self.connection = wire.Client(self.member.address, timeout=8)
            return function(self.connection)
        except (OSError, EOFError) as problem:
            if self.connection:
                self.connection.close()
            self.connection = None
            self.counts["lost"] += 1
            raise Lost from problem

    def until_answered(self, file, function, fine):
        """Asks again and again, as a careful client does. Freezes the file where an earlier try was lost."""
        end = time.monotonic() + 60
        while time.monotonic() < end:
            try:
                reply = self.ask(function)
            except Lost:
                file.frozen = True
                time.sleep(0.05)
                continue
            if fine(reply):
                return True
            if reply.number not in FOR_A_TIME:
                self.problems.append(f"{file.name} of {self.user}: {reply}")
                return False
            self.counts["refused"] += 1
            if reply.number == wire.UNAVAILABLE:
                file.frozen = True  # "it is not known"
            if self.dice.random() < 0.3 and self.connection:
                self.connection.close()
                self.connection = None
            time.sleep(0.05)
        return False

    def upload(self):
        size = self.dice.choice((0, 1, 100, 3000, 32 * 1024, 100_000, 300_000))
        file = File(self.user, new_id(), self.dice.randbytes(size))
        self.files.append(file)
        if self.until_answered(file, lambda c: c.upload(APP, self.user, file.name, file.content), lambda r: r.ok):
            file.there = True
            file.frozen = False  # the same bytes again change nothing
            self.counts["upload"] += 1

    def change(self, file, command, there):
        file.there = None
        key = wire.file_key(APP, self.user, file.name)
        fine = lambda r: r.ok or (not there and r.number in (wire.NOT_FOUND, wire.DELETED))
        if self.until_answered(file, lambda c: c.call(command, key), fine):
            file.there = there
            self.counts["restore" if there else "delete"] += 1

    def may_be_old(self):
        """While the database is away a member may answer from memory, however old that is."""
        try:
            return "database" in self.member.http("/healthz")[1]
        except OSError:
            return True  # it is dead

    def download(self, file):
        tries, end = 6, time.monotonic() + 120
        while tries > 0 and time.monotonic() < end:
            try:
                reply = self.ask(lambda c: c.download(APP, self.user, file.name))
            except Lost:
                return
            if reply.ok and reply.body != file.content:
                self.problems.append(f"{file.name} of {self.user} has other bytes: {len(reply.body)} of {len(file.content)}")
                return
            if reply.ok == file.there or (not reply.ok and reply.number in FOR_A_TIME):
                self.counts["download"] += 1
                return
            tries -= not self.may_be_old()
            time.sleep(0.1)  # another member's cache
        self.problems.append(f"{file.name} of {self.user} should {'' if file.there else 'not '}be there: {reply}")

    def step(self):
        known = [file for file in self.files if file.there is not None]
        choice = self.dice.random()
        few = len(self.files) < FILES
        if choice < (0.45 if few else 0.01) or not known:
            self.upload()
        elif choice < 0.8:
            self.download(self.dice.choice(known))
        else:
            free = [file for file in known if not file.frozen]
            if free:
                file = self.dice.choice(free)
                self.change(file, wire.DELETE if file.there else wire.RESTORE, not file.there)

    def run(self):
        while not self.stop.is_set() and not self.problems:
            try:
                self.step()
            except Exception as problem:  # a broken test must not look like a quiet one
                self.problems.append(f"{self.user}: {problem!r}")


class Chaos:
    def __init__(self, suite, mariadb):
        self.suite, self.mariadb = suite, mariadb
        self.dice = random.Random(f"{SEED} chaos")
        self.kills, self.stops, self.deaths, self.armed, self.recovery = 0, 0, {}, {}, []

    def revive(self, daemon, point=None):
        begin = time.monotonic()
        while True:
            start(daemon, point, self.dice.randint(1, 15) if point else 1)
            self.armed[daemon.label] = point
            if daemon.process.poll() is None:
                break
            self.buried(daemon)  # it died at once, at a step of its start
            point = None
        self.recovery.append(time.monotonic() - begin)

    def buried(self, daemon):
        died(daemon)
        point = self.armed.get(daemon.label)
        self.deaths[point] = self.deaths.get(point, 0) + 1
        self.kills += 1

    def tend(self):
        """Whoever died at its point comes back."""
        for daemon in self.suite.daemons.values():
            if daemon.process and daemon.process.poll() is not None:
                self.buried(daemon)
                self.revive(daemon)

    def strike(self):
        daemon = self.dice.choice([d for d in self.suite.daemons.values() for _ in range(3 if d.name == "storage" else 1)])
        choice = self.dice.random()
        if self.mariadb and choice < 0.05:
            self.mariadb.kill()
            time.sleep(self.dice.uniform(0, 0.5))
            self.mariadb.start()
            self.kills += 1
        elif choice < 0.2:
            daemon.process.send_signal(signal.SIGSTOP)
            time.sleep(self.dice.uniform(0.05, 2))
            daemon.process.send_signal(signal.SIGCONT)
            self.stops += 1
        else:
            daemon.kill()
            self.kills += 1
            time.sleep(self.dice.uniform(0, 0.2))
            self.revive(daemon, self.dice.choice(POINTS) if daemon.name == "storage" else None)

    def run(self, workers):
        end = time.monotonic() + SECONDS

        def little():  # on a slow machine
            return self.kills < 4 or sum(worker.counts["upload"] for worker in workers) <= 20
        while (time.monotonic() < end or self.kills < KILLS or (little() and time.monotonic() < end + 240)) and not any(w.problems for w in workers):
            time.sleep(self.dice.uniform(0.02, 0.2))
            self.tend()
            self.strike()

    def peace(self):
        """Every daemon is up, none with a point armed."""
        for daemon in self.suite.daemons.values():
            if daemon.process.poll() is not None:
                self.buried(daemon)
            elif self.armed.get(daemon.label):
                daemon.kill()
            else:
                continue
            self.revive(daemon)
        self.suite.wait_active(2)


def check_file(suite, file):
    """On both members and by HTTP."""
    for member in MEMBERS:
        with suite.client(member) as client:
            reply = client.download(APP, file.user, file.name)
        there = reply.ok
        assert not reply.ok or reply.body == file.content, f"{file.name} has other bytes at {member}"
        assert reply.ok or reply.number in (wire.NOT_FOUND, wire.DELETED), reply
        assert file.there is None or there == file.there, \
            f"{file.name} of {file.user}: acknowledged {file.there}, at {member} {there}: {reply}"
    status, body = http_get(suite, file.name, file.user)
    assert (status == 200) == there and (body == file.content if there else True)
    return there


def test_what_was_acknowledged_survives_everything(own_suite, backend):
    suite = own_suite.start(storage_options=dict(STORAGE))
    suite.add_storage("second", **STORAGE).start()
    suite.wait_active(2)
    stop = threading.Event()
    workers = [Worker(suite, i, stop) for i in range(CLIENTS)]
    chaos = Chaos(suite, suite.mariadb)
    for worker in workers:
        worker.start()
    try:
        chaos.run(workers)
        chaos.peace()
    finally:
        stop.set()
        for worker in workers:
            worker.join(90)
    assert not any(worker.is_alive() for worker in workers)
    problems = [problem for worker in workers for problem in worker.problems]
    assert not problems, problems[:5]
    for daemon in suite.daemons.values():
        assert daemon.process.poll() is None, daemon.tail()

    files = [file for worker in workers for file in worker.files]
    time.sleep(1)
    there = sum(check_file(suite, file) for file in files)
    check_rows_have_files(suite)
    numbers = [re.sub(r"/[0-9A-F]{8}_", "/", path) for path in set(rows(suite)) | set(stored_files(suite))]
    assert len(numbers) == len(set(numbers)), "a number was used twice"
    for member in MEMBERS:
        assert suite.daemons[member].metric("reel_storage_number_collisions_total") == 0

    wait_for(lambda: not leftovers(suite), 40, "a store without leftovers")
    done = suite.reel("--json", "fsck", user="user0", check=False)
    report = json.loads(done.stdout)["progress"]
    assert done.returncode == 0 and not any(report["findings"].values()), report
    assert report["rows"] == len(rows(suite)) == len(stored_files(suite))

    counts = {name: sum(worker.counts[name] for worker in workers) for name in workers[0].counts}
    recovery = sorted(chaos.recovery) or [0]
    print(f"\ntorture on {backend}, seed {SEED}: {chaos.kills} kills ({sum(chaos.deaths.values())} of them at "
          f"{len(chaos.deaths)} named steps), {chaos.stops} stops; {counts}; {len(files)} files, {there} there, 0 lost; "
          f"recovery median {recovery[len(recovery) // 2]:.2f} s, longest {recovery[-1]:.2f} s")
    assert counts["upload"] > 20 and chaos.kills > 3 and chaos.kills >= KILLS

    for member in MEMBERS:  # and now for good
        suite.daemons[member].config["storage"]["trash_keep"] = "0"
        suite.daemons[member].configure(suite.daemons[member].config)
        suite.daemons[member].hup()
    wait_for(lambda: len(rows(suite)) == len(stored_files(suite)) == there, 40, "the purge of everything deleted")
    for file in files:
        check_file(suite, file)
