"""What files take on the bricks of a volume, beside their contents: docs/deployment.md, "Capacity".

REEL_CAPACITY_FILES (600): with more, as tests/bench/capacity.py asks for, the bricks are XFS file systems, whose bytes count too."""
import os
import threading

import pytest

import daemons
import wire
from daemons import APP, new_id
from figures import note
from gluster import Volume
from lab import run, wait_for
from site_of_group import USER

FILES = int(os.environ.get("REEL_CAPACITY_FILES", "600"))
GROUP = "capacity"
# A file's inode has a name below .glusterfs too.
KINDS = """find {brick} -printf '%y %i %P\\n' | awk '
    $3 !~ /^\\.glusterfs/ {{ kind[$2] = $1; next }}
    !($2 in kind) {{ kind[$2] = "own " $1 }}
    END {{
        for (inode in kind) count[kind[inode]]++
        print count["f"] + 0, count["d"] + 0, count["own d"] + 0, count["own l"] + 0, count["own f"] + 0
    }}'"""


@pytest.fixture
def group(whole):
    images = []
    for host in whole.media:
        host.run("mkdir", "-p", f"/srv/brick/{GROUP}", f"/srv/{GROUP}")
        if "REEL_CAPACITY_FILES" in os.environ:
            images.append(host.dir / "brick.img")
            run("truncate", "-s", "1G", images[-1])
            run("mkfs.xfs", "-q", "-i", "size=512", images[-1])
            host.run("mount", "-o", "loop", images[-1], f"/srv/brick/{GROUP}")
            host.run("mkdir", f"/srv/brick/{GROUP}/brick")
    below = "/brick" if images else ""
    volume = Volume(whole.pool, GROUP, below=below)
    volume.mount(whole.media[0])
    whole.database.sql(f"INSERT IGNORE INTO t_groups_info (group_name, weight) VALUES ('{GROUP}', 0)", "tnv_trackerdb")
    storage = daemons.storage(whole.media[0], whole.database, GROUP, f"{GROUP}=/srv/{GROUP}", whole.control, whole.control[:2], 40, check_users="no")
    storage.start()
    try:
        wait_for(lambda: daemons.states(whole.trackers[0]).get(("media1", f"{whole.media[0].ip}:23040")) == "ACTIVE", 20, "ACTIVE")
        yield whole, storage, f"/srv/brick/{GROUP}{below}"
    finally:
        storage.stop()
        volume.unmount(whole.media[0])
        volume.do("stop", GROUP, "force")
        volume.do("delete", GROUP)
        for host in whole.media if images else ():
            host.run("umount", "-l", f"/srv/brick/{GROUP}")
        whole.database.sql(f"DELETE FROM t_groups_info WHERE group_name = '{GROUP}'", "tnv_trackerdb")


def kinds(host, brick):
    """Inodes: files, directories, and GlusterFS's own directories, symbolic links and files."""
    return [int(n) for n in host.run("sh", "-c", KINDS.format(brick=brick), timeout=300).stdout.split()]


def used(host, brick):
    return int(host.run("df", "--output=used", "-B1", brick).stdout.split()[1])


def upload(storage, count, failures):
    with wire.Client(storage.address) as client:
        for _ in range(count):
            reply = client.upload(APP, USER, new_id(), b"0123456789")
            if not reply.ok:
                failures.append(reply)


def test_a_file_takes_one_inode_on_each_brick_and_its_directories_few(group):
    site, storage, brick = group
    hosts = {"data": site.media[0], "arbiter": site.media[2]}
    before = {name: (kinds(host, brick), used(host, brick)) for name, host in hosts.items()}
    failures = []
    threads = [threading.Thread(target=upload, args=(storage, FILES // 4, failures)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures, failures[:3]
    for name, host in hosts.items():
        files, directories, own, links, others = (now - then for now, then in zip(kinds(host, brick), before[name][0]))
        note(f"{name} brick, {FILES} files of 10 bytes: {files} inodes of files, {directories} of directories and {links} of links to "
             f"them, {own} directories below .glusterfs (65,793 at most), {others} others; "
             + (f"{(used(host, brick) - before[name][1]) / FILES:.0f} bytes a file" if "REEL_CAPACITY_FILES" in os.environ else ""))
        assert files == FILES
        # 512 files a directory, and the three levels of directories that hold the first one.
        assert directories <= FILES // 512 + 4 and links <= directories + 1
        assert own <= 256 + 65536 + 1 and others <= 5
