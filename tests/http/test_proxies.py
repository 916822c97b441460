"""The configurations of docs/behind-a-proxy.md, as they stand there, in front of a server of ours."""
import contextlib
import http.client
import json
import os
import pathlib
import re
import shutil
import signal
import socket
import ssl
import struct
import subprocess
import tempfile
import time
import urllib.parse

import pytest

import wire
from suite import APP, ROOT, USER, Suite, free_ports, new_id, wait_for
from test_tls import certificate

PAGE = ROOT / "docs" / "behind-a-proxy.md"
CONTENT = os.urandom(9_000_000)
CLIENT = "127.0.0.2"  # connects from an address that is not the proxy's


@pytest.fixture(scope="module")
def behind():
    """A suite whose HTTP server trusts proxies on 127.0.0.1 and logs in JSON; "plain" by field, "proxy" by PROXY header."""
    suite = Suite("sqlite")
    try:
        suite.add_tracker()
        suite.add_idserver()
        suite.add_storage()
        suite.add_httpd("plain", trusted_proxies="127.0.0.1", web="on", write="open", access_log=suite.dir / "log" / "plain.access",
                        access_log_format="json")
        daemon = suite.add_httpd("proxy")
        options = {**daemon.config["httpd"], "trusted_proxies": "127.0.0.1", "access_log_format": "json",
                   "access_log": suite.dir / "log" / "proxy.access", "proxy_protocol": f"127.0.0.1:{daemon.port}"}
        daemon.configure({**daemon.config, "httpd": options})
        certificate(suite.dir, "site", ["DNS:localhost"])
        secure = suite.add_httpd("secure")
        suite.secure_port = free_ports(1)[0]
        options = {**options, "listen": secure.config["httpd"]["listen"], "listen_tls": f"127.0.0.1:{suite.secure_port}",
                   "proxy_protocol": f"127.0.0.1:{suite.secure_port}", "access_log": suite.dir / "log" / "secure.access"}
        secure.configure({**secure.config, "httpd": options, "tls": {"cert": suite.dir / "site.pem", "key": suite.dir / "site.key"}})
        suite.launch()
        yield suite
    finally:
        suite.stop()


def block(name):
    return re.search(rf"^```{name}\n(.*?)^```", PAGE.read_text(), re.M | re.S).group(1)


def configuration(suite, name, port, directory):
    """The page's text with the test's ports and directories in place of the page's."""
    text = block(name)
    for old, new in (("127.0.0.1:8080", f"127.0.0.1:{suite.plain.port}"), ("127.0.0.1:8081", f"127.0.0.1:{suite.proxy.port}"),
                     ('"8080"', f'"{suite.plain.port}"'), ("parent 8080", f"parent {suite.plain.port}"),
                     ("port 8180", f"port {suite.plain.admin_port}"), ("listen 80;", f"listen 127.0.0.1:{port};"),
                     ("bind *:80", f"bind 127.0.0.1:{port}"), ("http_port 80 ", f"http_port 127.0.0.1:{port} "),
                     ("/var/cache/nginx/reel", f"{directory}/cache")):
        text = text.replace(old, new)
    return text


