"""What lies about and what went wrong on the disk: found, reported, put aside; nothing is dropped."""
import contextlib
import json
import os
import pathlib
import threading
import time

import pytest
import wire
from crash import died, http_get, leftovers, points, rows, start, store, stored_files
from suite import APP, USER, new_id, wait_for

AGE = 4  # seconds
FAST = {"lease": "1s", "leftover_age": f"{AGE}s", "progress_timeout": "1s", "database_timeout": "1400ms", "scrub_rate": "0",
        "purge_interval": "1s",
        "cache_age": "100ms", "open_age": "100ms"}
TABLES = ("t_file_01", "t_file_02", "t_file_03")


def fsck(suite, *arguments):
    """(exit code, report)"""
    done = suite.reel("--json", "fsck", *arguments, check=False)
    assert done.returncode in (0, 6), done
    return done.returncode, json.loads(done.stdout)["progress"]


def findings(report):
    return {kind: count for kind, count in report["findings"].items() if count}


def damaged(suite):
    """What the members say of their groups' files, as `reel status` has it."""
    groups = json.loads(suite.reel("--json", "status").stdout)["groups"]
    return [member["load"]["damaged"] for group in groups for member in group["storages"]]


def fill(suite, count=5, size=70_000):
    stored = {}
    with suite.client() as client:
        for _ in range(count):
            file, content = new_id(), os.urandom(size)
            store(client, file, content)
            stored[file] = content
    return stored


def place_of(suite, file):
    (path, (_, status, _)), = [(path, row) for path, row in rows(suite).items() if row[0] == file]
    return pathlib.Path(path), status


def download(suite, file):
    with suite.client() as client:
        return client.download(APP, USER, file)


def quarantine(suite):
    return sorted((suite.dir / "data" / ".quarantine").glob("*"))


def test_fsck_of_a_sound_group_is_clean_and_reads_every_byte(own_suite):
    own_suite.start(storage_options=FAST)
    stored = fill(own_suite)
    code, report = fsck(own_suite)
    assert code == 0 and not findings(report) and report["phase"] == "done"
    assert report["rows"] == 5 and report["bytes"] == 5 * 70_000
    text = own_suite.reel("fsck", "--status").stdout.decode()
    assert "done" in text and "350000" in text
    assert all(download(own_suite, file).body == content for file, content in stored.items())


def test_damage_is_reported_by_fsck_and_put_out_of_service_by_repair_without_dropping_anything(own_suite):
    own_suite.start(storage_options=FAST)
    stored = fill(own_suite, 6)
    flipped, cut, missing, *whole = stored
    places = {file: place_of(own_suite, file)[0] for file in stored}
    saved = {file: places[file].read_bytes() for file in (flipped, cut, missing)}
    places[flipped].write_bytes(saved[flipped][:-1] + bytes([saved[flipped][-1] ^ 1]))
    places[cut].write_bytes(saved[cut][:1000])
    places[missing].unlink()

    code, report = fsck(own_suite)
    assert code == 6 and findings(report) == {"missing": 1, "wrong-size": 1, "wrong-digest": 1}
    assert len(report["lines"]) == 3 and any(flipped in line and "wrong-digest" in line for line in report["lines"])
    assert {row[1] for row in rows(own_suite).values()} == {0} and not quarantine(own_suite)
    wait_for(lambda: damaged(own_suite) == [3], 20, "status to show 3 damaged files")

    code, report = fsck(own_suite, "--repair")
    assert code == 6 and report["repaired"] == 3
    assert {row[0]: row[1] for row in rows(own_suite).values()} == {
        **{file: 3 for file in saved}, **{file: 0 for file in whole}}
    assert sorted(p.stat().st_size for p in quarantine(own_suite)) == [1000, 70_000]
    for file in saved:
        reply = download(own_suite, file)
        assert not reply.ok and "out of service" in reply.text
        assert http_get(own_suite, file, USER)[0] >= 400
        with own_suite.client() as client:
            assert not client.call(wire.RESTORE, wire.file_key(APP, USER, file)).ok
            assert client.upload(APP, USER, file, b"other").number == wire.EXISTS
    for file in whole:
        assert download(own_suite, file).body == stored[file]
    assert own_suite.storage.metric("reel_storage_scrub_findings_total") == 6
    code, report = fsck(own_suite)
    assert code == 6 and findings(report) == {"out-of-service": 3}

    for file in saved:  # healed by hand, or by GlusterFS
        places[file].write_bytes(saved[file])
    code, report = fsck(own_suite, "--repair")
    assert code == 0 and report["healed"] == 3
    assert fsck(own_suite)[0] == 0
    wait_for(lambda: damaged(own_suite) == [0], 20, "status to say that all is well")
    for file, content in stored.items():
        assert download(own_suite, file).body == content


