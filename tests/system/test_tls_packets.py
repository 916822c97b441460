"""The packet ports under TLS: every part calls the others at tls://, and clients are led from one TLS port to the next."""
import os
import re
import re
import socket
import ssl
import struct
import subprocess

import pytest

import wire
from suite import APP, BIN, USER, Suite, free_ports, new_id, wait_for
from test_tls import certificate


class Secured:
    """A whole installation whose parts know each other by tls:// alone."""

    def __init__(self, directory):
        self.directory = directory
        self.suite = Suite("sqlite")
        self.ports = dict(zip(("tracker", "idserver", "storage"), free_ports(3)))
        tls = {"tls": {"cert": directory / "site.pem", "key": directory / "site.key", "ca": directory / "ca.pem"}}
        listen = {name: f"127.0.0.1:{port}" for name, port in self.ports.items()}
        tracker, idserver = (f"tls://localhost:{self.ports[name]}" for name in ("tracker", "idserver"))
        self.suite.add_tracker(listen_tls=listen["tracker"])
        self.suite.add_idserver(listen_tls=listen["idserver"])
        self.suite.add_storage(listen_tls=listen["storage"], trackers=tracker, idservers=idserver)
        self.suite.add_httpd(trackers=tracker, lookup_age="100ms")
        for daemon in self.suite.daemons.values():
            daemon.config.update(tls)
            daemon.configure(daemon.config)
        self.suite.launch()

    def reel(self, *arguments, ca=True, check=True, trackers=None, **more):
        environment = {**os.environ, "REEL_TRACKERS": trackers or f"tls://localhost:{self.ports['tracker']}", "REEL_USER": USER,
                       "REEL_APPLICATION": APP, "REEL_CONFIG": "/dev/null"}
        if ca:
            environment["REEL_TLS_CA"] = str(self.directory / "ca.pem")
        done = subprocess.run([BIN / "reel", *map(str, arguments)], capture_output=True, timeout=120, env=environment, **more)
        assert not check or done.returncode == 0, done.stderr.decode()
        return done

    def handshakes(self, name, result="full"):
        return self.suite.daemons[name].metric(f'reel_tls_handshakes_total{{result="{result}",side="server"}}')


@pytest.fixture(scope="module")
def secured(tmp_path_factory):
    directory = tmp_path_factory.mktemp("certificates")
    certificate(directory, "ca", [])
    certificate(directory, "site", ["DNS:localhost", "IP:127.0.0.1"], "ca")
    certificate(directory, "other", ["DNS:other.example"], "ca")
    secured = Secured(directory)
    yield secured
    secured.suite.stop()


def test_the_parts_find_each_other_under_tls(secured):
    assert secured.handshakes("tracker") >= 1 and secured.handshakes("idserver") >= 1
    secured.suite.tracker.wait_logged("clients under TLS are given tls://*:")


@pytest.mark.parametrize("size", [0, 1, 4096, 70_000, 5_000_001])
def test_files_go_up_and_down_under_tls_alone(secured, tmp_path, size):
    content = os.urandom(size)
    file = tmp_path / "file.bin"
    file.write_bytes(content)
    before = secured.handshakes("storage")
    plain = secured.suite.storage.metric("reel_packet_connections_opened_total")
    done = secured.reel("upload", "--quiet", file)
    name = done.stdout.decode().split()[0]
    assert secured.reel("download", "-o", "-", name).stdout == content
    assert secured.handshakes("storage") >= before + 2
    code, body = fetch(secured, name)
    assert code == 200 and body == content
    assert plain == secured.suite.storage.metric("reel_packet_connections_opened_total")
    assert secured.reel("delete", "--yes", name).returncode == 0


def fetch(secured, file):
    import urllib.request
    with urllib.request.urlopen(secured.suite.url(file), timeout=60) as answer:
        return answer.status, answer.read()


def test_a_tracker_names_tls_addresses_to_who_comes_under_tls(secured):
    port = secured.ports["tracker"]
    key = wire.file_key(APP, USER, "f")
    plain = wire.ask(("127.0.0.1", secured.suite.tracker.port), wire.SADDRS, key)
    assert plain.ok and b"tls://" not in plain.body and f"127.0.0.1:{secured.suite.storage.port};".encode() in plain.body
    context = ssl.create_default_context(cafile=str(secured.directory / "ca.pem"))
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        with context.wrap_socket(connection, server_hostname="localhost") as under_tls:
            assert under_tls.version() == "TLSv1.3"
            under_tls.sendall(wire.header(len(key), wire.SADDRS) + key)
            answer = under_tls.recv(4096)
    assert f"tls://127.0.0.1:{secured.ports['storage']};".encode() in answer


