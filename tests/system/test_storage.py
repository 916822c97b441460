"""reel-storage, byte by byte."""
import concurrent.futures
import os
import resource
import struct
import threading
import time

import pytest
import xxhash

import wire
from suite import APP, USER, new_id, wait_for
from wire import DELETE, FILESIZE, LIST, RESTORE, STAT, STORAGE, UPLOAD, Client, file_key, header, upload_head


def test_what_was_uploaded_comes_back(suite):
    with suite.client() as client:
        for size in (0, 1, 4095, 4096, 4097, 131071, 131072, 131073, 1 << 20, (5 << 20) + 3):
            file, content = new_id(), os.urandom(size)
            reply = client.upload(APP, USER, file, content)
            assert (reply.command, reply.status, reply.body) == (STORAGE, 0, b""), reply
            assert client.size(APP, USER, file) == size
            reply = client.download(APP, USER, file)
            assert (reply.command, reply.status) == (STORAGE, 0)
            assert reply.body == content


def test_a_part_comes_back_and_what_lies_outside_is_refused(suite):
    content = os.urandom(10000)
    file = new_id()
    with suite.client() as client:
        assert client.upload(APP, USER, file, content).ok
        for offset, size in ((0, 1), (1, 9999), (9999, 1), (9999, 0), (5000, 0), (0, 10000), (4096, 4096)):
            reply = client.download(APP, USER, file, offset, size)
            assert reply.ok and reply.body == content[offset:offset + size if size else None]
        reply = client.download(APP, USER, file, 10000, 0)
        assert reply.ok and reply.body == b""
        for offset, size in ((10001, 0), (10000, 1), (0, 10001), (9999, 2), (1, 1 << 62), ((1 << 63) - 1, 0),
                             ((1 << 63) - 1, (1 << 63) - 1)):
            assert client.download(APP, USER, file, offset, size).number == wire.OUT_OF_RANGE
        for offset, size in ((-1, 0), (0, -1)):
            assert client.download(APP, USER, file, offset, size).number in (wire.MALFORMED, wire.OUT_OF_RANGE)
        assert client.size(APP, USER, file) == 10000


def test_the_row_and_the_path_are_as_documented(suite):
    file, user = new_id(), "layout-user"
    before = time.time()
    with suite.client() as client:
        assert client.upload(APP, user, file, b"x" * 77).ok
    table = "t_file_0" + str(wire_table(user))
    rows = suite.sql("storagedb", f"SELECT appid, userid, status, file_path, file_size FROM {table} WHERE id = '{file}'")
    assert len(rows) == 1
    app, owner, status, path, size = rows[0]
    assert (app, owner, status, size) == (APP, user, "0", "77")
    store, a, b, c, name = path.rsplit("/", 4)
    assert store == str(suite.dir / "data")
    stamp, d = name.split("_")
    for digit in (a, b, c, d):
        assert len(digit) == 3 and digit == digit.upper() and 0 <= int(digit, 16) < 512
    assert len(stamp) == 8 and stamp == stamp.upper() and before - 2 <= int(stamp, 16) <= time.time() + 2
    assert open(path, "rb").read() == b"x" * 77


def wire_table(user):
    h = 0
    for i, byte in enumerate(user.encode()):
        b = byte - 256 if byte > 127 else byte
        if i % 2:
            h ^= ~((h << 11) ^ b ^ (h >> 5))
        else:
            h ^= (h << 7) ^ b ^ (h >> 3)
        h &= 0xFFFFFFFF
    return (h & 0x7FFFFFFF) % 3 + 1


@pytest.mark.parametrize("user", ["a", "片名", "ü" * 100, "x" * 255, "trailing ", "Mixed", "mixed"])
def test_users_of_any_bytes_keep_their_files_apart(suite, user):
    file = "same-for-all"
    content = user.encode() * 3
    with suite.client() as client:
        assert client.upload(APP, user, file, content).ok
        assert client.download(APP, user, file).body == content
        rows = suite.sql("storagedb", f"SELECT file_size FROM t_file_0{wire_table(user)} WHERE id = '{file}' AND "
                                      f"userid = '{user}'")
        assert rows == [[str(len(content))]]