def test_who_still_has_the_bytes_heals_what_was_damaged_by_uploading_them_again(own_suite):
    own_suite.start(storage_options=FAST)
    stored = fill(own_suite, 5, 3_000_000)
    flipped, cut, missing, marked, killed = stored
    places = {file: place_of(own_suite, file)[0] for file in stored}
    for file in (flipped, marked, killed):
        content = stored[file]
        places[file].write_bytes(content[:2_500_000] + bytes([content[2_500_000] ^ 1]) + content[2_500_001:])
    places[cut].write_bytes(stored[cut][:1000])
    places[missing].unlink()
    own_suite.storage.stop()
    start(own_suite.storage, "upload-directory-synced")
    own_suite.wait_active()
    with own_suite.client() as client, pytest.raises((EOFError, ConnectionError)):
        client.upload(APP, USER, killed, stored[killed])
    died(own_suite.storage)
    start(own_suite.storage)
    own_suite.wait_active()
    assert place_of(own_suite, killed) == (places[killed], 0)
    with own_suite.client() as client:
        for file in (flipped, cut, missing, killed):
            assert client.upload(APP, USER, file, stored[file][:-1] + b"?").number == wire.EXISTS
            assert client.upload(APP, USER, file, stored[file]).ok
            assert place_of(own_suite, file)[0] != places[file]
    assert findings(fsck(own_suite, "--repair")[1]) == {"wrong-digest": 1}
    assert place_of(own_suite, marked)[1] == 3
    with own_suite.client() as client:
        assert client.upload(APP, USER, marked, stored[marked]).ok
    assert fsck(own_suite)[0] == 0
    for file, content in stored.items():
        assert download(own_suite, file).body == content
        assert http_get(own_suite, file, USER) == (200, content)


def test_a_deleted_file_stays_deleted_through_damage_and_healing_and_a_damaged_one_damaged_through_delete_and_restore(
        own_suite):
    """One repair in an outage of the volume and one after it must not publish the trash, nor a deletion hide damage."""
    own_suite.start(storage_options=FAST)
    trash, damaged = stored = fill(own_suite, 2)
    places = {file: place_of(own_suite, file)[0] for file in stored}
    with own_suite.client() as client:
        assert client.call(wire.DELETE, wire.file_key(APP, USER, trash)).ok
    for file in stored:
        places[file].write_bytes(b"x")
    assert fsck(own_suite, "--repair")[1]["repaired"] == 2
    assert {row[0]: row[1] for row in rows(own_suite).values()} == {trash: 4, damaged: 3}
    assert trash in own_suite.reel("trash").stdout.decode()
    with own_suite.client() as client:
        assert client.call(wire.DELETE, wire.file_key(APP, USER, damaged)).ok
        for file in stored:
            assert client.call(wire.RESTORE, wire.file_key(APP, USER, file)).number == -13
        assert not client.upload(APP, USER, damaged, stored[damaged]).ok
    for file in stored:
        places[file].write_bytes(stored[file])
    assert fsck(own_suite, "--repair")[1]["healed"] == 2
    assert {row[1] for row in rows(own_suite).values()} == {1}
    assert all(download(own_suite, file).number == wire.NOT_FOUND for file in stored)
    with own_suite.client() as client:
        assert client.call(wire.RESTORE, wire.file_key(APP, USER, damaged)).ok
    assert download(own_suite, damaged).body == stored[damaged]


