"""The machine of the tests, with the packages beside it; without one, each test is skipped with the reason."""
import os
import pathlib
import shutil
import subprocess
import sys

import pytest

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE)]

MISSING = os.environ.get("REEL_PACKAGES_MISSING") or ("" if os.environ.get("REEL_PACKAGES") else "to be run by tests/packages/run.py")


def pytest_collection_modifyitems(items):
    if MISSING:
        for item in items:
            item.add_marker(pytest.mark.skip(reason=MISSING))


@pytest.fixture(scope="session")
def dist():
    return pathlib.Path(os.environ["REEL_DIST"])


@pytest.fixture(scope="session")
def machine(dist):
    """One for all tests, which come in the order of a life: install, use, reboot, upgrade, purge."""
    from machine import Machine
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    directory = pathlib.Path(os.environ["REEL_PACKAGES"])
    one = Machine(directory, "media1", directory / "root")
    (one.path("/etc/hosts")).write_text("127.0.0.1 localhost\n")
    for package in dist.glob("reelstore-*.deb"):
        one.path("/root/dist").mkdir(parents=True, exist_ok=True)
        shutil.copy(package, one.path("/root/dist"))
    try:
        print(f"booted in {one.boot():.1f} s")
        yield one
    finally:
        one.stop()
