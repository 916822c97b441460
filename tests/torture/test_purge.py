"""Deleted files: kept, listed, measured, restored; purged in time by one member of the group, whatever crashes."""
import json
import os
import signal
import time

import pytest
import wire
from crash import check_rows_have_files, died, points, rows, start, stored_files
from suite import APP, USER, new_id, wait_for

FAST = {"trash_keep": "0", "purge_interval": "200ms", "lease": "1s"}


def delete(client, file):
    assert client.call(wire.DELETE, wire.file_key(APP, USER, file)).ok


def restore(client, file):
    return client.call(wire.RESTORE, wire.file_key(APP, USER, file))


def test_with_trash_keep_0_a_deleted_file_goes_at_once_and_its_id_is_free_again(own_suite):
    own_suite.start(storage_options=FAST)
    with own_suite.client() as client:
        for name in ("gone", "kept"):
            assert client.upload(APP, USER, name, name.encode() * 1000).ok
        delete(client, "gone")
        wait_for(lambda: len(rows(own_suite)) == 1 and len(own_suite.files()) == 1, 20, "the purge")
        assert restore(client, "gone").number == wire.NOT_FOUND
        assert client.download(APP, USER, "gone").number == wire.NOT_FOUND
        assert client.download(APP, USER, "kept").body == b"kept" * 1000
        assert client.upload(APP, USER, "gone", b"new").ok
        assert client.download(APP, USER, "gone").body == b"new"
    wait_for(lambda: own_suite.storage.metric("reel_storage_purged_files_total") == 1, 20, "the purged file to be counted")


def test_within_trash_keep_a_deleted_file_is_listed_counted_and_can_be_restored(own_suite):
    own_suite.start(storage_options={**FAST, "trash_keep": "1h"})
    content = os.urandom(5000)
    file = own_suite.reel("upload", "--name", "film.mp4", "-", input=content).stdout.decode().strip()
    own_suite.reel("delete", file)
    assert file in own_suite.reel("trash").stdout.decode()
    assert file not in own_suite.reel("list").stdout.decode()
    wait_for(lambda: own_suite.storage.metric("reel_storage_trash_bytes") == 5000, 20, "the trash in the metrics")
    wait_for(lambda: '"trash": 5000' in json.dumps(json.loads(own_suite.reel("--json", "status").stdout)), 20,
             "the trash at the tracker")
    time.sleep(1)
    own_suite.reel("restore", file)
    assert own_suite.reel("download", file, "-").stdout == content
    assert own_suite.reel("trash").stdout == b""
    wait_for(lambda: own_suite.storage.metric("reel_storage_trash_bytes") == 0, 20, "an empty trash")


def test_a_deleted_row_of_the_predecessor_is_kept_for_trash_keep_from_now_on(own_suite):
    own_suite.start(storage_options={**FAST, "trash_keep": "1h"})
    with own_suite.client() as client:
        assert client.upload(APP, USER, "old", b"old").ok
        for table in ("t_file_01", "t_file_02", "t_file_03"):
            own_suite.sql("storagedb", f"UPDATE {table} SET status = 1, deleted_at = 0, group_name = '' WHERE id = 'old';")
        def stamped():
            return any(own_suite.sql("storagedb", f"SELECT deleted_at FROM {table} WHERE deleted_at > 0;")
                       for table in ("t_file_01", "t_file_02", "t_file_03"))
        wait_for(stamped, 20, "the time of deletion")
        assert restore(client, "old").ok and client.download(APP, USER, "old").body == b"old"


def test_a_row_without_a_group_whose_file_is_elsewhere_is_not_purged(own_suite):
    own_suite.start(storage_options=FAST)
    path = own_suite.dir / "data" / "000/000/000/5F9E3FA7_005"
    own_suite.sql("storagedb", "INSERT INTO t_file_02 (id, appid, userid, status, file_path, file_size, deleted_at) "
                               f"VALUES ('other', '{APP}', '{USER}', 1, '{path}', 5, 1);")
    with own_suite.client() as client:
        assert client.upload(APP, USER, "x", b"x").ok
        delete(client, "x")
        wait_for(lambda: len(rows(own_suite)) == 1, 20, "the purge")
    time.sleep(0.6)
    assert [row[0] for row in rows(own_suite).values()] == ["other"]


def holders(suite):
    return [d.label for d in suite.daemons.values()
            if d.name == "storage" and d.process and d.metric("reel_storage_lease_held") == 1]


def test_one_member_at_a_time_holds_the_lease_and_another_takes_over(own_suite):
    own_suite.start(storage_options={**FAST, "lease": "2s"})
    second = own_suite.add_storage("second", **{**FAST, "lease": "2s"})
    wait_for(lambda: holders(own_suite) == ["storage"], 20, "the first holder")
    second.start()
    own_suite.wait_active(2)
    for _ in range(10):
        assert holders(own_suite) == ["storage"]
        time.sleep(0.1)
    own_suite.storage.kill()
    wait_for(lambda: holders(own_suite) == ["second"], 20, "the take-over after kill -9")
    own_suite.storage.start()
    second.process.send_signal(signal.SIGSTOP)
    wait_for(lambda: own_suite.storage.metric("reel_storage_lease_held") == 1, 20, "the take-over after SIGSTOP")
    second.process.send_signal(signal.SIGCONT)
    wait_for(lambda: holders(own_suite) == ["storage"], 20, "one holder again")
    with own_suite.client("second") as client:
        assert client.upload(APP, USER, "x", b"x").ok
        delete(client, "x")
    wait_for(lambda: not rows(own_suite) and not own_suite.files(), 20, "the purge")
    own_suite.storage.stop()
    wait_for(lambda: holders(own_suite) == ["second"], 20, "the take-over after an orderly stop")


@pytest.mark.parametrize("point", points("purge-") + points("lease-"))
def test_a_crash_in_the_purge_is_taken_up_where_it_stopped(own_suite, point, dice):
    own_suite.start(storage_options={**FAST, "trash_keep": "1h"})
    kept, gone = {}, []
    with own_suite.client() as client:
        for i in range(12):
            file, content = new_id(), dice.randbytes(1000)
            assert client.upload(APP, USER, file, content).ok
            kept[file] = content
        for file in dice.sample(sorted(kept), 6):
            delete(client, file)
            del kept[file]
            gone.append(file)
    storage = own_suite.storage
    storage.stop()
    storage.config["storage"]["trash_keep"] = "0"
    storage.configure(storage.config)
    start(storage, point, dice.randint(1, 4) if "remove" in point and "rows" not in point else 1)
    died(storage)
    check = rows(own_suite)
    files = stored_files(own_suite)
    assert all(files.get(path) == size for path, (_, status, size) in check.items() if status == 0)
    start(storage)
    own_suite.wait_active()
    wait_for(lambda: len(rows(own_suite)) == 6 and len(own_suite.files()) == 6, 20, "the rest of the purge")
    check_rows_have_files(own_suite)
    with own_suite.client() as client:
        for file, content in kept.items():
            assert client.download(APP, USER, file).body == content
        for file in gone:
            assert client.download(APP, USER, file).number == wire.NOT_FOUND