def test_damaged_trash_is_purged_in_its_time(own_suite):
    own_suite.start(storage_options={**FAST, "trash_keep": "1h"})
    file, = fill(own_suite, 1)
    with own_suite.client() as client:
        assert client.call(wire.DELETE, wire.file_key(APP, USER, file)).ok
    place_of(own_suite, file)[0].write_bytes(b"x")
    assert fsck(own_suite, "--repair")[1]["repaired"] == 1
    storage = own_suite.storage
    storage.stop()
    storage.config["storage"]["trash_keep"] = "0"
    storage.configure(storage.config)
    storage.start()
    wait_for(lambda: not rows(own_suite), 20, "the purge")


def test_with_an_empty_database_nothing_is_moved_until_a_person_confirms(own_suite):
    own_suite.start(storage_options={**FAST, "sweep_interval": "1s", "quarantine_keep": "30d"})
    fill(own_suite, 40, 100)
    own_suite.storage.stop()
    for table in TABLES:
        own_suite.sql("storagedb", f"DELETE FROM {table};")
    wait_for(lambda: all(time.time() > os.stat(path).st_ctime + AGE + 1 for path in stored_files(own_suite)),
             20, "leftover_age of all")
    own_suite.storage.start()
    own_suite.wait_active()
    wait_for(lambda: own_suite.storage.metric("reel_storage_sweep_stopped") == 1, 30, "the brake")
    assert not quarantine(own_suite) and len(leftovers(own_suite)) == 40
    own_suite.storage.stop()
    own_suite.storage.start()
    own_suite.wait_active()
    wait_for(lambda: own_suite.storage.metric("reel_storage_sweep_stopped") == 1, 30, "the brake after a restart")
    done = own_suite.reel("fsck", check=False)
    assert done.returncode == 6 and b"--confirm-leftovers" in done.stdout and not quarantine(own_suite)
    done = own_suite.reel("fsck", "--confirm-leftovers")
    assert b"40" in done.stdout and len(quarantine(own_suite)) == 40 and not leftovers(own_suite)
    assert b"nothing is waiting" in own_suite.reel("fsck", "--confirm-leftovers").stdout
    assert own_suite.reel("fsck").returncode == 0


def test_fsck_of_a_named_group_is_answered_by_any_server_of_its_database(own_suite):
    own_suite.start(storage_options=FAST)
    fill(own_suite, 1)
    group = json.loads(own_suite.reel("--json", "fsck", "--status").stdout)["group"]
    report = json.loads(own_suite.reel("--json", "fsck", group).stdout)
    assert report["group"] == group and report["progress"]["rows"] == 1
    assert own_suite.reel("fsck", "group777", check=False).returncode == 3
    assert own_suite.reel("fsck", "no-group!", check=False).returncode not in (0, 6)
    assert "group777" not in own_suite.sql("storagedb", "SELECT name FROM t_lease;")


def test_rows_of_the_predecessor_gain_digests_and_are_not_judged_by_our_files_alone(own_suite):
    own_suite.start(storage_options=FAST)
    stored = fill(own_suite, 2)
    for table in TABLES:
        own_suite.sql("storagedb", f"UPDATE {table} SET digest = '', group_name = '';")
    own_suite.sql("storagedb", "INSERT INTO t_file_01 (id, appid, userid, status, file_path, file_size) VALUES "
                               f"('far', '{APP}', '{USER}', 0, '{own_suite.dir}/data/000/000/000/5F9E3FA7_005', 5);")
    own_suite.sql("storagedb", "INSERT INTO t_file_01 (id, appid, userid, status, file_path, file_size, group_name) "
                               f"VALUES ('else', '{APP}', '{USER}', 0, '{own_suite.dir}/data/000/000/000/5F9E3FA7_006', "
                               "5, 'group009');")
    code, report = fsck(own_suite, "--repair")
    assert code == 0 and report["digests"] == 2 and report["elsewhere"] == 1 and report["rows"] == 3
    for file, content in stored.items():
        with own_suite.client() as client:
            assert client.stat(APP, USER, file)["digest"]
        assert own_suite.reel("download", "--verify", file, "-").stdout == content
    assert {row[1] for row in rows(own_suite).values()} == {0}


