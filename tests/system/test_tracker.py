"""reel-tracker, byte by byte."""
import json
import re
import struct
import threading
import time

import pytest

import wire
from suite import APP, new_id, wait_for
from wire import BEAT, GROUPS, JOIN, LOAD, LOCATE, SADDRS, STATUS, TRACKER, Client, field, file_key, join_body


def test_saddrs_names_the_group_and_the_active_server(suite):
    reply = wire.ask(suite.tracker.address, SADDRS, file_key(APP, "saddrs-user", new_id()))
    assert (reply.command, reply.status) == (TRACKER, 0)
    assert reply.body[:17] == b"group001" + bytes(9)
    assert reply.body[17:] == f"127.0.0.1:{suite.storage.port};".encode() + b"\0"


def test_saddrs_is_sticky_and_writes_one_route(suite):
    user = "sticky-" + new_id()[:12]
    for _ in range(3):
        assert wire.ask(suite.tracker.address, SADDRS, file_key(APP, user, new_id())).ok
    rows = suite.sql("trackerdb", f"SELECT appid, group_name FROM t_router WHERE userid = '{user}'")
    assert rows == [[APP, "group001"]]


def test_user_ids_take_255_bytes_and_tell_case_and_trailing_spaces_apart(suite):
    long = "u" * 255
    users = [long, "Case-" + new_id()[:8], "sp-" + new_id()[:8], "片-" + new_id()[:8]]
    users += [users[1].lower(), users[2] + " "]
    for user in users:
        assert wire.ask(suite.tracker.address, SADDRS, file_key(APP, user, "f")).ok
    count, = suite.sql("trackerdb", "SELECT COUNT(*) FROM t_router WHERE " +
                       " OR ".join(f"userid = '{u}'" for u in users))[0]
    assert int(count) == len(users)


def test_an_unknown_application_is_refused(suite):
    reply = wire.ask(suite.tracker.address, SADDRS, file_key("otherapp", "u", "f"))
    assert (reply.command, reply.status) == (TRACKER, 0xFD)
    assert reply.number == wire.REFUSED and re.match(r"\[.+\] ", reply.text)


@pytest.mark.parametrize("what, body", [
    ("short", file_key(APP, "u", "f")[:-1]),
    ("long", file_key(APP, "u", "f") + b"x"),
    ("application unterminated", b"a" * 16 + field("u", 256) + field("f", 128)),
    ("user unterminated", field(APP, 16) + b"u" * 256 + field("f", 128)),
    ("file unterminated", field(APP, 16) + field("u", 256) + b"f" * 128),
    ("empty application", file_key("", "u", "f")),
    ("empty user", file_key(APP, "", "f")),
    ("application with a sign", file_key("tn-video", "u", "f")),
])
def test_a_malformed_saddrs_gets_an_error_and_the_connection_goes_on(suite, what, body):
    with Client(suite.tracker.address) as client:
        reply = client.call(SADDRS, body)
        assert reply.status == 0xFD and reply.command == TRACKER
        assert reply.number == wire.MALFORMED
        assert reply.text.startswith("[") and "] " in reply.text
        assert client.call(GROUPS).ok


def test_locate_names_the_only_group_and_writes_no_route(suite):
    user = "located-" + new_id()[:12]
    reply = wire.ask(suite.tracker.address, LOCATE, file_key(APP, user, ""))
    assert reply.ok and reply.body[:9] == b"group001\0"
    assert suite.sql("trackerdb", f"SELECT * FROM t_router WHERE userid = '{user}'") == []


PATIENT = {"heartbeat_timeout": "90s"}  # where servers beat once, and a busy machine may take seconds for the rest


def test_locate_of_an_unknown_user_among_several_groups_finds_nothing(own_suite):
    tracker = own_suite.add_tracker(**PATIENT)
    tracker.init_db()
    own_suite.sql("trackerdb", "INSERT INTO t_groups_info(group_name) VALUES ('group002')")
    tracker.start()
    client = joined(own_suite, "m", 23001)
    assert client.call(BEAT, field("group001", 17) + field("m", 129)).ok
    reply = wire.ask(tracker.address, LOCATE, file_key(APP, "stranger", ""))
    assert not reply.ok and reply.number == wire.NOT_FOUND
    assert own_suite.sql("trackerdb", "SELECT * FROM t_router") == []
    wire.ask(tracker.address, SADDRS, file_key(APP, "stranger", "f"))
    wait_for(lambda: wire.ask(tracker.address, LOCATE, file_key(APP, "stranger", "")).ok, 5, "LOCATE of a routed user")
    client.close()


