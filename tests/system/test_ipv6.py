"""The whole suite over IPv6 alone, as on a network without IPv4: every daemon listens on [::1], and each finds the others there."""
import http.client
import os
import re
import socket
import subprocess

import pytest

from suite import APP, USER, Suite, free_ports, new_id, wait_for

LOOPBACK = "::1"


def has_ipv6():
    try:
        with socket.socket(socket.AF_INET6) as s:
            s.bind((LOOPBACK, 0))
        return True
    except OSError:
        return False


@pytest.fixture(scope="module")
def six():
    if not has_ipv6():
        pytest.skip("this machine has no ::1")
    suite = Suite("sqlite")
    try:
        add_on_six(suite)
        suite.launch()
        yield suite
    finally:
        suite.stop()


def add_on_six(suite):
    listen = {name: f"[{LOOPBACK}]:{port}" for name, port in zip(("tracker", "idserver", "storage", "httpd"), free_ports(4))}
    suite.add_tracker(listen=listen["tracker"])
    suite.add_idserver(listen=listen["idserver"])
    suite.add_storage(listen=listen["storage"], trackers=listen["tracker"], idservers=listen["idserver"])
    suite.add_httpd(listen=listen["httpd"], trackers=listen["tracker"], access_log=suite.dir / "log" / "access.log",
                    connections_per_address=3)
    for name, daemon in suite.daemons.items():
        daemon.port = int(listen[name].rsplit(":", 1)[1])
        daemon.host, daemon.address = LOOPBACK, (LOOPBACK, daemon.port)
        daemon.configure({**daemon.config, "admin": {"listen": f"[{LOOPBACK}]:{daemon.admin_port}"}})
        # The suite's own requests to the admin port put the host into a URL.
        daemon.host = f"[{LOOPBACK}]"


def fetch(suite, target, **headers):
    connection = http.client.HTTPConnection(LOOPBACK, suite.httpd.port, timeout=20)
    connection.request("GET", target, headers=headers)
    answer = connection.getresponse()
    body = answer.read()
    connection.close()
    return answer, body


def test_reel_stores_and_fetches(six, tmp_path):
    content = os.urandom(300_000)
    (tmp_path / "film").write_bytes(content)
    tracker = f"[{LOOPBACK}]:{six.tracker.port}"
    reel = lambda *arguments: six.reel("-t", tracker, *arguments)
    file = reel("upload", tmp_path / "film").stdout.decode().split()[0]
    reel("download", file, tmp_path / "back")
    assert (tmp_path / "back").read_bytes() == content
    assert f"[{LOOPBACK}]:{six.storage.port}" in reel("groups").stdout.decode()


def test_files_come_over_http(six):
    content = six.put(file := new_id(), os.urandom(500_000))
    for path in (f"/files/{file}", f"/files/{APP}/{USER}/{file}"):
        answer, body = fetch(six, path)
        assert answer.status == 200 and body == content
    answer, body = fetch(six, f"/files/{file}", Host=f"[{LOOPBACK}]:{six.httpd.port}", Range="bytes=-7")
    assert answer.status == 206 and body == content[-7:]
    log = six.dir / "log" / "access.log"
    wait_for(lambda: re.search(rf"^{LOOPBACK} .*{file}", log.read_text(), re.M), 10, "a line with the client's address")


def test_clients_are_counted_by_their_network(six):
    kept = [socket.create_connection(six.httpd.address, timeout=20) for _ in range(3)]
    request = b"GET /files/nothing HTTP/1.1\r\nHost: x\r\n\r\n"
    try:
        for s in kept:
            s.sendall(request)
            assert s.recv(4096).startswith(b"HTTP/1.1 404 ")
        assert fetch(six, "/files/nothing")[0].status == 503
    finally:
        for s in kept:
            s.close()
    wait_for(lambda: fetch(six, "/files/nothing")[0].status == 404, 10, "a place")


def test_a_port_that_is_taken_is_named(six):
    done = subprocess.run(six.httpd.command_line("-o", f"daemon.pid_file={six.dir}/run/other.pid", "-o", "admin.listen=", "-o",
                                                 f"log.file={six.dir}/log/other.log"), capture_output=True, text=True, timeout=60)
    assert done.returncode != 0 and f"[{LOOPBACK}]:{six.httpd.port}" in done.stdout + done.stderr
