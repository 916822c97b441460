#!/usr/bin/env python3
"""Proves that tests catch what they are named for: makes each fault of tests/mutation/mutants in a copy of the sources
(build/mutation/N), builds what is needed and expects the named test to fail.

    scripts/mutate.sh [-j N] [NAME...]     all mutants, or those whose name contains one of these
    scripts/mutate.sh --check              only: every mutant can be applied, and tests/mutation/README.md is current
    scripts/mutate.sh --list               writes tests/mutation/README.md

Prints "killed/all" and what survived. Exits with 1 when a mutant survived, could not be applied (its text must stand in
its file exactly once) or built, or when a named test fails without a mutant. A mutant is a file NAME.mutant:

    file: storage/rows/meta.c
    test: unit test_storage_meta        (or:  test: pytest tests/torture/test_purge.py -k name
                                         or:  test: simulation 1 1000, seeds of tests/simulation)
    why: the epoch of a look-up is ignored
    --- from
    the text as it stands in the file
    --- to
    the text with the fault
"""
import argparse, fcntl, os, queue, shlex, shutil, subprocess, sys, tempfile, threading, time
from pathlib import Path

TOP = Path(__file__).resolve().parent.parent
MUTANTS = TOP / "tests/mutation/mutants"
FAULTS = TOP / "tests/simulation/faults"
README = TOP / "tests/mutation/README.md"
PROGRAMS = ["reel-tracker", "reel-idserver", "reel-storage", "reel-httpd", "reel", "reel_shared", "reel-example",
            "reel-poster", "powercut", "clockstep"]


class Broken(Exception):
    pass


class Mutant:
    def __init__(self, path):
        self.name = path.stem
        head, found, rest = path.read_text().partition("--- from\n")
        self.before, found_to, self.after = rest.partition("--- to\n")
        if not found or not found_to:
            raise Broken(f"{self.name}: no '--- from' and '--- to'")
        fields = dict(line.split(": ", 1) for line in head.strip().splitlines())
        if set(fields) != {"file", "test", "why"}:
            raise Broken(f"{self.name}: needs file, test and why, has {', '.join(fields) or 'nothing'}")
        self.file, self.why, self.test = fields["file"], fields["why"].strip(), shlex.split(fields["test"])
        if self.test[0] not in ("unit", "pytest", "simulation") or len(self.test) < 2:
            raise Broken(f"{self.name}: test must be 'unit NAME', 'pytest ARGUMENT...' or 'simulation FIRST [LAST]'")
        # The last line's end belongs to the form of the file, not to the text.
        self.before, self.after = self.before.removesuffix("\n"), self.after.removesuffix("\n")

    def apply(self, top):
        """The text of the file with the fault."""
        path = top / self.file
        if not path.exists():
            raise Broken(f"{self.name}: there is no file {self.file}")
        text = path.read_text()
        count = text.count(self.before)
        if count != 1 or self.before == self.after:
            raise Broken(f"{self.name}: its text stands {count} times in {self.file}, not once" if count != 1 else
                         f"{self.name}: changes nothing")
        return text.replace(self.before, self.after)

    def test_exists(self):
        kind, what = self.test[0], self.test[1].split("::")[0]
        if kind == "unit" and not list((TOP / "tests/unit").rglob(f"{what}.c")) or kind == "pytest" and not (TOP / what).exists():
            raise Broken(f"{self.name}: there is no test {what}")


def readme(mutants):
    lines = ["# Mutants", "",
             "Faults that look harmless, and the test that must fail with each: `scripts/mutate.sh` makes them one by one in a copy",
             "of the sources, runs the test and expects it to fail (`scripts/mutate.sh --help` describes the files in `mutants/`).",
             "This page is written by `scripts/mutate.sh --list`.", "",
             f"{len(mutants)} mutants:", "", "| mutant | file | the fault | caught by |", "|---|---|---|---|"]
    for mutant in mutants:
        test = " ".join(shlex.quote(word) for word in mutant.test[mutant.test[0] != "simulation":])
        lines.append("| {} | `{}` | {} | `{}` |".format(mutant.name, mutant.file, mutant.why.replace("|", "\\|"),
                                                       test.replace("|", "\\|")))
    return "\n".join(lines) + "\n"