def test_another_user_does_not_find_the_file(suite):
    file = new_id()
    with suite.client() as client:
        assert client.upload(APP, USER, file, b"secret").ok
        for user in ("bob", USER + "2", USER.upper()):
            assert client.download(APP, user, file).number == wire.NOT_FOUND
            assert client.call(FILESIZE, file_key(APP, user, file)).number == wire.NOT_FOUND
            assert client.call(DELETE, file_key(APP, user, file)).number == wire.NOT_FOUND
        assert client.download(APP, USER, file).body == b"secret"


def test_a_taken_file_id_is_refused_unless_the_bytes_are_the_same(suite):
    file, content = new_id(), os.urandom(300_000)
    with suite.client() as client:
        assert client.upload(APP, USER, file, content).ok
        stored = suite.files()
        other = bytes([content[0] ^ 1]) + content[1:]
        for refused in (other, content[:-1], content + b"x", b""):
            reply = client.upload(APP, USER, file, refused)
            assert not reply.ok and reply.number == wire.EXISTS
            assert client.download(APP, USER, file).body == content
        assert client.upload(APP, USER, file, content).ok
        assert client.download(APP, USER, file).body == content
    wait_for(lambda: suite.files() == stored, 10, "nothing stored twice")


def test_two_uploads_of_one_id_at_the_same_moment_leave_one(suite):
    for round in range(5):
        file = new_id()
        contents = [bytes([i]) * 50_000 for i in range(8)]
        start = threading.Barrier(len(contents))

        def upload(content):
            with suite.client() as client:
                start.wait()
                return client.upload(APP, USER, file, content)
        stored = len(suite.files())
        with concurrent.futures.ThreadPoolExecutor(len(contents)) as pool:
            replies = list(pool.map(upload, contents))
        winners = [i for i, reply in enumerate(replies) if reply.ok]
        assert len(winners) == 1, replies
        assert {r.number for r in replies if not r.ok} == {wire.EXISTS}
        with suite.client() as client:
            assert client.download(APP, USER, file).body == contents[winners[0]]
        wait_for(lambda: len(suite.files()) == stored + 1, 10, "one file on disk")


def test_the_losers_of_identical_uploads_learn_that_it_is_stored(suite):
    file, content = new_id(), os.urandom(100_000)

    def upload(_):
        with suite.client() as client:
            return client.upload(APP, USER, file, content)
    stored = len(suite.files())
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        assert all(reply.ok for reply in pool.map(upload, range(8)))
    wait_for(lambda: len(suite.files()) == stored + 1, 10, "one file on disk")


def test_delete_hides_and_restore_brings_back(suite):
    file, content = new_id(), os.urandom(5000)
    key = file_key(APP, USER, file)
    with suite.client() as client:
        assert client.upload(APP, USER, file, content).ok
        assert client.download(APP, USER, file).ok
        reply = client.call(DELETE, key)
        assert (reply.command, reply.status, reply.body) == (STORAGE, 0, b"")
        assert client.download(APP, USER, file).number == wire.NOT_FOUND
        assert client.call(FILESIZE, key).number == wire.NOT_FOUND
        assert not client.call(DELETE, key).ok
        assert client.stat(APP, USER, file)["status"] == 1
        assert not client.upload(APP, USER, file, content).ok
        row = suite.sql("storagedb", f"SELECT status FROM t_file_0{wire_table(USER)} WHERE id = '{file}'")
        assert row == [["1"]]
        reply = client.call(RESTORE, key)
        assert (reply.command, reply.status, reply.body) == (STORAGE, 0, b"")
        assert client.download(APP, USER, file).body == content
        assert client.stat(APP, USER, file)["status"] == 0
        assert client.call(RESTORE, file_key(APP, USER, new_id())).number == wire.NOT_FOUND


