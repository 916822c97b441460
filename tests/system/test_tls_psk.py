"""TLS between the parts by the keys of the keys file, without any certificate: what works, and who is not let in or not believed."""
import hashlib
import hmac
import os
import re
import socket
import ssl
import subprocess
import urllib.request

import pytest

import wire
from identity import Keys, SecureSuite, reload
from relay import Listening
from suite import APP, BIN, USER, free_ports, wait_for
from test_tls import certificate


def psk(secret):
    return hmac.new(secret, b"reel-1 psk", hashlib.sha256).hexdigest()


class Shared(SecureSuite):
    """A whole installation, auth.mode = required, whose parts know each other by tls:// alone and have no certificate."""

    def __init__(self):
        super().__init__()
        self.ports = dict(zip(("tracker", "idserver", "storage"), free_ports(3)))
        at = {name: f"127.0.0.1:{port}" for name, port in self.ports.items()}
        self.add_tracker(listen_tls=at["tracker"])
        self.add_idserver(listen_tls=at["idserver"])
        self.add_storage(listen_tls=at["storage"], trackers=f"tls://{at['tracker']}", idservers=f"tls://{at['idserver']}")
        self.add_httpd(trackers=f"tls://{at['tracker']}")
        self.launch()

    def reel(self, *arguments, keys, check=True, tracker=None, **environment):
        done = subprocess.run(
            [str(BIN / "reel"), *map(str, arguments)], capture_output=True, timeout=120,
            env=self.environment(REEL_TRACKERS=f"tls://127.0.0.1:{tracker or self.ports['tracker']}", REEL_USER=USER,
                                 REEL_APPLICATION=APP, REEL_CONFIG="/dev/null", REEL_KEYS=keys, **environment))
        assert not check or done.returncode == 0, done.stderr.decode()
        return done

    def s_client(self, name, *options):
        return subprocess.run(["openssl", "s_client", "-connect", f"127.0.0.1:{self.ports[name]}", *options], input=b"",
                              capture_output=True, timeout=30)


@pytest.fixture(scope="module")
def shared():
    suite = Shared()
    yield suite
    suite.stop()


def test_everything_goes_over_tls_with_nothing_but_the_keys_file(shared, tmp_path):
    file = tmp_path / "film"
    file.write_bytes(os.urandom(300_000))
    keys = shared.keys.only("app", tmp_path / "keys")
    plain = shared.storage.metric("reel_packet_connections_opened_total")
    file_id = shared.reel("upload", "-q", file, keys=keys).stdout.decode().strip()
    assert shared.reel("download", file_id, "-o", "-", keys=keys).stdout == file.read_bytes()
    with urllib.request.urlopen(shared.url(file_id), timeout=30) as answer:
        assert answer.read() == file.read_bytes()
    assert plain == shared.storage.metric("reel_packet_connections_opened_total"), "the plain port was used"
    for name in shared.ports:
        assert shared.daemons[name].metric('reel_tls_handshakes_total{result="full",side="server"}') >= 1


def test_openssl_speaks_the_same(shared):
    """Another implementation of the handshake and of how the key is made."""
    done = shared.s_client("tracker", "-tls1_3", "-psk_identity", "reel-1 ops", "-psk", psk(shared.keys.secrets["ops"]))
    assert b"Reused, TLSv1.3" in done.stdout and b"Server Temp Key" in done.stdout, done.stdout  # forward secrecy


@pytest.mark.parametrize("case", ["another key", "an unknown name", "no key", "the secret itself", "an older version"])
def test_who_has_no_key_gets_no_handshake(shared, case):
    secret = shared.keys.secrets["ops"]
    options = {"another key": ["-tls1_3", "-psk_identity", "reel-1 ops", "-psk", psk(os.urandom(32))],
               "an unknown name": ["-tls1_3", "-psk_identity", "reel-1 nobody", "-psk", psk(secret)],
               "no key": ["-tls1_3"],
               "the secret itself": ["-tls1_3", "-psk_identity", "reel-1 ops", "-psk", secret.hex()],
               "an older version": ["-tls1_2", "-psk_identity", "reel-1 ops", "-psk", psk(secret)]}[case]
    for name in shared.ports:
        done = shared.s_client(name, *options)
        assert done.returncode != 0 and b"Cipher is (NONE)" in done.stdout, (name, done.stdout)