def command(name, text, port, directory):
    """The proxy's command line, in the foreground; the caller's user must do."""
    file = directory / "proxy.conf"
    if name.startswith("nginx"):
        temporary = "".join(f"{kind}_temp_path {directory}/{kind};\n" for kind in
                            ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
        user = "user root;\n" if os.geteuid() == 0 else ""
        file.write_text(f"{user}daemon off;\nmaster_process off;\npid {directory}/pid;\nerror_log {directory}/error.log;\n"
                        f"events {{}}\nhttp {{\naccess_log off;\n{temporary}{text}}}\n")
        return ["nginx", "-p", str(directory), "-c", str(file)]
    if name == "varnish":
        file.write_text(text)
        return ["varnishd", "-F", "-n", str(directory / "varnish"), "-a", f"127.0.0.1:{port}", "-f", str(file),
                "-s", "malloc,64m", "-j", "none"]
    if name.startswith("haproxy"):
        file.write_text(text)
        return ["haproxy", "-db", "-f", str(file)]
    if os.geteuid() == 0:  # Squid refuses to run as root, and gives itself up to this user
        shutil.chown(directory, "proxy")
    file.write_text(f"{text}pid_filename {directory}/pid\ncache_log {directory}/cache.log\naccess_log none\n"
                    f"coredump_dir {directory}\nmemory_cache_shared off\nshutdown_lifetime 0 seconds\nvisible_hostname proxy\n")
    return ["squid", "-N", "-n", f"reel{port}", "-f", str(file)]  # shared memory by a name of its own


@contextlib.contextmanager
def running(name, behind, path="/files/nothing"):
    """The proxy NAME of the page; its port, once it answers 404 at PATH."""
    program = name.split("-")[0].replace("varnish", "varnishd")
    if not shutil.which(program, path=f"{os.environ.get('PATH', '')}:/usr/sbin"):
        pytest.skip(f"{program} is not installed: scripts/install-packages.sh http")
    directory, (port,) = pathlib.Path(tempfile.mkdtemp(prefix="reel-proxy-")), free_ports(1)
    arguments = command(name, configuration(behind, name, port, directory), port, directory)
    with open(directory / "output", "wb") as output:
        process = subprocess.Popen(arguments, stdout=output, stderr=output, cwd=directory, process_group=0,
                                   env={**os.environ, "PATH": f"{os.environ.get('PATH', '')}:/usr/sbin"})
    try:
        def answers():
            assert process.poll() is None, (directory / "output").read_text()
            return ask(port, path)[0].status == 404
        try:
            wait_for(answers, 30, f"{name} answers")
        except AssertionError as error:
            raise AssertionError((directory / "output").read_text()) from error
        yield port
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture(params=["nginx-cache", "nginx-slice", "varnish", "haproxy-field", "haproxy-proxy", "squid"], scope="module")
def proxy(request, behind):
    """(its name, its port, the server of ours behind it)"""
    with running(request.param, behind) as port:
        yield request.param, port, behind.proxy if request.param == "haproxy-proxy" else behind.plain


def ask(port, path, method="GET", **fields):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30, source_address=(CLIENT, 0))
    connection.request(method, path, headers={name.replace("_", "-"): value for name, value in fields.items()})
    answer = connection.getresponse()
    body = answer.read()
    connection.close()
    return answer, body


def store(suite, content=CONTENT, **more):
    file = new_id()
    suite.put(file, content, content_type="video/mp4", **more)
    return f"/files/{APP}/{USER}/{file}", file


def test_files_come_whole_and_in_ranges_twice_over(behind, proxy):
    name, port, _ = proxy
    path, _ = store(behind)
    for _ in range(2):  # the second time from the cache, where there is one
        for first, last in ((0, 1), (8_999_990, 8_999_999), (4_194_300, 4_194_310), (1_000_000, 7_999_999)):
            answer, body = ask(port, path, Range=f"bytes={first}-{last}")
            assert (answer.status, body) == (206, CONTENT[first:last + 1]), name
            assert answer.headers["Content-Range"] == f"bytes {first}-{last}/9000000"
        answer, body = ask(port, path, Range="bytes=-100")
        assert (answer.status, body) == (206, CONTENT[-100:])
        answer, body = ask(port, path)
        assert (answer.status, body) == (200, CONTENT)
        assert answer.headers["Accept-Ranges"] == "bytes"
    answer, _ = ask(port, path, "HEAD")
    assert answer.status == 200 and answer.headers["Content-Length"] == "9000000"


def test_an_empty_file_and_one_that_is_not_there(behind, proxy):
    _, port, _ = proxy
    path, _ = store(behind, b"")
    answer, body = ask(port, path)
    assert (answer.status, body) == (200, b"")
    answer, body = ask(port, path, Range="bytes=0-")
    assert (answer.status, body) in ((200, b""), (416, body))  # a cache of its own mind
    assert ask(port, path + "x")[0].status == 404


def test_conditions_hold(behind, proxy):
    name, port, _ = proxy
    path, _ = store(behind, CONTENT[:100_000])
    answer, _ = ask(port, path)
    tag = answer.headers["ETag"]
    assert tag.startswith('"')
    for _ in range(2):
        answer, body = ask(port, path, If_None_Match=tag)
        assert (answer.status, body) == (304, b"")
        answer, body = ask(port, path, Range="bytes=10-19", If_Range=tag)
        assert (answer.status, body) == (206, CONTENT[10:20])
        if name == "squid":
            continue  # a fault of Squid's, which the page names
        answer, body = ask(port, path, Range="bytes=10-19", If_Range='"other"')
        assert (answer.status, body) == (200, CONTENT[:100_000])


def test_a_cache_is_hit(behind, proxy):
    name, port, server = proxy
    if name.startswith("haproxy"):
        pytest.skip("HAProxy passes everything on here")
    path, _ = store(behind, CONTENT[:200_000])
    ask(port, path)

    def hit():
        answer, body = ask(port, path)
        assert body == CONTENT[:200_000]
        said = answer.headers.get("X-Cache", "").upper()
        return "HIT" in said
    wait_for(hit, 10, "a hit")


def test_a_delete_is_seen_in_time(behind, proxy):
    _, port, _ = proxy
    path, file = store(behind, CONTENT[:100_000])
    for _ in range(2):
        assert ask(port, path)[0].status == 200
    with behind.client() as client:
        assert client.call(wire.DELETE, wire.file_key(APP, USER, file)).ok
    wait_for(lambda: ask(port, path)[0].status == 404, 30, "404")


