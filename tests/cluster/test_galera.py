"""The metadata on a Galera cluster: a node killed or cut off under load costs a pause, no row and no number."""
import hashlib
import threading
import time

import pytest

import daemons
import wire
from daemons import APP, Reel, new_id, route
from database import Galera
from figures import note
from lab import wait_for
from load import Uploader

USER = "galen"


class Stack:
    """A Galera cluster, and on other hosts two trackers, two ID servers and a storage server, whose files lie on a plain disk:
    what is asked here is the database's part."""

    def __init__(self, lab):
        self.lab = lab
        self.galera = Galera(*(lab.host(f"galera{n}") for n in (1, 2, 3)))
        self.hosts = [lab.host(f"control{n}") for n in (2, 3)]
        for name in ("tnv_trackerdb", "tnv_idsdb", "tnv_storagedb"):
            self.galera.sql(f"CREATE DATABASE {name}")
        self.trackers = [daemons.tracker(h, self.galera, 50) for h in self.hosts]
        self.idservers = [daemons.idserver(h, self.galera, 50) for h in self.hosts]
        ports = {"trackers": [f"{h.ip}:21050" for h in self.hosts], "idservers": [f"{h.ip}:22050" for h in self.hosts]}
        host = self.hosts[0]
        host.run("mkdir", "-p", "/srv/plain")
        self.storage = daemons.storage(host, self.galera, "group001", "plain=/srv/plain", ports["trackers"], ports["idservers"], 50,
                                       mount_check="none", id_range=10)
        self.daemons = [*self.trackers, *self.idservers, self.storage]
        for daemon in (self.trackers[0], self.idservers[0], self.storage):
            daemon.init_db()
        for daemon in self.daemons:
            daemon.start()
        for tracker in self.trackers:
            daemons.active(tracker, 1)
        self.reel = Reel(lab, ports["trackers"], USER)

    def whole(self):
        for host in self.lab.hosts.values():
            host.mend()
        for node in self.galera.nodes:
            if node.process.poll() is not None:
                node.start()
        if self.galera.arbitrator.poll() is not None:
            self.galera.start_arbitrator()
        self.galera.whole()

    def stop(self):
        problems = []
        for daemon in reversed(self.daemons):
            try:
                daemon.stop()
            except RuntimeError as problem:
                problems.append(str(problem))
        self.galera.stop()
        assert not problems, "\n".join(problems)


@pytest.fixture(scope="module")
def built(lab):
    stack = Stack(lab)
    try:
        yield stack
    finally:
        stack.stop()


@pytest.fixture
def stack(built):
    built.whole()
    yield built
    built.whole()


def rows(stack):
    return [row for n in (1, 2, 3) for row in stack.galera.sql(f"SELECT id, file_path FROM t_file_0{n}", "tnv_storagedb")]


def check(stack, uploaders, numbers):
    found = rows(stack)
    stored = {row[0] for row in found}
    for uploader in uploaders:
        assert not uploader.failures, uploader.failures
        assert uploader.stored.keys() <= stored, "an acknowledged row is lost"
        assert uploader.lost() == []
    places = ["/".join(p.rsplit("/", 4)[:1] + [part[-3:] for part in p.rsplit("/", 4)[1:]]) for _, p in found]
    assert len(places) == len(set(places)), "a number was given twice"
    assert len(numbers) == len(set(numbers)), "a number was given twice"