class Copy:
    """A copy of the sources with a build of its own, for one mutant at a time."""

    def __init__(self, number):
        self.top = TOP / f"build/mutation/{number}"
        self.build = self.top / "build/asan"
        self.top.mkdir(parents=True, exist_ok=True)
        tracked = subprocess.check_output(["git", "ls-files", "-co", "--exclude-standard"], cwd=TOP, text=True).splitlines()
        wanted = {path for path in tracked if (TOP / path).is_file()}
        for path in wanted:
            source, copy = TOP / path, self.top / path
            if not copy.exists() or copy.read_bytes() != source.read_bytes():
                copy.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(source, copy)
        for copy in self.top.rglob("*"):
            relative = copy.relative_to(self.top)
            if relative.parts[0] != "build" and copy.is_file() and str(relative) not in wanted:
                copy.unlink()
        self.run(["cmake", "--preset", "asan", "-DREEL_WERROR=OFF"], "configure")

    def run(self, command, what):
        done = subprocess.run(command, cwd=self.top, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        if done.returncode:
            raise Broken(f"{what} failed:\n" + "\n".join(done.stdout.splitlines()[-20:]))

    def test(self, words, limit):
        """True when the test passed."""
        kind, *rest = words
        if kind == "simulation":
            self.run(["cmake", "--preset", "simulation", "-DREEL_WERROR=OFF"], "configure")
            self.run(["cmake", "--build", "--preset", "simulation"], "the build")
        else:
            self.run(["cmake", "--build", "--preset", "asan", "--target", *(rest[:1] if kind == "unit" else PROGRAMS)], "the build")
        environment = os.environ | {"REEL_BUILD": str(self.build),
                                    "ASAN_OPTIONS": "detect_leaks=1:abort_on_error=0:exitcode=99:allocator_may_return_null=1",
                                    "UBSAN_OPTIONS": "print_stacktrace=1:halt_on_error=1:exitcode=99"}
        command = ["/usr/bin/python3", "-m", "pytest", "-p", "no:cacheprovider", "-q", "-x", *rest]
        place = self.top
        if kind == "unit":
            command, place = [self.build / "unit" / rest[0]], tempfile.mkdtemp(prefix="reel-mutant-")
        elif kind == "simulation":
            command = [self.top / "build/simulation/simulation/reel-simulation", *rest]
        process = subprocess.Popen(command, cwd=place, env=environment, start_new_session=True, stdin=subprocess.DEVNULL,
                                   stdout=open(self.top / "build/test.txt", "w"), stderr=subprocess.STDOUT)
        try:
            code = process.wait(limit)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, 9)
            code = process.wait()
        if kind == "unit":
            shutil.rmtree(place, ignore_errors=True)
        elif code not in (0, 1, -9) or kind == "pytest" and code == 0 and " passed" not in (self.top / "build/test.txt").read_text(errors="replace"):
            raise Broken(f"{kind} {' '.join(rest)} ran no test, or skipped all (exit code {code})")
        return code == 0


