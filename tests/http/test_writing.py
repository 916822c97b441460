"""Writing over HTTP: PUT, POST, forms, DELETE; who may; what is refused and how the connection goes on; what happens when one end
breaks."""
import base64
import hashlib
import http.client
import json
import os
import signal
import socket
import subprocess

import pytest

import wire
from identity import Keys
from suite import APP, USER, Suite, new_id, wait_for
from web import path

CONTENT = b"0123456789" * 1000


@pytest.fixture(scope="module")
def writing():
    """"httpd" lets those write who have a token; "open" everybody, and takes 100,000 bytes at most."""
    suite = Suite("sqlite")
    try:
        suite.add_tracker(), suite.add_idserver()
        suite.add_storage(upload_rate_min=0), suite.add_storage("storage2")
        suite.keys = Keys(suite.dir / "etc" / "keys").add("app", "issuer").add("old", "issuer", "2020-01-01 2021-01-01").write()
        options = {"write": "on", "access_log": suite.dir / "log" / "access.log", "access_log_format": "json"}
        daemon = suite.add_httpd(**options)
        daemon.configure({**daemon.config, "auth": {"keys": suite.keys.path}})
        suite.add_httpd("open", write="open", upload_size_max=100_000, cors_origins="*", request_body_max=1000,
                        receive_timeout="1s", head_timeout="2s")
        suite.launch()
        suite.wait_active(2)
        yield suite
    finally:
        suite.stop()


def token(suite, **more):
    return wire.token_text(suite.keys.token(**more))


def bearer(suite, **more):
    return {"Authorization": "Bearer " + token(suite, **more)}


class Answer:
    def __init__(self, answer):
        self.status, self.headers, self.body = answer.status, answer.headers, answer.read()


def ask(suite, method, target, body=None, label="httpd", headers=None, **more):
    """One request on a connection of its own."""
    connection = http.client.HTTPConnection("127.0.0.1", suite.daemons[label].port, timeout=60)
    try:
        connection.request(method, target, body, headers if headers is not None else bearer(suite), **more)
        return Answer(connection.getresponse())
    finally:
        connection.close()


def put(suite, file, content=CONTENT, target=None, **headers):
    return ask(suite, "PUT", target or path(file), content, headers={**bearer(suite), **{k.replace("_", "-"): v for k, v in headers.items()}})


def get(suite, target, label="httpd"):
    answer = ask(suite, "GET", target, label=label, headers={})
    return answer.body if answer.status == 200 else answer.status


class Raw:
    """A connection whose every byte is the test's."""

    def __init__(self, suite, label="httpd"):
        self.socket = socket.create_connection(("127.0.0.1", suite.daemons[label].port), timeout=30)
        self.file = self.socket.makefile("rb")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.file.close()
        self.socket.close()

    def send(self, *parts):
        self.socket.sendall(b"".join(p if isinstance(p, bytes) else p.encode() for p in parts))
        return self

    def head(self, suite, method, target, *fields):
        return self.send(f"{method} {target} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token(suite)}\r\n",
                         "".join(field + "\r\n" for field in fields), "\r\n")

    def answer(self):
        """(status, fields, body); status None at the end of the connection."""
        line = self.file.readline()
        if not line:
            return None, {}, b""
        fields = {}
        while (field := self.file.readline().strip()):
            name, _, value = field.decode().partition(":")
            fields[name.lower()] = value.strip()
        return int(line.split()[1]), fields, self.file.read(int(fields.get("content-length", 0)))

    def closed(self):
        return self.file.read(1) == b""


# ---- storing and deleting ----

def test_a_file_is_put_once_and_said_to_be_there_the_second_time(writing):
    file = new_id()
    answer = put(writing, file, Content_Type="video/mp4")
    assert answer.status == 201 and answer.headers["Location"] == path(file) == answer.body.decode().strip()
    stored = ask(writing, "GET", path(file), headers={})
    assert stored.body == CONTENT and stored.headers["ETag"] == answer.headers["ETag"]
    assert stored.headers["Content-Type"] == "video/mp4"
    again = put(writing, file)
    assert (again.status, again.headers["ETag"]) == (200, answer.headers["ETag"])
    assert put(writing, file, CONTENT[:-1] + b"x").status == 409
    assert put(writing, file, CONTENT[:-1]).status == 409
    assert put(writing, file, b"other", If_None_Match="*").status == 412
    assert get(writing, path(file)) == CONTENT