def test_groups_text_is_what_legacy_clients_print(suite):
    reply = wire.ask(suite.tracker.address, GROUPS)
    assert reply.ok and reply.command == TRACKER
    assert reply.body.endswith(b"\0") and not reply.body.endswith(b"\n\0")
    lines = reply.body[:-1].decode().split("\n")
    when = r"[A-Z][a-z]{2} [A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d \d{4}"
    expected = [
        ("COUNT OF GROUPS", "1"), ("GROUPNAME", "group001"), ("COUNT OF STORAGES", "1"),
        ("COUNT OF ACTIVE STORAGES", "1"), ("VERSION", r"\S+"), ("HOSTNAME", r"\S+"),
        ("ADDRESS", f"127.0.0.1:{suite.storage.port}"), ("STARTUP TIME", when), ("JOIN TIME", when),
        ("BEAT TIME", when), ("STATUS", "ACTIVE")]
    assert len(lines) == len(expected), lines
    for line, (label, value) in zip(lines, expected):
        assert re.fullmatch(re.escape(label.rjust(24) + ": ") + value, line), line


def test_status_is_the_table_as_json(suite):
    reply = wire.ask(suite.tracker.address, STATUS)
    assert reply.ok
    table = json.loads(reply.body.rstrip(b"\0"))
    text = json.dumps(table)
    assert "group001" in text and f"127.0.0.1:{suite.storage.port}" in text and "ACTIVE" in text
    assert "group001" in json.dumps(suite.tracker.status())


def joined(suite, host, port, group="group001"):
    client = Client(suite.tracker.address)
    reply = client.call(JOIN, join_body(group, host, port))
    assert (reply.command, reply.status, reply.body) == (TRACKER, 0, b"")
    return client


def states(suite):
    text = wire.ask(suite.tracker.address, GROUPS).body[:-1].decode()
    return {m[0]: m[1] for m in re.findall(r"ADDRESS: (\S+)\n.*\n.*\n.*\n +STATUS: (\w+)", text)}


def expect_states(suite, wanted):
    """The report is built once a second at most."""
    wait_for(lambda: states(suite) == wanted, 10, f"{wanted} in GROUPS")


def test_join_is_online_beat_is_active_a_broken_connection_is_offline(own_suite):
    tracker = own_suite.add_tracker(**PATIENT)
    tracker.init_db()
    tracker.start()
    key = file_key(APP, "u", "f")
    wait_for(lambda: wire.ask(tracker.address, SADDRS, key).number == wire.NO_SERVER, 10, "the groups were read")
    client = joined(own_suite, "legacy1", 23111)
    expect_states(own_suite, {"127.0.0.1:23111": "ONLINE"})
    # Where nobody is ACTIVE who has joined is named: after a tracker's restart that is everybody.
    assert wire.ask(tracker.address, SADDRS, key).body == b"group001" + bytes(9) + b"127.0.0.1:23111;\0"
    beat = field("group001", 17) + field("legacy1", 129)
    reply = client.call(BEAT, beat)
    assert (reply.command, reply.status, reply.body) == (TRACKER, 0, b"")
    expect_states(own_suite, {"127.0.0.1:23111": "ACTIVE"})
    reply = wire.ask(tracker.address, SADDRS, key)
    assert reply.body == b"group001" + bytes(9) + b"127.0.0.1:23111;\0"
    # OFFLINE after suspect_grace (1 s here), long before heartbeat_timeout.
    client.close()
    expect_states(own_suite, {"127.0.0.1:23111": "OFFLINE"})


