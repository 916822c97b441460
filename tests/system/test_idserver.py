"""reel-idserver, byte by byte."""
import os
import struct
import threading

import pytest

import wire
from suite import wait_for
from wire import GET, IDSERVER, RANGE, Client, field

LIMIT = 512 ** 4


def get(client, key):
    reply = client.call(GET, key + b"\0")
    assert (reply.command, reply.status, len(reply.body)) == (IDSERVER, 0, 8), reply
    return struct.unpack(">q", reply.body)[0]


def take_range(client, key, count):
    reply = client.call(RANGE, field(key, 65) + struct.pack(">q", count))
    assert (reply.command, reply.status, len(reply.body)) == (IDSERVER, 0, 16), reply
    return struct.unpack(">qq", reply.body)


@pytest.fixture
def idserver(own_suite):
    server = own_suite.add_idserver()
    server.init_db()
    server.start()
    return server


def test_values_of_a_key_start_at_0_and_count_up(idserver):
    with Client(idserver.address) as client:
        assert [get(client, b"../data") for _ in range(250)] == list(range(250))
        assert get(client, b"../other") == 0


def test_a_restart_skips_the_rest_of_the_step_and_kill_repeats_nothing(idserver, own_suite):
    seen = []
    for round in range(4):
        with Client(idserver.address) as client:
            seen += [get(client, b"k") for _ in range(7)]
        idserver.kill() if round % 2 else idserver.stop()
        idserver.start()
    assert len(set(seen)) == len(seen)
    assert seen[7] >= 100, "the step of 100 that was reserved first is not used again"


def test_two_servers_on_one_database_never_give_one_value_twice(idserver, own_suite):
    second = own_suite.add_idserver("idserver2")
    second.start()
    values, problems = [], []

    def take(server, count):
        try:
            with Client(server.address) as client:
                mine = [get(client, b"../data") for _ in range(count)]
                for _ in range(10):
                    first, n = take_range(client, "../data", 37)
                    assert 1 <= n <= 37
                    mine += range(first, first + n)
                values.extend(mine)
        except Exception as problem:
            problems.append(problem)
    threads = [threading.Thread(target=take, args=(s, 400)) for s in (idserver, second) for _ in range(4)]
    [t.start() for t in threads]
    [t.join() for t in threads]
    assert not problems, problems
    assert len(values) > 8 * 400 and len(set(values)) == len(values)
    reserved = int(own_suite.sql("idsdb", "SELECT id_value FROM t_id_gen WHERE id = '../data'")[0][0])
    assert reserved > max(values)


def test_a_run_of_numbers_is_not_given_again_singly(idserver):
    with Client(idserver.address) as client:
        first, count = take_range(client, "k", 1000)
        assert first == 0 and count >= 1
        assert get(client, b"k") >= count


@pytest.mark.parametrize("body", [b"", b"\0", b"k", b"k" * 66, b"k" * 65, b"k" * 70 + b"\0"])
def test_a_malformed_key_is_refused(idserver, body):
    with Client(idserver.address) as client:
        reply = client.call(GET, body)
        assert (reply.command, reply.status, reply.number) == (IDSERVER, 0xFD, wire.MALFORMED)
        assert get(client, b"fine") == 0


def test_rubbish_behind_the_nul_of_a_key_is_ignored(idserver):
    with Client(idserver.address) as client:
        assert get(client, b"../data") == 0
        reply = client.call(GET, b"../data\0" + os.urandom(57))
        assert reply.ok and struct.unpack(">q", reply.body)[0] == 1


def test_past_512_to_the_4_is_an_error(idserver, own_suite):
    own_suite.sql("idsdb", f"INSERT INTO t_id_gen(id, id_value) VALUES ('full', {LIMIT}), ('last', {LIMIT - 2})")
    with Client(idserver.address) as client:
        reply = client.call(GET, b"full\0")
        assert reply.status == 0xFD and reply.number == -16
        assert [get(client, b"last") for _ in range(2)] == [LIMIT - 2, LIMIT - 1]
        assert client.call(GET, b"last\0").number == -16
        assert get(client, b"other") == 0


def test_a_key_of_the_predecessor_goes_on_where_it_was(idserver, own_suite):
    own_suite.sql("idsdb", "INSERT INTO t_id_gen(id, id_value) VALUES ('../data', 1200)")
    with Client(idserver.address) as client:
        assert get(client, b"../data") == 1200


@pytest.mark.parametrize("count", [0, -1, 1 << 40])
def test_a_range_of_an_impossible_count_is_refused(idserver, count):
    with Client(idserver.address) as client:
        assert client.call(RANGE, field("k", 65) + struct.pack(">q", count)).number == wire.MALFORMED


def test_it_starts_before_its_database_and_becomes_whole(own_suite):
    server = own_suite.add_idserver()
    server.start()
    reply = wire.ask(server.address, GET, b"k\0")
    assert not reply.ok
    code, body = server.http("/healthz")
    assert code == 503 and body.strip()
    server.init_db()
    wait_for(lambda: wire.ask(server.address, GET, b"k\0").ok, 30, "numbers after the database came")
    wait_for(lambda: server.http("/healthz")[0] == 200, 20, "health")


TWICE = "INSERT INTO t_id_gen (id, id_value) VALUES ('../data', 10), ('../data/', 20)"


def test_with_a_key_in_two_spellings_it_does_not_start(own_suite):
    ids = own_suite.add_idserver()
    ids.init_db()
    own_suite.sql("idsdb", TWICE)
    ids.start(wait=False)
    assert ids.process.wait(30) != 0
    ids.process = None
    ids.wait_logged('"../data/"')
    ids.wait_logged("two sequences")
    done = ids.command("--init-db")
    assert done.returncode != 0 and "two sequences" in done.stdout + done.stderr
    own_suite.sql("idsdb", "DELETE FROM t_id_gen WHERE id = '../data'")
    ids.start()
    assert wire.ask(ids.address, GET, field("../data/", 65)).body == struct.pack(">q", 20)


def test_that_it_has_one_is_said_when_the_database_is_back(own_suite):
    """It starts at once without it, and gives nothing once it knows better."""
    ids = own_suite.add_idserver(probe_interval="200ms")
    ids.init_db()
    own_suite.sql("idsdb", TWICE)
    own_suite.sql("idsdb", "ALTER TABLE t_id_gen RENAME TO t_id_gen_away")
    ids.start()
    assert ids.http("/healthz")[0] == 503
    own_suite.sql("idsdb", "ALTER TABLE t_id_gen_away RENAME TO t_id_gen")
    wait_for(lambda: "two sequences" in ids.http("/healthz")[1], 20, "the pair is found")
    assert ids.http("/healthz")[0] == 503
    for key in ("../data", "../data/", "../other"):
        reply = wire.ask(ids.address, GET, field(key, 65))
        assert reply.number == -12 and "slash" in reply.text
    ids.wait_logged("no numbers are given")
    own_suite.sql("idsdb", "DELETE FROM t_id_gen WHERE id = '../data/'")
    wait_for(lambda: ids.http("/healthz")[0] == 200, 20, "one spelling is left")
    assert wire.ask(ids.address, GET, field("../data", 65)).body == struct.pack(">q", 10)
