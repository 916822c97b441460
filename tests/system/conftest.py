"""Fixtures: every test that asks for `suite` runs twice, on SQLite and on a real MariaDB."""
import os
import pathlib
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).parent))

from identity import SecureSuite  # noqa: E402
from suite import MariaDB, Suite  # noqa: E402

BACKENDS = os.environ.get("REEL_BACKENDS", "sqlite,mariadb").split(",")


@pytest.fixture(scope="session")
def mariadb():
    server = MariaDB()
    yield server
    server.remove()


@pytest.fixture(scope="session", params=BACKENDS)
def backend(request):
    if request.param == "mariadb":
        request.getfixturevalue("mariadb")
    return request.param


def make(backend, request):
    return Suite(backend, request.getfixturevalue("mariadb") if backend == "mariadb" else None)


@pytest.fixture(scope="session")
def suite(backend, request):
    """One running suite for all the tests that leave it as they found it."""
    running = make(backend, request)
    try:
        yield running.start()
    finally:
        running.stop()


@pytest.fixture
def own_suite(backend, request):
    """An empty suite of the test's own: it adds, starts, kills what it wants."""
    own = make(backend, request)
    try:
        yield own
    finally:
        own.stop()


@pytest.fixture
def mariadb_suite():
    """An empty suite with a MariaDB of its own, which the test may kill. What it asks makes no sense for a file."""
    server = MariaDB()
    own = Suite("mariadb", server)
    try:
        yield own
    finally:
        try:
            own.stop()
        finally:
            server.remove()


def pytest_make_parametrize_id(config, val, argname):
    """Bytes make no readable names."""
    return f"{argname}-{len(val)}-bytes" if isinstance(val, bytes) else None


@pytest.fixture(scope="module")
def secure():
    """A suite whose parts require an identity, with keys of all roles."""
    running = SecureSuite()
    try:
        yield running.start()
    finally:
        running.stop()
