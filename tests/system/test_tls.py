"""HTTPS of reel-httpd, by curl, openssl s_client and Python's ssl: what is agreed on, what is refused, every byte."""
import contextlib
import http.client
import json
import os
import pathlib
import re
import shutil
import socket
import ssl
import subprocess
import threading
import time

import pytest

from suite import APP, USER, free_ports, new_id, wait_for

# What stands behind it is the same here: one database is enough.
pytestmark = pytest.mark.parametrize("suite", ["sqlite"], indirect=True, scope="session")


def openssl(*arguments, **more):
    return subprocess.run(["openssl", *map(str, arguments)], capture_output=True, timeout=60, **more)


def certificate(directory, label, names, ca=None, days=30, kind="ec"):
    """LABEL.pem and LABEL.key; signed by the files of CA, or by itself. DAYS below 0: it has expired."""
    key, pem = directory / f"{label}.key", directory / f"{label}.pem"
    new = ["-newkey", "rsa:2048"] if kind == "rsa" else ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"]
    extensions = f"subjectAltName={','.join(names)}" if names else "basicConstraints=critical,CA:TRUE"
    signer = ["-CA", directory / f"{ca}.pem", "-CAkey", directory / f"{ca}.key"] if ca else []
    done = openssl("req", "-x509", *new, "-nodes", "-keyout", key, "-out", pem, "-subj", f"/CN=Reelstore {label}",
                   "-days", days, "-addext", extensions, *signer)
    assert done.returncode == 0, done.stderr.decode()
    key.chmod(0o600)
    return pem, key


class Web:
    """A reel-httpd with HTTPS, relaying or with the volume at hand."""

    def __init__(self, suite, directory, label, **options):
        self.directory, self.ca = directory, directory / "ca.pem"
        self.tls_port, = free_ports(1)
        self.daemon = suite.add_httpd(label, listen_tls=f"127.0.0.1:{self.tls_port}", **options)
        config = self.daemon.config
        config["tls"] = {"cert": f"{directory}/site.pem, {directory}/tv.pem", "key": f"{directory}/site.key, {directory}/tv.key"}
        self.daemon.configure(config)
        self.daemon.start()

    def context(self, **more):
        context = ssl.create_default_context(cafile=str(self.ca))
        for name, value in more.items():
            setattr(context, name, value)
        return context

    def connect(self, name="localhost", context=None, session=None, timeout=30):
        plain = socket.create_connection(("127.0.0.1", self.tls_port), timeout=timeout)
        return (context or self.context()).wrap_socket(plain, server_hostname=name, session=session)

    def fetch(self, file, method="GET", **headers):
        connection = http.client.HTTPSConnection("localhost", self.tls_port, timeout=60, context=self.context())
        connection.request(method, f"/files/{APP}/{USER}/{file}",
                           headers={name.replace("_", "-"): value for name, value in headers.items()})
        answer = connection.getresponse()
        body = answer.read()
        connection.close()
        return answer, body

    def curl(self, path, *arguments):
        return subprocess.run(["curl", "-sS", "--cacert", self.ca, "--max-time", "60", *arguments,
                               f"https://localhost:{self.tls_port}{path}"], capture_output=True, timeout=90)

    def s_client(self, *arguments, input=b""):
        return openssl("s_client", "-connect", f"127.0.0.1:{self.tls_port}", "-CAfile", self.ca, *arguments, input=input)


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    directory = tmp_path_factory.mktemp("certificates")
    certificate(directory, "ca", [])
    certificate(directory, "site", ["DNS:localhost", "IP:127.0.0.1"], "ca")
    certificate(directory, "tv", ["DNS:*.tv.example"], "ca", kind="rsa")
    return directory


