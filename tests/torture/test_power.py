"""A power cut: bytes and names that were not synced are gone. What was acknowledged is not among them."""
import threading
import time

import pytest
import power
import wire
from crash import check_rows_have_files, died, make, points, start
from suite import APP, USER, new_id

OPTIONS = {"chunk_size": "32K", "probe_interval": "200ms", "directory_sync": "always", "journal": "off"}  # test_journal.py has that
LOST = (OSError, EOFError)


def load(suite, seconds, dice, sizes=(0, 10, 3000, 100_000, 300_000), count=10_000, connections=4, at_least=0):
    """Uploads on some connections until the server dies or the time is over and AT_LEAST were acknowledged; those."""
    acknowledged = {}
    end = time.monotonic() + seconds
    seeds = [dice.random() for _ in range(connections)]

    def one(seed):
        import random
        own = random.Random(seed)
        try:
            with suite.client() as client:
                for _ in range(count):
                    now = time.monotonic()
                    if now > end and (len(acknowledged) >= at_least or now > end + 60):
                        break
                    file, content = new_id(), own.randbytes(own.choice(sizes))
                    if client.upload(APP, USER, file, content).ok:
                        acknowledged[file] = content
        except LOST:
            pass
    threads = [threading.Thread(target=one, args=(seed,)) for seed in seeds]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return acknowledged


def missing(suite, acknowledged):
    with suite.client() as client:
        return [file for file, content in acknowledged.items()
                if client.download(APP, USER, file).body != content]


@pytest.fixture(scope="module")
def power_suite(backend, request):
    suite = make(backend, request)
    try:
        yield suite.start(storage_options=dict(OPTIONS))
    finally:
        suite.stop()


def cut_at(suite, point, nth, seconds, dice, slow=None, one_journal=False, **more):
    suite.storage.stop()
    power.begin(suite, point, nth, slow=slow)
    acknowledged = load(suite, seconds, dice, **more)
    if point:
        died(suite.storage)
    else:
        suite.shared = [suite.storage.metric(f"reel_storage_directory_{what}_total") for what in ("syncs", "synced_files")]
        suite.storage.kill()
    lost = power.cut(suite, one_journal)
    start(suite.storage)
    suite.wait_active()
    return acknowledged, lost


@pytest.mark.parametrize("point", points("upload-") + points("row-") + points("directory-"))
def test_a_power_cut_at_any_step_of_an_upload_loses_nothing_that_was_acknowledged(power_suite, point, dice):
    nth = dice.randint(2, 4) if point.startswith("directory") else dice.randint(5, 30)
    acknowledged, _ = cut_at(power_suite, point, nth if not point.startswith("directory") else 2, 60, dice)
    assert not missing(power_suite, acknowledged)


def test_a_power_cut_at_any_moment_loses_nothing_that_was_acknowledged(power_suite, dice):
    total, taken_back = 0, 0
    for _ in range(5):
        acknowledged, lost = cut_at(power_suite, None, 1, dice.uniform(0.2, 0.8), dice, at_least=5)
        assert not missing(power_suite, acknowledged)
        total += len(acknowledged)
        taken_back += sum(lost)
    assert total > 20
    check_rows_have_files(power_suite)


@pytest.fixture
def without_directory_syncs(power_suite, backend):
    """storage.directory_sync = auto, which leaves syncs of directories out where one journal carries the names."""
    if backend != "sqlite":
        pytest.skip("names of files are not the database's business")
    yield set_option(power_suite, "directory_sync", "auto")
    set_option(power_suite, "directory_sync", "always")


def set_option(suite, name, value):
    storage = suite.storage
    storage.stop()
    storage.config["storage"][name] = value
    storage.configure(storage.config)
    start(storage)
    suite.wait_active()
    return "their names with them" in storage.log().rsplit("is usable", 1)[1]


@pytest.mark.parametrize("point", ["upload-file-synced", "upload-directory-synced", "row-committed", "upload-replied"])
def test_with_one_journal_nothing_is_lost_without_the_directories_syncs(power_suite, without_directory_syncs, point, dice):
    acknowledged, _ = cut_at(power_suite, point, dice.randint(5, 30), 60, dice, one_journal=True)
    assert not missing(power_suite, acknowledged)


def test_with_one_journal_no_moment_loses_anything(power_suite, without_directory_syncs, dice):
    acknowledged, _ = cut_at(power_suite, None, 1, dice.uniform(0.3, 0.6), dice, one_journal=True, at_least=5)
    assert len(acknowledged) > 4 and not missing(power_suite, acknowledged)


def test_without_one_journal_the_same_loses_names(power_suite, without_directory_syncs, dice):
    """What the tests before are worth: to the letter of POSIX the names that were not synced are gone."""
    if not without_directory_syncs:
        pytest.skip("the file system of the tests has no one journal: its directories are synced all the same")
    acknowledged, lost = cut_at(power_suite, None, 1, 0.5, dice, at_least=6)
    assert lost[1] > 0 and missing(power_suite, acknowledged)


