"""A machine that refuses: no IPv6, no further watch of epoll, few descriptors, and clients that fill what there is. Every daemon
starts, and goes on for the others."""
import os
import re
import socket
import struct
import subprocess
import time

import pytest
import wire
from suite import APP, BIN, BUILD, ROOT, USER, Suite, free_ports, new_id, wait_for
from wire import FILESIZE, GET, GROUPS, JOIN, Client, file_key, header, join_body

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
        wait_for(lambda: own.daemons[name].http("/healthz")[0] == 200, 20, f"health of reel-{name}")
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
            # It is answered once it is watched: the next one is the one refused.
            witness.sendall(b"GET /nothing HTTP/1.1\r\nHost: x\r\n\r\n" if name == "httpd" else header(0, 99))
            assert witness.recv(65536)
            file.write_bytes(struct.pack("=q", 1))
            with socket.create_connection(own.daemons[name].address, timeout=20) as victim:
                try:
                    assert victim.recv(1) == b""
                except ConnectionResetError:
                    pass
            assert file.read_bytes() == struct.pack("=q", 0)
            witness.sendall(b"GET / HTTP/1.1\r\n\r\n" if name == "httpd" else header(0, 99))
            assert witness.recv(65536)
        asks(own, name)
        assert own.daemons[name].process.poll() is None


def close_all(sockets):
    for s in sockets:
        s.close()


def hold(address, count, data=b""):
    """So many connections, each with DATA sent."""
    sockets = []
    for _ in range(count):
        s = socket.create_connection(address, timeout=20)
        sockets.append(s)
        s.sendall(data)
    return sockets


def ask_from(host, address, command, body=b""):
    """From another address of the loopback network: (the reply, the seconds it took)."""
    began = time.monotonic()
    with socket.create_connection(address, timeout=20, source_address=(host, 0)) as s:
        s.sendall(header(len(body), command) + body)
        reply = b""
        while len(reply) < 10:
            piece = s.recv(65536)
            assert piece, "cut"
            reply += piece
    return reply, time.monotonic() - began


def test_replies_that_nobody_reads_do_not_grow_the_tracker(own):
    tracker = own.add_tracker(connections_per_address=0, storages_per_address=4000)
    tracker.init_db()
    tracker.start()
    joined = []
    for number in range(2000):  # a report of a few hundred KiB
        if number % 100 == 0:
            joined.append(Client(tracker.address))
        assert joined[-1].call(JOIN, join_body("group001", "host-" + "x" * 40 + str(number), 20000 + number)).ok
    size = len(wire.ask(tracker.address, GROUPS).body)
    assert size > 200_000
    time.sleep(0.5)
    before = tracker.memory_kib()
    silent = hold(tracker.address, 300, header(0, GROUPS) * 4)
    try:
        wait_for(lambda: tracker.metric("reel_packet_connections") >= 300, 20, "300 connections")
        time.sleep(1)
        grown = tracker.memory_kib() - before
        assert grown < 300 * size * 4 // 1024 // 4, f"{grown} KiB for 300 unread replies of {size} bytes"
        assert wire.ask(tracker.address, GROUPS).ok
    finally:
        close_all(silent)
        for client in joined:
            client.close()


@pytest.mark.parametrize("name", ["tracker", "idserver", "storage"])
def test_begun_requests_that_never_end_leave_room_for_another_address(own, name):
    own.add_tracker(), own.add_idserver(), own.add_storage()
    own.daemons[name].configure({**own.daemons[name].config, name: {
        **own.daemons[name].config[name], "connections_max": 400, "connections_per_address": 0, "head_time": "1m"}})
    own.launch()
    address = own.daemons[name].address
    command, body = {"tracker": (GROUPS, b""), "idserver": (GET, b"../refusals\0"),
                     "storage": (FILESIZE, file_key(APP, USER, "nosuchfile"))}[name]
    silent = hold(address, 450, b"\0")
    try:
        # Who has sent nothing more for a second is spared, long before head_time.
        # An answer before that took the place of one whose byte had not been read.
        spared = lambda: own.daemons[name].metric("reel_packet_spared_connections_total") > 0
        wait_for(lambda: ask_from("127.0.0.2", address, command, body)[1] < 1 and spared(), 8, "an answer at once")
    finally:
        close_all(silent)