def test_silence_is_offline(own_suite):
    """Longer than heartbeat_timeout, with the connection open."""
    tracker = own_suite.add_tracker(heartbeat_timeout="4s")
    tracker.init_db()
    tracker.start()
    key, beat = file_key(APP, "u", "f"), field("group001", 17) + field("legacy1", 129)
    wait_for(lambda: wire.ask(tracker.address, SADDRS, key).number == wire.NO_SERVER, 10, "the groups were read")
    client = joined(own_suite, "legacy1", 23111)
    assert client.call(BEAT, beat).ok
    expect_states(own_suite, {"127.0.0.1:23111": "OFFLINE"})
    assert wire.ask(tracker.address, SADDRS, key).number == wire.NO_SERVER
    wait_for(lambda: client.call(BEAT, beat).ok and states(own_suite) == {"127.0.0.1:23111": "ACTIVE"}, 10, "ACTIVE after a heartbeat")
    client.close()


def test_a_beat_belongs_to_who_joined(own_suite):
    tracker = own_suite.add_tracker(**PATIENT)
    tracker.init_db()
    tracker.start()
    first, second = joined(own_suite, "media1", 23001), joined(own_suite, "media1", 23002)
    beat = field("group001", 17) + field("media1", 129)
    assert second.call(BEAT, beat).ok
    expect_states(own_suite, {"127.0.0.1:23001": "ONLINE", "127.0.0.1:23002": "ACTIVE"})
    # On a connection of its own it is matched by group, host and peer address: a stranger is refused, and so is a
    # beat that could be either's.
    stranger = wire.ask(tracker.address, BEAT, field("group001", 17) + field("media9", 129))
    assert stranger.status == 0xFD
    assert wire.ask(tracker.address, BEAT, beat).status == 0xFD
    third = joined(own_suite, "media3", 23003)
    assert wire.ask(tracker.address, BEAT, field("group001", 17) + field("media3", 129)).ok
    wait_for(lambda: states(own_suite).get("127.0.0.1:23003") == "ACTIVE", 10, "media3 is ACTIVE")
    for client in (first, second, third):
        client.close()


def test_a_group_that_is_not_in_the_table_cannot_be_joined(own_suite):
    tracker = own_suite.add_tracker()
    tracker.init_db()
    tracker.start()
    with Client(tracker.address) as client:
        reply = client.call(JOIN, join_body("group777", "m", 1))
        assert reply.status == 0xFD and "group777" in reply.text
        own_suite.sql("trackerdb", "INSERT INTO t_groups_info(group_name) VALUES ('group777')")
        assert wait_for(lambda: client.call(JOIN, join_body("group777", "m", 1)).ok, 10, "joining the new group")


@pytest.mark.parametrize("body", [
    join_body("group001", "m", 1)[:-1], join_body("group001", "m", 1) + b"\0", join_body("", "m", 1),
    join_body("group-01", "m", 1), b"1" * 7 + join_body("group001", "m", 1)[7:],
    join_body("group001", "m", 1)[:24] + b"h" * 129 + join_body("group001", "m", 1)[153:]])
def test_a_malformed_join_is_refused(suite, body):
    with Client(suite.tracker.address) as client:
        assert client.call(JOIN, body).number == wire.MALFORMED
        assert client.call(GROUPS).ok


def test_two_trackers_route_a_new_user_once(own_suite):
    one, two = own_suite.add_tracker(**PATIENT), own_suite.add_tracker("tracker2", **PATIENT)
    one.init_db()
    own_suite.sql("trackerdb", "INSERT INTO t_groups_info(group_name) VALUES ('group002'), ('group003')")
    servers = []
    for tracker in (one, two):
        tracker.start()
        for number in (1, 2, 3):
            client = Client(tracker.address)
            assert client.call(JOIN, join_body(f"group00{number}", f"m{number}", 23000 + number)).ok
            assert client.call(BEAT, field(f"group00{number}", 17) + field(f"m{number}", 129)).ok
            servers.append(client)
    users = [f"user{i}" for i in range(60)]
    answers = {}

    def ask(tracker):
        with Client(tracker.address) as client:
            for user in users:
                reply = client.call(SADDRS, file_key(APP, user, "f"))
                answers.setdefault(user, []).append(reply.body[:17] if reply.ok else reply)
    threads = [threading.Thread(target=ask, args=(t,)) for t in (one, two) for _ in range(3)]
    [t.start() for t in threads]
    [t.join() for t in threads]
    for user in users:
        assert len(answers[user]) == 6 and len(set(answers[user])) == 1, answers[user]
    assert int(own_suite.sql("trackerdb", "SELECT COUNT(*) FROM t_router")[0][0]) == len(users)
    assert len({a[0] for a in answers.values()}) == 3, "new users are spread over the groups"
    [s.close() for s in servers]