def test_a_deleted_file_is_gone_and_its_id_too(writing):
    file = new_id()
    assert ask(writing, "DELETE", path(file)).status == 404
    assert put(writing, file).status == 201
    etag = ask(writing, "HEAD", path(file), headers={}).headers["ETag"]
    for fields, status in (({"If-Match": '"no"'}, 412), ({"If-None-Match": etag}, 412), ({"If-Match": etag}, 204)):
        assert ask(writing, "DELETE", path(file), headers={**bearer(writing), **fields}).status == status
    assert ask(writing, "DELETE", path(file)).status == 410
    assert put(writing, file).status == 410
    wait_for(lambda: get(writing, path(file)) == 404, 20, "every loop to forget it")


@pytest.mark.parametrize("size", [0, 1, 3000, 5000, 70_000, 3_000_000])
def test_contents_of_every_size_arrive_as_they_were_sent(writing, size):
    file, content = new_id(), os.urandom(size)
    assert put(writing, file, content).status == 201
    assert get(writing, path(file)) == content
    digest = base64.b64encode(hashlib.sha256(content).digest()).decode()
    assert put(writing, new_id(), content, Repr_Digest=f"sha-256=:{digest}:").status == 201


def test_the_server_makes_an_id_for_a_post(writing):
    answer = ask(writing, "POST", f"/files/{APP}/{USER}?name=a%20b.txt", b"text")
    assert answer.status == 201
    stored = ask(writing, "GET", answer.headers["Location"] + "?download", headers={})
    assert stored.body == b"text" and 'filename="a b.txt"' in stored.headers["Content-Disposition"]
    other = ask(writing, "POST", f"/files/{APP}/{USER}/", b"text")
    assert other.status == 201 and other.headers["Location"] != answer.headers["Location"]


def test_name_and_type_come_from_the_request(writing):
    def stored(target=None, **headers):
        file = new_id()
        assert put(writing, file, b"\1\2\3", (target or "{}").format(path(file)), **headers).status == 201
        head = ask(writing, "HEAD", path(file) + "?download", headers={}).headers
        return head["Content-Type"], head["Content-Disposition"].split("filename=")[1]
    assert stored("{}/film.mkv") == ("video/x-matroska", '"film.mkv"')
    assert stored("{}/x?name=song.ogg")[1] == '"song.ogg"'
    assert stored(Content_Disposition='attachment; filename="C:\\\\dir\\\\b.txt"')[1] == '"b.txt"'
    assert stored(Content_Disposition="attachment; filename=\"x\"; filename*=UTF-8''f%C3%BCr.txt")[1] == "\"f_r.txt\"; filename*=UTF-8''f%C3%BCr.txt"
    assert stored("{}/a.bin", Content_Type="application/x-www-form-urlencoded")[0] == "application/octet-stream"
    assert stored(Content_Type="text/x-log; charset=utf-8")[0] == "text/x-log; charset=utf-8"
    assert put(writing, new_id(), b"", Content_Disposition='attachment; filename="a\x01b"').status == 400


# ---- digests ----

def test_what_does_not_have_the_stated_digest_is_not_stored(writing):
    before = len(writing.files())
    right = base64.b64encode(hashlib.sha256(CONTENT).digest()).decode()
    wrong = base64.b64encode(hashlib.sha256(b"x").digest()).decode()
    for content in (CONTENT, b"", os.urandom(200_000)):
        file = new_id()
        for fields in ({"Repr_Digest": f"sha-256=:{wrong}:"}, {"Content_Digest": f"sha-256=:{wrong}:"},
                       {"X_Reel_Digest": "xxh3-128=" + "0" * 32}):
            assert put(writing, file, content, **fields).status == 422, fields
        assert get(writing, path(file)) == 404
    for text in ("sha-256=x", "sha-256=:AAAA:", f"sha-256=:{right}:, sha-256=:{wrong}"):
        assert put(writing, new_id(), Repr_Digest=text).status == 400, text
    assert put(writing, new_id(), X_Reel_Digest="xxh3-128=12").status == 400
    assert put(writing, new_id(), Repr_Digest=f"sha-256=:{right}:", Content_Digest=f"sha-256=:{wrong}:").status == 400
    wait_for(lambda: len(writing.files()) == before, 20, "nothing left over")
    file = new_id()
    etag = put(writing, file, Repr_Digest=f"md5=:AAAA:, sha-256=:{right}:").headers["ETag"].strip('"')
    assert put(writing, file, X_Reel_Digest="xxh3-128=" + etag).status == 200


# ---- who may ----

