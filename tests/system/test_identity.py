"""Who does not prove itself gets nothing under auth.mode = required; whoever does, what its key or token gives; and everything
that the suite does among its own parts goes on as ever."""
import json
import os
import struct
import subprocess
import time
import urllib.request

import wire
from identity import SecureSuite, rotate
from suite import APP, BIN, USER, new_id, wait_for

BODIES = {  # of every command that a stranger may try
    "tracker": {wire.JOIN: lambda: wire.join_body("group001", "evil", 4711),
                wire.BEAT: lambda: wire.field("group001", 17) + wire.field("evil", 129),
                wire.SADDRS: lambda: wire.file_key(APP, USER, "f"), wire.GROUPS: bytes,
                wire.LOAD: lambda: wire.field("group001", 17) + wire.field("evil", 129) + struct.pack(">H", 4711) + bytes(52),
                wire.STATUS: bytes, wire.LOCATE: lambda: wire.file_key(APP, USER, "f"),
                17: lambda: wire.field("group009", 17) + bytes([1]) + bytes(4),
                18: lambda: wire.field("group001", 17) + wire.field("evil", 129) + struct.pack(">H", 4711)
                + wire.field("192.0.2.1:23000", 129)},
    "idserver": {wire.GET: lambda: b"../data\0", wire.RANGE: lambda: wire.field("../data", 65) + struct.pack(">q", 1)},
    "storage": {wire.UPLOAD: lambda: wire.upload_head(APP, USER, "f", 0), wire.FILESIZE: lambda: wire.file_key(APP, USER, "f"),
                wire.DOWNLOAD: lambda: wire.file_key(APP, USER, "f") + bytes(16),
                wire.DELETE: lambda: wire.file_key(APP, USER, "f"), wire.STAT: lambda: wire.file_key(APP, USER, "f"),
                wire.RESTORE: lambda: wire.file_key(APP, USER, "f"),
                wire.LIST: lambda: wire.file_key(APP, USER, "") + struct.pack(">iB", 10, 0),
                wire.PUT: lambda: wire.put_head(APP, USER, "f", 0), wire.WHERE: lambda: wire.file_key(APP, USER, "f"),
                79: lambda: wire.put_head(APP, USER, "f", 0) + bytes(16),
                80: lambda: wire.file_key(APP, USER, "") + bytes([0]),
                81: lambda: wire.file_key(APP, USER, "f") + bytes(32),
                wire.BEGIN: lambda: wire.begin_body(APP, USER, "f"),
                wire.APPEND: lambda: wire.append_head(APP, USER, "f", bytes(16), 0, 0),
                wire.OFFSET: lambda: wire.file_key(APP, USER, "f") + bytes(16),
                wire.FINISH: lambda: wire.finish_body(APP, USER, "f", bytes(16)),
                wire.ABORT: lambda: wire.file_key(APP, USER, "f") + bytes(16),
                wire.JOIN_PARTS: lambda: wire.finish_body(APP, USER, "f", bytes(16)) + bytes(16)},
}


def reel(suite, *arguments, check=True, **environment):
    done = subprocess.run([str(BIN / "reel"), "-t", f"127.0.0.1:{suite.tracker.port}", "-u", USER, *map(str, arguments)],
                          capture_output=True, timeout=120, env=suite.environment(**environment))
    if check:
        assert done.returncode == 0, (done.returncode, done.stdout[-500:], done.stderr)
    return done


def test_a_stranger_gets_nothing_of_any_command(secure):
    """Faults 1, 2, 3 and 10 of the attack: JOIN, RANGE, GET, and everything about files."""
    for label, bodies in BODIES.items():
        with secure.connect(label) as client:
            for command, body in bodies.items():
                reply = client.call(command, body())
                assert not reply.ok and reply.number == wire.UNAUTHENTICATED, (label, command, reply)
                assert "HELLO" in reply.text
    assert secure.active() == 1
    assert secure.sql("idsdb", "SELECT COUNT(*) FROM t_id_gen WHERE id = '../data'") == [["0"]]


def test_a_refused_upload_of_a_tebibyte_is_refused_by_its_header(secure):
    with secure.connect("storage") as client:
        client.send(wire.header(1 << 39, wire.UPLOAD))
        reply = client.receive()
        assert reply.number == wire.UNAUTHENTICATED