GROUP, GROUP_ADD, GROUP_DRAIN, GROUP_REMOVE = 17, 1, 2, 5


def test_no_user_belongs_to_a_group_that_is_removed_meanwhile(own_suite):
    """One tracker removes a group while another one, which does not know of that, gives new users groups."""
    one, two = own_suite.add_tracker(), own_suite.add_tracker("tracker2", groups_refresh="1d", **PATIENT)
    one.init_db()
    own_suite.sql("trackerdb", "UPDATE t_groups_info SET state = 1")
    removed = refused = 0
    for tracker in (one, two):
        tracker.start()
    for turn in range(13):
        group = f"new{turn}"
        change = lambda what: wire.ask(one.address, GROUP, field(group, 17) + bytes([what]) + (100).to_bytes(4, "big"))
        assert change(GROUP_ADD).ok
        with Client(two.address) as server:
            assert server.call(JOIN, join_body(group, "m", 23001)).ok
            assert server.call(BEAT, field(group, 17) + field("m", 129)).ok
            answers = []

            def ask(number):
                with Client(two.address) as client:
                    for i in range(12):
                        answers.append(client.call(SADDRS, file_key(APP, f"user{turn}-{number}-{i}", "f")))
            threads = [threading.Thread(target=ask, args=(number,)) for number in range(3)]
            if turn % 3 == 0:
                assert change(GROUP_DRAIN).ok
            gone = change(GROUP_REMOVE) if turn == 12 else None  # once before anybody comes, however the others turn out
            [t.start() for t in threads]
            if turn % 3:
                wait_for(lambda: len(answers) > turn % 5, 20, "some users")
                assert change(GROUP_DRAIN).ok
            gone = gone or change(GROUP_REMOVE)
            [t.join() for t in threads]
        lost = own_suite.sql("trackerdb", "SELECT COUNT(*) FROM t_router r LEFT JOIN t_groups_info g ON g.group_name = r.group_name "
                                          "WHERE g.group_name IS NULL")
        assert int(lost[0][0]) == 0, (turn, gone)
        there = int(own_suite.sql("trackerdb", f"SELECT COUNT(*) FROM t_router WHERE group_name = '{group}'")[0][0])
        assert there == sum(reply.ok for reply in answers) and gone.ok == (there == 0), (turn, gone, there)
        removed, refused = removed + gone.ok, refused + (not gone.ok)
    assert removed and refused, (removed, refused)


def test_pins_lead_a_user_prefix_to_its_group(own_suite):
    tracker = own_suite.add_tracker(pins="user:vip-=group002", **PATIENT)
    tracker.init_db()
    own_suite.sql("trackerdb", "INSERT INTO t_groups_info(group_name) VALUES ('group002')")
    tracker.start()
    clients = []
    for number in (1, 2):
        client = Client(tracker.address)
        assert client.call(JOIN, join_body(f"group00{number}", "m", 23000 + number)).ok
        assert client.call(BEAT, field(f"group00{number}", 17) + field("m", 129)).ok
        clients.append(client)
    for i in range(20):
        assert wire.ask(tracker.address, SADDRS, file_key(APP, f"vip-{i}", "f")).body[:8] == b"group002"
    [c.close() for c in clients]