def test_nobody_writes_without_a_token_that_covers_it(writing):
    file = new_id()

    def status(method="PUT", target=None, **headers):
        answer = ask(writing, method, target or path(file), b"x" if method != "DELETE" else None, headers=headers)
        return answer.status, answer.headers["WWW-Authenticate"]
    basic = 'Bearer realm="reelstore"'
    assert status() == (401, basic) and status("DELETE") == (401, basic) and status("POST", f"/files/{APP}/{USER}") == (401, basic)
    assert status(Authorization="Basic eDp5") == (401, basic)
    invalid = (401, basic + ', error="invalid_token"')
    for text in ("", "x", token(writing)[:-1], token(writing, issuer="old"), token(writing, seconds=-1)):
        assert status(Authorization="Bearer " + text) in (invalid, (401, basic)), text
    for more in ({"rights": "rdl"}, {"user": "bob"}, {"app": "other"}, {"prefix": "zz"}):
        assert status(**bearer(writing, **more)) == (403, basic + ', error="insufficient_scope"'), more
    assert status("DELETE", **bearer(writing, rights="rwl"))[0] == 403
    assert get(writing, path(file)) == 404
    assert status(**bearer(writing, rights="w", prefix=file[:8]))[0] == 201
    made = ask(writing, "POST", f"/files/{APP}/{USER}", b"x", headers=bearer(writing, prefix="mine-"))
    assert made.status == 201 and "/mine-" in made.headers["Location"]


def test_without_the_option_nothing_is_written(suite):
    for method in ("PUT", "POST", "DELETE"):
        answer = ask(suite, method, path("digits"), b"x", headers={})
        assert (answer.status, answer.headers["Allow"]) == (405, "GET, HEAD, OPTIONS")
    answer = ask(suite, "HEAD", "/tus/" + APP + "/" + USER, headers={"Tus-Resumable": "1.0.0"})
    assert answer.status == 404 and "Tus-Resumable" not in answer.headers


def test_an_open_server_takes_what_is_not_too_large_and_says_so_to_pages(writing):
    assert ask(writing, "PUT", path(new_id()), b"x" * 100_000, "open", {}).status == 201
    assert ask(writing, "PUT", path(new_id()), b"x" * 100_001, "open", {}).status == 413
    answer = ask(writing, "OPTIONS", path("x"), None, "open", {"Origin": "https://a", "Access-Control-Request-Method": "PUT"})
    assert answer.headers["Access-Control-Allow-Methods"] == "GET, HEAD, OPTIONS, PUT, DELETE"
    assert "Authorization" in answer.headers["Access-Control-Allow-Headers"]
    assert ask(writing, "OPTIONS", f"/files/{APP}/{USER}", None, "open", {}).headers["Allow"] == "OPTIONS, POST"
    for method, target in (("PUT", f"/files/{APP}/{USER}"), ("POST", path("x")), ("PUT", f"/hls/{APP}/{USER}/x/master.m3u8")):
        assert ask(writing, method, target, b"x", "open", {}).status == 405
    assert ask(writing, "PUT", "/elsewhere", b"x", "open", {}).status == 404


# ---- forms and clients ----

def form(*parts, boundary="XyZ", end="\r\n"):
    body = b"".join(f"--{boundary}\r\nContent-Disposition: form-data; {head}\r\n\r\n".encode() + content + b"\r\n"
                    for head, content in parts)
    return body + f"--{boundary}--{end}".encode(), {"Content-Type": f"multipart/form-data; boundary={boundary}"}


def post(suite, body_and_headers, **headers):
    body, fields = body_and_headers
    return ask(suite, "POST", f"/files/{APP}/{USER}", body, headers={**fields, **headers})