def test_every_part_works_with_the_others(secure, tmp_path):
    file = tmp_path / "film"
    file.write_bytes(os.urandom(300_000))
    keys = secure.keys.only("app", tmp_path / "keys")
    file_id = reel(secure, "upload", file, REEL_KEYS=keys).stdout.decode().strip()
    assert reel(secure, "download", file_id, "-o", "-", REEL_KEYS=keys).stdout == file.read_bytes()
    with urllib.request.urlopen(secure.url(file_id), timeout=30) as answer:
        assert answer.read() == file.read_bytes()
    assert "stored unchecked" not in secure.storage.log(), "it could not ask whose user that is"
    done = reel(secure, "download", file_id, "-o", "-", check=False)
    assert done.returncode == 9 and b"HELLO" in done.stderr and b"that takes a key: REEL_KEYS" in done.stderr, done
    doctor = reel(secure, "doctor", check=False)
    assert doctor.returncode != 0 and b"-> a key: REEL_KEYS" in doctor.stdout, doctor
    ops = secure.keys.only("ops", tmp_path / "ops")
    assert json.loads(reel(secure, "status", "--json", REEL_KEYS=ops).stdout)["groups"]
    assert reel(secure, "status", check=False, REEL_KEYS=keys).returncode == 9


def test_a_token_alone_gives_what_it_says(secure, tmp_path):
    file = tmp_path / "film"
    file.write_bytes(b"film")
    token = wire.token_text(secure.keys.token(rights="rw"))
    file_id = reel(secure, "upload", file, REEL_TOKEN=token).stdout.decode().strip()
    assert reel(secure, "download", file_id, "-o", "-", REEL_TOKEN=token).stdout == b"film"
    assert reel(secure, "delete", file_id, check=False, REEL_TOKEN=token).returncode == 9
    bob = wire.token_text(secure.keys.token(user="bob"))
    assert reel(secure, "download", file_id, "-o", "-", check=False, REEL_TOKEN=bob).returncode == 9
    old = wire.token_text(secure.keys.token(seconds=-1))
    done = reel(secure, "download", file_id, "-o", "-", check=False, REEL_TOKEN=old)
    assert done.returncode == 9 and b"expired" in done.stderr, done
    prefix = wire.token_text(secure.keys.token(rights="r", prefix=file_id[:8]))
    assert reel(secure, "size", file_id, REEL_TOKEN=prefix).stdout.strip() == b"4"


def test_a_proof_that_fails_ends_its_connection(secure):
    with secure.connect("tracker") as client:
        reply = client.prove("ops", os.urandom(32), "operator")
        assert reply.number == wire.UNAUTHENTICATED
        client.send(wire.header(0, wire.GROUPS))
        assert client.at_end()
    with secure.connect("tracker") as client:  # no oracle: an ID that nobody has gets the same
        reply = client.prove("nobody", os.urandom(32), "operator")
        assert reply.number == wire.UNAUTHENTICATED and "nobody" in reply.text
    with secure.connect("tracker") as client:
        assert client.prove("st-1", secure.keys.secrets["st-1"], "operator").number == wire.FORBIDDEN


def test_proof_and_request_may_come_in_one_piece(secure):
    secret = secure.keys.secrets["ops"]
    with secure.connect("tracker") as client:
        hello, reply = client.hello("ops", "operator")
        proof = wire.client_proof(secret, wire.transcript(hello, reply.body))
        client.send(wire.header(32, wire.PROVE) + proof + wire.header(0, wire.GROUPS) + wire.header(0, wire.WHOAMI))
        assert client.receive().ok
        assert b"COUNT OF GROUPS" in client.receive().body
        assert client.receive().ok
    with secure.connect("tracker") as client:
        hello, reply = client.hello("ops", "operator")
        client.send(wire.header(32, wire.PROVE) + bytes(32) + wire.header(0, wire.GROUPS))
        assert client.receive().number == wire.UNAUTHENTICATED
        assert client.at_end()  # and what was sent behind it is not looked at


def test_a_replayed_or_reused_proof_is_worthless(secure):
    secret = secure.keys.secrets["ops"]
    with secure.connect("tracker") as client:
        hello, reply = client.hello("ops", "operator", nonce=bytes(32))
        proof = wire.client_proof(secret, wire.transcript(hello, reply.body))
        assert client.call(wire.PROVE, proof).ok
    with secure.connect("tracker") as client:  # the very bytes that an eavesdropper has
        again = client.call(wire.HELLO, hello)
        assert again.ok and again.body[32:64] != reply.body[32:64]
        assert client.call(wire.PROVE, proof).number == wire.UNAUTHENTICATED


def test_whoami_says_what_holds(secure):
    with secure.connect("storage") as client:
        assert client.whoami() == {"role": "none", "rights": 0, "ends": 0, "key": ""}
    with secure.connect("storage", "phone", [secure.keys.token(rights="r")]) as client:
        who = client.whoami()
        assert (who["role"], who["rights"], who["key"]) == ("client", 1, "phone")


