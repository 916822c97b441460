"""A suite whose parts prove who they are: keys files, and clients with a session."""
import base64
import os
import pathlib
import threading
import time
import urllib.request

import wire
from suite import APP, USER, Suite, wait_for


class Keys:
    """A keys file."""

    def __init__(self, path):
        self.path = pathlib.Path(path)
        self.lines, self.secrets, self.roles = {}, {}, {}

    def add(self, key_id, role, rest=""):
        self.secrets[key_id] = os.urandom(32)
        self.roles[key_id] = role
        self.lines[key_id] = f"{key_id} {role} {base64.b64encode(self.secrets[key_id]).decode()} {rest}"
        return self

    def remove(self, key_id):
        del self.lines[key_id]
        return self

    def write(self):
        fresh = self.path.with_suffix(".new")
        fd = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        os.write(fd, "".join(line + "\n" for line in self.lines.values()).encode())
        os.close(fd)
        os.rename(fresh, self.path)
        return self

    def token(self, issuer="app", user=USER, rights="rwdl", seconds=600, prefix=None, not_before=0, app=APP):
        return wire.token_body(issuer, self.secrets[issuer], app, user, rights, int(time.time()) + seconds, not_before,
                               prefix)

    def only(self, key_id, path):
        """A keys file with this key alone."""
        other = Keys(path)
        other.lines = {key_id: self.lines[key_id]}
        return other.write().path


class SecureSuite(Suite):
    def __init__(self, mode="required", backend="sqlite", mariadb=None):
        super().__init__(backend, mariadb)
        self.mode = mode
        self.keys = Keys(self.dir / "etc" / "keys")
        self.keys.add("st-1", "storage", "groups=group001").add("web-1", "gateway").add("app", "issuer")
        self.keys.add("ops", "operator").add("phone", "client").add("tr-1", "tracker").add("id-1", "idserver").write()
        self.auth = {}

    def add(self, name, config, label=None):
        config.setdefault("auth", {"mode": self.mode, "keys": self.keys.path, **self.auth})
        return super().add(name, config, label)

    def connect(self, label, key_id=None, tokens=()):
        """A client of the daemon, proved with the key."""
        client = wire.Client(self.daemons[label].address)
        if key_id:
            reply = client.prove(key_id, self.keys.secrets[key_id], self.keys.roles[key_id])
            assert reply.ok, reply
        for token in tokens:
            reply = client.call(wire.TOKEN, token)
            assert reply.ok, reply
        return client

    def active(self):
        with self.connect("tracker", "ops") as client:
            reply = client.call(wire.GROUPS)
            assert reply.ok, reply
            return reply.body.count(b"STATUS: ACTIVE")

    def environment(self, **more):
        clean = {name: value for name, value in os.environ.items() if not name.startswith("REEL_KEYS")}
        return {**clean, **{name: str(value) for name, value in more.items()}}


def reload(suite, *labels):
    for label in labels:
        daemon = suite.daemons[label]
        before = daemon.log().count("configuration reloaded")
        daemon.hup()
        wait_for(lambda: daemon.log().count("configuration reloaded") > before, 20, f"the reload of {label}")


def rotate(suite, file_id, content, turns, seconds=0):
    """Keys of the HTTP server and the storage server change TURNS times, for at least SECONDS in all, while the file is read
    over HTTP without a pause. Returns how many reads there were, and what failed."""
    failed, done, stop = [], [0], threading.Event()
    everybody = ("tracker", "idserver", "storage", "httpd")
    own = {"httpd": "web-1", "storage": "st-1"}

    def load():
        while not stop.is_set():
            try:
                with urllib.request.urlopen(suite.url(file_id), timeout=30) as answer:
                    assert answer.read() == content
                done[0] += 1
            except Exception as error:  # noqa: BLE001
                failed.append(repr(error))

    def reads_go_on(least):
        before = done[0]
        wait_for(lambda: done[0] > before + 20, 20, "further reads")
        time.sleep(least)

    def identify():
        for label, key in own.items():
            daemon = suite.daemons[label]
            daemon.configure({**daemon.config, "auth": {**daemon.config["auth"], "identity": key}})
    threads = [threading.Thread(target=load) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        identify()
        for turn in range(2, turns + 2):
            suite.keys.add(f"web-{turn}", "gateway").add(f"st-{turn}", "storage", "groups=group001").write()
            reload(suite, *everybody)
            old = dict(own)
            own.update(httpd=f"web-{turn}", storage=f"st-{turn}")
            identify()
            reload(suite, *own)
            reads_go_on(seconds / turns / 2)
            suite.keys.remove(old["httpd"]).remove(old["storage"]).write()
            reload(suite, *everybody)
            reads_go_on(seconds / turns / 2)
        suite.wait_active()
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    return done[0], failed