@pytest.mark.parametrize("size", [0, 16_384, 1_500_000])
@pytest.mark.parametrize("step", [1, 60_000])
def test_a_form_may_come_in_chunks(writing, size, step):
    """Contents that are full of what might begin a delimiter; pieces that end inside of one."""
    if step == 1 and size > 20_000:
        pytest.skip("would only take long")
    content = (b"\r\n--Xy\r\n--XyZ" + os.urandom(40) + b"\r\n--") * (size // 50 + 1)
    content = content[:size].replace(b"\r\n--XyZ", b"\r\n--Xy!")
    file = new_id()
    body, headers = form(('name="token"', token(writing).encode()), ('name="id"', file.encode()), ('name="f"; filename="a.bin"', content))
    for end in (body, body[:-2], body + b"an epilogue"):
        with Raw(writing) as client:
            client.send("POST ", f"/files/{APP}/{USER}", " HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n",
                        f"Content-Type: {headers['Content-Type']}\r\n\r\n", chunks(end, step), b"0\r\n\r\n")
            status = client.answer()[0]
            assert status == 201 if end is body else status in (200, 201)
            client.head(writing, "PUT", path(file), "Content-Length: 1").send(b"!")  # the connection goes on
            assert client.answer()[0] == 409
    assert get(writing, path(file)) == content


def test_a_form_in_chunks_that_is_none_is_refused(writing):
    text = token(writing).encode()
    part = ('name="f"; filename="a"', b"x" * 100_000)
    good, headers = form(('name="token"', text), part)
    files = len(writing.files())
    for body, status in ((good[:-9], 400), (good[:60_000], 400), (b"", 400), (form(('name="token"', text))[0], 400),
                         (form(('name="token"', text), part, ('name="g"', b"y"))[0], 400), (form(('name="token"', b"nonsense"), part)[0], 401),
                         (form(('name="token"', b"t" * 2000), part)[0], 400), (good.replace(b"form-data", b"other", 1), 400)):
        with Raw(writing) as client:
            client.send("POST ", f"/files/{APP}/{USER}", " HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n",
                        f"Content-Type: {headers['Content-Type']}\r\n\r\n", chunks(body, 30_000) if body else b"", b"0\r\n\r\n")
            assert client.answer()[0] == status, body[-60:]
    with Raw(writing) as client:
        client.send("POST ", f"/files/{APP}/{USER}", " HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n",
                    f"Content-Type: {headers['Content-Type']}\r\n\r\nzz\r\n")
        assert client.answer()[0] == 400 and client.closed()
    with Raw(writing, "open") as client:
        client.send("POST ", f"/files/{APP}/{USER}", " HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n",
                    f"Content-Type: {headers['Content-Type']}\r\n\r\n", chunks(form(('name="f"; filename="a"', b"x" * 100_001))[0], 30_000), b"0\r\n\r\n")
        assert client.answer()[0] == 413
    wait_for(lambda: len(writing.files()) == files, 20, "nothing left over")
    wait_for(lambda: not offsets(writing), 20, "no partial upload")


def test_a_form_of_a_page_carries_its_token(writing):
    content = os.urandom(50_000) + b"\r\n--Xy\r\n--XyZ" [:7] + b"\r\r\n"
    text = token(writing).encode()
    answer = post(writing, form(('name="token"', text), ('name="other"', b"x" * 3000), ('name="f"; filename="%22a%22.txt"', content)))
    assert answer.status == 201
    stored = ask(writing, "GET", answer.headers["Location"] + "?download", headers={})
    assert stored.body == content and '_a_.txt' in stored.headers["Content-Disposition"]
    file = new_id()
    part = ('name="f"; filename="b"', b"")
    assert post(writing, form(('name="token"', text), ('name="id"', file.encode()), part)).headers["Location"] == path(file)
    assert get(writing, path(file)) == b""
    for parts, status in (((part,), 401), ((('name="token"', b"no"), part), 401), ((('name="token"', text),), 400),
                          ((('name="token"', text), ('name="id"', b"a\x01"), part), 400),
                          ((('name="token"', text * 9), part), 400),
                          ((('name="token"', text), ('name="f"; filename="b"', b"x"), ('name="more"', b"y")), 400)):
        assert post(writing, form(*parts)).status == status, parts
    assert post(writing, form(('name="token"', text), ('name="f"; filename="b"', b"x"), end="")).status == 400
    assert post(writing, (form(('name="token"', text), part)[0][:-9], form()[1])).status == 400
    assert post(writing, (b"x", {"Content-Type": "multipart/form-data"})).status == 400


def curl(suite, *arguments, authorized=True):
    secret = ["-H", "Authorization: Bearer " + token(suite)] if authorized else []
    done = subprocess.run(["curl", "-sS", "-w", "\n%{http_code}", *secret, *map(str, arguments)], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    body, _, status = done.stdout.rpartition("\n")
    return int(status), body.strip()


def test_curl_and_wget_upload(writing, tmp_path):
    small, large = tmp_path / "small.txt", tmp_path / "large.bin"
    small.write_bytes(b"small")
    large.write_bytes(os.urandom(3_000_000))
    base = f"http://127.0.0.1:{writing.httpd.port}/files/{APP}/{USER}/"
    for file in (small, large):
        name = new_id() + file.name
        assert curl(writing, "-T", file, base + name)[0] == 201
        assert get(writing, path(name)) == file.read_bytes()
        status, location = curl(writing, "-F", f"file=@{file};type=text/x-one", base)
        assert status == 201 and get(writing, location) == file.read_bytes()
        status, location = curl(writing, "-F", "token=" + token(writing), "-F", f"file=@{file}", base, authorized=False)
        assert status == 201 and get(writing, location) == file.read_bytes()
        name = new_id()
        done = subprocess.run(["wget", "-q", "-O-", "--method=PUT", f"--body-file={file}", f"--header=Authorization: Bearer {token(writing)}",
                               base + name], capture_output=True, timeout=60)
        assert done.returncode == 0 and done.stdout.decode().strip() == path(name)
    assert curl(writing, "-T", small, base, authorized=False)[0] == 401
    assert curl(writing, "-X", "DELETE", base + name)[0] == 204


# ---- the connection behind a refusal ----

def test_100_continue_comes_when_a_storage_server_has_admitted_the_upload(writing):
    file, size = new_id(), 200_000
    content = os.urandom(size)
    with Raw(writing) as client:
        client.head(writing, "PUT", path(file), f"Content-Length: {size}", "Expect: 100-continue")
        assert client.answer()[0] == 100
        assert client.send(content).answer()[0] == 201
        # Of other bytes: what differs shows when they have come; of another size: at once.
        client.head(writing, "PUT", path(file), f"Content-Length: {size + 1}", "Expect: 100-continue")
        assert client.answer()[0] == 409 and client.closed()
    for target, fields, status in ((path(file), ("Content-Range: bytes 0-1/2",), 400), (path(file), ("If-Match: *",), 412),
                                   (path(file), ("Content-Encoding: gzip",), 415), ("/nowhere", (), 404)):
        with Raw(writing) as client:
            client.head(writing, "PUT", target, "Content-Length: 5", "Expect: 100-continue", *fields)
            assert client.answer()[0] == status and client.closed()


def test_a_connection_goes_on_behind_a_refusal_whose_body_is_short(writing):
    with Raw(writing) as client:
        client.send("PUT ", path(new_id()), " HTTP/1.1\r\nHost: x\r\nContent-Length: 60000\r\n\r\n", b"G" * 60000)
        assert client.answer()[0] == 401
        client.head(writing, "PUT", path(new_id()), "Content-Length: 3", "Content-Encoding: br").send(b"GET")
        assert client.answer()[0] == 415
        client.head(writing, "PUT", path(new_id()), "Transfer-Encoding: chunked", "Content-Encoding: br").send("3\r\nabc\r\n0\r\n\r\n")
        assert client.answer()[0] == 415
        client.head(writing, "PUT", path(new_id()))
        assert client.answer()[0] == 411
        file = new_id()
        client.head(writing, "PUT", path(file), "Content-Length: 3").send(b"abc")
        assert client.answer()[0] == 201
        client.head(writing, "PUT", path(file), "Content-Length: 3").send(b"abd")
        assert client.answer()[0] == 409
        client.head(writing, "GET", path(file))
        assert client.answer()[2] == b"abc"
    with Raw(writing) as client:  # too much to be read for nothing
        client.send("PUT ", path(new_id()), " HTTP/1.1\r\nHost: x\r\nContent-Length: 100000000\r\n\r\n", b"x" * 100)
        assert client.answer()[0] == 401 and client.closed()


def test_requests_behind_an_upload_are_answered_in_their_order(writing):
    files = [new_id() for _ in range(3)]
    contents = [os.urandom(size) for size in (10, 100_000, 0)]
    with Raw(writing) as client:
        for file, content in zip(files, contents):
            client.head(writing, "PUT", path(file), f"Content-Length: {len(content)}").send(content)
            client.send("GET ", path(file), " HTTP/1.1\r\nHost: x\r\n\r\n")
        for content in contents:
            assert client.answer()[0] == 201
            assert client.answer()[2] == content


def test_framing_that_could_be_read_in_two_ways_is_refused(writing):
    for fields in ("Content-Length: 3\r\nTransfer-Encoding: chunked\r\n", "Content-Length: 3\r\nContent-Length: 3\r\n",
                   "Content-Length: +3\r\n", "Content-Length: 3, 3\r\n"):
        with Raw(writing) as client:
            client.send("PUT ", path(new_id()), " HTTP/1.1\r\nHost: x\r\n", fields, "\r\nabcGET / HTTP/1.1\r\nHost: x\r\n\r\n")
            assert client.answer()[0] == 400 and client.closed(), fields
    with Raw(writing) as client:  # longer than announced: the rest is the next request, and none
        client.head(writing, "PUT", path(new_id()), "Content-Length: 3").send(b"abcdef\r\n\r\n")
        assert client.answer()[0] == 201
        assert client.answer()[0] == 400 and client.closed()


# ---- chunks ----

def offsets(suite):
    """Of the partial uploads that are under way."""
    return [int(row[0]) for row in suite.sql("storagedb", "SELECT synced FROM t_partial WHERE state <> 2;")]


def chunks(content, *sizes):
    """CONTENT in chunks of SIZES, again and again."""
    parts, at, i = [], 0, 0
    while at < len(content):
        piece = content[at:at + sizes[i % len(sizes)]]
        parts.append(b"%x\r\n" % len(piece) + piece + b"\r\n")
        at, i = at + len(piece), i + 1
    return b"".join(parts)


def sha256(content):
    return "Repr-Digest: sha-256=:" + base64.b64encode(hashlib.sha256(content).digest()).decode() + ":"


@pytest.mark.parametrize("size,sizes", [(0, (1,)), (1, (1,)), (3000, (1, 2, 3)), (16 * 1024, (16 * 1024,)), (16 * 1024 + 1, (7, 5000)),
                                        (1_100_000, (65_536, 1)), (2_500_000, (16_384,))])
def test_chunks_become_the_content_and_the_connection_goes_on(writing, size, sizes):
    content, file, other = os.urandom(size), new_id(), new_id()
    with Raw(writing) as client:
        client.head(writing, "PUT", path(file), "Transfer-Encoding: chunked", sha256(content), "Expect: 100-continue")
        assert client.answer()[0] == 100
        client.send(chunks(content, *sizes), b"0\r\nX-Trailer: ignored\r\n\r\n")
        client.head(writing, "PUT", path(other), "Transfer-Encoding: chunked").send(chunks(content, *sizes), b"0\r\n\r\n")
        client.head(writing, "GET", path(file))
        status, fields, _ = client.answer()
        assert (status, fields["location"]) == (201, path(file))
        second = client.answer()
        assert (second[0], second[1]["etag"]) == (201, fields["etag"])
        status, again, body = client.answer()
        assert (status, again["etag"], body) == (200, fields["etag"], content)
    assert get(writing, path(other)) == content
    # Said again: the same bytes are fine, others are not.
    for more, status in ((content, (200, 201)), (content + b"x", (409,))):
        with Raw(writing) as client:
            client.head(writing, "PUT", path(file), "Transfer-Encoding: chunked").send(chunks(more, 50_000), b"0\r\n\r\n")
            assert client.answer()[0] in status


def test_chunks_that_are_not_what_was_said_leave_nothing(writing):
    wait_for(lambda: not offsets(writing), 20, "no partial upload")
    before, content = len(writing.files()), os.urandom(1_500_000)
    for body in (content, content[:100]):
        file = new_id()
        for field in (sha256(b"x"), "X-Reel-Digest: xxh3-128=" + "0" * 32):
            with Raw(writing) as client:
                client.head(writing, "PUT", path(file), "Transfer-Encoding: chunked", field).send(chunks(body, 70_000), b"0\r\n\r\n")
                assert client.answer()[0] == 422
                client.head(writing, "GET", path(file))
                assert client.answer()[0] == 404
        with Raw(writing) as client:
            client.head(writing, "PUT", path(file), "Transfer-Encoding: chunked").send(chunks(body, 70_000), b"zz\r\n")
            assert client.answer()[0] == 400 and client.closed()
        with Raw(writing) as client:
            client.head(writing, "PUT", path(file), "Transfer-Encoding: chunked").send(chunks(body, 70_000))
        assert get(writing, path(file)) == 404
    with Raw(writing, "open") as client:
        client.send("PUT ", path(new_id()), " HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n", chunks(content[:100_001], 50_000))
        assert client.answer()[0] == 413 and client.closed()
    with Raw(writing) as client:
        client.send("POST ", f"/files/{APP}/{USER}", " HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n"
                    "Content-Type: multipart/form-data; boundary=x\r\n\r\n0\r\n\r\n")
        assert client.answer()[0] == 400  # a form that ends before it begins
    wait_for(lambda: writing.httpd.metric("reel_httpd_uploads") == 0, 20, "no upload")
    wait_for(lambda: len(writing.files()) == before, 20, "nothing left over")
    wait_for(lambda: not offsets(writing), 20, "no partial upload")


def test_curl_uploads_what_comes_out_of_a_pipe(writing):
    content = os.urandom(3_000_000)
    for target in (path(new_id()), f"/files/{APP}/{USER}"):
        done = subprocess.run(["curl", "-sS", "-w", "\n%{http_code}", "-H", "Authorization: Bearer " + token(writing), "-X",
                               "PUT" if target.count("/") > 3 else "POST", "-T", "-", f"http://127.0.0.1:{writing.httpd.port}{target}"],
                              input=content, capture_output=True, timeout=60)
        location, status = done.stdout.decode().split()
        assert status == "201" and get(writing, location) == content


def test_chunks_that_come_slowly_count_and_those_that_do_not_come_end(writing):
    with Raw(writing, "open") as client:
        client.send("PUT ", path(new_id()), " HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab")
        status, fields, _ = client.answer()
        assert (status, fields["connection"]) == (408, "close")


def test_what_comes_with_the_head_is_counted(writing):
    body = chunks(os.urandom(1000), 400) + b"0\r\n\r\n"
    with Raw(writing) as client:
        for framing, content in (("Transfer-Encoding: chunked", body), (f"Content-Length: {len(body)}", body)):
            before = [writing.httpd.metric(name) for name in ("reel_httpd_received_bytes_total", 'reel_httpd_upload_bytes_total{way="copied"}')]
            client.send("PUT ", path(new_id()), " HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer ", token(writing), "\r\n", framing, "\r\n\r\n",
                        content)
            assert client.answer()[0] == 201
            after = [writing.httpd.metric(name) for name in ("reel_httpd_received_bytes_total", 'reel_httpd_upload_bytes_total{way="copied"}')]
            assert [now - then for now, then in zip(after, before)] == [len(body)] * 2


def test_a_storage_server_that_dies_does_not_cost_what_comes_in_chunks(writing):
    """A piece that was not acknowledged is sent again, to another server of the group. Whichever of both has it is killed with it."""
    file, content = new_id(), os.urandom(4_000_000)
    before = writing.httpd.metric("reel_httpd_received_bytes_total")
    with Raw(writing) as client:
        client.head(writing, "PUT", path(file), "Transfer-Encoding: chunked").send(chunks(content[:2_500_000], 50_000))
        wait_for(lambda: max(offsets(writing), default=0) == 2 << 20, 20, "two pieces")
        # Nothing is read while a piece is on its way: both have been acknowledged, and not only stored.
        wait_for(lambda: writing.httpd.metric("reel_httpd_received_bytes_total") - before >= 2_500_000, 20, "what follows them")
        for label in ("storage", "storage2"):
            writing.daemons[label].process.send_signal(signal.SIGSTOP)
        client.send(chunks(content[2_500_000:3_200_000], 50_000))
        wait_for(lambda: writing.httpd.metric("reel_httpd_received_bytes_total") - before >= 3 << 20, 20, "the third piece")
        for label in ("storage", "storage2"):
            writing.daemons[label].kill()
            writing.daemons[label].start()
        writing.wait_active(2)
        status, fields, _ = client.send(chunks(content[3_200_000:], 50_000), b"0\r\n\r\n").answer()
        assert status == 201
    assert get(writing, path(file)) == content


# ---- clients of every kind ----

@pytest.mark.parametrize("version", ["1.0", "1.1"])
def test_a_client_that_closes_its_side_behind_the_content_gets_its_answer(writing, version):
    for content in (b"abc", os.urandom(300_000)):
        file = new_id()
        with Raw(writing) as client:
            client.send(f"PUT {path(file)} HTTP/{version}\r\nHost: x\r\nAuthorization: Bearer {token(writing)}\r\nContent-Length: {len(content)}\r\n\r\n", content)
            client.socket.shutdown(socket.SHUT_WR)
            assert client.answer()[0] == 201 and client.closed()
        assert get(writing, path(file)) == content
        if version == "1.1":
            with Raw(writing) as client:
                client.head(writing, "PUT", path(new_id()), "Transfer-Encoding: chunked").send(chunks(content, 9999), b"0\r\n\r\n")
                client.socket.shutdown(socket.SHUT_WR)
                assert client.answer()[0] == 201 and client.closed()
    if version == "1.0":
        with Raw(writing) as client:
            client.send("PUT ", path(new_id()), " HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n")
            assert client.answer()[0] == 400 and client.closed()


def test_many_uploads_that_stand_still_cost_little_memory(writing):
    """Each holds a piece of 16 KiB at most until its first APPEND, and nothing else goes slower."""
    count, sent = 200, chunks(os.urandom(10_000), 5_000)
    daemon = writing.add_httpd("still", write="open")
    daemon.start()

    def resident():
        return int(next(line for line in open(f"/proc/{daemon.process.pid}/status") if line.startswith("VmRSS")).split()[1])
    before, clients = resident(), []
    try:
        for i in range(count):
            client = Raw(writing, "still")
            clients.append(client)
            framing = "Transfer-Encoding: chunked" if i % 2 else "Content-Length: 50000"
            client.send("PUT ", path(new_id()), f" HTTP/1.1\r\nHost: x\r\n{framing}\r\n\r\n", sent)
        wait_for(lambda: daemon.metric("reel_httpd_uploads") == count, 20, "all of them")
        assert resident() - before < 64 * count + 20_000, "KiB"
        file = new_id()
        assert ask(writing, "PUT", path(file), b"x", "still", {}).status == 201
    finally:
        for client in clients:
            client.socket.close()
            client.file.close()
    wait_for(lambda: daemon.metric("reel_httpd_uploads") == 0, 20, "none")


# ---- one end breaks ----

def test_of_an_upload_whose_client_goes_nothing_is_left(writing):
    before, file = len(writing.files()), new_id()
    for sent in (0, 10, 150_000):
        with Raw(writing) as client:
            client.head(writing, "PUT", path(file), "Content-Length: 300000").send(b"x" * sent)
            wait_for(lambda: writing.httpd.metric("reel_httpd_uploads") == 1, 20, "an upload")
        wait_for(lambda: writing.httpd.metric("reel_httpd_uploads") == 0, 20, "no upload")
    wait_for(lambda: len(writing.files()) == before, 20, "nothing left over")
    for label in ("storage", "storage2"):
        wait_for(lambda: json.loads(writing.daemons[label].http("/status")[1])["uploads"] == 0, 20, "no place taken")
    assert get(writing, path(file)) == 404
    assert put(writing, file).status == 201
    wait_for(lambda: '"status":499' in (writing.dir / "log" / "access.log").read_text(), 20, "its line in the log")


def test_who_sends_nothing_gets_an_answer_that_says_so(writing):
    with Raw(writing, "open") as client:
        client.send("PUT ", path(new_id()), " HTTP/1.1\r\nHost: x\r\nContent-Length: 50000\r\n\r\n", b"x" * 100)
        status, fields, _ = client.answer()
        assert (status, fields["connection"]) == (408, "close")


def test_a_reload_and_a_stop_let_uploads_end(writing):
    file, content = new_id(), os.urandom(400_000)
    daemon = writing.add_httpd("ending", write="open")
    daemon.start()
    with Raw(writing, "ending") as client:
        client.send("PUT ", path(file), f" HTTP/1.1\r\nHost: x\r\nContent-Length: {len(content)}\r\n\r\n", content[:1000])
        wait_for(lambda: daemon.metric("reel_httpd_uploads") == 1, 20, "an upload")
        daemon.configure({**daemon.config, "httpd": {**daemon.config["httpd"], "write": "off"}})
        daemon.hup()
        wait_for(lambda: "configuration reloaded" in daemon.log(), 20, "the reload")
        assert ask(writing, "PUT", path(new_id()), b"x", "ending", {}).status == 405
        daemon.process.terminate()
        wait_for(lambda: "finishing requests" in daemon.log(), 20, "the stop")
        status, fields, _ = client.send(content[1000:]).answer()
        assert (status, fields["connection"]) == (201, "close") and client.closed()
    daemon.process.wait(30)
    assert get(writing, path(file)) == content


def test_a_storage_server_that_dies_costs_the_upload_and_nothing_else(writing):
    file, content = new_id(), os.urandom(5_000_000)
    label = None
    with Raw(writing) as client:
        client.head(writing, "PUT", path(file), f"Content-Length: {len(content)}").send(content[:2_000_000])

        def taker():
            for name in ("storage", "storage2"):
                if json.loads(writing.daemons[name].http("/status")[1])["uploads"] == 1:
                    return name
        wait_for(taker, 20, "who takes it")
        label = taker()
        writing.daemons[label].kill()
        try:
            client.send(content[2_000_000:])
        except OSError:
            pass
        status, fields, _ = client.answer()
        assert status == 503 and int(fields["retry-after"]) > 0
    try:
        assert get(writing, path(file)) == 404
        assert put(writing, file, content).status == 201  # the other one takes it, asked first or second
        # Another loop may remember for lookup_negative_age that it was not there.
        wait_for(lambda: get(writing, path(file)) == content, 20, "the file")
    finally:
        writing.daemons[label].start()
        writing.wait_active(2)
