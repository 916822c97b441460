"""Named crash points (docs/durability.md): a daemon that kills itself there, and what must hold afterwards."""
import os
import pathlib
import re
import signal
import time
import urllib.request

import wire
from suite import APP, ROOT, USER, Suite, wait_for

SEED = int(os.environ.get("REEL_TORTURE_SEED", time.time_ns() % 1_000_000_000))


def make(backend, request):
    return Suite(backend, request.getfixturevalue("mariadb") if backend == "mariadb" else None)


def points(prefix=""):
    """Every name in the sources that begins with PREFIX."""
    names = set()
    for room in ("storage", "common"):
        for file in (ROOT / room).rglob("*.c"):
            names.update(re.findall(r'CRASH_POINT\("([a-z-]+)"\)', file.read_text()))
    found = sorted(name for name in names if name.startswith(prefix))
    assert found, f"no crash point begins with {prefix}"
    return found


def start(daemon, point=None, nth=1, **more):
    """Starts it with a point armed."""
    changed = dict(more)
    if point:
        changed["REEL_CRASH_POINT"] = f"{point}:{nth}"
    before = {name: os.environ.get(name) for name in changed}
    os.environ.update(changed)
    try:
        daemon.start(wait=not point)
        if point:
            wait_for(lambda: daemon.process.poll() is not None or listening(daemon), 30, "the daemon's start")
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name)
            else:
                os.environ[name] = value


def listening(daemon):
    import socket
    socket.create_connection(daemon.address, timeout=1).close()
    return True


def store(client, file, content):
    """Uploads it; again where the database was away for longer than this suite's short time-outs allow."""
    def is_stored():
        reply = client.upload(APP, USER, file, content)
        refusals.append(reply)
        return reply.ok or reply.number != wire.UNAVAILABLE
    refusals = []
    wait_for(is_stored, 20, f"the upload of {file}")
    assert refusals[-1].ok, refusals[-1]


def died(daemon, seconds=20):
    """It killed itself; afterwards it may be started again."""
    wait_for(lambda: daemon.process.poll() is not None, seconds, f"the death of reel-{daemon.label}")
    code = daemon.process.returncode
    daemon.process = None
    daemon.err.close()
    assert code == -signal.SIGKILL, f"reel-{daemon.label} ended with {code}\n{daemon.tail()}"


def rows(suite):
    """file_path -> (file ID, status, size) of every row."""
    found = {}
    for table in ("t_file_01", "t_file_02", "t_file_03"):
        for file, status, path, size in suite.sql(
                "storagedb", f"SELECT id, COALESCE(status, 0), file_path, file_size FROM {table};"):
            assert path not in found, f"{path} stands in two rows"
            found[path] = (file, int(status), int(size))
    return found


def stored_files(suite):
    """file_path -> size of every stored file."""
    data = pathlib.Path(suite.dir / "data")
    sizes = {}
    for file in suite.files(data):
        try:
            sizes[str(file)] = file.stat().st_size
        except FileNotFoundError:
            pass  # the sweep has taken a leftover away meanwhile
    return sizes


def check_rows_have_files(suite):
    files = stored_files(suite)
    for path, (file, status, size) in rows(suite).items():
        if status in (0, 1):
            assert files.get(path) == size, f"the row of {file} (status {status}) names {path} with {size} bytes: {files.get(path)}"


def leftovers(suite):
    """Files without a row; one that is purged while we look, file before row, is none."""
    before = set(rows(suite))
    return sorted(set(stored_files(suite)) - before - set(rows(suite)))


def http_get(suite, file, user):
    """(status, body)"""
    try:
        with urllib.request.urlopen(suite.url(file, user=user), timeout=30) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, b""