def test_an_address_has_its_places_and_no_more(own):
    tracker = own.add_tracker(connections_per_address=50)
    tracker.init_db()
    tracker.start()
    held = hold(tracker.address, 80)
    try:
        wait_for(lambda: tracker.metric("reel_packet_refused_connections_total") >= 30, 20, "30 refused ones")
        assert ask_from("127.0.0.2", tracker.address, GROUPS)[0]
        tracker.wait_logged("connections_per_address")
    finally:
        close_all(held)


def test_a_request_has_head_time_and_no_more(own):
    tracker = own.add_tracker(head_time="1s")
    tracker.init_db()
    tracker.start()
    began = time.monotonic()
    with socket.create_connection(tracker.address, timeout=20) as s:
        s.settimeout(0.05)
        try:
            while time.monotonic() - began < 60:
                try:
                    s.sendall(b"\0") if time.monotonic() - began < 0.4 else None
                    if s.recv(1) == b"":
                        break
                except TimeoutError:
                    pass
        except OSError:
            pass
        assert 0.9 <= time.monotonic() - began < 50


def test_connections_leave_descriptors_for_files(own):
    """300 descriptors and 600 connections: files are stored and read meanwhile, and no store path is taken out of use."""
    own.add_tracker(), own.add_idserver(), own.add_storage()
    own.storage.configure({**own.storage.config, "daemon": {"open_files": "300"}})
    own.launch()
    own.storage.wait_logged("raise daemon.open_files to")
    held = hold(own.storage.address, 600)
    try:
        for _ in range(5):
            file, content = new_id(), os.urandom(100_000)
            with own.client() as client:
                assert client.upload(APP, USER, file, content).ok
                assert client.download(APP, USER, file).body == content
        wait_for(lambda: own.storage.http("/healthz")[0] == 200, 20, "health")
        assert "Too many open files" not in own.storage.log()
    finally:
        close_all(held)


def test_too_few_descriptors_are_reported_at_the_start(own):
    tracker = own.add_tracker()
    tracker.init_db()
    tracker.configure({**tracker.config, "daemon": {"open_files": "60"}})
    done = tracker.command()
    assert done.returncode == 1 and "raise daemon.open_files to at least" in done.stderr + tracker.log()


def test_what_the_database_says_is_for_the_log_alone(own):
    own.add_tracker(), own.add_idserver(), own.add_storage()
    own.launch()
    for suffix in ("", "-wal", "-shm"):
        (own.dir / "meta" / f"storagedb.db{suffix}").unlink(missing_ok=True)
    (own.dir / "meta" / "storagedb.db").mkdir()
    texts = []

    def fails():
        reply = wire.ask(own.storage.address, FILESIZE, file_key(APP, USER, new_id()))
        texts.append(reply.text if hasattr(reply, "text") else str(reply.body))
        return not reply.ok and "ref c" in texts[-1]

    wait_for(fails, 30, "a failure of the database")
    assert "the database failed (ref c" in texts[-1]
    assert not any(word in text for text in texts for word in ("sqlite:", "SELECT", str(own.dir)))
    reference = re.search(r"ref (c\d+-\d+)", texts[-1])[1]
    wait_for(lambda: re.search(rf"ref {reference}: .*database sqlite:", own.storage.log()), 10, "the line of the log")


@pytest.mark.parametrize("name", NAMES)
def test_a_log_that_nobody_reads_blocks_no_daemon(own, name):
    """stderr is a full pipe: the daemon answers, and ends when it is told to."""
    own.add_tracker(), own.add_idserver(), own.add_storage(), own.add_httpd()
    for daemon in own.daemons.values():
        if daemon.name != name:
            daemon.init_db() if daemon.name != "httpd" else None
            daemon.start()
    daemon = own.daemons[name]
    daemon.configure({**daemon.config, "log": {"file": "", "level": "debug"}})
    daemon.init_db() if name != "httpd" else None
    reader, writer = os.pipe()
    process = subprocess.Popen(daemon.command_line(), stdin=subprocess.DEVNULL, stdout=writer, stderr=writer)
    os.close(writer)
    try:
        def listening():
            socket.create_connection(daemon.address, timeout=1).close()
            return True
        wait_for(listening, 30, f"reel-{name} listening")
        for _ in range(40):  # each connection is a line or more of debug
            close_all(hold(daemon.address, 50, b"GET /x HTTP/1.1\r\n\r\n" if name == "httpd" else header(0, 99)))

        def answers():
            try:
                asks(own, name)
            except ConnectionError:  # it has not seen yet that so many were closed: connections_per_address
                return False
            return True
        wait_for(answers, 20, f"an answer of reel-{name}")
        assert daemon.http("/healthz")[0] in (200, 503)
        process.terminate()
        assert process.wait(80) == 0
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
        os.close(reader)


