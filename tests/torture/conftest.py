"""The torture tests use the suite and the client of tests/system."""
import importlib.util
import pathlib
import random
import sys

import pytest

SYSTEM = pathlib.Path(__file__).resolve().parents[1] / "system"
sys.path.insert(0, str(SYSTEM))
sys.path.insert(0, str(pathlib.Path(__file__).parent))

_spec = importlib.util.spec_from_file_location("system_conftest", SYSTEM / "conftest.py")
_system = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(_system)
mariadb, backend = _system.mariadb, _system.backend

from crash import SEED, make  # noqa: E402


def pytest_report_header(config):
    return f"torture: REEL_TORTURE_SEED={SEED} replays this run's choices"


@pytest.fixture
def dice(request):
    """Random choices of one test: the same ones for the same seed and test."""
    return random.Random(f"{SEED} {request.node.name}")


@pytest.fixture(scope="session")
def options():
    """Of the storage server, short enough for a test."""
    return {"chunk_size": "64K", "progress_timeout": "5s", "journal": "off"}  # each upload at its own steps; test_journal.py has the other way


@pytest.fixture(scope="session")
def suite(backend, request, options):
    running = make(backend, request)
    try:
        yield running.start(storage_options=dict(options))
    finally:
        running.stop()


@pytest.fixture
def own_suite(backend, request):
    own = make(backend, request)
    try:
        yield own
    finally:
        own.stop()