class Runner:
    def __init__(self, mutants):
        self.todo = queue.SimpleQueue()
        self.lock = threading.Lock()
        self.baseline = {}
        self.killed, self.survived, self.broken = [], [], []
        # Mutants of one test follow each other: it is built and tried without a fault once.
        for mutant in sorted(mutants, key=lambda mutant: (mutant.test, mutant.file)):
            self.todo.put(mutant)

    def seconds_without_fault(self, copy, mutant):
        words = tuple(mutant.test)
        with self.lock:
            gate = self.baseline.setdefault(words, {"lock": threading.Lock(), "seconds": None})
        with gate["lock"]:
            if gate["seconds"] is None:
                began = time.monotonic()
                passed = copy.test(mutant.test, 1800)
                gate["seconds"] = time.monotonic() - began if passed else -1
        if gate["seconds"] < 0:
            said = (copy.top / "build/test.txt").read_text(errors="replace").splitlines()
            raise Broken("\n    ".join([f"{' '.join(words)} fails without a mutant", *said[-40:]]))
        return gate["seconds"]

    def one(self, copy, mutant):
        path = copy.top / mutant.file
        original = path.read_text()
        faulty = mutant.apply(copy.top)
        seconds = self.seconds_without_fault(copy, mutant)
        try:
            path.write_text(faulty)
            # Time beyond this is a test that waits for what never comes: a caught fault too.
            return not copy.test(mutant.test, max(120, 5 * seconds))
        finally:
            path.write_text(original)

    def work(self, number):
        copy = Copy(number)
        while True:
            try:
                mutant = self.todo.get_nowait()
            except queue.Empty:
                return
            began = time.monotonic()
            try:
                killed = self.one(copy, mutant)
                (self.killed if killed else self.survived).append(mutant.name)
                said = "killed" if killed else "SURVIVED"
            except Broken as broken:
                self.broken.append(str(broken))
                said = f"BROKEN: {broken}"
            print(f"{mutant.name}: {said} ({time.monotonic() - began:.0f} s)", flush=True)


def alone():
    """The lock of build/mutation, which the kernel takes back when this process ends; two runs would change each other's sources."""
    place = TOP / "build/mutation"
    place.mkdir(parents=True, exist_ok=True)
    lock = open(place / "lock", "a+")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.seek(0)
        sys.exit(f"mutate.py: process {lock.read().strip() or '?'} runs mutants in {place} already: wait for its end, or use another worktree")
    lock.truncate(0)
    lock.write(f"{os.getpid()}\n")
    lock.flush()
    return lock


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-j", type=int, default=1, metavar="N", help="mutants at once, each in a copy of its own (default 1)")
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--list", action="store_true")
    parser.add_argument("names", nargs="*", metavar="NAME")
    options = parser.parse_args()
    mutants, broken = [], []
    for path in sorted(MUTANTS.glob("*.mutant")):
        try:
            mutant = Mutant(path)
            mutant.apply(TOP)
            mutant.test_exists()
            mutants.append(mutant)
        except Broken as fault:
            broken.append(str(fault))
    for path in sorted(FAULTS.glob("*.mutant")):  # of tests/simulation/prove.py
        try:
            Mutant(path).apply(TOP)
        except Broken as fault:
            broken.append(str(fault))
    if options.list:
        README.write_text(readme(mutants))
    elif options.check and not broken and README.read_text() != readme(mutants):
        broken.append("tests/mutation/README.md is not current: scripts/mutate.sh --list")
    if options.check or options.list:
        print("\n".join(broken) or f"{len(mutants)} mutants can be applied")
        return bool(broken)
    lock = alone()
    if options.names:
        mutants = [mutant for mutant in mutants if any(name in mutant.name for name in options.names)]
        broken = [fault for fault in broken if any(name in fault.split(":")[0] for name in options.names)]
    runner = Runner(mutants)
    runner.broken += broken
    threads = [threading.Thread(target=runner.work, args=(number,)) for number in range(1, options.j + 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for fault in runner.broken:
        print(f"broken: {fault.splitlines()[0]}")
    for name in runner.survived:
        print(f"survived: {name}")
    done = len(runner.killed) + len(runner.survived)
    print(f"{len(runner.killed)}/{len(mutants) + len(broken)} mutants killed")
    lock.close()
    return done != len(mutants) or bool(runner.survived or runner.broken)


if __name__ == "__main__":
    sys.exit(main())