def without_descriptors():
    for fd in (0, 1, 2):
        os.close(fd)


@pytest.mark.parametrize("name", NAMES)
def test_a_daemon_without_standard_descriptors_writes_into_no_file_of_its_own(own, name):
    own.add_tracker(), own.add_idserver(), own.add_storage(), own.add_httpd()
    daemon = own.daemons[name]
    daemon.configure({**daemon.config, "log": {"file": "", "level": "debug"}})
    daemon.init_db() if name != "httpd" else None
    process = subprocess.Popen(daemon.command_line(), preexec_fn=without_descriptors, close_fds=False)
    try:
        def listening():
            socket.create_connection(daemon.address, timeout=1).close()
            return True
        wait_for(listening, 30, f"reel-{name} listening")
        for fd in (0, 1, 2):
            assert os.readlink(f"/proc/{process.pid}/fd/{fd}") == "/dev/null"
        assert daemon.pid_file.read_text() == f"{process.pid}\n"
        process.terminate()
        assert process.wait(30) == 0
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()


def test_reel_without_standard_descriptors_stores_what_it_was_given(own, tmp_path):
    own.start()
    content = os.urandom(50_000)
    (tmp_path / "film").write_bytes(content)
    done = subprocess.run([str(BIN / "reel"), "-t", f"127.0.0.1:{own.tracker.port}", "-u", USER, "upload", str(tmp_path / "film")],
                          preexec_fn=without_descriptors, close_fds=False, timeout=60)
    assert done.returncode in (0, 1)  # what it prints goes nowhere
    assert [file.read_bytes() for file in own.files()] == [content]


def test_failures_of_one_command_are_a_hundred_lines_of_the_log_a_second(own):
    """And each that is not shown is counted in the next line that is. Other commands have a hundred of their own."""
    storage = own.add_storage(trackers="127.0.0.1:1", idservers="127.0.0.1:1")
    storage.configure({**storage.config, "log": {"level": "info"}})
    storage.init_db()
    storage.start()
    lines = lambda: re.findall(r": filesize failed: .*?(?: \((\d+) more not shown\))?$", storage.log(), re.M)
    bad, sent, begun = header(400, FILESIZE) + file_key(APP, USER, "nosuchfile"), 0, time.monotonic()

    def fail(count):
        nonlocal sent
        client.send(bad * count)
        for _ in range(count):
            assert not client.receive().ok
        sent += count

    with Client(storage.address) as client:
        for _ in range(30):
            fail(50)
        assert client.call(wire.STAT, file_key(APP, USER, "nosuchfile")).number == wire.NOT_FOUND
        wait_for(lambda: ": stat failed: " in storage.log(), what="the line of another command")

        def all_counted():
            fail(1)  # in another second this one is shown, with the count
            until = time.monotonic() + 1
            while time.monotonic() < until and not (equal := sum(1 + int(more or 0) for more in lines()) == sent):
                time.sleep(0.02)
            return equal
        wait_for(all_counted, what="each is shown or counted")
    assert len(lines()) <= 100 * (time.monotonic() - begun + 2)


def test_a_reload_of_a_refused_file_fails(own):
    """What the unit's ExecReload does: the check, then the signal."""
    tracker = own.add_tracker()
    tracker.init_db()
    tracker.start()
    unit = (ROOT / "conf" / "systemd" / "reel-tracker.service").read_text()
    check, signal_line = re.findall(r"^ExecReload=(.*)$", unit, re.M)
    assert check.endswith("--check-config") and "-HUP" in signal_line
    assert tracker.command("--check-config").returncode == 0
    tracker.config_file.write_text(tracker.config_file.read_text() + "\n[nonsense]\nx = 1\n")
    assert tracker.command("--check-config").returncode == 2
    tracker.hup()
    wait_for(lambda: tracker.metric("reel_daemon_reload_refused") == 1, 10, "the metric")
    assert tracker.status()["daemon"]["reload_refused"] is True


def test_storage_servers_report_their_version(own):
    own.start()
    version = subprocess.run([str(BIN / "reel-storage"), "--version"], capture_output=True, text=True).stdout.split()[1]
    assert f"VERSION: {version}".encode() in own.reel("groups").stdout