def test_a_storage_key_is_bound_to_its_group(secure):
    with secure.connect("tracker", "st-1") as client:
        assert client.call(wire.JOIN, wire.join_body("group002", "evil", 4711)).number == wire.FORBIDDEN
        assert client.call(wire.GROUPS).number == wire.FORBIDDEN


def test_session_commands_do_not_exist_where_auth_is_off():
    suite = SecureSuite(mode="off")
    try:
        suite.add_idserver()
        suite.idserver.init_db()
        suite.idserver.start()
        with suite.connect("idserver") as client:
            assert client.call(wire.HELLO, wire.hello_body("ops", "operator", bytes(32))).number == wire.UNKNOWN_COMMAND
            assert client.call(wire.GET, b"../data\0").ok
    finally:
        suite.stop()


def test_reel_makes_and_reads_tokens(secure, tmp_path):
    app = secure.keys.only("app", tmp_path / "keys")
    token = reel(secure, "auth", "token", "--rights", "rl", "--expires", "10m", REEL_KEYS=app).stdout.decode().strip()
    seen = json.loads(reel(secure, "auth", "verify", "--json", REEL_KEYS=app, REEL_TOKEN=token).stdout)
    assert (seen["valid"], seen["user"], seen["rights"], seen["issuer"]) == (True, USER, "rl", "app")
    assert 500 <= seen["expires"] - time.time() <= 600
    dated = reel(secure, "auth", "token", "--expires", "2099-01-02", REEL_KEYS=app).stdout.decode().strip()
    assert json.loads(reel(secure, "auth", "verify", "--json", REEL_KEYS=app, REEL_TOKEN=dated).stdout)["expires"] == 4070995200
    for wrong in ("2001-01-01", "soon"):
        assert reel(secure, "auth", "token", "--expires", wrong, check=False, REEL_KEYS=app).returncode == 2
    for parts in (("auth", "token"), ("url", "--sign", "--http", "http://127.0.0.1", "f"), ("auth", "whoami"), ("size", "f")):
        done = reel(secure, *parts, check=False, REEL_KEYS=tmp_path / "nothing")
        assert done.returncode == 10 and b"nothing: cannot read the keys file" in done.stderr, (parts, done)
    assert reel(secure, "list", REEL_TOKEN=token)
    broken = token[:-2] + ("AA" if not token.endswith("AA") else "BB")
    assert reel(secure, "auth", "verify", check=False, REEL_KEYS=app, REEL_TOKEN=broken).returncode == 9
    who = json.loads(reel(secure, "auth", "whoami", REEL_KEYS=app).stdout)
    assert (who["role"], who["key"]) == ("issuer", "app")
    file = tmp_path / "token"
    file.write_text(token + "\n")
    file.chmod(0o644)
    done = reel(secure, "list", check=False, REEL_TOKEN_FILE=file)
    assert done.returncode == 2 and b"chmod 600" in done.stderr
    file.chmod(0o600)
    assert reel(secure, "list", REEL_TOKEN_FILE=file)


def test_a_client_with_a_key_goes_nowhere_without_the_servers_proof(tmp_path):
    """A plain server, as somebody in the middle would play it: nothing but HELLO reaches it."""
    suite = SecureSuite(mode="off")
    try:
        suite.add_tracker()
        suite.tracker.init_db()
        suite.tracker.start()
        keys = suite.keys.only("app", tmp_path / "keys")
        done = reel(suite, "size", "f", "--max-time", "5s", check=False, REEL_KEYS=keys)
        assert b"does not prove its identity" in done.stderr, done
        assert suite.tracker.metric('reel_packet_requests_total{command="locate"}') == 0
        done = reel(suite, "size", "f", "--max-time", "5s", check=False, REEL_KEYS=keys, REEL_AUTH="prefer")
        wait_for(lambda: suite.tracker.metric('reel_packet_requests_total{command="locate"}') > 0, 20, "a request that came")
    finally:
        suite.stop()


def test_keys_rotate_without_a_failed_request_and_what_is_removed_is_out(tmp_path):
    """Twice; tests/torture/rotation.py does it for ten minutes."""
    suite = SecureSuite()
    try:
        suite.start()
        file = tmp_path / "film"
        file.write_bytes(os.urandom(20000))
        app = suite.keys.only("app", tmp_path / "app")
        file_id = reel(suite, "upload", file, REEL_KEYS=app).stdout.decode().strip()
        with suite.connect("storage", "web-1") as stale:
            done, failed = rotate(suite, file_id, file.read_bytes(), turns=2)
            assert not failed and done > 80, (failed[:3], done)
            assert stale.call(wire.STAT, wire.file_key(APP, USER, file_id)).number == wire.UNAUTHENTICATED
    finally:
        suite.stop()