@contextlib.contextmanager
def under_way(path):
    """A file that somebody writes to, several times a second, until the end of the block."""
    over = threading.Event()

    def write():
        while not over.wait(0.1):
            path.write_bytes(b"under way")
    path.write_bytes(b"under way")
    thread = threading.Thread(target=write)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def test_a_leftover_goes_into_quarantine_when_it_is_old_and_a_young_one_stays(own_suite):
    own_suite.start(storage_options={**FAST, "leftover_age": "10s"})
    stored = fill(own_suite, 2)
    place, _ = place_of(own_suite, next(iter(stored)))
    old = place.with_name(f"{int(time.time()) - 100:08X}_1A0")
    old.write_bytes(b"left")
    fresh = place.with_name("5F9E3FA7_1A1")
    began = time.monotonic()
    code, report = fsck(own_suite)
    if time.monotonic() - began < 8:  # else it has become old meanwhile
        assert code == 0 and report["leftovers"] == 0 and report["young"] == 1 and old.exists()
    with under_way(fresh):
        # By a scrub, or by the sweep that follows the start.
        wait_for(lambda: fsck(own_suite)[0] == 0 and not old.exists(), 30, "the quarantine of the old one")
        assert fresh.exists()
    held, = quarantine(own_suite)
    assert held.read_bytes() == b"left" and old.name in held.name
    assert not [p for p in stored_files(own_suite) if p not in rows(own_suite) and p != str(fresh)]


def test_the_leftover_of_a_crash_is_cleaned_up_by_itself_and_quarantine_expires(own_suite):
    own_suite.start(storage_options={**FAST, "quarantine_keep": "8s", "sweep_interval": "1s"})
    stored = fill(own_suite, 2)
    own_suite.storage.stop()
    start(own_suite.storage, "upload-directory-synced")
    with own_suite.client() as client, pytest.raises((EOFError, ConnectionError)):
        client.upload(APP, USER, "lost", b"lost" * 100)
    died(own_suite.storage)
    assert len(leftovers(own_suite)) == 1
    start(own_suite.storage)
    wait_for(lambda: not leftovers(own_suite), 20, "the clean-up")
    assert [p.stat().st_size for p in quarantine(own_suite)] == [400]
    wait_for(lambda: not quarantine(own_suite), 20, "the end of the quarantine")
    for file, content in stored.items():
        assert download(own_suite, file).body == content


def move_rows(suite, source, target):
    """Row by row, as if another database were in their place: the tables themselves stay."""
    for table in TABLES:
        suite.sql("storagedb", f"INSERT INTO {target}{table} SELECT * FROM {source}{table}; DELETE FROM {source}{table};")


@pytest.mark.parametrize("by", ["clean-up", "repair"])
def test_files_come_back_from_quarantine_when_the_right_database_is_back(own_suite, by):
    own_suite.start(storage_options={**FAST, "sweep_interval": "1s" if by == "clean-up" else "365d"})
    stored = fill(own_suite, 6)
    deleted, *kept = stored
    own_suite.reel("delete", deleted)
    for table in TABLES:
        own_suite.sql("storagedb", f"CREATE TABLE right_{table} AS SELECT * FROM {table} WHERE 1 = 0;")
    move_rows(own_suite, "", "right_")
    wait_for(lambda: fsck(own_suite)[0] == 0 and len(quarantine(own_suite)) == 6, 30, "an empty volume")
    assert not stored_files(own_suite)
    move_rows(own_suite, "right_", "")
    if by == "clean-up":  # nobody calls anything: the next clean-up finds them
        wait_for(lambda: not quarantine(own_suite), 30, "the clean-up")
    else:  # a repair looks there before it marks anything
        code, report = fsck(own_suite, "--repair")
        assert code == 0 and not findings(report) and report["rows"] == 6
    assert not quarantine(own_suite) and len(stored_files(own_suite)) == 6
    for file in kept:
        assert download(own_suite, file).body == stored[file]
    own_suite.reel("restore", deleted)
    assert download(own_suite, deleted).body == stored[deleted]


