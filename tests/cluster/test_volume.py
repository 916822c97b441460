"""A group on a GlusterFS volume: both servers serve what either stored; a lost mount, brick, host or quorum is survived or said."""
import os
import signal
import threading
import time
import urllib.request

import pytest

import daemons
import wire
from daemons import APP, eventually, new_id
from figures import note
from lab import Stopwatch, alive, kill, wait_for
from load import Uploader
from site_of_group import USER


def test_what_one_server_stored_the_other_serves_at_once_and_byte_for_byte(whole):
    slowest = 0
    for size in (0, 1, 100_000, 3_000_000):
        for index in (0, 1):
            file, content = new_id(), os.urandom(size)
            assert whole.upload(index, file, content).ok
            watch = Stopwatch()
            reply = whole.download(1 - index, file)
            assert reply.ok and reply.body == content
            slowest = max(slowest, watch.seconds)
            with urllib.request.urlopen(whole.url(1 - index, file), timeout=10) as answer:
                assert answer.read() == content
    note(f"replica: first read from the other host {slowest * 1000:.0f} ms at most after the acknowledgement")
    assert whole.reel.download(file) == content


def test_a_replica_says_the_same_etag(whole):
    file = whole.reel.upload(os.urandom(50_000))
    tags = [urllib.request.urlopen(whole.url(i, file), timeout=10).headers["ETag"] for i in (0, 1)]
    assert tags[0] == tags[1] and tags[0].startswith('"')


@pytest.mark.parametrize("index", [0, 1], ids=["mount_check-mount", "mount_check-marker"])
def test_an_unmounted_store_path_is_noticed_nothing_is_stored_beneath_and_it_comes_back(whole, index):
    host, storage = whole.media[index], whole.storages[index]
    kept = new_id()
    assert whole.upload(1 - index, kept, b"kept" * 5000).ok
    fuse = whole.volume.fuse_pid(host)
    whole.volume.unmount(host)
    acknowledged = []

    def refused():
        file = new_id()
        reply = whole.upload(index, file, b"where does it go?" * 100)
        if reply.ok:
            acknowledged.append(file)  # until it is noticed: into the volume, which the server holds on to
        return not reply.ok and reply
    reply = wait_for(refused, 10, "the refusal")
    # By the look at the store path, or by the upload itself, which finds another directory in its place.
    assert reply.number == wire.UNAVAILABLE and "mounted" in reply.text and "/srv/group001" in reply.text
    assert host.run("find", "/srv/group001", "-type", "f").stdout == "", "something lies in the directory beneath the mount"
    for file in acknowledged:
        assert whole.download(1 - index, file).ok
    wait_for(lambda: "not mounted" in storage.http("/healthz")[1], 20, "the look at the store path")
    answer = whole.download(index, kept)
    assert not answer.ok and "not mounted" in answer.text
    code, text = storage.http("/healthz")
    assert code == 503 and "not mounted" in text
    storage.wait_logged("not mounted")
    # Clients are led elsewhere meanwhile.
    assert whole.reel.download(whole.reel.upload(b"elsewhere" * 1000)) == b"elsewhere" * 1000
    whole.volume.mount(host)
    took = eventually(lambda: whole.upload(index, new_id(), b"back").ok and storage.healthy(), 20, "the server's return")
    assert whole.download(index, kept).body == b"kept" * 5000
    assert host.run("find", "/srv/group001", "-name", "*_???").stdout
    note(f"volume mounted again: used again after {took:.1f} s (probe_interval 1 s)")
    # It lives until the last transfer from it has ended or stood still for progress_timeout.
    wait_for(lambda: not alive(fuse), 90, "the end of the old mount, which nobody uses any more")


def test_a_dead_fuse_client_is_said_and_survived(whole):
    host, storage = whole.media[0], whole.storages[0]
    kill(whole.volume.fuse_pid(host))
    wait_for(lambda: not storage.healthy(), 10, "the notice")
    reply = whole.upload(0, new_id(), b"x" * 1000)
    assert not reply.ok and reply.number in (wire.UNAVAILABLE, wire.IO), reply
    assert "endpoint" in storage.http("/healthz")[1], storage.http("/healthz")
    whole.volume.mount(host)
    wait_for(lambda: whole.upload(0, new_id(), b"x" * 1000).ok and storage.healthy(), 20, "the server's return")


def test_a_killed_brick_is_not_noticed_by_clients_and_heals(whole):
    with Uploader(whole.reel) as uploader:
        wait_for(lambda: uploader.done > 3, 20, "uploads")
        uploader.gaps.mark("killed")
        whole.volume.kill_brick(whole.media[1])
        time.sleep(2)
        before = uploader.done
        wait_for(lambda: uploader.done > before + 5, 20, "uploads without the brick")
    assert not uploader.failures, uploader.failures
    whole.volume.revive()
    watch = Stopwatch()
    whole.volume.healed()
    note(f"brick killed: longest gap between uploads {uploader.gaps.parts['killed']:.2f} s; healed {watch.seconds:.1f} s after its "
         "return")
    assert uploader.lost() == []
    assert whole.volume.bricks_agree() >= len(uploader.stored)


