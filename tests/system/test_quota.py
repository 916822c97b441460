"""Quotas on running servers: set, shown, refused over every way in, freed by the purge, and mended."""
import http.client
import json

from suite import USER, new_id, wait_for


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
    assert "the count said" in suite.storage.log() and suite.storage.metric("reel_storage_quota_corrections_total") == 1