def test_a_slow_upload_is_never_taken_for_a_leftover(own_suite):
    own_suite.start(storage_options={**FAST, "sweep_interval": "1s", "progress_timeout": "1s",
                                     "chunk_size": "16K"})
    second = own_suite.add_storage("second", **{**FAST, "sweep_interval": "1s"})
    second.start()
    content = os.urandom(600_000)
    with own_suite.client("second") as client:
        head = wire.upload_head(APP, USER, "slow", len(content))
        client.send(wire.header(len(head) + len(content), wire.UPLOAD) + head)
        for at in range(0, len(content), 20_000):
            client.send(content[at:at + 20_000])
            time.sleep(0.2)
        assert client.receive().ok
    assert download(own_suite, "slow").body == content and not quarantine(own_suite)


def test_a_scrub_goes_on_where_it_was_after_a_restart(own_suite):
    own_suite.start(storage_options={**FAST, "scrub_rate": "60K"})
    fill(own_suite, 10)
    with own_suite.client() as client:
        body = wire.file_key(APP, USER, "") + b"\1"
        assert json.loads(client.call(80, body).body)["wanted"] == 1
    status = lambda: json.loads(own_suite.reel("--json", "fsck", "--status", check=False).stdout)
    wait_for(lambda: (status()["progress"] or {"rows": 0})["rows"] >= 6, 30, "some rows")
    own_suite.storage.kill()
    own_suite.storage.start()
    own_suite.wait_active()
    wait_for(lambda: status()["done"] == 1, 30, "the end of the scrub")
    report = status()["progress"]
    assert report["rows"] == 10 and report["phase"] == "done"
    own_suite.storage.wait_logged("continues in table")


@pytest.mark.parametrize("point", points("scrub-") + points("sweep-") + points("fence-"))
def test_a_crash_in_the_scrub_loses_nothing_and_the_next_one_ends_its_work(own_suite, point):
    own_suite.start(storage_options={**FAST, "sweep_interval": "1s"})
    stored = fill(own_suite, 4)
    broken = next(iter(stored))
    place, _ = place_of(own_suite, broken)
    place.write_bytes(b"x")
    own_suite.storage.stop()
    place.with_name("5F9E3FA7_1A0").write_bytes(b"left")
    away, _ = place_of(own_suite, list(stored)[1])  # it is given back
    held = own_suite.dir / "data" / ".quarantine"
    held.mkdir(exist_ok=True)
    away.rename(held / ("-".join(away.parts[-4:]) + ".0"))
    time.sleep(4.1)  # leftover_age
    start(own_suite.storage, point)
    if point.startswith("scrub-"):
        with own_suite.client() as client:
            client.call(80, wire.file_key(APP, USER, "") + b"\2")
    died(own_suite.storage)
    start(own_suite.storage)
    own_suite.wait_active()
    fsck(own_suite, "--repair")
    wait_for(lambda: not leftovers(own_suite), 30, "the sweep, once the file is old enough")
    code, report = fsck(own_suite)
    assert findings(report) == {"out-of-service": 1} and not leftovers(own_suite)
    assert sorted(p.stat().st_size for p in quarantine(own_suite)) == [1, 4]
    for file, content in stored.items():
        if file != broken:
            assert download(own_suite, file).body == content
