"""The ID server's database is set back to an older backup, so that it gives numbers again which have files: no file is
overwritten, the repetition is noticed, reported, counted and passed over."""
import os
import re
import time

import pytest
from crash import check_rows_have_files, rows, stored_files
from suite import APP, USER, new_id, wait_for

OPTIONS = {"id_range": "20"}


def upload(suite, count, label="storage"):
    stored = {}
    with suite.client(label) as client:
        for _ in range(count):
            file, content = new_id(), os.urandom(500)
            reply = client.upload(APP, USER, file, content)
            assert reply.ok, reply
            stored[file] = content
    return stored


def set_back(suite, value):
    suite.sql("idsdb", f"UPDATE t_id_gen SET id_value = {value};")


def check(suite, stored, before):
    for label in ("storage", "second"):
        with suite.client(label) as client:
            for file, content in stored.items():
                assert client.download(APP, USER, file).body == content
    assert before.items() <= {path: path.read_bytes() for path in suite.files()}.items(), "a file was changed"
    check_rows_have_files(suite)
    assert len(rows(suite)) == len(stored_files(suite)) == len(stored)
    numbers = [re.sub(r"/[0-9A-F]{8}_", "/", path) for path in stored_files(suite)]
    assert len(numbers) == len(set(numbers)), "a number has two files"


@pytest.mark.parametrize("running", [True, False], ids=["servers run on", "servers start anew"])
def test_numbers_of_an_older_backup_are_noticed_and_passed_over(own_suite, running):
    suite = own_suite.start(storage_options=dict(OPTIONS))
    suite.add_storage("second", **OPTIONS).start()
    suite.wait_active(2)
    stored = upload(suite, 60)
    stored |= upload(suite, 30, "second")
    before = {path: path.read_bytes() for path in suite.files()}
    time.sleep(1.1)  # a file's name has the second: the old and the new one differ, and only the number is the same
    if running:
        set_back(suite, 10)
    else:
        for label in ("second", "storage", "idserver"):
            suite.daemons[label].stop()
        set_back(suite, 10)
        for label in ("idserver", "storage", "second"):
            suite.daemons[label].start()
        suite.wait_active(2)
    # What was fetched ahead is used up, then come numbers that have been given.
    for _ in range(3 if running else 1):
        stored |= upload(suite, 60)
        stored |= upload(suite, 30, "second")
        check(suite, stored, before)
    if running:  # the ID server itself knows what it has given
        assert suite.idserver.metric("reel_idserver_set_back_total") > 0
        suite.idserver.wait_logged("numbers behind what was given")
    else:
        assert sum(suite.daemons[label].metric("reel_storage_number_collisions_total") for label in ("storage", "second")) > 0
        wait_for(lambda: "was given twice" in suite.storage.log() + suite.daemons["second"].log(), 20, "the line in one of the logs")


def test_a_long_way_back_is_passed_over_quickly(own_suite):
    """Thousands of numbers that have files, as after the restoration of an old backup."""
    suite = own_suite.start(storage_options={"id_range": "1000"})
    stored = upload(suite, 3)
    used = {path.name[-3:] for path in suite.files()}
    for number in range(20):
        directory = suite.dir / "data" / f"000/000/{number:03X}"
        directory.mkdir(exist_ok=True)
        for digit in range(512):
            if number > 0 or f"{digit:03X}" not in used:
                (directory / f"5F9E3FA7_{digit:03X}").touch()
    before = {path: path.read_bytes() for path in suite.files()}
    for label in ("storage", "idserver"):
        suite.daemons[label].stop()
    set_back(suite, 0)
    for label in ("idserver", "storage"):
        suite.daemons[label].start()
    suite.wait_active()
    stored |= upload(suite, 3)
    with suite.client() as client:
        for file, content in stored.items():
            assert client.download(APP, USER, file).body == content
    assert before.items() <= {path: path.read_bytes() for path in suite.files()}.items()
    assert len(stored_files(suite)) == len(before) + 3 == 20 * 512 + 3
