"""Files that expire: what says so, who changes it, and that the upkeep deletes them."""
import json
import time

from suite import wait_for


def test_a_file_is_deleted_when_its_time_is_over(own_suite, tmp_path):
    suite = own_suite
    suite.start({"purge_interval": "300ms", "cache_age": "200ms", "expires": "tnvideo=1d"})

    def stat(id):
        return json.loads(suite.reel("--json", "stat", id).stdout)

    def upload(*options):
        return suite.reel("upload", *options, "-", input=b"content").stdout.decode().strip()

    now = time.time()
    default, kept, long, short = upload(), upload("--expires", "never"), upload("--expires", "30d"), upload("--expires", "2s")
    assert abs(stat(default)["expires"] - now - 86400) < 60
    assert stat(kept)["expires"] is None
    assert abs(stat(long)["expires"] - now - 30 * 86400) < 60
    dated = upload("--expires", "2099-01-01")
    assert stat(dated)["expires"] == 4070908800
    assert b"2099-01-01" in suite.reel("stat", dated).stdout
    path = tmp_path / "film"
    path.write_bytes(b"continued")
    partial = suite.reel("upload", "-c", "--expires", "2099-01-01", path).stdout.decode().strip()
    assert stat(partial)["expires"] == 4070908800

    wait_for(lambda: stat(short)["deleted"], what="the file to be deleted")
    assert suite.reel("download", short, tmp_path / "gone", check=False).returncode == 7
    wait_for(lambda: suite.storage.metric("reel_storage_files_expired_total") >= 1, what="it to be counted")
    assert suite.storage.metric("reel_storage_files_expired_total") == 1
    suite.reel("restore", short)
    assert stat(short)["expires"] is None and suite.reel("download", short, "-o", "-").stdout == b"content"

    assert suite.reel("expire", long, "never").stdout == b"never\n" and stat(long)["expires"] is None
    suite.reel("expire", kept, "1s")
    wait_for(lambda: stat(kept)["deleted"], what="the other file to be deleted")
    again = suite.reel("expire", kept, "never", check=False)
    assert again.returncode == 7 and b"deleted" in again.stderr
    for wrong in "2001-01-01", "soon", "0":
        for verb in ("expire", long, wrong), ("upload", "--expires", wrong, path):
            done = suite.reel(*verb, check=False)
            assert done.returncode == 2 and wrong.encode() in done.stderr
    assert not stat(long)["deleted"] and not stat(dated)["deleted"] and not stat(default)["deleted"]
