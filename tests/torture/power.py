"""A storage server under tests/torture/powercut.c: what was not synced is taken back after its death; system calls fail."""
import os
import pathlib
import shutil

from crash import start
from suite import BUILD

LIBRARY = BUILD / "lib" / "libpowercut.so"


def journal(suite):
    return suite.dir / "powercut.journal"


def begin(suite, point=None, nth=1, fail=None, slow=None, database=False):
    """Starts the storage server with the library before it. DATABASE: a cut takes back what SQLite and the upload journal have not
    synced too."""
    journal(suite).unlink(missing_ok=True)
    more = {"LD_PRELOAD": str(LIBRARY), "POWERCUT_DIR": os.path.realpath(suite.dir / "data"),
            "POWERCUT_JOURNAL": str(journal(suite)),
            "ASAN_OPTIONS": os.environ.get("ASAN_OPTIONS", "") + ":verify_asan_link_order=0"}
    if database:
        more["POWERCUT_UNDO"] = os.path.realpath(suite.dir / "meta")
    if fail:
        more["POWERCUT_FAIL"] = fail
    if slow:
        more["POWERCUT_SLOW"] = str(slow)
    start(suite.storage, point, nth, **more)


def lines(suite):
    if not journal(suite).exists():
        return []
    return [(line[0], line[2:]) for line in journal(suite).read_text().splitlines() if len(line) > 2]


def failures(suite):
    """Paths of the calls that were made to fail."""
    return [path for what, path in lines(suite) if what == "F"]


def cut(suite, one_journal=False):
    """Takes back what was not synced; returns how much that was: (files emptied, names gone).

    To the letter of POSIX a name lasts when its directory was synced after it was made. ONE_JOURNAL: as on ext4, XFS and
    btrfs, where one journal has all changes of names in their order: what syncs a file also brings the names that were
    made before it last changed, its own among them, and what syncs a directory those up to the last one in it."""
    unsynced, names, made, begun, changed, kept = set(), set(), {}, {}, {}, {}
    undo, forgotten = {}, set()  # path -> what lay there; files whose bytes a failed syncfs has dropped
    for at, (what, path) in enumerate(lines(suite)):
        if what == "P":
            offset, size, old, path = path.split(" ", 3)
            undo.setdefault(path, []).append((at, int(offset), int(size), bytes.fromhex(old.strip("-"))))
        elif what in "GY":
            begun[path.split(" ", 1)[0]] = at
        elif what == "H":
            number, path = path.split(" ", 1)
            undo[path] = [one for one in undo.get(path, []) if one[0] > begun[number]]
        elif what == "Q":
            size, path = path.split(" ", 1)
            if path not in forgotten:
                kept[path] = int(size)
        elif what == "Z":
            number = path.split(" ", 1)[0]
            names -= {name for name, when in made.items() if when < begun[number]}
        elif what == "F" and path == os.path.realpath(suite.dir / "data"):
            forgotten |= unsynced
        elif what == "W":
            forgotten.discard(path)
            unsynced.add(path)
            changed[path] = at
        elif what == "S":
            unsynced.discard(path)
            if one_journal:
                names -= {name for name, when in made.items() if when <= changed.get(path, -1)}
        elif what in "KT":
            size, path = path.split(" ", 1)
            kept[path] = int(size) if what == "K" else min(int(size), kept.get(path, 0))
        elif what == "N":
            kept.pop(path, None)
            names.add(path)
            made.pop(path, None)
        elif what == "M":
            made[path] = changed[path] = at
        elif what in "BD":
            number, path = path.split(" ", 1)
            if what == "B":
                within = {name: made[name] for name in made if name in names and os.path.dirname(name) == path}
                last = max(within.values(), default=-1)
                begun[number] = set(within) | {n for n, when in made.items() if one_journal and when <= last}
            else:
                names -= begun.pop(number)
    gone = emptied = 0
    for name in sorted(names):
        path = pathlib.Path(name)
        if path.is_dir():
            shutil.rmtree(path)
            gone += 1
        elif path.exists():
            path.unlink()
            gone += 1
    for name in unsynced:
        path = pathlib.Path(name)
        if path.exists():
            os.truncate(path, min(kept.get(str(path), 0), path.stat().st_size))
            emptied += 1
    for name, writes in undo.items():
        if pathlib.Path(name).exists() and not name.endswith("-shm"):
            with open(name, "r+b") as file:
                for _, offset, size, old in reversed(writes):
                    file.seek(offset)
                    file.write(old)
                    file.truncate(size)
                    emptied += 1
    journal(suite).unlink(missing_ok=True)
    return emptied, gone