def test_stat_shows_name_type_digest_and_times(suite):
    file, content = new_id(), open(os.path.dirname(__file__) + "/../media/clip.mp4", "rb").read()
    before = int(time.time())
    with suite.client() as client:
        assert client.upload(APP, USER, file, content).ok
        stat = client.stat(APP, USER, file)
        assert stat["size"] == len(content) and stat["status"] == 0 and stat["group"] == "group001"
        assert stat["type"] == "video/mp4" and stat["name"] == ""
        assert before - 1 <= stat["created"] <= time.time() + 1
        assert stat["digest"] == xxhash.xxh3_128(content).digest()
        named = new_id()
        assert client.put(APP, USER, named, b"WEBVTT\n", name="字幕 ü.vtt", content_type="text/vtt").ok
        stat = client.stat(APP, USER, named)
        assert (stat["name"], stat["type"]) == ("字幕 ü.vtt", "text/vtt")
        assert client.stat(APP, USER, new_id()).number == wire.NOT_FOUND


def test_where_says_what_stat_says_and_where_the_file_lies(suite):
    file, content = new_id(), os.urandom(1000)
    with suite.client() as client:
        assert client.upload(APP, USER, file, content).ok
        reply, stat = client.call(wire.WHERE, file_key(APP, USER, file)), client.call(STAT, file_key(APP, USER, file))
        assert reply.ok and len(reply.body) == 636 and reply.body[:443] == stat.body
        key, place = (reply.body[a:b].split(b"\0", 1)[0].decode() for a, b in ((443, 508), (508, 636)))
        assert key == str(suite.dir / "data")
        assert (suite.dir / "data" / place).read_bytes() == content
        assert client.call(wire.WHERE, file_key(APP, USER, new_id())).number == wire.NOT_FOUND
        assert client.call(DELETE, file_key(APP, USER, file)).ok
        assert client.call(wire.WHERE, file_key(APP, USER, file)).number == wire.NOT_FOUND


def test_put_refuses_bytes_that_miss_the_stated_digest(suite):
    file, content = new_id(), os.urandom(200_000)
    digest = xxhash.xxh3_128(content).digest()
    wrong = bytes([digest[0] ^ 1]) + digest[1:]
    stored = suite.files()
    with suite.client() as client:
        assert client.put(APP, USER, file, content, digest=wrong).number == wire.DIGEST
        assert client.download(APP, USER, file).number == wire.NOT_FOUND
        wait_for(lambda: suite.files() == stored, 10, "nothing left of the refused file")
        assert client.put(APP, USER, file, content, digest=digest).ok
        assert client.download(APP, USER, file).body == content


def test_list_pages_through_a_users_files(suite):
    user = "lister-" + new_id()[:10]
    files = sorted(new_id() for _ in range(23))
    with suite.client() as client:
        for i, file in enumerate(files):
            assert client.upload(APP, user, file, b"x" * i).ok
        assert client.upload(APP, user + "2", new_id(), b"another's").ok
        assert [name for name, _ in client.list(APP, user)] == files
        seen, after = [], ""
        while page := client.list(APP, user, after, 5):
            assert len(page) <= 5
            seen += page
            after = page[-1][0]
        assert [name for name, _ in seen] == files
        assert [stat["size"] for _, stat in seen] == list(range(23))
        assert client.call(DELETE, file_key(APP, user, files[3])).ok
        assert [n for n, _ in client.list(APP, user)] == files[:3] + files[4:]
        assert [n for n, _ in client.list(APP, user, status=1)] == [files[3]]
        for limit in (0, -1, 101):
            body = file_key(APP, user, "") + struct.pack(">iB", limit, 0)
            assert client.call(LIST, body).number == wire.MALFORMED


def test_an_application_that_is_not_configured_is_refused(suite):
    with suite.client() as client:
        reply = client.upload("otherapp", USER, new_id(), b"x" * 1000)
        assert reply.number == wire.REFUSED
        assert client.download(APP, USER, "nothing").number == wire.NOT_FOUND


