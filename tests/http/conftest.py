"""One suite for the whole room: a tracker, an ID server, two storage servers of one group, and HTTP servers that differ
in their configuration. Tests that kill something have a suite of their own."""
import os
import pathlib
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "system"))

from suite import ROOT, Suite  # noqa: E402

DIGITS = b"0123456789" * 1000
LETTERS = b"abcdefghijklmnopqrstuvwxyz"


@pytest.fixture(scope="session")
def suite():
    running = Suite("sqlite")
    try:
        running.add_tracker()
        running.add_idserver()
        running.add_storage()
        running.add_storage("storage2")
        running.add_httpd(access_log=running.dir / "log" / "access.log", access_log_format="json")
        running.add_httpd("cors", cors_origins="*", cache_control="public, max-age=31536000, immutable",
                          server_header="")
        running.add_httpd("small", head_size_max="2K", target_size_max=512, header_fields_max=10, keepalive_requests=3,
                          request_body_max=100, cache_control="",
                          cors_origins="https://tv.example, https://other.example", server_header="tv/1.0",
                          resource_policy="same-site", extra_headers="Timing-Allow-Origin: * | X-Robots-Tag: noindex, nofollow")
        running.add_httpd("brief", idle_timeout="1s", head_timeout="1s")
        running.launch()
        running.put("digits", DIGITS, name="digits.txt", content_type="text/plain")
        running.put("letters", LETTERS)
        running.put("empty", b"")
        running.put("clip", (ROOT / "tests" / "media" / "clip.mp4").read_bytes(), name="clip.mp4")
        yield running
    finally:
        running.stop()


@pytest.fixture
def own_suite():
    """An empty suite of the test's own."""
    own = Suite("sqlite")
    try:
        yield own
    finally:
        own.stop()


def descriptors_allow(count):
    """Raises this process's limit of open files as far as it may; true when COUNT fit."""
    import resource
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < count:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (min(count, hard) if hard != resource.RLIM_INFINITY else count, hard))
        except (OSError, ValueError):
            return False
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0] >= count


os.environ.setdefault("NO_PROXY", "127.0.0.1")
