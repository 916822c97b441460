"""Clients that never pause: uploads by the reel command, streams by HTTP that go on after a break as `curl -C -` does."""
import hashlib
import http.client
import random
import threading
import time

from daemons import new_id


class Gaps:
    """The longest time without a success, and when it began; marks cut the time into parts."""

    def __init__(self):
        self.last = time.monotonic()
        self.parts = {}
        self.part = "quiet"

    def mark(self, part):
        self.part = part

    def success(self):
        now = time.monotonic()
        self.parts[self.part] = max(self.parts.get(self.part, 0), now - self.last)
        self.last = now

    def longest(self):
        return max(self.parts.values(), default=0)


class Worker(threading.Thread):
    def __init__(self):
        super().__init__(daemon=True)
        self.ending = threading.Event()
        self.gaps = Gaps()
        self.done, self.failures = 0, []

    def run(self):
        while not self.ending.is_set():
            self.once()

    def end(self, seconds=150):
        self.ending.set()
        self.join(seconds)
        assert not self.is_alive(), f"{self} still waits after {seconds} s"
        return self

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.ending.set()
        self.join(150)


class Uploader(Worker):
    """Uploads with the reel command, which itself retries; what it calls stored is remembered by its digest."""

    def __init__(self, reel, size=20_000, pause=0.0, seed=0):
        super().__init__()
        self.reel, self.size, self.pause = reel, size, pause
        self.random = random.Random(seed)
        self.stored = {}

    def once(self):
        content = self.random.randbytes(self.random.randint(1, self.size * 2))
        file = new_id()
        done = self.reel("upload", "-q", "--file-id", file, "-", input=content, check=False)
        if done.returncode == 0:
            self.stored[file] = hashlib.sha256(content).hexdigest()
            self.done += 1
            self.gaps.success()
        else:
            self.failures.append(f"upload {file}: code {done.returncode}: {done.stderr.decode().strip()}")
        self.ending.wait(self.pause)

    def lost(self):
        """Acknowledged files that cannot be had, or are others now."""
        missing = []
        for file, digest in self.stored.items():
            done = self.reel("download", "-q", file, "-", check=False)
            if done.returncode != 0 or hashlib.sha256(done.stdout).hexdigest() != digest:
                missing.append(f"{file}: code {done.returncode} {done.stderr.decode().strip()}")
        return missing


class Streamer(Worker):
    """Reads a file over HTTP again and again; a broken stream is resumed at the next byte under the same ETag, and only where
    that fails for SECONDS does it count as a failure."""

    def __init__(self, address, path, content, seconds=30, rate=4_000_000):
        super().__init__()
        self.address, self.path, self.content, self.patience, self.rate = address, path, content, seconds, rate
        self.resumed = 0
        self.etag = None

    def once(self):
        at, broken_since = 0, None
        while at < len(self.content) and not self.ending.is_set():
            try:
                got = self.part(at)
                if got:
                    broken_since = None
                at += got
                if at < len(self.content):
                    raise OSError("the stream ended early")
            except (OSError, http.client.HTTPException) as error:
                broken_since = broken_since or time.monotonic()
                self.resumed += 1
                if time.monotonic() - broken_since > self.patience:
                    self.failures.append(f"stream of {self.path} from {at}: {error!r}")
                    return
                time.sleep(0.1)
                at = self.at
        if at >= len(self.content):
            self.done += 1

    def part(self, at):
        self.at = at
        connection = http.client.HTTPConnection(*self.address, timeout=2)
        try:
            headers = {"Range": f"bytes={at}-"}
            if self.etag:
                headers["If-Match"] = self.etag
            connection.request("GET", self.path, headers=headers)
            answer = connection.getresponse()
            if answer.status not in (200, 206):
                raise OSError(f"{answer.status} {answer.read(200)!r}")
            etag = answer.headers["ETag"]
            assert self.etag in (None, etag), f"another ETag for the same file: {etag}, before {self.etag}"
            self.etag = etag
            while not self.ending.is_set():
                data = answer.read(65536)
                if not data:
                    break
                assert data == self.content[self.at:self.at + len(data)], f"other bytes at {self.at}"
                self.at += len(data)
                self.gaps.success()
                time.sleep(len(data) / self.rate)
            return self.at - at
        finally:
            connection.close()


def content(size, seed=1):
    return random.Random(seed).randbytes(size)