@pytest.mark.parametrize("how", ["cut", "isolate", "killed"])
def test_a_lost_host_costs_a_pause_and_no_acknowledged_file(whole, how):
    host, storage = whole.media[1], whole.storages[1]
    with Uploader(whole.reel) as uploader:
        wait_for(lambda: uploader.done > 3, 20, "uploads")
        uploader.gaps.mark(how)
        if how == "killed":
            storage.kill()
            whole.httpds[1].kill()
            whole.pool.kill(host)
            kill(whole.volume.fuse_pid(host))
        else:
            getattr(host, how)()
        time.sleep(1)
        before = uploader.done
        wait_for(lambda: uploader.done > before + 10, 40, "uploads without the host")
        # The other server's heartbeats went on, whatever its mount did.
        assert daemons.states(whole.trackers[0])["media1", f"{whole.media[0].ip}:23000"] == "ACTIVE"
        host.mend()
    assert not uploader.failures, uploader.failures
    note(f"host {how}: longest gap between uploads {uploader.gaps.parts[how]:.1f} s (ping-timeout 3 s)")
    whole.make_whole()
    assert uploader.lost() == []
    for file in uploader.stored:
        assert whole.download(0, file).ok and whole.download(1, file).ok
    assert whole.volume.bricks_agree() >= len(uploader.stored)


def test_a_lost_quorum_is_a_clear_error_and_no_acknowledgement(whole):
    kept = new_id()
    assert whole.upload(0, kept, b"kept" * 100).ok
    for host in whole.media[1:]:
        whole.volume.kill_brick(host)
    failed = new_id()

    def refused():
        reply = whole.upload(0, failed, b"no quorum" * 100)
        return not reply.ok and reply
    reply = wait_for(refused, 15, "the refusal")
    assert reply.number in (wire.UNAVAILABLE, wire.IO, wire.NO_SPACE) and "group001" in reply.text, reply
    wait_for(lambda: not whole.upload(1, new_id(), b"x").ok, 10, "the other server's refusal")
    watch = Stopwatch()
    command = whole.reel("upload", "-q", "-", input=b"x" * 100, check=False)
    assert command.returncode == 5 and watch.seconds < 60, command
    assert b"group001" in command.stderr
    note(f"quorum lost: `reel upload` gives up after {watch.seconds:.1f} s: {command.stderr.decode().strip()[:160]}")
    whole.volume.revive()
    wait_for(lambda: whole.upload(0, failed, b"no quorum" * 100).ok, 30, "the same upload after the quorum's return")
    for index in (0, 1):
        wait_for(lambda: whole.download(index, failed).ok and whole.download(index, kept).ok, 10, "both files")


def test_a_hanging_mount_hangs_nothing_but_itself(whole):
    second = whole.add_second_group()
    host = whole.media[0]
    host.run("mkdir", "-p", "/srv/local")
    host.run("mount", "-t", "tmpfs", "local", "/srv/local")
    whole.database.sql("INSERT IGNORE INTO t_groups_info (group_name) VALUES ('group003')", "tnv_trackerdb")
    # A storage server with two store paths: a GlusterFS mount, which is stopped, and another one.
    second.volume.mount(host, "/srv/slow", "/group3")
    both = daemons.storage(host, whole.database, "group003", "slow=/srv/slow, local=/srv/local", whole.control, whole.control[:2],
                           shift=20, check_users="no")
    both.start()
    address = f"{host.ip}:23020"
    wait_for(lambda: daemons.states(whole.trackers[0]).get(("media1", address)) == "ACTIVE", 20, "the server")
    fuse = second.volume.fuse_pid(host, "/srv/slow")
    try:
        files = {}
        with wire.Client(both.address) as client:
            def stored_everywhere():
                file = new_id()
                assert client.upload(APP, USER, file, file.encode() * 100).ok
                path = whole.database.sql(f"SELECT file_path FROM t_file_0{wire.file_table(USER)} WHERE id = '{file}'", "tnv_storagedb")
                files.setdefault(path[0][0].split("/")[0], file)
                return len(files) == 2
            wait_for(stored_everywhere, 30, "a file on each path")
            os.kill(fuse, signal.SIGSTOP)
            waiting = [threading.Thread(target=lambda: ask_download(both.address, files["slow"])) for _ in range(12)]
            for thread in waiting:  # more than the path's workers
                thread.start()
            watch, slowest = Stopwatch(), 0
            while watch.seconds < 6:
                one = Stopwatch()
                assert client.download(APP, USER, files["local"]).body == files["local"].encode() * 100
                assert client.size(APP, USER, files["slow"]) == len(files["slow"]) * 100, "from the cache"
                slowest = max(slowest, one.seconds)
                time.sleep(0.05)
            assert slowest < 1.5, slowest
            assert daemons.states(whole.trackers[0])["media1", address] == "ACTIVE"
            for _ in range(5):
                assert client.upload(APP, USER, new_id(), b"to the other path").ok
            one = Stopwatch()
            reply = client.download(APP, USER, files["slow"])
            assert not reply.ok and reply.number == wire.UNAVAILABLE and "hangs" in reply.text and one.seconds < 1, reply
            code, text = both.http("/healthz")
            assert code == 503 and "hangs" in text
            note(f"hanging mount: slowest answer about other paths and cached rows {slowest * 1000:.0f} ms")
            os.kill(fuse, signal.SIGCONT)
            wait_for(lambda: client.download(APP, USER, files["slow"]).ok and both.healthy(), 30, "the path's return")
        for thread in waiting:
            thread.join(30)
    finally:
        os.kill(fuse, signal.SIGCONT)
        both.stop()
        for directory in ("/srv/slow", "/srv/local"):
            host.run("umount", "-l", directory)
        second.volume.forget(host, "/srv/slow")
        whole.database.sql("DELETE FROM t_groups_info WHERE group_name = 'group003'", "tnv_trackerdb")


def ask_download(address, file):
    with wire.Client(address) as client:
        client.download(APP, USER, file)
