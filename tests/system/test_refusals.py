"""A machine that refuses: no IPv6, no further watch of epoll, few descriptors, and clients that fill what there is. Every daemon
starts, and goes on for the others."""
import os
import socket
import struct
import time

import pytest
import wire
from suite import APP, BUILD, USER, Suite, free_ports
from wire import FILESIZE, GET, GROUPS, file_key, header

LIBRARY = BUILD / "lib" / "librefusals.so"
NAMES = ["tracker", "idserver", "storage", "httpd"]


def preload(**more):
    return {"LD_PRELOAD": str(LIBRARY), "ASAN_OPTIONS": os.environ.get("ASAN_OPTIONS", "") + ":verify_asan_link_order=0", **more}


@pytest.fixture
def own():
    suite = Suite("sqlite")
    try:
        yield suite
    finally:
        suite.stop()


def asks(suite, name):
    """Asks the daemon something that it must answer."""
    daemon = suite.daemons[name]
    if name == "httpd":
        with socket.create_connection(daemon.address, timeout=20) as s:
            s.sendall(b"GET /nothing HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            answer = b""
            while piece := s.recv(65536):
                answer += piece
        assert answer.startswith(b"HTTP/1.1 404 "), answer[:100]
    else:
        command, body = {"tracker": (GROUPS, b""), "idserver": (GET, b"../refusals\0"),
                         "storage": (FILESIZE, file_key(APP, USER, "nosuchfile"))}[name]
        reply = wire.ask(daemon.address, command, body)
        assert reply.ok or reply.number == wire.NOT_FOUND, reply


def test_every_daemon_listens_on_every_address_of_a_machine_without_ipv6(own):
    for name, port in zip(NAMES, free_ports(4)):
        options = {"listen": f"*:{port}"}
        daemon = {"tracker": own.add_tracker, "idserver": own.add_idserver, "storage": own.add_storage,
                  "httpd": own.add_httpd}[name](**options)
        daemon.port, daemon.address = port, ("127.0.0.1", port)
        daemon.configure({**daemon.config, "admin": {"listen": f"*:{daemon.admin_port}"}})
        daemon.environment = preload(REFUSE_IPV6="1")
    own.launch()
    for name in NAMES:
        asks(own, name)
        assert own.daemons[name].http("/healthz")[0] == 200
        with pytest.raises(OSError):
            socket.create_connection(("::1", own.daemons[name].port), timeout=5).close()


def test_a_watch_that_epoll_refuses_costs_one_connection(own):
    own.add_tracker(), own.add_idserver(), own.add_storage(), own.add_httpd()
    for name, daemon in own.daemons.items():
        (own.dir / f"refuse-{name}").write_bytes(struct.pack("=q", 0))
        daemon.environment = preload(REFUSE_WATCH=str(own.dir / f"refuse-{name}"))
    own.launch()
    for name in NAMES:
        file = own.dir / f"refuse-{name}"
        asks(own, name)
        with socket.create_connection(own.daemons[name].address, timeout=20) as witness:
            time.sleep(0.2)  # until it is accepted: the next one is the one refused
            file.write_bytes(struct.pack("=q", 1))
            with socket.create_connection(own.daemons[name].address, timeout=20) as victim:
                try:
                    assert victim.recv(1) == b""
                except ConnectionResetError:
                    pass
            assert file.read_bytes() == struct.pack("=q", 0)
            witness.sendall(b"GET / HTTP/1.1\r\n\r\n" if name == "httpd" else header(0, 99))
            assert witness.recv(1)
        asks(own, name)
        assert own.daemons[name].process.poll() is None
