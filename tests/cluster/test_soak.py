"""Everything at once: three trackers, two ID servers, two groups on GlusterFS, Galera, two HTTP servers behind keepalived; clients
upload and stream without pause while a seeded hand takes one part after another away and gives it back.

REEL_SOAK_SECONDS (120) and REEL_SOAK_SEED (1) change how long and what. The clients retry as libreel does: what fails then failed."""
import os
import random
import signal
import time

import daemons
from daemons import APP, Reel
from database import Galera
from figures import note
from gluster import Pool, Volume
from lab import kill, wait_for
from load import Streamer, Uploader, content
from virtual import Keepalived

SECONDS = float(os.environ.get("REEL_SOAK_SECONDS", "120"))
SEED = int(os.environ.get("REEL_SOAK_SEED", "1"))


class Everything:
    """a1, a2, a3: both groups' bricks, and on the first two their storage servers and an HTTP server; b1 to b3: the trackers, two of
    them with an ID server; c1 to c3: Galera."""

    def __init__(self, lab):
        self.lab = lab
        self.a, self.b, self.c = ([lab.host(f"{letter}{n}") for n in (1, 2, 3)] for letter in "abc")
        self.galera = Galera(*self.c)
        for name in ("tnv_trackerdb", "tnv_idsdb", "tnv_storagedb"):
            self.galera.sql(f"CREATE DATABASE {name}")
        self.pool = Pool(self.a)
        self.volumes = [Volume(self.pool, name) for name in ("soak1", "soak2")]
        for volume in self.volumes:
            for host in self.a[:2]:
                volume.mount(host)
        self.trackers = [daemons.tracker(h, self.galera) for h in self.b]
        self.idservers = [daemons.idserver(h, self.galera) for h in self.b[:2]]
        self.storages = [daemons.storage(host, self.galera, f"soak{n}", f"soak{n}=/srv/soak{n}", self.b, self.b[:2], 10 * n - 10,
                                         id_range=20) for n in (1, 2) for host in self.a[:2]]
        self.httpds = [daemons.httpd(h, self.b) for h in self.a[:2]]
        self.daemons = [*self.trackers, *self.idservers, *self.storages, *self.httpds]
        for daemon in (self.trackers[0], self.idservers[0], *self.storages[::2]):
            daemon.init_db()
        self.galera.sql("DELETE FROM t_groups_info; INSERT INTO t_groups_info (group_name) VALUES ('soak1'), ('soak2')", "tnv_trackerdb")
        for daemon in self.daemons:
            daemon.start()
        for tracker in self.trackers:
            daemons.active(tracker, 4)
        self.keepalived = Keepalived("httpd", self.a[:2])
        self.keepalived.settle()

    def whole(self):
        for host in (*self.a, *self.b, *self.c):
            host.mend()
        for node in self.galera.nodes:
            if node.process.poll() is not None:
                node.start()
        self.galera.whole(120)
        self.pool.make_whole()
        for volume in self.volumes:
            volume.make_whole()
        for daemon in self.daemons:
            if not daemon.running:
                daemon.start()
        for tracker in self.trackers:
            daemons.active(tracker, 4, 60)
        for daemon in self.daemons:
            wait_for(daemon.healthy, 60, f"health of {daemon}")

    # --- the hand: each takes one part away and returns what gives it back ---
    def stopped(self, process):
        process.send_signal(signal.SIGSTOP)
        return lambda: process.send_signal(signal.SIGCONT)

    def killed(self, daemon):
        daemon.kill()
        return daemon.start

    def cable(self, host, how):
        getattr(host, how)()
        return host.mend

    def brick(self, volume, host):
        volume.kill_brick(host)
        return volume.revive

    def fuse(self, volume, host):
        kill(volume.fuse_pid(host))
        return lambda: volume.mount(host)

    def node(self, node):
        node.kill()
        return node.start

    def restarted(self, daemon):
        daemon.restart()
        return lambda: None

    def parts(self, dice):
        """(name, what takes it away, seconds without it)"""
        daemon, host = dice.choice, dice.choice
        return [
            ("tracker killed", lambda: self.killed(daemon(self.trackers)), 2),
            ("tracker stopped", lambda: self.stopped(daemon(self.trackers).process), 5),
            ("ID server killed", lambda: self.killed(daemon(self.idservers)), 2),
            ("ID server stopped", lambda: self.stopped(daemon(self.idservers).process), 5),
            ("storage server killed", lambda: self.killed(daemon(self.storages)), 3),
            ("storage server stopped", lambda: self.stopped(daemon(self.storages).process), 5),
            ("storage server restarted", lambda: self.restarted(daemon(self.storages)), 1),
            ("HTTP server killed", lambda: self.killed(daemon(self.httpds)), 4),
            ("HTTP server stopped", lambda: self.stopped(daemon(self.httpds).process), 5),
            ("brick killed", lambda: self.brick(dice.choice(self.volumes), host(self.a)), 3),
            ("FUSE mount killed", lambda: self.fuse(dice.choice(self.volumes), host(self.a[:2])), 3),
            ("storage host cut off", lambda: self.cable(host(self.a), dice.choice(["cut", "isolate"])), 7),
            ("control host cut off", lambda: self.cable(host(self.b), dice.choice(["cut", "isolate"])), 5),
            ("database node killed", lambda: self.node(daemon(self.galera.nodes)), 4),
            ("database host cut off", lambda: self.cable(host(self.c), "isolate"), 6),
        ]


    def stop(self):
        problems = []
        self.keepalived.stop()
        for daemon in reversed(self.daemons):
            try:
                daemon.stop()
            except RuntimeError as problem:
                problems.append(str(problem))
        self.galera.stop()
        assert not problems, "\n".join(problems)