@pytest.fixture(scope="module")
def webs(suite, directory):
    data = suite.dir / "data"
    webs = {"relayed": Web(suite, directory, "httpd-tls", strict_transport_security="max-age=31536000", lookup_age="500ms"),
            "local": Web(suite, directory, "httpd-tls-local", local_groups=f"group001:{data}={data}")}
    yield webs
    for web in webs.values():
        web.daemon.stop()
        del suite.daemons[web.daemon.label]


@pytest.fixture(params=["relayed", "local"])
def web(webs, request):
    return webs[request.param]


@pytest.fixture
def relayed(webs):
    return webs["relayed"]


def store(suite, content, **more):
    file = new_id()
    with suite.client() as client:
        assert client.put(APP, USER, file, content, content_type="video/mp4", **more).ok
    return file


# ---- bytes ----

@pytest.mark.parametrize("size", [0, 1, 4096, 16384, 16385, 300_000, 9_000_001])
def test_a_file_of_any_size_comes_whole(suite, web, size):
    content = os.urandom(size)
    file = store(suite, content)
    for _ in range(2):
        answer, body = web.fetch(file)
        assert answer.status == 200 and body == content
    answer, body = web.fetch(file, method="HEAD")
    assert int(answer.headers["Content-Length"]) == size and body == b""


def test_ranges_are_those_of_the_file(suite, web):
    content = os.urandom(3_000_000)
    file = store(suite, content)
    for first, last in ((0, 0), (16_383, 16_384), (70_000, 170_000), (1_048_575, 2_500_000), (2_999_999, 2_999_999)):
        answer, body = web.fetch(file, Range=f"bytes={first}-{last}")
        assert answer.status == 206 and body == content[first:last + 1]
    answer, body = web.fetch(file, Range="bytes=0-9,100000-200000,-7")
    assert answer.status == 206 and content[100000:200001] in body and content[-7:] in body
    answer, body = web.fetch(file, If_None_Match=answer.headers["ETag"])
    assert answer.status == 304 and body == b""


def read_answer(stream):
    """One answer with a Content-Length: (status, body)."""
    status = int(stream.readline().split()[1])
    length = 0
    while (line := stream.readline()) != b"\r\n":
        if line.lower().startswith(b"content-length:"):
            length = int(line.split(b":")[1])
    return status, stream.read(length)


def test_pipelined_requests_are_answered_in_order_on_one_connection(suite, web):
    contents = [os.urandom(size) for size in (10, 5000, 200_000, 1, 70_000)]
    files = [store(suite, content) for content in contents]
    accepted = web.daemon.metric("reel_httpd_connections_total")
    with web.connect() as connection:
        requests = "".join(f"GET /files/{APP}/{USER}/{file} HTTP/1.1\r\nHost: localhost\r\n\r\n" for file in files)
        for _ in range(3):
            connection.sendall(requests.encode())
            stream = connection.makefile("rb")
            for content in contents:
                assert read_answer(stream) == (200, content)
    assert web.daemon.metric("reel_httpd_connections_total") == accepted + 1


def test_a_request_may_come_byte_by_byte(suite, web):
    content = os.urandom(100)
    file = store(suite, content)
    with web.connect() as connection:
        for byte in f"GET /files/{APP}/{USER}/{file} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode():
            connection.sendall(bytes([byte]))
        assert read_answer(connection.makefile("rb")) == (200, content)


