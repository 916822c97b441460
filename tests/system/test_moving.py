"""Users move from one group to another with all their files, while they are read, written and deleted."""
import json
import struct
import subprocess
import threading
import time

import pytest
import wire
import xxhash
from suite import APP, BIN, new_id, wait_for
from web import fetch, path
from wire import file_key

SETTLE = ("--settle", "2s")


@pytest.fixture
def groups(own_suite):
    """Two groups whose rows are in one database, as docs/deployment.md has them."""
    tracker = own_suite.add_tracker()
    own_suite.add_idserver()
    own_suite.add_storage("one", trash_keep="1d", cache_age="200ms")
    own_suite.add_storage("two", own_suite.dir / "data2", group="group002", trash_keep="1d", cache_age="200ms")
    tracker.init_db()
    own_suite.sql("trackerdb", "INSERT INTO t_groups_info(group_name, state) VALUES ('group002', 1)")  # no users yet
    own_suite.add_httpd()
    own_suite.launch()
    return own_suite


def open_second_group(groups):
    groups.reel("admin", "group", "open", "group002")


def group_of(groups, user):
    return groups.sql("trackerdb", f"SELECT group_name FROM t_router WHERE userid = '{user}'")[0][0]


def rows_of(groups, user):
    """What the rows of a user say: file ID -> (status, group, path)."""
    found = {}
    for table in (1, 2, 3):
        for row in groups.sql("storagedb", f"SELECT id, COALESCE(status, 0), group_name, file_path FROM t_file_0{table} WHERE userid = '{user}'"):
            found[row[0]] = (int(row[1]), row[2], row[3])
    return found


def move_body(user, file, content, source, group="group002"):
    return wire.put_head(APP, user, file, len(content), name=source, group=group) + content + xxhash.xxh3_128(content).digest()


def move(client, user, file, content, source="group001", group="group002"):
    return client.call(wire.MOVE, move_body(user, file, content, source, group))


class Reader(threading.Thread):
    """Reads the files again and again over HTTP and packets; notes what fails."""

    def __init__(self, groups, contents):
        super().__init__()
        self.groups, self.contents, self.failed, self.count, self.over = groups, contents, [], 0, threading.Event()

    def run(self):
        while not self.over.is_set():
            for (user, file), content in list(self.contents.items()):
                try:
                    self.read(user, file, content)
                except Exception as error:  # noqa: BLE001
                    self.failed.append((user, file, repr(error)))
                self.count += 1

    def read(self, user, file, content):
        answer, body = fetch(self.groups, path(file, user=user))
        if answer.status != 200 or body != content:
            self.failed.append((user, file, answer.status))
        done = self.groups.reel("download", file, "-o", "-", user=user, check=False) if self.count % 8 == 0 else None
        if done and (done.returncode != 0 or done.stdout != content):
            self.failed.append((user, file, done.stderr))

    def stop(self):
        self.over.set()
        self.join()
        assert not self.failed, self.failed[:5]
        assert self.count > 0


