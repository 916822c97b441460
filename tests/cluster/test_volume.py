"""A group on a GlusterFS volume: both servers serve what either stored; a lost mount, brick, host or quorum is survived or said."""
import os
import threading
import time
import urllib.request

import daemons
import wire
from daemons import APP, eventually, new_id
from figures import note
from lab import Stopwatch, kill, wait_for
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
