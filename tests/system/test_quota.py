"""Quotas on running servers: set, shown, refused over every way in, freed by the purge, and mended."""
import http.client
import json

import wire
from suite import APP, USER, new_id, wait_for


def test_a_user_stores_no_more_than_the_quota_allows(own_suite, tmp_path):
    suite = own_suite
    suite.start({"purge_interval": "200ms", "cache_age": "200ms", "lease": "2s", "trash_keep": "1d"}, {"write": "open"})

    def quota(*options):
        return json.loads(suite.reel("--json", "admin", "quota", USER, *options).stdout)

    def upload(size, *options):
        return suite.reel("upload", *options, "-", input=b"x" * size, check=False)

    first = upload(300_000).stdout.decode().strip()
    assert quota() == {"bytes_used": None, "files_used": None, "bytes": None, "files": None, "own_bytes": False, "own_files": False, "user": USER}
    assert quota("--bytes", "1M", "--files", "3")["bytes_used"] == 300_000
    assert upload(500_000).returncode == 0
    refused = upload(300_000)
    assert refused.returncode == 8 and b"800000 of 1048576 bytes" in refused.stderr, refused.stderr
    assert upload(10).returncode == 0
    refused = upload(10)
    assert refused.returncode == 8 and b"3 of 3 files" in refused.stderr, refused.stderr
    suite.reel("upload", "-", input=b"x", user="somebody-else")
    connection = http.client.HTTPConnection("127.0.0.1", suite.httpd.port, timeout=30)
    connection.request("PUT", suite.url(new_id()).split(str(suite.httpd.port), 1)[1], b"x")
    response = connection.getresponse()
    assert response.status == 507 and b"quota" in response.read()
    connection.close()

    # Partial uploads: refused when they begin, and those of an unknown size when they outgrow it.
    assert quota("--files", "none")["files"] is None
    path = tmp_path / "film"
    path.write_bytes(b"y" * 400_000)
    refused = suite.reel("upload", "-c", path, check=False)
    assert refused.returncode == 8 and b"400000 more do not fit" in refused.stderr, refused.stderr
    again = suite.reel("--json", "du").stdout
    assert json.loads(again)["quota"]["bytes_used"] == 800_010 and b"781.3 KiB of 1.0 MiB" in suite.reel("du").stdout

    # The trash counts until it is purged.
    suite.reel("delete", first)
    assert quota()["bytes_used"] == 800_010 and upload(400_000).returncode == 8
    suite.storage.configure({**suite.storage.config, "storage": {**suite.storage.config["storage"], "trash_keep": "0s"}})
    suite.storage.hup()
    wait_for(lambda: quota()["bytes_used"] == 500_010, what="the purge to free the quota")
    assert suite.reel("upload", "-c", path).returncode == 0

    # A count that somebody spoiled is mended, and said.
    suite.sql("storagedb", "UPDATE t_quota SET bytes_used = 5, recount_at = 0;")
    wait_for(lambda: quota()["bytes_used"] == 900_010, 30, "the recount")
    suite.storage.wait_logged("the count said")
    wait_for(lambda: suite.storage.metric("reel_storage_quota_corrections_total") == 1, what="the correction to be counted")


def test_unfinished_uploads_count(own_suite):
    """Nobody fills the disk with uploads that are never finished: what they hold counts, of a known size or not, and while it comes."""
    suite = own_suite
    suite.start({"purge_interval": "200ms", "cache_age": "200ms", "lease": "2s", "trash_keep": "1d"}, {"write": "open"})
    suite.reel("admin", "quota", USER, "--bytes", "1M")
    with suite.client() as client:
        known, unknown, third = new_id(), new_id(), new_id()
        token = client.begin(APP, USER, known, 600_000)
        assert client.append(APP, USER, known, token, 0, b"k" * 500_000).ok
        other = client.begin(APP, USER, unknown)
        refused = client.append(APP, USER, unknown, other, 0, b"u" * 600_000)
        assert refused.number == -22 and b"500000 in unfinished uploads" in refused.body, refused
        assert client.append(APP, USER, unknown, other, 0, b"u" * 400_000).ok
        # One of a known size, for which there was room at its beginning, as well.
        last = client.begin(APP, USER, third, 140_000)
        assert client.append(APP, USER, known, token, 500_000, b"k" * 100_000).ok
        refused = client.append(APP, USER, third, last, 0, b"t" * 140_000)
        assert refused.number == -22 and b"1000000 in unfinished uploads" in refused.body, refused
        third = new_id()
        refused = client.call(wire.BEGIN, wire.begin_body(APP, USER, third, 100_000))
        assert refused.number == -22 and b"1000000 in unfinished uploads" in refused.body, refused
    # Other ways in see them as well; and a user beside is not concerned.
    refused = suite.reel("upload", "-", input=b"x" * 100_000, check=False)
    assert refused.returncode == 8 and b"in unfinished uploads" in refused.stderr, refused.stderr
    suite.reel("upload", "-", input=b"x" * 100_000, user="somebody-else")
    with suite.client() as client:
        # What becomes a file counts once; what is given up, not any more.
        assert client.finish(APP, USER, unknown, other).ok
        assert client.call(wire.ABORT, wire.file_key(APP, USER, known) + token).ok
    wait_for(lambda: suite.reel("upload", "-", input=b"x" * 100_000, check=False).returncode == 0, what="room after the upload was given up")

    # All who are counted.
    suite.reel("admin", "quota", "bob", "--files", "3")
    listed = json.loads(suite.reel("--json", "admin", "quota").stdout)["users"]
    assert sorted((one["user"], one["application"], one["bytes_used"], one["bytes"], one["files"], one["unfinished"]) for one in listed) == sorted(
        [("bob", APP, 0, None, 3, 0), (USER, APP, 500_000, 1048576, None, 0)]), listed
    by_size = json.loads(suite.reel("--json", "admin", "quota", "--sort", "size").stdout)["users"]
    assert by_size[0]["user"] == USER
    table = suite.reel("admin", "quota").stdout.decode()
    assert "USED" in table and "48%" in table and "488.3 KiB" in table, table
    assert suite.reel("admin", "quota", "--sort", "colour", check=False).returncode == 2

    # And who is near is said where everybody looks.
    assert json.loads(suite.reel("--json", "status").stdout)["quotas"] == {"users": 2, "near": [], "whole": True}
    assert "quotas: 0 of 2 users with a limit at 90 % of it or more\n" in suite.reel("status").stdout.decode()
    suite.reel("admin", "quota", USER, "--bytes", "500000")
    near = json.loads(suite.reel("--json", "status").stdout)["quotas"]["near"]
    assert near == [{"user": USER, "application": APP, "used": 1.0}]
    assert f"quotas: 1 of 2 users with a limit at 90 % of it or more: {USER} ({APP}) 100%; reel admin quota --sort used\n" in suite.reel("status").stdout.decode()
    assert suite.reel("admin", "quota", "--bytes", "1M", check=False).returncode == 2
    assert suite.reel("admin", check=False).returncode == 2