def test_a_group_is_emptied_while_its_users_go_on(groups):
    users = ["alice", "bob", "carol" + new_id()]
    contents = {}
    for user in users:
        for i in range(5):
            file, content = new_id(), bytes([i]) * (3000 if i else 700_000)
            groups.reel("upload", "-", "--file-id", file, "--name", f"{i}.mp4", user=user, input=content)
            contents[user, file] = content
    trash = new_id()
    groups.reel("upload", "-", "--file-id", trash, "--name", "t", user="alice", input=b"deleted before")
    groups.reel("delete", trash, user="alice")
    before = {key: json.loads(groups.reel("stat", key[1], "--json", user=key[0]).stdout) for key in contents}
    open_second_group(groups)
    assert b"would move user alice" in groups.reel("admin", "group", "drain", "group001", "--empty", "--dry-run").stdout
    assert group_of(groups, "alice") == "group001"
    reader = Reader(groups, dict(contents))
    reader.start()
    moving = subprocess.Popen([BIN / "reel", "-t", f"127.0.0.1:{groups.tracker.port}", "admin", "group", "drain", "group001", "--empty", "-y",
                               "-j", "3", "--rate", "400K", *SETTLE], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    came = 0
    while moving.poll() is None:  # a user who stores and deletes meanwhile
        file, content = new_id(), b"meanwhile %d" % came
        groups.reel("upload", "-", "--file-id", file, "--name", "m", user="bob", input=content)
        if came % 2:
            groups.reel("delete", file, user="bob")
        else:
            contents["bob", file] = content
        came += 1
    out, err = moving.communicate()
    assert moving.returncode == 0, (out, err)
    reader.stop()
    assert b" 0 files are left there" in out and came > 1
    for user in users:
        assert group_of(groups, user) == "group002"
        states = rows_of(groups, user)
        assert {group for state, group, _ in states.values() if state != 2} == {"group002"}
        assert {group for state, group, _ in states.values() if state == 2} == {"group001"}
    for (user, file), content in contents.items():
        assert groups.reel("download", file, "-o", "-", user=user).stdout == content
    after = {key: json.loads(groups.reel("stat", key[1], "--json", user=key[0]).stdout) for key in before}
    for key, stat in after.items():  # the time of the upload too
        assert {**stat, "group": "group001"} == before[key]
    groups.reel("restore", trash, user="alice")
    assert groups.reel("download", trash, "-o", "-", user="alice").stdout == b"deleted before"
    assert groups.reel("fsck", user="alice", check=False).returncode == 0
    # The former copies are the old group's until they are purged, in their time.
    refused = groups.reel("admin", "group", "remove", "group001", "-y", check=False)
    assert refused.returncode == 4 and b"former copies" in refused.stderr
    assert len(groups.files()) >= 16
    for table in (1, 2, 3):
        groups.sql("storagedb", f"UPDATE t_file_0{table} SET deleted_at = 1000000000 WHERE status = 2")
    groups.daemons["one"].configure({**groups.daemons["one"].config,
                                     "storage": {**groups.daemons["one"].config["storage"], "trash_keep": "0", "purge_interval": "1s"}})
    groups.daemons["one"].stop()
    groups.daemons["one"].start()
    groups.wait_active(2)
    wait_for(lambda: not groups.files(), 30, "former copies to be purged")
    # Their rows go a moment after the files.
    wait_for(lambda: groups.reel("admin", "group", "remove", "group001", "-y", check=False).returncode == 0, 20, "the removal of the group")
    assert b"group001" not in groups.reel("admin", "group", "list").stdout or b"removed" in groups.reel("admin", "group", "list").stdout
    for (user, file), content in contents.items():
        assert groups.reel("download", file, "-o", "-", user=user).stdout == content


def test_both_groups_serve_and_change_what_moves(groups):
    open_second_group(groups)
    groups.sql("trackerdb", "INSERT INTO t_router (appid, userid, group_name) VALUES ('tnvideo', 'dave', 'group001')")
    file, other, content = new_id(), new_id(), b"moving" * 1000
    with groups.client("one") as one, groups.client("two") as two:
        assert one.upload(APP, "dave", file, content).ok and one.upload(APP, "dave", other, b"second").ok
        created = one.stat(APP, "dave", file)["created"]
        # Other bytes, another size, another group, no row: nothing moves.
        assert move(two, "dave", file, content[:-1] + b"x").number == wire.EXISTS
        assert move(two, "dave", file, content[:-1]).number == wire.DIGEST
        assert move(two, "dave", file, content, source="group003").number == -21
        assert move(two, "dave", new_id(), content).number == wire.NOT_FOUND
        assert move(two, "dave", file, content, source="no group").number == wire.MALFORMED
        assert one.download(APP, "dave", file).body == content
        time.sleep(1.1)  # the second in which it was stored is over
        assert move(two, "dave", file, content).ok
        assert move(two, "dave", file, content).ok, "the reply was lost, and it was asked again"
        for client in (one, two):
            assert client.download(APP, "dave", file).body == content
            assert client.stat(APP, "dave", file)["created"] == created
        assert [name for name, _ in one.list(APP, "dave")] == sorted([file, other])
        # The same bytes once more to the old group: stored already. Others: refused.
        assert one.upload(APP, "dave", file, content).ok
        assert one.upload(APP, "dave", file, content[:-1] + b"x").number == wire.EXISTS
        # Deleted by the old group's server, restored by it, renamed by it: both see it.
        assert one.call(wire.DELETE, file_key(APP, "dave", file)).ok
        wait_for(lambda: two.download(APP, "dave", file).status != 0, 5, "the deletion to be seen")
        assert one.download(APP, "dave", file).number == wire.NOT_FOUND
        assert one.call(wire.RESTORE, file_key(APP, "dave", file)).ok
        wait_for(lambda: two.download(APP, "dave", file).ok, 5, "the restoration to be seen")
        assert one.call(wire.RENAME, file_key(APP, "dave", file) + b"new".ljust(256, b"\0")).ok
        wait_for(lambda: two.stat(APP, "dave", file)["name"] == "new", 5, "the name to be seen")
        # A deleted file can be fetched by whoever moves it, and stays deleted.
        assert one.call(wire.DELETE, file_key(APP, "dave", other)).ok
        fetched = one.call(wire.FETCH, file_key(APP, "dave", other) + struct.pack(">qq", 0, 0))
        assert fetched.body == b"second"
        assert move(two, "dave", other, b"second").ok
        assert move(two, "dave", other, b"second").ok, "the reply was lost, and it was asked again"
        assert two.download(APP, "dave", other).number == wire.NOT_FOUND
        assert two.call(wire.RESTORE, file_key(APP, "dave", other)).ok
        assert two.download(APP, "dave", other).body == b"second"
        # Back, while the former copy is there: not yet.
        assert move(one, "dave", file, content, source="group002", group="group001").number == wire.EXISTS
    assert len(groups.files()) == 2 and len(groups.files(groups.dir / "data2")) == 2


def test_what_an_interrupted_run_left_is_moved_by_the_next(groups):
    open_second_group(groups)
    groups.sql("trackerdb", "INSERT INTO t_router (appid, userid, group_name) VALUES ('tnvideo', 'erin', 'group001')")
    file = new_id()
    with groups.client("one") as one:
        assert one.upload(APP, "erin", file, b"left behind").ok
    groups.sql("trackerdb", "UPDATE t_router SET group_name = 'group002' WHERE userid = 'erin'")
    out = groups.reel("admin", "group", "drain", "group001", "--empty", "-y", "--json", *SETTLE).stdout.splitlines()
    end = json.loads(out[-1])
    assert (end["files"], end["left"], end["former_copies"]) == (1, 0, 1)
    with groups.client("two") as two:
        assert two.download(APP, "erin", file).body == b"left behind"


def test_a_file_that_the_other_group_has_is_found_there(groups):
    """A user who has moved has stored a file by an old address: nobody has moved it yet."""
    open_second_group(groups)
    file = new_id()
    with groups.client("one") as one:
        groups.sql("trackerdb", "INSERT INTO t_router (appid, userid, group_name) VALUES ('tnvideo', 'frank', 'group001')")
        assert one.upload(APP, "frank", file, b"by an old address").ok
    groups.sql("trackerdb", "UPDATE t_router SET group_name = 'group002' WHERE userid = 'frank'")
    groups.tracker.stop()
    groups.tracker.start()  # it has forgotten whose group frank was of
    groups.wait_active(2)

    def reel(*words):
        return groups.reel(*words, user="frank")
    assert reel("download", file, "-o", "-").stdout == b"by an old address"
    answer, body = fetch(groups, path(file, user="frank"))
    assert (answer.status, body) == (200, b"by an old address")
    reel("rename", file, "new")
    assert json.loads(reel("stat", file, "--json").stdout)["name"] == "new"
    reel("delete", file)
    assert groups.reel("download", file, "-o", "-", user="frank", check=False).returncode == 7
    reel("restore", file)
    assert reel("download", file, "-o", "-").stdout == b"by an old address"
    assert group_of(groups, "frank") == "group002"
    assert json.loads(reel("stat", groups.reel("upload", "-", "--name", "m", user="frank", input=b"next").stdout.decode().split()[0], "--json").stdout)["group"] == "group002"
