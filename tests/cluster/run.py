#!/usr/bin/python3
"""Runs the cluster tests in a world of their own: tests/cluster/run.py [PYTEST ARGUMENT]...

Everything happens inside private mount, network, process and IPC namespaces. When the tests end, or whoever started them is
killed, the kernel ends every process, unmounts every volume and removes every link: nothing can be left behind.
Where the machine does not allow that, every test is skipped with the reason, and the reason is printed in large.
"""
import ctypes
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
NEEDED = {"glusterd": "glusterfs-server", "glusterfs": "glusterfs-client", "keepalived": "keepalived",
          "mariadbd": "mariadb-server", "garbd": "galera-arbitrator-4", "rsync": "rsync", "ip": "iproute2",
          "nsenter": "util-linux", "curl": "curl"}


def missing():
    """Why the lab cannot be had here; "" where it can."""
    if os.getuid() != 0:
        return "not root: network and mount namespaces cannot be made"
    if not os.path.exists("/dev/fuse"):
        return "no /dev/fuse: GlusterFS volumes cannot be mounted"
    try:
        os.close(os.open("/dev/fuse", os.O_RDWR))
    except OSError as error:
        return f"/dev/fuse cannot be opened: {error.strerror}"
    for command, package in NEEDED.items():
        if not shutil.which(command):
            return f"{command} is missing: scripts/install-packages.sh cluster (package {package})"
    trial = subprocess.run(["unshare", "--mount", "--net", "--pid", "--ipc", "--fork", "--mount-proc", "--kill-child", "sh", "-c",
                            "mount -t tmpfs none /mnt && ip link add lab0 type veth peer name lab1 && ip link add lab2 type bridge"],
                           capture_output=True, text=True)
    if trial.returncode != 0:
        return f"namespaces are not allowed here: {trial.stderr.strip()}"
    return ""


def pytest_command(arguments):
    """Those of this directory, where ARGUMENTS name no others."""
    named = any(not argument.startswith("-") and pathlib.Path(argument.split("::")[0]).exists() for argument in arguments)
    return [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-q", "-ra", "--tb=short", *arguments, *([] if named else [str(HERE)])]


def inside(arguments):
    """Process 1 of the lab: starts pytest, buries orphans, ends with pytest's code."""
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8g,mode=755", "lab", os.environ["REEL_LAB"]], check=True)
    subprocess.run(["mount", "-t", "tmpfs", "run", "/run"], check=True)
    os.makedirs("/run/lock")
    for device in ("/dev/null", "/dev/fuse"):  # busy: whatever a program under test does, it cannot replace the machine's
        subprocess.run(["mount", "--bind", device, device], check=True)
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    tests = subprocess.Popen(pytest_command(arguments))
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: tests.terminate())
    while True:
        pid, status = os.wait()
        if pid == tests.pid:
            return os.waitstatus_to_exitcode(status) & 0xff


def main():
    arguments = sys.argv[1:]
    if os.environ.get("REEL_LAB") and os.getpid() == 1:
        sys.exit(inside(arguments))
    reason = missing()
    if reason:
        bar = "=" * 100
        print(f"{bar}\nCLUSTER TESTS SKIPPED: {reason}\n{bar}", flush=True)
        os.environ["REEL_LAB_MISSING"] = reason
        os.execv(sys.executable, pytest_command(arguments))
    if len(arguments) == 1 and pathlib.Path(arguments[0]).is_dir():
        sys.exit(both(arguments[0]))
    labs = [start(arguments)]
    sys.exit(finish(labs)[0])


def both(directory):
    """All tests, in two labs beside each other, since most of the time of either is spent waiting; one sum at the end."""
    long = [str(pathlib.Path(directory) / name) for name in ("test_soak.py", "test_deployment.py", "test_galera.py")]
    with tempfile.TemporaryFile("w+") as first, tempfile.TemporaryFile("w+") as second:
        outputs = [first, second]
        codes = finish([start([directory, *(f"--ignore={file}" for file in long)], first), start(long, second)])
        counts = {}
        for output in outputs:
            output.seek(0)
            text = output.read()
            print(text, flush=True)
            for number, what in re.findall(r"(\d+) (passed|failed|skipped|errors?)\b", text.strip().rsplit("\n", 1)[-1]):
                counts[what.rstrip("s")] = counts.get(what.rstrip("s"), 0) + int(number)
    print(", ".join(f"{number} {what}" for what, number in sorted(counts.items())))
    return max(codes)


def start(arguments, output=None):
    """A lab with pytest in it."""
    directory = tempfile.mkdtemp(prefix="reel-lab-")
    os.chmod(directory, 0o755)
    lab = subprocess.Popen(["unshare", "--mount", "--net", "--pid", "--ipc", "--fork", "--mount-proc", "--kill-child",
                            sys.executable, str(HERE / "run.py"), *arguments], stdout=output, stderr=output,
                           env={**os.environ, "REEL_LAB": directory},
                           preexec_fn=lambda: ctypes.CDLL(None).prctl(1, signal.SIGKILL))  # PR_SET_PDEATHSIG
    lab.directory = directory
    return lab


def finish(labs):
    def kill_all(*_):
        for lab in labs:
            lab.kill()
    signal.signal(signal.SIGTERM, kill_all)
    codes = []
    for lab in labs:
        try:
            code = lab.wait()
        except KeyboardInterrupt:
            kill_all()
            code = lab.wait() or 1
        os.rmdir(lab.directory)  # empty: what was in it went with the mount namespace
        codes.append(code if code >= 0 else 1)
    return codes


if __name__ == "__main__":
    main()