def test_uploads_that_share_the_sync_of_their_directory_lose_nothing_either(power_suite, dice):
    """A slow sync: uploads that make their names while it runs must not be content with it."""
    shared, rounds = 0, 0
    while rounds < 3 or (shared <= 0 and rounds < 12):  # on a busy machine uploads may meet seldom
        rounds += 1
        acknowledged, _ = cut_at(power_suite, None, 1, dice.uniform(0.4, 0.6), dice, slow=30, sizes=(10, 3000),
                                 connections=12, at_least=6)
        assert len(acknowledged) > 5 and not missing(power_suite, acknowledged)
        syncs, synced = power_suite.shared
        shared = max(shared, synced - syncs)  # syncs that the cut interrupted count, and the files that waited for them do not
    assert shared > 0, "no two uploads shared a sync"


def partial_load(suite, seconds, dice, at_least):
    """Partial uploads until the server dies or the time is over and AT_LEAST offsets were answered: file, token, content, offset, finished."""
    uploads, answers = [], [0]
    end = time.monotonic() + seconds
    seeds = [dice.random() for _ in range(3)]

    def one(seed):
        import random
        own = random.Random(seed)
        try:
            with suite.client() as client:
                while time.monotonic() < end or (answers[0] < at_least and time.monotonic() < end + 60):
                    upload = {"file": new_id(), "content": own.randbytes(own.choice((4000, 70_000, 400_000))), "offset": 0,
                              "finished": False}
                    upload["token"] = client.begin(APP, USER, upload["file"])
                    uploads.append(upload)
                    while upload["offset"] < len(upload["content"]):
                        at = upload["offset"]
                        piece = upload["content"][at:at + own.choice((1, 5000, 40_000, 150_000))]
                        reply = client.append(APP, USER, upload["file"], upload["token"], at, piece)
                        assert reply.ok, reply
                        upload["offset"] = wire.parse_state(reply.body)["offset"]
                        assert upload["offset"] == at + len(piece)
                        answers[0] += 1
                    if own.random() < 0.7:
                        assert client.finish(APP, USER, upload["file"], upload["token"], None).ok
                        upload["finished"] = True
        except LOST:
            pass
    threads = [threading.Thread(target=one, args=(seed,)) for seed in seeds]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return uploads


PARTIAL_STEPS = [None, "partial-row-committed", "append-taken", "append-synced", "offset-recorded", "finish-taken", "finish-synced",
                 "finish-row-added", "finish-stored"]


@pytest.mark.parametrize("point", PARTIAL_STEPS)
def test_a_power_cut_takes_back_no_offset_that_was_answered(power_suite, backend, point, dice):
    """The database is SQLite's, and loses what it has not synced too."""
    if backend == "mariadb" and point:
        pytest.skip("the same files")
    take_partial_uploads(power_suite, point, dice, backend == "sqlite", False)


@pytest.mark.parametrize("point", [None, "append-synced", "finish-synced"])
def test_with_one_journal_no_offset_is_taken_back_either(power_suite, without_directory_syncs, point, dice):
    take_partial_uploads(power_suite, point, dice, True, True)


def take_partial_uploads(suite, point, dice, database, one_journal):
    suite.storage.stop()
    power.begin(suite, point, dice.randint(2, 6) if point and point.startswith("finish") else dice.randint(8, 30), database=database)
    uploads = partial_load(suite, 30 if point else 0.7, dice, 10)
    if point:
        died(suite.storage)
    else:
        suite.storage.kill()
    power.cut(suite, one_journal)
    start(suite.storage)
    suite.wait_active()
    assert any(0 < upload["offset"] for upload in uploads)
    with suite.client() as client:
        for upload in uploads:
            file, token, content = upload["file"], upload["token"], upload["content"]
            state = client.offset(APP, USER, file, token)
            assert state["offset"] >= upload["offset"] and (state["complete"] or not upload["finished"])
            if state["offset"] < len(content):
                reply = client.append(APP, USER, file, token, state["offset"], content[state["offset"]:])
                assert reply.ok, reply
            assert client.finish(APP, USER, file, token, None).ok
            assert client.download(APP, USER, file).body == content


def test_without_fsync_the_same_power_cut_loses_acknowledged_files(power_suite, dice):
    """What the tests above are worth: with the relaxed mode, which leaves out every fsync, they would fail."""
    storage = power_suite.storage
    storage.config["storage"]["durability"] = "relaxed"
    storage.configure(storage.config)
    try:
        acknowledged, lost = cut_at(power_suite, None, 1, 0.7, dice, at_least=6)
        assert len(acknowledged) > 5 and sum(lost) > 0
        assert missing(power_suite, {f: c for f, c in acknowledged.items() if c})
    finally:
        storage.config["storage"]["durability"] = "durable"
        storage.configure(storage.config)
        storage.stop()
        start(storage)
        power_suite.wait_active()
