"""The lab for all the tests; without it, each of them is skipped with the reason."""
import os
import pathlib
import sys

import pytest

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "system")]

MISSING = os.environ.get("REEL_LAB_MISSING") or ("" if os.environ.get("REEL_LAB") else "to be run by tests/cluster/run.py")


def pytest_collection_modifyitems(items):
    if MISSING:
        for item in items:
            item.add_marker(pytest.mark.skip(reason=MISSING))


@pytest.fixture(scope="session")
def lab():
    from lab import Lab
    return Lab(os.environ["REEL_LAB"])


@pytest.fixture(scope="session")
def site(lab):
    """Two storage hosts and an arbiter with a volume, a database, a tracker, an ID server; shared by many tests, each of which
    leaves it whole."""
    from site_of_group import Site
    built = Site(lab)
    try:
        yield built
    finally:
        built.stop()


@pytest.fixture
def whole(site):
    """The site, whole before and after the test."""
    site.make_whole()
    yield site
    site.make_whole()


def pytest_terminal_summary(terminalreporter):
    from figures import FIGURES
    if FIGURES:
        terminalreporter.write_sep("-", "figures")
        for line in FIGURES:
            terminalreporter.write_line(line)