def test_the_log_has_the_clients_address(behind, proxy):
    _, port, server = proxy
    path, file = store(behind, b"content")
    assert ask(port, path, X_Forwarded_For="203.0.113.66")[0].status == 200  # what a client claims is not believed
    log = behind.dir / "log" / f"{server.label}.access"

    def peers():
        lines = [json.loads(line) for line in log.read_text().splitlines()]
        return {line["peer"] for line in lines if file in line["target"]}
    assert wait_for(peers, 15, "a line in the access log") == {CLIENT}


def test_the_page_may_lie_under_a_path(behind):
    """Whatever the page refers to is found below it, and the addresses of its programs begin where the page is."""
    path, file = store(behind)
    with running("nginx-path", behind, "/media/files/nothing") as port:
        at = lambda base, reference: urllib.parse.urljoin(base, reference)
        for page in ("/media/", "/media/admin"):
            answer, body = ask(port, page)
            assert answer.status == 200, page
            to_see = [at(page, found) for found in re.findall(r'(?:href|src)="([^"#]+)"', body.decode())]
            assert len(to_see) >= 3 and all(one.startswith("/media/web/") for one in to_see), to_see
        seen = {}
        while to_see:
            name = to_see.pop()
            answer, body = ask(port, name)
            assert answer.status == 200, name
            seen[name] = body.decode()
            to_see += [at(name, found) for found in re.findall(r'from "(\./[^"]+)"', seen[name]) if at(name, found) not in seen]
        assert {"/media/web/session.js", "/media/web/tus.js", "/media/web/player.js"} <= set(seen)
        for name, text in seen.items():  # what would leave the path
            assert not re.search(r"""(fetch|open|import|href:?)\s*[(=]?\s*["'`]/""", re.sub(r"/\*\*.*?\*/", "", text, flags=re.S)), name
        assert ask(port, "/media/api/v1/session")[0].status in (200, 401)
        assert ask(port, f"/media{path}", Range="bytes=5-9")[1] == CONTENT[5:10]


def exchange(port, head, source="127.0.0.1"):
    with socket.create_connection(("127.0.0.1", port), timeout=15, source_address=(source, 0)) as connection:
        connection.sendall(head + b"GET /files/nothing HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        answer = b""
        try:
            while data := connection.recv(65536):
                answer += data
        except ConnectionResetError:
            pass
        return answer


def test_a_proxy_header_is_needed_where_it_is_configured_and_taken_from_trusted_proxies_alone(behind):
    header = b"PROXY TCP4 203.0.113.5 127.0.0.1 5555 80\r\n"
    assert exchange(behind.proxy.port, header).startswith(b"HTTP/1.1 404")
    assert exchange(behind.proxy.port, b"") == b""
    assert exchange(behind.proxy.port, header, source=CLIENT) == b""
    assert exchange(behind.plain.port, header).startswith(b"HTTP/1.1 4")  # there it is no request
    log = behind.dir / "log" / "proxy.access"
    wait_for(lambda: '"peer":"203.0.113.5"' in log.read_text(), 15, "the client of the header")


def exchange_tls(port, header, source="127.0.0.1"):
    """The answer to a request under TLS after HEADER in the clear; b"" where there is none."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    try:
        with socket.create_connection(("127.0.0.1", port), 10, (source, 0)) as plain:
            for at in range(0, len(header), 7):
                plain.sendall(header[at:at + 7])
                time.sleep(0.01)
            with context.wrap_socket(plain, server_hostname="localhost") as secure:
                secure.sendall(b"GET /files/none HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
                return secure.recv(4096)
    except (ConnectionError, ssl.SSLError):
        return b""


def test_a_proxy_header_comes_before_tls(behind):
    header = b"PROXY TCP4 203.0.113.9 127.0.0.1 5555 443\r\n"
    binary = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c" + bytes((203, 0, 113, 10, 127, 0, 0, 1)) + struct.pack(">HH", 5555, 443)
    assert exchange_tls(behind.secure_port, header).startswith(b"HTTP/1.1 404")
    assert exchange_tls(behind.secure_port, binary).startswith(b"HTTP/1.1 404")
    log = behind.dir / "log" / "secure.access"
    for client in ("203.0.113.9", "203.0.113.10"):
        wait_for(lambda: f'"peer":"{client}"' in log.read_text(), 15, "the client of the header")
    assert exchange_tls(behind.secure_port, b"") == b""
    assert exchange_tls(behind.secure_port, header[:-2] + b" x\r\n") == b""
    assert exchange_tls(behind.secure_port, header, source=CLIENT) == b""
