#!/usr/bin/python3
"""REEL_MOVED_FILES (100,000) small files leave a group by `reel admin group drain --empty` while they are read, written and deleted:
tests/system/many_moved.py [sqlite] [mariadb]. For nights (scripts/nightly.sh torture); the small count of CI is test_moving.py's.
Prints figures, and ends with 1 after a failed read, a file ID that is gone, or bytes that are others. REEL_MOVED_RATE (of drain's --rate)."""
import hashlib
import os
import pathlib
import random
import subprocess
import sys
import threading
import time

sys.path[:0] = [str(pathlib.Path(__file__).resolve().parent)]
from suite import APP, BIN, MariaDB, Suite, new_id  # noqa: E402

FILES = int(os.environ.get("REEL_MOVED_FILES", 100_000))
USERS = 200
UPLOADERS, READERS = 4, 2
PAUSE = 0.01  # between the reads of one reader: the load is to be there, and not all of the machine


def content_of(file):
    return hashlib.sha256(file.encode()).digest() * (1 + file.encode()[-1] % 40)


class World:
    def __init__(self, backend):
        self.mariadb = MariaDB() if backend == "mariadb" else None
        self.suite = Suite(backend, self.mariadb)
        tracker = self.suite.add_tracker()
        self.suite.add_idserver()
        self.suite.add_storage("one", trash_keep="1d", cache_age="200ms")
        self.suite.add_storage("two", self.suite.dir / "data2", group="group002", trash_keep="1d", cache_age="200ms")
        tracker.init_db()
        self.suite.sql("trackerdb", "INSERT INTO t_groups_info(group_name, state) VALUES ('group002', 1)")
        self.suite.launch()
        self.files = {}  # user -> file IDs
        self.failed, self.reads, self.changes = [], 0, 0
        self.over = threading.Event()

    def upload(self, number):
        with self.suite.client("one") as client:
            for i in range(number, FILES, UPLOADERS):
                user, file = f"user{i % USERS}", new_id()
                reply = client.upload(APP, user, file, content_of(file))
                assert reply.ok, reply
                self.files[user].append(file)

    def fill(self):
        for i in range(USERS):
            user = f"user{i}"
            self.files[user] = []
            self.suite.reel("upload", "-", "--file-id", new_id(), user=user, input=b"the first one belongs to the route")
        threads = [threading.Thread(target=self.upload, args=(number,)) for number in range(UPLOADERS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def read(self, number):
        """Asks a server of the one group, and, like every client whom it sends on, one of the other group where the file has gone there."""
        order = random.Random(number)
        with self.suite.client("one") as one, self.suite.client("two") as two:
            while not self.over.is_set():
                user = f"user{order.randrange(USERS)}"
                file = order.choice(self.files[user])
                got = None
                for client in (one, two, one, two):
                    reply = client.download(APP, user, file)
                    if reply.ok:
                        got = reply.body
                        break
                self.reads += 1
                time.sleep(PAUSE)
                if got != content_of(file):
                    self.failed.append((user, file, None if got is None else len(got)))

    def command(self):
        """What a user does with the command meanwhile: reads, stores, deletes."""
        order = random.Random(7)
        while not self.over.is_set():
            user = f"user{order.randrange(USERS)}"
            file = order.choice(self.files[user])
            done = self.suite.reel("download", file, "-o", "-", user=user, check=False)
            self.reads += 1
            if done.returncode != 0 or done.stdout != content_of(file):
                self.failed.append((user, file, done.stderr))
            new = new_id()
            done = self.suite.reel("upload", "-", "--file-id", new, user=user, input=content_of(new), check=False)
            if done.returncode != 0:
                self.failed.append((user, new, done.stderr))
            elif self.changes % 2:
                self.suite.reel("delete", new, user=user)
            else:
                self.files[user].append(new)
            self.changes += 1

    def drain(self):
        rate = ("--rate", os.environ["REEL_MOVED_RATE"]) if "REEL_MOVED_RATE" in os.environ else ()
        return subprocess.run([BIN / "reel", "-t", f"127.0.0.1:{self.suite.tracker.port}", "admin", "group", "drain", "group001", "--empty",
                               "-y", "-j", "12", "--settle", "2s", *rate], capture_output=True, text=True)

    def check(self):
        """Every file under its ID, in the new group alone, byte for byte."""
        wrong = []
        with self.suite.client("two") as two:
            for user, files in self.files.items():
                for file in files:
                    reply = two.download(APP, user, file)
                    if not reply.ok or reply.body != content_of(file):
                        wrong.append((user, file))
        return wrong


def run(backend):
    world = World(backend)
    try:
        begun = time.monotonic()
        world.fill()
        print(f"{backend}: {FILES} files of {USERS} users stored in {time.monotonic() - begun:.0f} s", flush=True)
        world.suite.reel("admin", "group", "open", "group002")
        load = [threading.Thread(target=world.read, args=(number,)) for number in range(READERS)] + [threading.Thread(target=world.command)]
        for thread in load:
            thread.start()
        begun = time.monotonic()
        done = world.drain()
        took = time.monotonic() - begun
        world.over.set()
        for thread in load:
            thread.join()
        print(f"{backend}: {(done.stdout.strip().splitlines() or [''])[-1]}")
        print(f"{backend}: moved in {took:.0f} s, {FILES / took:.0f} files/s; meanwhile {world.reads} reads, {world.changes} uploads, "
              f"half of them deleted again; failed: {len(world.failed)}", flush=True)
        wrong = world.check()
        print(f"{backend}: read afterwards under the same IDs from the new group: {sum(map(len, world.files.values())) - len(wrong)}, "
              f"missing or changed: {len(wrong)}", flush=True)
        if done.returncode != 0 or world.failed or wrong:
            print(f"{backend}: FAILED: code {done.returncode} {done.stderr[-2000:]} {world.failed[:5]} {wrong[:5]}")
            return 1
        return 0
    finally:
        world.over.set()
        world.suite.stop()
        if world.mariadb:
            world.mariadb.remove()


if __name__ == "__main__":
    sys.exit(max([run(backend) for backend in sys.argv[1:] or ["sqlite", "mariadb"]]))