def test_a_client_with_another_secret_by_the_same_name_is_refused(shared, tmp_path):
    other = Keys(tmp_path / "other").add("app", "issuer").write()
    done = shared.reel("list", keys=other.path, check=False)
    assert done.returncode != 0 and b"TLS: " in done.stderr, done.stderr
    wait_for(lambda: "the peer has another key by the same name" in shared.tracker.log(), 10)


class AnswerAs(Listening):
    """A server that speaks TLS by CONTEXT; what clients said to it under TLS."""

    def __init__(self, context):
        self.context, self.heard = context, []
        super().__init__()

    def serve(self, client):
        with self.context.wrap_socket(client, server_side=True) as under_tls:
            self.heard.append(under_tls.recv(1000))


def test_somebody_else_with_a_certificate_is_not_believed(shared, tmp_path):
    """Who takes the key out of the client's hello and answers with a certificate instead: that nobody vouches for."""
    certificate(tmp_path, "fake", ["IP:127.0.0.1"])
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "fake.pem", tmp_path / "fake.key")
    context.set_alpn_protocols(["reel/1"])
    fake = AnswerAs(context)
    done = shared.reel("list", "--tries", "1", keys=shared.keys.only("app", tmp_path / "keys"), check=False, tracker=fake.port)
    assert done.returncode != 0 and re.search(rb"TLS: the peer's certificate is refused", done.stderr), done.stderr
    assert not any(fake.heard), fake.heard
    fake.close()


def test_somebody_else_with_another_key_is_not_believed(shared, tmp_path):
    port = free_ports(1)[0]
    fake = subprocess.Popen(["openssl", "s_server", "-accept", f"127.0.0.1:{port}", "-nocert", "-tls1_3", "-alpn", "reel/1", "-psk_identity",
                             "reel-1 app", "-psk", psk(os.urandom(32))], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        wait_for(lambda: socket.create_connection(("127.0.0.1", port), timeout=1).close() is None, 10)
        done = shared.reel("list", "--tries", "1", keys=shared.keys.only("app", tmp_path / "keys"), check=False, tracker=port)
        assert done.returncode != 0 and b"TLS: " in done.stderr, done.stderr
    finally:
        fake.kill()
        fake.wait()


def test_a_plain_port_is_not_spoken_to_in_the_clear(shared, tmp_path):
    done = shared.reel("list", "--tries", "1", keys=shared.keys.only("app", tmp_path / "keys"), check=False, tracker=shared.tracker.port)
    assert done.returncode != 0 and b"TLS: " in done.stderr, done.stderr


def test_a_key_that_a_reload_took_away_opens_no_connection(shared, tmp_path):
    keys = shared.keys.only("phone", tmp_path / "keys")
    secret = shared.keys.secrets["phone"]
    known = ["-tls1_3", "-psk_identity", "reel-1 phone", "-psk", psk(secret)]
    assert b"Reused, TLSv1.3" in shared.s_client("tracker", *known).stdout
    line = shared.keys.lines["phone"]
    shared.keys.remove("phone").write()
    reload(shared, "tracker")
    assert b"Cipher is (NONE)" in shared.s_client("tracker", *known).stdout
    shared.keys.lines["phone"] = line
    shared.keys.write()
    reload(shared, "tracker")
    assert b"Reused, TLSv1.3" in shared.s_client("tracker", *known).stdout
    assert keys


def test_the_proof_on_the_connection_is_still_asked_for(shared):
    """A key opens the connection; what it may do is said by HELLO and PROVE, which cover this very connection."""
    assert wire.UNAUTHENTICATED == -18
    options = ["-tls1_3", "-quiet", "-ign_eof", "-alpn", "reel/1", "-psk_identity", "reel-1 ops", "-psk", psk(shared.keys.secrets["ops"])]
    with subprocess.Popen(["openssl", "s_client", "-connect", f"127.0.0.1:{shared.ports['tracker']}", *options], stdin=subprocess.PIPE,
                          stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as client:
        client.stdin.write(wire.header(0, wire.GROUPS))
        client.stdin.flush()
        head = client.stdout.read(10)
        client.kill()
    assert head[9] != 0, head
