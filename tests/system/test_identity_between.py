"""What lies between two moments: a request under way while its token, its key or the keys file ends, and files of keys that are not
what they should be."""
import http.client
import os
import time

import wire
from identity import Keys, SecureSuite, reload
from suite import APP, USER, new_id, wait_for

CONTENT = os.urandom(300_000)


def put_in_two(client, file, between):
    """PUT of CONTENT, with BETWEEN() after its first half."""
    head = wire.put_head(APP, USER, file, len(CONTENT))
    half = len(CONTENT) // 2
    client.send(wire.header(len(head) + len(CONTENT), wire.PUT) + head + CONTENT[:half])
    between()
    client.send(CONTENT[half:])
    return client.receive()


def number_of(reply):
    return 0 if reply.ok else reply.number


def test_a_token_that_ends_inside_an_upload_ends_at_the_next_request(secure):
    file = new_id()
    token = secure.keys.token(seconds=10)  # a machine that holds the test for seconds leaves enough of it
    ends = int(time.time()) + 11
    with secure.connect("storage", tokens=(token,)) as client:
        listed = client.list(APP, USER, limit=1)
        assert listed is not None
        reply = put_in_two(client, file, lambda: wait_for(lambda: time.time() > ends, 20, "the token's end"))
        assert reply.ok, reply
        for command, body in ((wire.STAT, wire.file_key(APP, USER, file)),
                              (wire.LIST, wire.file_key(APP, USER, "") + b"\0\0\0\x0a\0"),
                              (wire.PUT, wire.put_head(APP, USER, new_id(), 0))):
            assert client.call(command, body).number == wire.UNAUTHENTICATED
    with secure.connect("storage", "app") as client:
        assert client.download(APP, USER, file).body[-len(CONTENT):] == CONTENT


def test_a_key_that_goes_inside_an_upload_ends_at_the_next_request(secure):
    secure.keys.add("app-9", "issuer").write()
    reload(secure, "storage")
    file = new_id()
    token = secure.keys.token("app-9")

    def remove():
        secure.keys.remove("app-9").write()
        reload(secure, "storage")
    with secure.connect("storage", "app-9") as client, secure.connect("storage", tokens=(token,)) as bearer:
        assert number_of(bearer.call(wire.STAT, wire.file_key(APP, USER, file))) == wire.NOT_FOUND
        assert put_in_two(client, file, remove).ok
        for stale in (client, bearer):
            assert stale.call(wire.STAT, wire.file_key(APP, USER, file)).number == wire.UNAUTHENTICATED
    with secure.connect("storage", "app") as client:
        assert client.call(wire.STAT, wire.file_key(APP, USER, file)).ok


def test_a_relay_under_way_outlives_the_keys_of_both_its_ends(secure):
    content, file = os.urandom(24_000_000), new_id()
    with secure.connect("storage", "app") as client:
        assert client.put(APP, USER, file, content).ok
    connection = http.client.HTTPConnection("127.0.0.1", secure.httpd.port, timeout=60)
    connection.request("GET", f"/files/{APP}/{USER}/{file}")
    answer = connection.getresponse()
    taken = answer.read(100_000)

    def identify(**keys):
        for label, key in keys.items():
            daemon = secure.daemons[label]
            daemon.configure({**daemon.config, "auth": {**daemon.config["auth"], "identity": key}})
    identify(httpd="web-1", storage="st-1")
    secure.keys.add("web-9", "gateway").add("st-9", "storage", "groups=group001").write()
    reload(secure, "tracker", "idserver", "storage", "httpd")
    identify(httpd="web-9", storage="st-9")
    reload(secure, "storage", "httpd")
    secure.keys.remove("web-1").remove("st-1").write()
    reload(secure, "tracker", "idserver", "storage", "httpd")
    while part := answer.read(1 << 20):
        taken += part
    assert taken == content
    secure.wait_active()


def refused(daemon, act):
    """The daemon's log of a reload after ACT(), which is refused."""
    before = len(daemon.log())
    act()
    daemon.hup()
    wait_for(lambda: "cannot apply the new configuration" in daemon.log()[before:], 20, "the refusal")
    return daemon.log()[before:]


def test_a_keys_file_that_cannot_be_used_changes_nothing():
    """Readable by others, a pipe, a directory, a loop of links, half a line, and one without the daemon's own key: whoever is in stays
    in, whoever was out stays out, and the next good file is taken."""
    suite = SecureSuite()
    try:
        suite.start()
        path, good = suite.keys.path, suite.keys.path.read_text()
        stranger = Keys(suite.dir / "etc" / "other").add("evil", "operator")
        line = stranger.lines["evil"] + "\n"
        path = suite.keys.path

        def put(text, mode=0o600):
            if path.is_dir() and not path.is_symlink():
                path.rmdir()
            else:
                path.unlink(missing_ok=True)
            path.write_text(text)
            path.chmod(mode)

        def replaced(make):
            path.unlink()
            make()
        ways = (lambda: put(good + line, 0o644), lambda: put(good + line, 0o620), lambda: replaced(lambda: os.mkfifo(path, 0o600)),
                lambda: replaced(lambda: path.mkdir(mode=0o700)), lambda: (path.rmdir(), path.symlink_to(path)),
                lambda: put(good + line[:-20]), lambda: put(line), lambda: put(good.replace(" storage ", " client ") + line),
                lambda: path.unlink())
        with suite.connect("storage", "ops") as inside:
            for number, way in enumerate(ways):
                text = refused(suite.storage, way)
                assert "auth: " in text, (number, text)
                assert inside.call(wire.STAT, wire.file_key(APP, USER, "none")).number == wire.NOT_FOUND, number
                with suite.connect("storage", "ops") as fresh:
                    assert fresh.call(wire.STAT, wire.file_key(APP, USER, "none")).number == wire.NOT_FOUND, number
                with suite.connect("storage") as client:
                    assert not client.prove("evil", stranger.secrets["evil"], "operator").ok, number
            assert suite.storage.status()["daemon"]["reload_refused"] is True
            elsewhere = suite.dir / "etc" / "elsewhere"
            put(good + line)
            path.rename(elsewhere)
            path.symlink_to(elsewhere)  # to a file that is as it should be
            reload(suite, "storage")
            with suite.connect("storage") as client:
                assert client.prove("evil", stranger.secrets["evil"], "operator").ok
            assert inside.call(wire.STAT, wire.file_key(APP, USER, "none")).number == wire.NOT_FOUND
        assert suite.storage.status()["daemon"]["reload_refused"] is False
    finally:
        suite.stop()
