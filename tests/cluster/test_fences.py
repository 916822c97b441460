"""A member that stood still (SIGSTOP, a virtual machine's pause) in the middle of an upload or of a repair goes on, while another one has been
cleaning up and repairing on the same GlusterFS volume: nothing that was acknowledged is moved or removed (docs/durability.md)."""
import os
import signal
import subprocess
import threading

import pytest

import wire
from daemons import APP, new_id
from lab import wait_for
from site_of_group import USER

ROOT = "/srv/group001"
# What is 12 s old and has no row is a leftover; half of that, and twice the database's time-out, is what an upload may take.
QUICK = {"leftover_age": "12s", "progress_timeout": "3s", "lease": "2s", "sweep_interval": "1s", "quarantine_keep": "1d",
         "cache_age": "100ms"}


@pytest.fixture
def quick(whole):
    """The site with upkeep in seconds; as it was, afterwards."""
    before = [{section: dict(options) for section, options in storage.config.items()} for storage in whole.storages]
    for storage in whole.storages:
        storage.config["storage"].update(QUICK)
        storage.config["database"]["timeout"] = "4s"
        storage.configure(storage.config)
        storage.restart()
    whole.make_whole()
    yield whole
    for storage, config in zip(whole.storages, before):
        storage.stop()
        storage.environment = {}
        storage.configure(config)
    whole.make_whole()


def picture(size):
    """A content whose type is known by its beginning: no thread has to find it out after the reply."""
    return b"\x89PNG\r\n\x1a\n" + os.urandom(size)


def stopping_at(storage, point):
    """Starts STORAGE anew; it stops itself at POINT."""
    storage.stop()
    storage.environment = {"REEL_STOP_POINT": f"{point}:1"}
    storage.start()
    storage.environment = {}


def upload(site, index, file, content):
    """One that is refused since the machine was slow is tried again, as every client does."""
    wait_for(lambda: site.upload(index, file, content).ok, 60, f"an upload of {file} at {site.storages[index]}")


def place(site, file):
    """Where the file of FILE's row lies, on every host that has the volume."""
    [[path]] = [row for n in (1, 2, 3)
                for row in site.database.sql(f"SELECT file_path FROM t_file_0{n} WHERE id = '{file}'", "tnv_storagedb")]
    return ROOT + "/" + path.split("/", 1)[1]


def quarantined(site):
    return set(site.media[1].run("find", f"{ROOT}/.quarantine", "-type", "f", check=False).stdout.split())


def wait_for_sweep(site, beside, number):
    """Lays a leftover beside the file BESIDE and waits until it is in quarantine: by then everything that is as old was looked at."""
    leftover = os.path.dirname(beside) + f"/5F9E3FA7_{number:03X}"
    site.media[1].run("cp", beside, leftover)
    wait_for(lambda: not site.media[1].run("find", leftover, check=False).stdout, 120, "the clean-up of a leftover")
    assert any(os.path.basename(leftover) in name for name in quarantined(site))


def check(site, stored):
    for file, content in stored.items():
        for index in (0, 1):
            def same():
                reply = site.download(index, file)
                return reply.ok and reply.body == content
            wait_for(same, 30, f"the bytes of {file} at {site.storages[index]}")


def fill(site, count=3):
    stored = {new_id(): picture(50_000) for _ in range(count)}
    for file, content in stored.items():
        upload(site, 1, file, content)
    return stored


@pytest.mark.parametrize("point", ["row-before-insert", "row-committed"])
def test_an_uploader_that_stood_still_while_another_member_cleans_up(quick, point):
    stored, slow, replies = fill(quick), quick.storages[0], []
    file, content = new_id(), picture(40_000)
    stopping_at(slow, point)
    before = quarantined(quick)

    def patient_upload():
        with wire.Client(slow.address, timeout=600) as client:
            replies.append(client.upload(APP, USER, file, content))
    thread = threading.Thread(target=patient_upload)
    thread.start()
    wait_for(slow.is_stopped, 60, f"a stop at {point}")
    if point == "row-before-insert":
        wait_for(lambda: quarantined(quick) > before, 120, "the clean-up of the file, which has no row")
    else:
        wait_for_sweep(quick, place(quick, next(iter(stored))), 1)
    slow.process.send_signal(signal.SIGCONT)
    thread.join(60)
    assert replies, "no answer"
    assert replies[0].ok == (point == "row-committed"), replies[0]
    if replies[0].ok:
        stored[file] = content
    check(quick, stored)
    upload(quick, 1, file, content)
    check(quick, {file: content})


@pytest.mark.parametrize("point", ["scrub-row-marked", "fence-moved"])
def test_a_repairing_member_that_stood_still_while_another_one_took_over(quick, point):
    stored, (slow, other) = fill(quick), quick.storages
    damaged, sound, *_ = stored
    other.stop()
    stopping_at(slow, point)
    wait_for(slow.healthy, 60, "the member's health")
    path = place(quick, damaged)
    quick.media[0].run("sh", "-c", f"printf wrong > {path}")
    repair = subprocess.Popen([str(quick.lab.bin / "reel"), "-t", quick.reel.trackers, "-u", USER, "-a", APP, "fsck", "--repair"],
                              stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_for(slow.is_stopped, 120, f"a stop at {point}")
        other.start()
        # The other member takes the lease over, cleans up, and stores the right bytes anew.
        upload(quick, 1, damaged, stored[damaged])
        wait_for_sweep(quick, place(quick, sound), 2)
        new_path = place(quick, damaged)
        assert new_path != path
        slow.process.send_signal(signal.SIGCONT)
        wait_for(slow.healthy, 60, "the member's health")
        wait_for_sweep(quick, place(quick, sound), 3)
    finally:
        if slow.process:
            slow.process.send_signal(signal.SIGCONT)
        repair.kill()
        repair.wait()
    assert place(quick, damaged) == new_path
    assert not any(os.path.basename(new_path) in name for name in quarantined(quick))
    check(quick, stored)