def test_a_tracker_takes_heartbeats_under_tls_however_many_are_in_a_record(secured):
    suite, port = Suite("sqlite"), free_ports(1)[0]
    tracker = suite.add_tracker(listen_tls=f"127.0.0.1:{port}", groups_refresh="200ms")
    tracker.configure({**tracker.config, "tls": secured.suite.tracker.config["tls"]})
    try:
        tracker.init_db()
        tracker.start()
        context = ssl.create_default_context(cafile=str(secured.directory / "ca.pem"))
        with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
            under_tls = context.wrap_socket(connection, server_hostname="localhost")
            join = wire.join_body("group001", "media1", 23000)
            load = wire.field("group001", 17) + wire.field("media1", 129) + struct.pack(">HB3xqqqIIIqI", 23000, 0, *[1 << 40] * 3, 0, 0, 0, 0, 0)
            stream = under_tls.makefile("rb")
            under_tls.sendall(wire.header(len(join), wire.JOIN) + join)
            assert stream.read(10)[9] == 0
            for count in (1, 1, 7, 300, 1):
                under_tls.sendall((wire.header(len(load), wire.LOAD) + load) * count)
                for _ in range(count):
                    assert stream.read(10)[9] == 0
            assert tracker.metric('reel_tracker_storages{state="active"}') == 1
            plain = under_tls.unwrap()  # the end of TLS alone; the socket stays open
            tracker.wait_logged("its connection is gone")
            plain.close()
    finally:
        suite.stop()


def test_who_cannot_vouch_is_not_called(secured):
    done = secured.reel("list", ca=False, check=False)
    assert done.returncode != 0 and re.search(b"TLS: the peer's certificate is refused: .*(issuer|self-signed)", done.stderr), done.stderr
    done = secured.reel("list", check=False, trackers=f"tls://127.0.0.2:{secured.ports['tracker']}")
    assert done.returncode != 0
    # A plain port does not answer in TLS, and says so in its log.
    done = secured.reel("list", check=False, trackers=f"tls://localhost:{secured.suite.tracker.port}")
    assert done.returncode != 0 and b"TLS: " in done.stderr, done.stderr
    wait_for(lambda: "the client speaks TLS, and this port does not" in secured.suite.tracker.log(), 10)


def test_a_plain_client_learns_that_the_port_speaks_tls(secured):
    done = secured.reel("list", check=False, trackers=f"localhost:{secured.ports['tracker']}")
    assert done.returncode != 0 and b"this port speaks TLS" in done.stderr, done.stderr


def test_versions_below_1_3_are_refused(secured):
    done = subprocess.run(["openssl", "s_client", "-connect", f"127.0.0.1:{secured.ports['storage']}", "-tls1_2"],
                          input=b"", capture_output=True, timeout=30)
    assert done.returncode != 0 and b"Cipher is (NONE)" in done.stdout


def test_a_download_survives_the_server_and_pipelined_requests_keep_their_order(secured, tmp_path):
    file = new_id()
    content = os.urandom(200_000)
    with secured.suite.client() as client:
        assert client.put(APP, USER, file, content).ok
    context = ssl.create_default_context(cafile=str(secured.directory / "ca.pem"))
    bodies = [wire.file_key(APP, USER, file) + struct.pack(">qq", offset, 50_000) for offset in (0, 50_000, 100_000, 150_000)]
    requests = [wire.header(len(body), wire.DOWNLOAD) + body for body in bodies]
    with socket.create_connection(("127.0.0.1", secured.ports["storage"]), timeout=30) as connection:
        with context.wrap_socket(connection, server_hostname="localhost") as under_tls:
            under_tls.sendall(b"".join(requests))
            stream = under_tls.makefile("rb")
            got = b""
            for _ in requests:
                head = stream.read(10)
                assert head[9] == 0, head
                got += stream.read(int.from_bytes(head[:8], "big"))
    assert got == content


def test_the_doctor_looks_at_certificates(secured):
    done = secured.reel("doctor", "--idservers", f"tls://localhost:{secured.ports['idserver']}", check=False)
    said = done.stdout.decode()
    for part in ("tracker", "idserver"):
        assert re.search(rf"^ok +{part} tls://localhost:\d+ +its certificate is good for \d+ days$", said, re.M), said
    assert re.search(r"^ok +storage \S+ +its certificate is good for \d+ days$", said, re.M), said
    assert "CRITICAL" not in said, said