def test_nothing_is_lost_while_one_part_after_another_is(lab):
    everything = Everything(lab)
    try:
        soak(everything)
    finally:
        everything.stop()


def soak(everything):
    dice = random.Random(SEED)
    trackers = [h.ip for h in everything.b]
    users = {}
    for n in range(100):  # one user in each group
        answer = daemons.route(everything.trackers[0], f"user{n}")
        users.setdefault(answer[0], f"user{n}")
    assert len(users) == 2
    film = content(6_000_000)
    streams = []
    for user in users.values():
        file = Reel(everything.lab, trackers, user).upload(film)
        streams.append(Streamer((everything.keepalived.address, 8080), f"/files/{APP}/{user}/{file}", film, seconds=45, rate=2_000_000))
    uploaders = [Uploader(Reel(everything.lab, trackers, user), 30_000, 0.05, n) for n, user in enumerate(users.values())]
    workers = [*uploaders, *streams]
    for worker in workers:
        worker.start()
    begin, losses, bag = time.monotonic(), 0, []
    while time.monotonic() - begin < SECONDS:
        if not bag:
            bag = everything.parts(dice)
            dice.shuffle(bag)
        name, take, seconds = bag.pop()
        for worker in workers:
            worker.gaps.mark(name)
        give_back = take()
        time.sleep(seconds)
        give_back()
        losses += 1
        everything.whole()  # one part at a time is what the promise is about
    for worker in workers:
        worker.end()
    everything.whole()
    lost = [line for uploader in uploaders for line in uploader.lost()]
    places = []
    for n in (1, 2, 3):
        for path, in everything.galera.sql(f"SELECT file_path FROM t_file_0{n}", "tnv_storagedb"):
            parts = path.rsplit("/", 4)
            places.append("/".join([parts[0], *(part[-3:] for part in parts[1:])]))
    twice = len(places) - len(set(places))
    failures = [line for worker in workers for line in worker.failures]
    names = sorted({name for worker in workers for name in worker.gaps.parts})
    note(f"soak: {time.monotonic() - begin:.0f} s, seed {SEED}: {losses} losses of a part; "
         f"{sum(u.done for u in uploaders)} uploads, {sum(s.done for s in streams)} whole streams ({sum(s.resumed for s in streams)} "
         f"resumptions); failures after retry {len(failures)}, files lost {len(lost)}, numbers twice {twice}")
    for name in names:
        upload = max((u.gaps.parts.get(name, 0) for u in uploaders), default=0)
        stream = max((s.gaps.parts.get(name, 0) for s in streams), default=0)
        note(f"soak: {name}: longest gap for an upload {upload:.1f} s, for a stream {stream:.1f} s")
    assert not failures, failures
    assert not lost, lost
    assert twice == 0
