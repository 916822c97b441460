"""docs/operations.md, command for command: a copy that a disk has spoiled is found, and healed from the good brick."""
import re

from daemons import new_id
from lab import wait_for
from site_of_group import USER
from suite import ROOT

BLOCK = re.compile(r"<!-- run: (\w+)(?: expect-(\d+))? -->\n```\w+\n(.*?)```", re.S)


def place_of(site, file):
    """Below the store path."""
    for table in ("t_file_01", "t_file_02", "t_file_03"):
        for path, in site.database.sql(f"SELECT file_path FROM {table} WHERE id = '{file}'", "tnv_storagedb"):
            return path.split("/", 1)[1]
    raise LookupError(file)


def holder(site):
    (index,) = [i for i, storage in enumerate(site.storages) if storage.metric("reel_storage_lease_held") == 1]
    return index


def spoil(site, index, place):
    """One byte of one brick's copy becomes another one, behind GlusterFS's back."""
    file = site.volume.brick(site.media[index]) / place
    with open(file, "r+b", buffering=0) as out:
        out.seek(700_000)
        byte = out.read(1)
        out.seek(700_000)
        out.write(bytes([byte[0] ^ 1]))
    # What the mount remembers of the file is the good bytes.
    site.volume.unmount(site.media[index])
    site.volume.mount(site.media[index])
    wait_for(site.storages[index].healthy, 30, "the server's use of the new mount")


def test_every_command_of_the_operations_page_works(whole):
    page = (ROOT / "docs" / "operations.md").read_text()
    blocks = BLOCK.findall(page)
    assert len(blocks) == page.count("\n```") // 2 > 8, "a block is not marked for the test"
    wait_for(lambda: sum(s.metric("reel_storage_lease_held") for s in whole.storages) == 1, 90, "a holder of the lease")
    file, content = new_id(), bytes(1_000_000)
    assert whole.upload(0, file, content).ok
    place = place_of(whole, file)
    bad = holder(whole)
    hosts = {"operator": whole.media[bad], "bad": whole.media[bad], "good": whole.media[1 - bad], "database": whole.database.node.host}
    trackers = ",".join(h.ip for h in whole.control)
    hosts["database"].run("sh", "-c", f"mkdir -p /run/mysqld && ln -sf {whole.database.node.dir}/s /run/mysqld/mysqld.sock")
    expected = 0
    for who, code, text in blocks:
        if code == "6":  # in each of the two places where the page expects a finding there is a new one
            spoil(whole, bad, place)
            expected += 1
        done = hosts[who].run("timeout", "150", "sh", "-ec", f"export PATH={whole.lab.bin}:$PATH REEL_TRACKERS={trackers} "
                              f"REEL_USER={USER} id={file} place={place}\n{text}", check=False, timeout=170)
        assert done.returncode == int(code or 0), f"on {who}: code {done.returncode}\n{text}\n{done.stdout}\n{done.stderr}"
        if code == "6":
            assert "wrong-digest" in done.stdout and file in done.stdout, done.stdout
    assert expected == 2
    for index in (0, 1):
        wait_for(lambda: whole.download(index, file).body == content, 20, "the restored file on both members")
        assert (whole.volume.brick(whole.media[index]) / place).read_bytes() == content
    whole.volume.healed()
    whole.volume.bricks_agree()