def take_numbers(stack, ending, numbers, lock, per_key=None):
    """Numbers from both ID servers, without pause: of one sequence, or of another one after every PER_KEY numbers."""
    turn = 0
    while not ending.is_set():
        turn += 1
        try:
            with wire.Client(stack.idservers[turn % 2].address, timeout=15) as client:
                for _ in range(150):
                    key = b"busy%d\0" % (len(numbers) // per_key % 900 if per_key else 0)
                    reply = client.call(wire.GET, key)
                    if reply.ok:
                        with lock:
                            numbers.append((key, int.from_bytes(reply.body, "big")))
                    else:
                        time.sleep(0.05)
        except (OSError, EOFError):
            time.sleep(0.05)


@pytest.mark.parametrize("how,number", [("killed", 0), ("killed", 1), ("isolated", 0)])
def test_a_node_lost_under_load_costs_a_pause_and_nothing_else(stack, how, number):
    node = stack.galera.nodes[number]
    numbers, ending, lock = [], threading.Event(), threading.Lock()
    takers = [threading.Thread(target=take_numbers, args=(stack, ending, numbers, lock), daemon=True) for _ in range(2)]
    uploaders = [Uploader(stack.reel, 5000, 0.02, n) for n in range(2)]
    for thread in [*takers, *uploaders]:
        thread.start()
    wait_for(lambda: all(u.done > 5 for u in uploaders), 30, "uploads")
    for uploader in uploaders:
        uploader.gaps.mark("lost")
    if how == "killed":
        node.kill()
    else:
        node.host.isolate()
    before = [u.done for u in uploaders]
    wait_for(lambda: all(u.done > b + 10 for u, b in zip(uploaders, before)), 60, "uploads without the node")
    for uploader in uploaders:
        uploader.gaps.mark("back")
    if how == "killed":
        node.start()
    else:
        node.host.mend()
    stack.galera.whole()
    before = [u.done for u in uploaders]
    wait_for(lambda: all(u.done > b + 5 for u, b in zip(uploaders, before)), 60, "uploads with the node")
    ending.set()
    for thread in takers:
        thread.join(30)
    for uploader in uploaders:
        uploader.end()
    note(f"Galera node {number + 1} {how}: longest gap between uploads {max(u.gaps.parts['lost'] for u in uploaders):.1f} s, "
         f"at its return {max(u.gaps.parts['back'] for u in uploaders):.1f} s; {sum(u.done for u in uploaders)} uploads, "
         f"{len(numbers)} numbers beside")
    check(stack, uploaders, numbers)
    for node in stack.galera.nodes:
        count = sum(int(node.sql(f"SELECT COUNT(*) FROM t_file_0{n}", "tnv_storagedb")) for n in (1, 2, 3))
        assert count == len(rows(stack)), "the nodes disagree"


def test_conflicts_of_certification_are_retried(stack):
    # The second ID server and the second tracker write on the other node: rows of one key collide at the commit.
    first, second = (n.host.ip for n in stack.galera.nodes)
    # The first ones begin anew on the first node: since that was lost they may have stayed with the other.
    idserver, tracker = stack.idservers[1], stack.trackers[1]
    stack.idservers[0].restart()
    stack.trackers[0].restart()
    for daemon in (idserver, tracker):
        daemon.stop()
        url = daemon.config["database"]["url"].replace(f"{first},{second}", f"{second},{first}")
        daemon.configure({**daemon.config, "database": {"url": url}})
        daemon.start()
    for one in stack.idservers:  # at first a reservation for each number: many conflicts
        one.configure({**one.config, "idserver": {**one.config["idserver"], "step": 1}})
        one.restart()
    for one in stack.trackers:
        daemons.active(one, 1)
    numbers, ending, lock = [], threading.Event(), threading.Lock()

    def collided():
        return sum(int(n.wsrep("local_cert_failures")) + int(n.wsrep("local_bf_aborts")) for n in stack.galera.nodes)
    before = collided()
    # What is reserved at once follows demand: conflicts come while a sequence is new.
    takers = [threading.Thread(target=take_numbers, args=(stack, ending, numbers, lock, 40), daemon=True) for _ in range(4)]
    for thread in takers:
        thread.start()
    answers = {}

    def ask(one):
        for n in range(100):
            answer = route(one, f"both{n}")
            assert isinstance(answer, tuple), answer
            answers.setdefault(n, set()).add(answer[0])
    askers = [threading.Thread(target=ask, args=(t,)) for t in stack.trackers]
    for thread in askers:
        thread.start()
    for thread in askers:
        thread.join(60)
    wait_for(lambda: collided() > before + 500 and len(numbers) > 1000, 60, "conflicts, without which this test says nothing")
    ending.set()
    for thread in takers:
        thread.join(30)
    conflicts = collided() - before
    assert len(answers) == 100 and all(len(groups) == 1 for groups in answers.values())
    assert len(stack.galera.sql("SELECT userid FROM t_router WHERE userid LIKE 'both%'", "tnv_trackerdb")) == 100
    assert len(numbers) == len(set(numbers)) > 1000
    lost = sum(daemon.metric("reel_db_commits_lost_total") for daemon in stack.idservers)
    note(f"Galera conflicts: {conflicts} certification conflicts, {len(numbers)} numbers, none twice, no request failed for them; "
         f"{lost:.0f} commits that the cluster lost were noticed and done again")


class Reversed:
    """The same cluster, its second node first."""

    def __init__(self, galera):
        self.galera = galera

    def url(self, database):
        first, second = self.galera.hosts.split(",")
        return self.galera.url(database).replace(f"{first},{second}", f"{second},{first}")


def test_no_acknowledged_row_is_lost_when_two_nodes_store_the_same_files(stack):
    # Several uploads share a transaction on each node, and every second file is stored through both: what one node's
    # transaction loses to the other's takes the rows of bystanders with it, which must come back.
    host = stack.hosts[1]
    host.run("mkdir", "-p", "/srv/plain")
    # Empty, though the rows of the other server speak of files: it is accepted as the log says.
    host.run("touch", "/srv/plain/.reelstore")
    trackers, idservers = ([f"{h.ip}:{port}" for h in stack.hosts] for port in (21050, 22050))
    other = daemons.storage(host, Reversed(stack.galera), "group001", "plain=/srv/plain", trackers, idservers, 50, mount_check="none")
    other.start()
    stack.storage.restart()
    stored, failures, lock = set(), [], threading.Lock()
    shared = [new_id() for _ in range(400)]

    def upload(storage, turn):
        with wire.Client(storage.address, timeout=60) as client:
            for n in range(turn, len(shared), 8):
                for file in (shared[n], new_id()):
                    reply = client.upload(APP, USER, file, f"{shared[n]}".encode())
                    with lock:
                        if reply.ok:
                            stored.add(file)
                        else:
                            failures.append(reply)

    def collided():
        return sum(int(n.wsrep("local_cert_failures")) + int(n.wsrep("local_bf_aborts")) for n in stack.galera.nodes)
    before = collided()
    threads = [threading.Thread(target=upload, args=(storage, turn)) for turn in range(8) for storage in (stack.storage, other)]
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(100)
    finally:
        lost = sum(daemon.metric("reel_db_commits_lost_total") for daemon in (stack.storage, other))
        other.stop()
    assert not failures, failures[:5]
    found = [row[0] for row in rows(stack)]
    assert len(stored) == 3 * len(shared) and stored <= set(found), f"{len(stored - set(found))} acknowledged rows are lost"
    assert len(found) == len(set(found)), "a row came twice"
    note(f"Galera: {len(stored)} files stored through two nodes, {len(shared)} of them through both: {collided() - before} conflicts, "
         f"{lost:.0f} commits lost by the cluster and done again, no row missing")


def test_without_a_majority_the_error_is_clear_and_it_comes_back(stack):
    content = b"before"
    file = new_id()
    with wire.Client(stack.storage.address) as client:
        assert client.upload(APP, USER, file, content).ok
        stack.galera.nodes[1].kill()
        stack.galera.arbitrator.kill()
        stack.galera.arbitrator.wait()

        def refused():
            reply = client.upload(APP, USER, new_id(), b"no majority")
            return not reply.ok and reply
        reply = wait_for(refused, 40, "a refusal")
        assert reply.number == wire.UNAVAILABLE, reply
        stack.galera.nodes[0].sql("SET GLOBAL wsrep_provider_options = 'pc.bootstrap=YES'")
        stack.galera.nodes[1].start(wait=False)
        stack.galera.start_arbitrator()
        wait_for(lambda: client.upload(APP, USER, new_id(), b"again").ok, 60, "an upload after the majority's return")
        assert hashlib.sha256(client.download(APP, USER, file).body).digest() == hashlib.sha256(content).digest()
