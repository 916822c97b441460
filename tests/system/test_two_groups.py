"""Two groups: what belongs to one of them is neither stored nor called unknown by the other."""
import struct
import subprocess

import pytest
import wire
from relay import Listening
from suite import APP, BIN, new_id
from web import fetch, path
from wire import DOWNLOAD, LOCATE, SADDRS, STAT, file_key

OTHER_GROUP = -21


@pytest.fixture
def groups(own_suite):
    """Each group with a server and rows of its own."""
    tracker = own_suite.add_tracker()
    own_suite.add_idserver()
    one = own_suite.add_storage("one")
    two = own_suite.add_storage("two", own_suite.dir / "data2", group="group002")
    two.configure({**two.config, "database": {"url": own_suite.database_url("storagedb2")}})
    tracker.init_db()
    own_suite.sql("trackerdb", "INSERT INTO t_groups_info(group_name) VALUES ('group002')")
    own_suite.add_httpd()
    own_suite.launch()
    return own_suite


def users_of(suite, group, count=1):
    """New users whom the tracker has given GROUP."""
    found = []
    while len(found) < count:
        user = "user" + new_id()
        reply = wire.ask(suite.tracker.address, SADDRS, file_key(APP, user, "f"))
        assert reply.ok, reply
        if reply.body[:9] == group.encode() + b"\0":
            found.append(user)
    return found


def test_what_belongs_to_the_other_group_is_refused_by_its_number(groups):
    (one,), (two,) = users_of(groups, "group001"), users_of(groups, "group002")
    with groups.client("one") as first, groups.client("two") as second:
        # The predecessor's client says nothing of groups; a tracker is asked.
        assert first.upload(APP, one, "file", b"1").ok and second.upload(APP, two, "file", b"2").ok
        refused = first.upload(APP, two, "other", b"2")
        assert refused.number == OTHER_GROUP and "group002" in refused.text and refused.group == "group002"
        # Ours say which group the tracker named.
        assert first.put(APP, one, "stated", b"1", group="group001").ok
        assert first.put(APP, one, "stated2", b"1", group="group002").number == OTHER_GROUP
        assert second.put(APP, two, "stated", b"1" * 300_000, group="group001").number == OTHER_GROUP
        # A user whom no tracker knows gets a group, and is stored in that one alone.
        new = "new" + new_id()
        answers = [client.upload(APP, new, "file", b"n") for client in (first, second)]
        assert sorted(reply.ok for reply in answers) == [False, True]
        # Nor is it called unknown.
        for command in (STAT, wire.FILESIZE, wire.DELETE, wire.RESTORE):
            assert first.call(command, file_key(APP, two, "file")).number == OTHER_GROUP
            assert first.call(command, file_key(APP, one, "nothing")).number == wire.NOT_FOUND
        assert first.call(DOWNLOAD, file_key(APP, two, "file") + struct.pack(">qq", 0, 0)).number == OTHER_GROUP
    for user, content in ((one, b"1"), (two, b"2")):
        assert groups.reel("download", "file", "-", user=user).stdout == content
    assert len(groups.files()) + len(groups.files(groups.dir / "data2")) == 4  # and nothing is left of the refused ones


class MisleadingTracker(Listening):
    """Says what the tracker REAL says, but names the server WRONG: as an address that means another machine to its client."""

    def __init__(self, real, wrong, commands=(LOCATE, SADDRS, wire.SERVERS)):
        self.real, self.wrong, self.commands = real, wrong, commands
        super().__init__()

    def serve(self, connection):
        with wire.Client(self.real) as client:
            while True:
                request = wire.packet(connection)
                reply = client.call(request[8], request[10:])
                body = reply.body
                if reply.ok and request[8] in self.commands:
                    body = body[:17] + f"{self.wrong};".encode() + b"\0"
                connection.sendall(wire.header(len(body), reply.command, reply.status) + body)


def test_a_server_that_is_asked_by_mistake_is_a_bad_gateway_over_http(groups):
    (two,) = users_of(groups, "group002")
    with groups.client("two") as second:
        assert second.upload(APP, two, "file", b"2").ok
    assert fetch(groups, path("file", two))[0].status == 200
    wrong = "127.0.0.1:%d" % groups.one.port
    with MisleadingTracker(groups.tracker.address, wrong) as misleading:
        tracker = f"127.0.0.1:{misleading.port}"
        misled = groups.add_httpd("misled", trackers=tracker)
        misled.start()
        assert fetch(groups, path("file", two), port=misled.port)[0].status == 502
        # Its own client states the group, and finds out in the end.
        done = subprocess.run([str(BIN / "reel"), "-t", tracker, "-u", two, "upload", __file__], capture_output=True,
                              timeout=60)
        assert done.returncode != 0 and b"group" in done.stderr, done
    assert not groups.files()
    # Whoever learns which group has it asks that one's servers.
    with MisleadingTracker(groups.tracker.address, wrong, (LOCATE, SADDRS)) as misleading:
        tracker = f"127.0.0.1:{misleading.port}"
        redirected = groups.add_httpd("redirected", trackers=tracker)
        redirected.start()
        answer, body = fetch(groups, path("file", two), port=redirected.port)
        assert (answer.status, body) == (200, b"2")
