"""conf/keepalived: a virtual address is where the daemon works, and what breaks at the move goes on."""
import os
import signal
import socket
import subprocess
import time

import pytest

import wire
from daemons import APP, new_id
from figures import note
from lab import Stopwatch, wait_for
from site_of_group import USER
from virtual import Keepalived


@pytest.fixture
def virtual(whole, request):
    keepalived = Keepalived(request.param, whole.media[:2] if request.param != "tracker" else whole.control)
    try:
        keepalived.settle()
        yield keepalived
    finally:
        keepalived.stop()
        wait_for(keepalived.cleared, 10, "the address's removal")
    assert not keepalived.killed(), keepalived.log()


def answers(address):
    """What asks for a daemon's service there; the time-out is short so that gaps can be measured."""
    host, port = address
    if port == 8080:
        with socket.create_connection(address, timeout=0.5) as s:
            s.sendall(b"GET /nothing HTTP/1.1\r\nHost: x\r\n\r\n")
            return s.recv(9) == b"HTTP/1.1 "
    with wire.Client(address, timeout=0.5) as client:
        command = wire.GROUPS if port == 21000 else wire.FILESIZE
        return client.call(command, b"" if port == 21000 else wire.file_key(APP, USER, "none")) is not None


def outage(virtual, port, what):
    """Waits until another host answers at the address, and returns it."""
    before, watch = virtual.owners(), Stopwatch()

    def moved():
        owners = virtual.owners()
        return len(owners) == 1 and owners != before and answers((virtual.address, port)) and owners
    owners = wait_for(moved, 20, f"the move from {before}")
    note(f"virtual address of {virtual.role}: {what}: answered by another host after {watch.seconds:.1f} s")
    return owners[0]


@pytest.mark.parametrize("virtual,port,daemons", [("tracker", 21000, "trackers"), ("httpd", 8080, "httpds"),
                                                  ("storage", 23000, "storages")], indirect=["virtual"])
def test_the_address_moves_when_the_daemon_dies_and_when_it_hangs(whole, virtual, port, daemons):
    first = virtual.hosts[0]
    on = {daemon.machine: daemon for daemon in getattr(whole, daemons)}
    mine = on[first]
    wait_for(lambda: answers((virtual.address, port)), 10, "an answer")
    mine.kill()
    second = outage(virtual, port, "daemon killed")
    mine.start()
    wait_for(mine.healthy, 20, "health")
    time.sleep(3)
    assert virtual.owners() == [second], "it must stay where it is: every move breaks downloads\n" + virtual.log()
    other = on[second]
    other.process.send_signal(signal.SIGSTOP)
    try:
        assert outage(virtual, port, "daemon stopped (SIGSTOP)") != second
    finally:
        other.process.send_signal(signal.SIGCONT)


@pytest.mark.parametrize("virtual", ["storage"], indirect=True)
def test_the_address_moves_when_the_volume_is_lost(whole, virtual):
    first, second = virtual.hosts
    whole.volume.unmount(first)
    assert outage(virtual, 23000, "volume unmounted (probe_interval 1 s)") == second
    file = new_id()
    with wire.Client((virtual.address, 23000)) as client:
        assert client.upload(APP, USER, file, b"over the virtual address").ok
    whole.volume.mount(first)


@pytest.mark.parametrize("virtual", ["httpd"], indirect=True)
@pytest.mark.parametrize("how", ["kill", "cut"])
def test_a_download_that_breaks_at_the_move_is_resumed_with_the_same_etag(whole, virtual, how, tmp_path):
    first, second = virtual.hosts
    content = os.urandom(40_000_000)
    file = whole.reel.upload(content)
    url = whole.url(0, file).replace(whole.httpds[0].host, virtual.address)
    target, heads = tmp_path / "copy", [tmp_path / "head1", tmp_path / "head2"]

    def curl(head, *more):
        return subprocess.Popen(["curl", "-sS", "--fail", "-D", head, "-o", target, "-C", "-", "--connect-timeout", "1",
                                 "--speed-time", "3", "--speed-limit", "1", *more, url], stderr=subprocess.PIPE)
    begun = curl(heads[0], "--limit-rate", "1M")
    wait_for(lambda: target.exists() and target.stat().st_size > 500_000, 20, "half of the download")
    if how == "kill":
        next(d for d in whole.httpds if d.machine is first).kill()
    else:
        first.cut()
    watch = Stopwatch()
    assert begun.wait(30) != 0, "the download should have broken"
    had = target.stat().st_size
    assert 0 < had < len(content)

    def resumed():
        done = curl(heads[1])
        return done.wait(60) == 0
    wait_for(resumed, 60, "curl -C -")
    tag = [[line for line in h.read_text().splitlines() if line.lower().startswith("etag:")] for h in heads]
    assert tag[0] == tag[1] and tag[0]
    assert "206" in heads[1].read_text().splitlines()[0]
    assert target.read_bytes() == content
    note(f"HTTP download broken ({how}) after {had} bytes: whole again {watch.seconds:.1f} s later by curl -C -")
    first.mend()
    wait_for(lambda: virtual.owners() == [second], 15, "one owner after the cable is back")