def test_the_audit_log_says_who_did_what_and_shows_changes(tmp_path):
    suite = SecureSuite()
    try:
        suite.add_tracker()
        suite.add_idserver()
        suite.add_storage()
        audit = suite.dir / "log" / "audit"
        suite.storage.configure({**suite.storage.config, "audit": {"file": audit}})
        suite.launch()
        file = tmp_path / "film"
        file.write_bytes(b"film")
        app = suite.keys.only("app", tmp_path / "app")
        file_id = reel(suite, "upload", file, REEL_KEYS=app).stdout.decode().strip()
        reel(suite, "delete", file_id, REEL_KEYS=app)
        with suite.connect("storage") as client:
            client.prove("ops", os.urandom(32), "operator")
        lines = lambda: [json.loads(line) for line in audit.read_text().splitlines()]
        wait_for(lambda: {"prove", "delete", "put_trailer"} <= {line["event"] for line in lines()}, 20, "the lines")
        by = {line["event"]: line for line in lines()}
        assert audit.stat().st_mode & 0o777 == 0o600
        assert (by["delete"]["key"], by["delete"]["file"], by["delete"]["outcome"]) == ("app", file_id, 0)
        assert by["prove"]["outcome"] == wire.UNAUTHENTICATED and by["open"]["follows"] == "0" * 32
        suite.storage.restart()
        suite.storage.stop()
        verify = lambda: reel(suite, "auth", "audit-verify", audit, check=False, REEL_KEYS=suite.keys.path)
        assert verify().returncode == 0, verify()
        whole = audit.read_text()
        for damage in (whole.replace('"outcome":0', '"outcome":-4', 1), "".join(whole.splitlines(True)[:2] + whole.splitlines(True)[3:]),
                       whole.replace(file_id, "x" * len(file_id), 1), "".join(whole.splitlines(True)[1:])):
            audit.write_text(damage)
            assert damage != whole and verify().returncode == 6, verify()
        audit.write_text(whole[:-40])  # a crash in the middle of a line
        suite.storage.start()
        wait_for(lambda: '"event":"start"' in audit.read_text()[len(whole) - 40:], 20, "the next start")
        assert b"1 cut by a crash" in verify().stdout, verify()
    finally:
        suite.stop()


def test_legacy_addresses_may_use_the_base_set_alone():
    """The predecessor's clients and servers where the operator says so; what is ours stays closed to them."""
    suite = SecureSuite()
    suite.auth = {"legacy_addresses": "127.0.0.0/8"}
    try:
        suite.add_tracker()
        suite.add_idserver()
        suite.add_storage()
        suite.launch()
        with suite.connect("tracker") as client:
            assert client.call(wire.SADDRS, wire.file_key(APP, USER, "f")).ok
            assert client.call(wire.STATUS).number == wire.UNAUTHENTICATED
        with suite.connect("idserver") as client:
            assert client.call(wire.GET, b"../other\0").ok
            assert client.call(wire.RANGE, BODIES["idserver"][wire.RANGE]()).number == wire.UNAUTHENTICATED
        with suite.connect("storage") as client:
            file_id = new_id()
            assert client.upload(APP, USER, file_id, b"bytes").ok
            assert client.download(APP, USER, file_id).body == b"bytes"
            assert client.stat(APP, USER, file_id).number == wire.UNAUTHENTICATED
        # Who names a key is judged by it, legacy address or not.
        with suite.connect("storage", "web-1") as client:
            assert client.upload(APP, USER, new_id(), b"bytes").number == wire.FORBIDDEN
    finally:
        suite.stop()


def test_prefer_refuses_nobody_and_counts_whom_required_would():
    suite = SecureSuite(mode="prefer")
    try:
        suite.add_idserver()
        suite.idserver.init_db()
        suite.idserver.start()
        with suite.connect("idserver") as client:
            assert client.call(wire.GET, b"../data\0").ok
        with suite.connect("idserver", "st-1") as client:
            assert client.call(wire.GET, b"../data\0").ok
        wait_for(lambda: suite.idserver.metric("reel_auth_would_refuse_total") >= 1, 20, "the stranger to be counted")
        assert suite.idserver.metric("reel_auth_would_refuse_total") == 1
        suite.idserver.wait_logged("whoever reaches this port")
    finally:
        suite.stop()
