#!/usr/bin/python3
"""Runs the tests of the packages inside real machines: tests/packages/run.py [PYTEST ARGUMENT]...

Builds the Debian packages (scripts/package.sh; REEL_DIST=DIR takes those that are there), makes a root of Debian by
mmdebstrap in memory, from the sources of packages that this machine uses (REEL_ROOT=DIR takes the one there, and makes it where it is
missing), and runs pytest in private mount, network and process
namespaces, where systemd-nspawn boots that root. When the tests end, or whoever started them is killed, the kernel ends every process
and mount. Where the machine does not allow that, every test is skipped with the reason, which is printed in large.
"""
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[1]
NEEDED = {"systemd-nspawn": "systemd-container", "mmdebstrap": "mmdebstrap", "dpkg-buildpackage": "dpkg-dev", "dh": "debhelper",
          "nsenter": "util-linux", "lintian": "lintian"}
OWN = ("reelstore", "libreel", "python3-reel")


def missing():
    """Why no machine can be had here; "" where one can."""
    if os.getuid() != 0:
        return "not root: no machine can be booted"
    for command, package in NEEDED.items():
        if not shutil.which(command):
            return f"{command} is missing: scripts/install-packages.sh package (package {package})"
    if not sources():
        return "this machine has no source of packages for its own release of Debian (/etc/apt)"
    trial = subprocess.run(["unshare", "--mount", "--net", "--pid", "--ipc", "--fork", "--mount-proc", "--kill-child", "true"],
                           capture_output=True, text=True)
    return f"namespaces are not allowed here: {trial.stderr.strip()}" if trial.returncode else ""


def release():
    return re.search(r"^VERSION_CODENAME=(\w+)", pathlib.Path("/etc/os-release").read_text(), re.M)[1]


def sources():
    """The files of /etc/apt that name this release of Debian."""
    files = [pathlib.Path("/etc/apt/sources.list"), *sorted(pathlib.Path("/etc/apt/sources.list.d").glob("*.list")),
             *sorted(pathlib.Path("/etc/apt/sources.list.d").glob("*.sources"))]
    suite = re.compile(rf"^(Suites:|deb )(.*\s)?{release()}(-\w+)?(\s|$)", re.M)
    return [str(file) for file in files if file.exists() and suite.search(file.read_text())]


def dependencies(dist):
    """What the packages need from elsewhere, alternatives left out."""
    names = set()
    for package in dist.glob("*.deb"):
        if package.name.startswith(("libreel-dev", "python3-reel")):
            continue
        fields = subprocess.run(["dpkg-deb", "-f", package, "Depends", "Pre-Depends"], capture_output=True, text=True, check=True)
        for field in re.split(r"[,\n]", fields.stdout):
            name = re.sub(r"^(Pre-)?Depends:", "", field).split("|")[0].split("(")[0].strip()
            if name and not name.startswith(OWN):
                names.add(name.split(":")[0])
    return sorted(names)


def make_root(directory, dist, more=()):
    """A small Debian that boots, with what the packages need: machines have no network."""
    include = ["systemd", "systemd-sysv", "dbus", "curl", "procps", *more, *dependencies(dist)]
    root = pathlib.Path(os.environ.get("REEL_ROOT", directory / "root"))
    if root.exists():
        return root
    subprocess.run([*(["eatmydata"] if shutil.which("eatmydata") else []), "mmdebstrap", "--quiet", "--variant=minbase", "--mode=root",
                    "--include=" + ",".join(include), "--skip=cleanup/apt/lists", "--aptopt=Acquire::Languages \"none\"",
                    "--dpkgopt=path-exclude=/usr/share/man/*", "--dpkgopt=path-exclude=/usr/share/locale/*",
                    release(), root, *sources()], check=True)
    # Ours are looked at, so they are not left out.
    for file in (root / "etc/dpkg/dpkg.cfg.d").glob("*mmdebstrap*"):
        file.unlink()
    for name in ("machine-id", "hostname", "resolv.conf"):
        (root / "etc" / name).unlink(missing_ok=True)
    return root


def pytest_command(arguments):
    """Those of this directory, where ARGUMENTS name no others."""
    named = any(not argument.startswith("-") and pathlib.Path(argument.split("::")[0]).exists() for argument in arguments)
    return [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-q", "-ra", "-s", "--tb=short", *arguments, *([] if named else [str(HERE)])]


def main():
    arguments = sys.argv[1:]
    reason = missing()
    if reason:
        bar = "=" * 100
        print(f"{bar}\nTESTS OF THE PACKAGES SKIPPED: {reason}\n{bar}", flush=True)
        os.environ["REEL_PACKAGES_MISSING"] = reason
        os.execv(sys.executable, pytest_command(arguments))
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    directory = pathlib.Path(tempfile.mkdtemp(prefix="reel-packages-", dir=memory))
    try:
        began = time.monotonic()
        dist = pathlib.Path(os.environ.get("REEL_DIST", directory / "dist"))
        if "REEL_DIST" not in os.environ:
            subprocess.run([ROOT / "scripts/package.sh", "--work", directory / "build", "--dist", dist, "deb"], check=True,
                           stdout=subprocess.DEVNULL)
            shutil.rmtree(directory / "build")
            print(f"packages built in {time.monotonic() - began:.0f} s", flush=True)
        began = time.monotonic()
        root = make_root(directory, dist)
        print(f"root of Debian made in {time.monotonic() - began:.0f} s", flush=True)
        environment = os.environ | {"REEL_PACKAGES": str(directory), "REEL_DIST": str(dist), "REEL_ROOT": str(root)}
        code = subprocess.run(["unshare", "--mount", "--net", "--pid", "--ipc", "--fork", "--mount-proc", "--kill-child",
                               "--propagation", "private", *pytest_command(arguments)], env=environment).returncode
    finally:
        shutil.rmtree(directory, ignore_errors=True)
    sys.exit(code)


if __name__ == "__main__":
    main()