def test_a_slow_reader_gets_every_byte(suite, web):
    content = os.urandom(6_000_000)
    file = store(suite, content)
    plain = socket.socket()
    plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192)
    plain.settimeout(60)
    plain.connect(("127.0.0.1", web.tls_port))
    with web.context().wrap_socket(plain, server_hostname="localhost") as connection:
        connection.sendall(f"GET /files/{APP}/{USER}/{file} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        time.sleep(0.5)  # until everything on the way is full
        stream = connection.makefile("rb", buffering=1000)
        status, body = read_answer(stream)
    assert status == 200 and body == content


def test_a_client_that_has_ended_its_half_is_answered(suite, web):
    content = os.urandom(500_000)
    file = store(suite, content)
    request = f"GET /files/{APP}/{USER}/{file} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode()
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    session = web.context().wrap_bio(incoming, outgoing, server_hostname="localhost")
    got = b""
    with socket.create_connection(("127.0.0.1", web.tls_port), timeout=30) as plain:
        def flush():
            if outgoing.pending:
                plain.sendall(outgoing.read())

        def step(call):
            while True:
                try:
                    result = call()
                    flush()
                    return result
                except ssl.SSLWantReadError:
                    flush()
                    data = plain.recv(65536)
                    incoming.write(data) if data else incoming.write_eof()
        step(session.do_handshake)
        session.write(request)
        with contextlib.suppress(ssl.SSLWantReadError):
            session.unwrap()  # says that nothing more comes
        plain.sendall(outgoing.read())
        plain.shutdown(socket.SHUT_WR)
        with contextlib.suppress(ssl.SSLZeroReturnError):
            while data := step(lambda: session.read(65536)):
                got += data
    assert got.endswith(content)


# ---- what is agreed on ----

def test_versions_and_ciphers(relayed):
    for version, wanted in (("-tls1_3", "TLSv1.3"), ("-tls1_2", "TLSv1.2")):
        done = relayed.s_client(version)
        assert done.returncode == 0 and wanted in done.stdout.decode(), done
    for version in ("-tls1_1", "-tls1"):
        done = relayed.s_client(version, "-cipher", "ALL:@SECLEVEL=0")
        assert done.returncode != 0 and b"Cipher is (NONE)" in done.stdout
    for cipher in ("AES128-SHA", "AES128-GCM-SHA256", "ECDHE-ECDSA-AES128-SHA256", "DHE-RSA-AES128-GCM-SHA256", "NULL", "aNULL"):
        done = relayed.s_client("-tls1_2", "-cipher", cipher + ":@SECLEVEL=0")
        assert b"Cipher is (NONE)" in done.stdout, cipher
    for cipher in ("ECDHE-ECDSA-AES128-GCM-SHA256", "ECDHE-ECDSA-CHACHA20-POLY1305", "ECDHE-ECDSA-AES256-GCM-SHA384"):
        done = relayed.s_client("-tls1_2", "-cipher", cipher)
        assert f"Cipher is {cipher}".encode() in done.stdout, cipher
        assert b"Compression: NONE" in done.stdout
    relayed.daemon.wait_logged("TLS: the peer offers no version of TLS that is allowed here")


def test_renegotiation_is_refused(relayed):
    """s_client takes a line "R" for the wish to renegotiate."""
    before = relayed.daemon.metric("reel_httpd_requests_total")
    with subprocess.Popen(["openssl", "s_client", "-connect", f"127.0.0.1:{relayed.tls_port}", "-tls1_2"],
                          stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as client:
        client.stdin.write(b"R\n")
        client.stdin.flush()
        output = client.communicate(timeout=30)[0]
    assert b"RENEGOTIATING" in output and re.search(b"no renegotiation|handshake failure", output), output[-2000:]
    assert relayed.daemon.metric("reel_httpd_requests_total") == before


def test_alpn_is_http(relayed):
    assert b"ALPN protocol: http/1.1" in relayed.s_client("-alpn", "h2,http/1.1").stdout
    assert b"No ALPN negotiated" in relayed.s_client().stdout
    done = relayed.s_client("-alpn", "h2")
    assert done.returncode != 0 and b"no application protocol" in done.stderr


def test_the_name_chooses_the_certificate(relayed):
    for name, shown in (("localhost", "site"), ("a.tv.example", "tv"), ("other.example", "site")):
        assert f"CN = Reelstore {shown}\n".encode() in relayed.s_client("-servername", name).stdout, name
    assert relayed.curl("/", "--connect-to", f"x.tv.example:{relayed.tls_port}:127.0.0.1:{relayed.tls_port}",
                        f"https://x.tv.example:{relayed.tls_port}/").returncode == 0


def test_a_client_refuses_a_wrong_name_and_an_unknown_authority(relayed):
    before = relayed.daemon.metric('reel_tls_failures_total{kind="certificate"}')
    done = relayed.s_client("-verify_hostname", "wrong.example", "-verify_return_error", "-servername", "localhost")
    assert done.returncode != 0 and b"hostname mismatch" in done.stderr
    with pytest.raises(ssl.SSLCertVerificationError):
        relayed.connect(context=ssl.create_default_context())
    wait_for(lambda: relayed.daemon.metric('reel_tls_failures_total{kind="certificate"}') >= before + 2, 10)


def test_sessions_are_resumed(relayed):
    for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
        context = relayed.context(maximum_version=version, minimum_version=version)
        session = None
        for round in range(3):
            with relayed.connect(context=context, session=session) as connection:
                connection.sendall(b"GET /files/none HTTP/1.1\r\nHost: localhost\r\n\r\n")
                assert read_answer(connection.makefile("rb"))[0] == 404
                assert connection.session_reused == (round > 0)
                session = connection.session
    assert relayed.daemon.metric('reel_tls_handshakes_total{result="resumed",side="server"}') >= 4


# ---- who does not speak it ----

def test_a_plain_client_is_answered_so(relayed):
    with socket.create_connection(("127.0.0.1", relayed.tls_port), timeout=10) as plain:
        plain.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        answer = b"".join(iter(lambda: plain.recv(4096), b""))
    head, body = answer.split(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400 ") and b"this port speaks HTTPS" in body
    assert f"Content-Length: {len(body)}\r\n".encode() in head
    relayed.daemon.wait_logged("it does not speak TLS, which this port requires")
    wait_for(lambda: relayed.daemon.metric('reel_tls_handshakes_total{result="plain",side="server"}') >= 1, 20)


def test_a_tls_client_at_the_plain_port_is_logged(relayed):
    done = openssl("s_client", "-connect", f"127.0.0.1:{relayed.daemon.port}", input=b"")
    assert done.returncode != 0
    wait_for(lambda: "speaks TLS to a port of httpd.listen" in relayed.daemon.log(), 10)


def test_truncated_and_changed_records_end_the_connection_alone(suite, relayed):
    content = os.urandom(1000)
    file = store(suite, content)
    hello = None
    context = relayed.context()
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    with contextlib.suppress(ssl.SSLWantReadError):
        context.wrap_bio(incoming, outgoing, server_hostname="localhost").do_handshake()
    hello = outgoing.read()
    for bytes_sent in (hello[:1], hello[:5], hello[:-1], hello[:9] + b"\xff" * 40, b"\x16\x03\x01\xff\xff" + b"x" * 100, hello * 2):
        with socket.create_connection(("127.0.0.1", relayed.tls_port), timeout=10) as plain:
            plain.sendall(bytes_sent)
            plain.shutdown(socket.SHUT_WR)
            with contextlib.suppress(ConnectionResetError):
                while plain.recv(65536):
                    pass
    assert relayed.fetch(file)[1] == content


# ---- http under it ----

def test_transport_security_is_only_promised_under_tls(suite, relayed):
    file = store(suite, b"x")
    answer, _ = relayed.fetch(file)
    assert answer.headers["Strict-Transport-Security"] == "max-age=31536000"
    plain = http.client.HTTPConnection("127.0.0.1", relayed.daemon.port, timeout=30)
    plain.request("GET", f"/files/{APP}/{USER}/{file}")
    assert "Strict-Transport-Security" not in plain.getresponse().headers


def raw(port, request):
    with socket.create_connection(("127.0.0.1", port), timeout=30) as plain:
        plain.sendall(request.encode())
        plain.shutdown(socket.SHUT_WR)
        return b"".join(iter(lambda: plain.recv(65536), b"")).decode("latin-1")


def test_an_https_target_needs_tls(suite, relayed):
    file = store(suite, b"content")
    target = f"https://localhost/files/{APP}/{USER}/{file}"
    assert raw(relayed.daemon.port, f"GET {target} HTTP/1.1\r\nHost: localhost\r\n\r\n").startswith("HTTP/1.1 421 ")
    with relayed.connect() as connection:
        connection.sendall(f"GET {target} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        assert read_answer(connection.makefile("rb")) == (200, b"content")


def test_plain_requests_are_redirected_where_that_is_wanted(suite, directory):
    web = Web(suite, directory, "httpd-redirect", redirect_https=443, trusted_proxies="127.0.0.9")
    try:
        for request, location in (
                ("GET /files/a/b HTTP/1.1\r\nHost: tv.example\r\n", "https://tv.example/files/a/b"),
                ("HEAD /x?y=1 HTTP/1.1\r\nHost: tv.example:8080\r\n", "https://tv.example/x?y=1"),
                ("GET /x HTTP/1.1\r\nHost: [::1]:8080\r\n", "https://[::1]/x"),
                ("GET http://one.example?q HTTP/1.1\r\nHost: two.example\r\n", "https://one.example/?q"),
                ('GET /a"b\\c|\xe4 HTTP/1.1\r\nHost: tv.example\r\n', "https://tv.example/a%22b%5Cc%7C%E4")):
            answer = raw(web.daemon.port, request + "\r\n") if request.isascii() else None
            if answer is None:
                with socket.create_connection(("127.0.0.1", web.daemon.port), timeout=30) as plain:
                    plain.sendall((request + "Connection: close\r\n\r\n").encode("latin-1"))
                    answer = b"".join(iter(lambda: plain.recv(65536), b"")).decode("latin-1")
            assert answer.startswith("HTTP/1.1 308 ") and f"\r\nLocation: {location}\r\n" in answer, answer
        assert raw(web.daemon.port, "GET /x HTTP/1.0\r\n\r\n").startswith("HTTP/1.1 400 ")
        assert web.curl("/files/none").stdout.startswith(b"404")
    finally:
        web.daemon.stop()
        del suite.daemons[web.daemon.label]


# ---- operation ----

def test_a_reload_under_load_fails_no_request(suite, relayed, directory):
    content = os.urandom(30_000)
    file = store(suite, content)
    stop, failures, served = threading.Event(), [], [0]

    def client():
        while not stop.is_set():
            try:
                answer, body = relayed.fetch(file)
                if answer.status != 200 or body != content:
                    failures.append(answer.status)
            except Exception as error:
                failures.append(repr(error))
            served[0] += 1

    threads = [threading.Thread(target=client) for _ in range(3)]
    for thread in threads:
        thread.start()
    shutil.copy(directory / "site.pem", directory / "kept.pem")
    shutil.copy(directory / "site.key", directory / "kept.key")
    try:
        for days in (60, 90):
            certificate(directory, "next", ["DNS:localhost", "IP:127.0.0.1"], "ca", days)
            for suffix in ("pem", "key"):
                os.replace(directory / f"next.{suffix}", directory / f"site.{suffix}")
            relayed.daemon.hup()
            before = served[0]
            wait_for(lambda: served[0] > before + 5, 60, "requests")
            done = relayed.s_client()
            end = re.search(rb"NotAfter: ([^\n]*)", done.stdout)
            wait_for(lambda: relayed.daemon.metric("reel_tls_certificate_not_after_seconds") > 0, 30)
            new = (directory / "site.pem").read_text()
            wait_for(lambda: ssl.get_server_certificate(("127.0.0.1", relayed.tls_port)).strip() in new, 20, f"the new certificate, not {end}")
        # A file that cannot be used: what holds goes on, and the log says what is wrong.
        (directory / "site.key").write_text("nonsense\n")
        relayed.daemon.hup()
        wait_for(lambda: "site.key: no PEM private key" in relayed.daemon.log(), 20)
        wait_for(lambda: relayed.daemon.metric("reel_daemon_reload_refused") == 1, 20)
        before = served[0]
        wait_for(lambda: served[0] > before + 5, 60, "requests")
    finally:
        stop.set()
        for thread in threads:
            thread.join()
        os.replace(directory / "kept.pem", directory / "site.pem")
        os.replace(directory / "kept.key", directory / "site.key")
        relayed.daemon.hup()
    assert failures == []
    wait_for(lambda: relayed.daemon.metric("reel_daemon_reload_refused") == 0, 20)


def test_a_certificate_that_ends_soon_or_has_ended_is_reported(suite, webs, directory):
    daemon = webs["local"].daemon
    certificate(directory, "soon", ["DNS:localhost"], "ca", days=3)
    config = json.loads(json.dumps(daemon.config, default=str))
    try:
        daemon.config["tls"] = {"cert": directory / "soon.pem", "key": directory / "soon.key"}
        daemon.configure(daemon.config)
        daemon.hup()
        wait_for(lambda: "degraded: a certificate of tls.cert expires in 2 days" in daemon.http("/healthz")[1], 20)
        not_after = daemon.metric("reel_tls_certificate_not_after_seconds")
        assert abs(not_after - time.time() - 3 * 86400) < 3600
    finally:
        daemon.configure(config)
        daemon.hup()
    wait_for(lambda: daemon.http("/healthz")[1] == "ok\n", 20)


def test_a_flood_of_handshakes_is_bounded_and_others_are_served(suite, relayed):
    content = os.urandom(1000)
    file = store(suite, content)
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    with contextlib.suppress(ssl.SSLWantReadError):
        relayed.context().wrap_bio(incoming, outgoing, server_hostname="localhost").do_handshake()
    hello = outgoing.read()
    stuck = []
    try:
        for i in range(400):
            plain = socket.create_connection(("127.0.0.1", relayed.tls_port), timeout=10)
            plain.sendall(hello[:100] if i % 2 else hello)  # never a second word
            stuck.append(plain)
        assert relayed.fetch(file)[1] == content
    finally:
        for plain in stuck:
            plain.close()
    # They had to wait for places, and those who held them without a word lost them.
    wait_for(lambda: relayed.daemon.metric('reel_tls_handshakes_total{result="dropped",side="server"}') > 0, 20)


def test_options_that_cannot_work_are_named_at_the_start(suite, directory):
    daemon = suite.add_httpd("httpd-wrong", listen_tls="127.0.0.1:1")
    try:
        for tls, text in (({}, "tls.cert is empty: listen_tls needs a certificate"),
                          ({"cert": directory / "none.pem"}, "none.pem: No such file or directory"),
                          ({"cert": directory / "site.pem", "key": directory / "tv.key"}, "tv.key: the private key does not match"),
                          ({"cert": directory / "site.pem", "key": directory / "site.key", "verify": "peer"}, "tls.verify = peer needs tls.ca")):
            daemon.config["tls"] = tls
            daemon.configure(daemon.config)
            done = daemon.command()
            assert done.returncode == 1 and text in done.stderr + daemon.log(), done.stderr
    finally:
        del suite.daemons["httpd-wrong"]


def test_where_the_kernel_encrypts_sendfile_goes_on(suite, webs):
    web = webs["local"]
    content = os.urandom(5_000_000)
    file = store(suite, content)
    assert web.fetch(file)[1] == content
    if not pathlib.Path("/proc/net/tls_stat").exists():
        assert web.daemon.metric('reel_tls_ktls_total{state="on"}') == 0
        pytest.skip("NO KTLS HERE: this kernel has no CONFIG_TLS (or its module is not loaded); only the fallback was tested")
    assert web.daemon.metric('reel_tls_ktls_total{state="on"}') > 0