def test_a_thousand_uploads_at_once(suite):
    contents = {new_id() + f"{i:04d}": os.urandom(2000 + i) for i in range(1000)}
    clients = []
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)  # often 1024, and the test has other files open
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, 4096)), hard))
    try:
        for file, content in contents.items():
            client = Client(suite.storage.address, timeout=120)
            head = upload_head(APP, "crowd", file, len(content))
            client.send(header(len(head) + len(content), UPLOAD) + head + content[:1000])
            clients.append((client, file, content))
        for client, file, content in clients:
            client.send(content[1000:])
        for client, file, content in clients:
            reply = client.receive()
            assert reply.ok, reply
    finally:
        for client, *_ in clients:
            client.close()
    with suite.client() as client:
        for file, content in contents.items():
            assert client.download(APP, "crowd", file).body == content


def test_a_client_that_goes_away_mid_upload_leaves_nothing(suite):
    stored = suite.files()
    files = [new_id() for _ in range(10)]
    for i, file in enumerate(files):
        client = suite.client()
        head = upload_head(APP, USER, file, 500_000)
        client.send(header(len(head) + 500_000, UPLOAD) + head + os.urandom(i * 40_000))
        client.close()
    wait_for(lambda: suite.files() == stored, 15, "clean-up of broken uploads")
    with suite.client() as client:
        for file in files:
            assert client.download(APP, USER, file).number == wire.NOT_FOUND
            assert client.upload(APP, USER, file, b"again").ok


def test_uploads_below_the_floor_of_free_space_are_refused(own_suite):
    own_suite.start(storage_options={"reserve_space": "900T"})
    file = new_id()
    with own_suite.client() as client:
        reply = client.upload(APP, USER, file, b"x" * 3_000_000)
        assert reply.number == wire.NO_SPACE and reply.text
        assert client.download(APP, USER, file).number == wire.NOT_FOUND
    assert own_suite.files() == []


def test_several_store_paths_are_used_and_found_again(own_suite):
    (own_suite.dir / "one").mkdir()
    (own_suite.dir / "two").mkdir()
    own_suite.start(storage_options={"paths": f"{own_suite.dir}/one, ../data={own_suite.dir}/two"})
    contents = {new_id() + str(i): os.urandom(100 + i) for i in range(60)}
    with own_suite.client() as client:
        for file, content in contents.items():
            assert client.upload(APP, USER, file, content).ok
        for file, content in contents.items():
            assert client.download(APP, USER, file).body == content
    assert own_suite.files(own_suite.dir / "one") and own_suite.files(own_suite.dir / "two")
    paths = own_suite.sql("storagedb", f"SELECT file_path FROM t_file_0{wire_table(USER)}")
    assert {p[0].rsplit("/", 4)[0] for p in paths} == {f"{own_suite.dir}/one", "../data"}
    assert len({p[0] for p in paths}) == len(contents)


def test_a_file_that_lies_at_the_next_number_is_never_overwritten(own_suite):
    own_suite.start()
    with own_suite.client() as client:
        assert client.upload(APP, USER, "first", b"first").ok
    own_suite.storage.stop()
    own_suite.idserver.stop()
    # A database restored from an older backup gives the same numbers again.
    own_suite.sql("idsdb", "UPDATE t_id_gen SET id_value = 0")
    own_suite.idserver.start()
    own_suite.storage.start()
    with own_suite.client() as client:
        for i in range(5):
            wait_for(lambda: client.upload(APP, USER, f"again{i}", b"again %d" % i).ok, 20, "an upload")
        assert client.download(APP, USER, "first").body == b"first"
        for i in range(5):
            assert client.download(APP, USER, f"again{i}").body == b"again %d" % i


def test_files_kept_open_follow_the_limit_of_open_files(suite):
    limits = open(f"/proc/{suite.storage.process.pid}/limits").read()
    soft = int(next(line for line in limits.splitlines() if line.startswith("Max open files")).split()[3])
    assert suite.storage.status()["open_files_max"] == min(65536, max(16, soft // 4))
