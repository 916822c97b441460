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


def new_machine(dist, name):
    from machine import Machine
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    one = Machine(os.environ["REEL_PACKAGES"], name, os.environ["REEL_ROOT"])
    one.path("/etc/hosts").write_text("127.0.0.1 localhost\n")
    one.path("/root/dist").mkdir(parents=True)
    for package in dist.glob("reelstore-*.deb"):
        shutil.copy(package, one.path("/root/dist"))
    print(f"booted in {one.boot():.1f} s")
    return one


@pytest.fixture(scope="session")
def machine(dist):
    """One for all tests of a life, which come in its order: install, use, reboot, upgrade, purge."""
    one = new_machine(dist, "media1")
    yield one
    one.stop()


@pytest.fixture
def fresh(dist, request):
    """A machine of the test's own. It has the network of the other one, so that this must have ended."""
    one = new_machine(dist, "media-" + str(abs(hash(request.node.name)) % 10000))
    yield one
    one.stop()