def test_known_users_are_served_while_the_database_is_away(mariadb_suite):
    tracker = mariadb_suite.add_tracker(**PATIENT)
    tracker.init_db()
    tracker.start()
    client = joined(mariadb_suite, "m", 23001)
    beat = field("group001", 17) + field("m", 129)
    assert client.call(BEAT, beat).ok
    assert wire.ask(tracker.address, SADDRS, file_key(APP, "known", "f")).ok
    mariadb_suite.mariadb.kill()
    begin = time.monotonic()
    assert wire.ask(tracker.address, SADDRS, file_key(APP, "known", "f")).ok
    refused = wire.ask(tracker.address, SADDRS, file_key(APP, "unknown", "f"))
    assert not refused.ok and refused.number == wire.UNAVAILABLE
    assert time.monotonic() - begin < 60
    assert client.call(BEAT, beat).ok
    mariadb_suite.mariadb.start()
    wait_for(lambda: client.call(BEAT, beat).ok and
             wire.ask(tracker.address, SADDRS, file_key(APP, "unknown", "f")).ok, 30, "the database's return")
    client.close()


def test_saddrs_prefers_the_less_busy_and_gives_at_most_three(own_suite):
    tracker = own_suite.add_tracker(**PATIENT)
    tracker.init_db()
    tracker.start()
    clients = []
    for number in range(1, 6):
        client = Client(tracker.address)
        assert client.call(JOIN, join_body("group001", f"m{number}", 23000 + number)).ok
        state = 1 if number <= 3 else 0
        load = (field("group001", 17) + field(f"m{number}", 129, rubbish=False) +
                struct.pack(">HB3xqqqiiiq4x", 23000 + number, state, 1 << 40, 1 << 39, 1 << 20, 5, 0, 0, 0))
        assert len(load) == 200
        assert client.call(LOAD, load).ok
        clients.append(client)
    for _ in range(20):
        addresses = wire.ask(tracker.address, SADDRS, file_key(APP, "u", "f")).body[17:-1].decode().split(";")
        assert addresses[-1] == "" and len(addresses) == 4
        assert {int(a.rsplit(":", 1)[1]) for a in addresses[:2]} == {23004, 23005}
    [c.close() for c in clients]


def test_groups_are_added_and_changed_by_command(own_suite):
    own_suite.start()
    reel = lambda *arguments, **more: own_suite.reel("admin", "group", *arguments, **more)
    reel("add", "group002", "7")
    reel("add", "group002", "9")  # it is there: stays as it is
    rows = dict((row[0], row[1:]) for row in own_suite.sql("trackerdb", "SELECT group_name, state, weight FROM t_groups_info"))
    assert rows["group002"] == ["0", "7"]
    reel("drain", "group002")
    reel("weight", "group002", "0")
    listing = reel("list").stdout.decode()
    assert [line.split()[:3] for line in listing.splitlines() if line.startswith("group002")] == [["group002", "draining", "0"]], listing
    reel("open", "group002")
    assert ["group002", "0", "0"] in own_suite.sql("trackerdb", "SELECT group_name, state, weight FROM t_groups_info")
    missing = reel("drain", "group009", check=False)
    assert missing.returncode == 3 and b"group009" in missing.stderr
    for wrong in (["add"], ["weight", "group002"], ["weight", "group002", "-1"], ["close", "group002"], ["list", "group002"]):
        assert reel(*wrong, check=False).returncode == 2, wrong
    with wire.Client(own_suite.tracker.address) as client:
        body = wire.field("group002", 17) + bytes([4]) + (5).to_bytes(4, "big")
        assert client.call(17, body).ok and client.call(17, body).ok
        assert client.call(17, body[:-1]).number == wire.MALFORMED
        assert client.call(17, wire.field("group002", 17) + bytes([6]) + bytes(4)).number == wire.MALFORMED
    # Closed to everybody: a reload is enough.
    tracker = own_suite.tracker
    config = tracker.config
    tracker.configure({**config, "tracker": {**config["tracker"], "admin_addresses": ""}})
    tracker.hup()
    wait_for(lambda: reel("open", "group002", check=False).returncode == 9, 10, "the refusal")
    assert b"admin_addresses" in reel("open", "group002", check=False).stderr


def test_a_network_that_is_none_is_refused_at_the_start(own_suite):
    tracker = own_suite.add_tracker(admin_addresses="10.0.0.0/33")
    done = tracker.command("--check-config")
    assert done.returncode != 0 and "10.0.0.0/33" in done.stdout + done.stderr
