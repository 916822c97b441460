"""tus 1.0.0 at /tus/: the protocol as its specification words it, over two HTTP servers that know nothing of each other; offsets that were
answered outlive whoever is killed."""
import base64
import hashlib
import http.client
import os
import random
import socket

import pytest

import wire
from identity import SecureSuite
from suite import APP, USER, wait_for
from test_writing import chunks

TUS = {"Tus-Resumable": "1.0.0"}
BASE = f"/tus/{APP}/{USER}"
OCTETS = "application/offset+octet-stream"


@pytest.fixture(scope="module")
def tus():
    """All parts want sessions. "httpd" and "second" let those write who have a token; "open" takes 100,000 bytes at most, for one origin."""
    suite = SecureSuite()
    suite.keys.add("web-1", "gateway", "rights=rwd").write()
    try:
        suite.add_tracker(), suite.add_idserver()
        suite.add_storage(upload_rate_min=0), suite.add_storage("storage2")
        for label in ("httpd", "second"):
            suite.add_httpd(label, write="on")
        suite.add_httpd("open", write="open", upload_size_max=100_000, cors_origins="https://page.example", receive_timeout="1s")
        suite.add_httpd("draft", write="on", upload_draft="on", upload_size_max=2_000_000)
        suite.launch()
        suite.wait_active(2)
        yield suite
    finally:
        suite.stop()


class Answer:
    def __init__(self, answer):
        self.status, self.headers, self.body = answer.status, answer.headers, answer.read()
        self.offset = int(self.headers["Upload-Offset"]) if "Upload-Offset" in self.headers else None


def ask(suite, method, target, body=None, label="httpd", tus=True, token=True, more={}, **headers):
    fields = {**(TUS if tus else {}), **{k.replace("_", "-"): str(v) for k, v in headers.items()}}
    if token:
        fields["Authorization"] = "Bearer " + wire.token_text(suite.keys.token(**more))
    connection = http.client.HTTPConnection("127.0.0.1", suite.daemons[label].port, timeout=60)
    try:
        connection.request(method, target, body, fields)
        answer = Answer(connection.getresponse())
    finally:
        connection.close()
    assert answer.headers["Tus-Resumable"] == "1.0.0"
    return answer


def create(suite, length=None, **headers):
    if length is not None:
        headers["Upload_Length"] = length
    answer = ask(suite, "POST", BASE, **headers)
    assert answer.status == 201, answer.body
    return answer.headers["Location"]


def patch(suite, address, offset, body, **headers):
    return ask(suite, "PATCH", address, body, **{"Content_Type": OCTETS, "Upload_Offset": offset, **headers})


def head(suite, address, **more):
    return ask(suite, "HEAD", address, **more)


def offset(suite, address, **more):
    answer = head(suite, address, **more)
    assert answer.status == 200
    return answer.offset


def file_of(address):
    return "/files/" + "/".join(address.split("/")[2:5])


def stored(suite, address):
    connection = http.client.HTTPConnection("127.0.0.1", suite.httpd.port, timeout=60)
    try:
        connection.request("GET", file_of(address))
        answer = connection.getresponse()
        body = answer.read()
        return body if answer.status == 200 else answer.status
    finally:
        connection.close()


def checksum(algorithm, content):
    return algorithm + " " + base64.b64encode(hashlib.new(algorithm, content).digest()).decode()


def b64(text):
    return base64.b64encode(text.encode()).decode()


# ---- core ----

def test_options_say_what_there_is(tus):
    answer = ask(tus, "OPTIONS", "/tus/", label="open", tus=False, token=False, Origin="https://page.example", Access_Control_Request_Method="POST")
    assert answer.status == 204 and answer.headers["Tus-Version"] == "1.0.0" and answer.headers["Tus-Max-Size"] == "100000"
    assert set(answer.headers["Tus-Extension"].split(",")) == {"creation", "creation-with-upload", "creation-defer-length", "checksum",
                                                               "concatenation", "expiration", "termination"}
    assert answer.headers["Tus-Checksum-Algorithm"] == "sha1,sha256"
    answer = ask(tus, "OPTIONS", BASE + "/x/" + "u" + "0" * 32, label="open", tus=False, token=False, Origin="https://page.example",
                 Access_Control_Request_Method="PATCH")
    assert answer.headers["Access-Control-Allow-Origin"] == "https://page.example"
    for name in ("PATCH", "HEAD", "DELETE"):
        assert name in answer.headers["Access-Control-Allow-Methods"]
    allowed = answer.headers["Access-Control-Allow-Headers"].lower()
    for name in ("Authorization", "Content-Type", "Tus-Resumable", "Upload-Checksum", "Upload-Concat", "Upload-Defer-Length", "Upload-Length",
                 "Upload-Metadata", "Upload-Offset", "X-HTTP-Method-Override", "X-Requested-With"):
        assert name.lower() in allowed
    answer = ask(tus, "POST", BASE, label="open", token=False, Origin="https://page.example", Upload_Length=3)
    exposed = answer.headers["Access-Control-Expose-Headers"]
    assert answer.status == 201
    for name in ("Location", "Upload-Offset", "Upload-Length", "Upload-Expires", "Upload-Metadata", "Tus-Resumable", "Tus-Version"):
        assert name in exposed


def test_an_upload_in_pieces_goes_on_at_any_server(tus):
    content = os.urandom(300_000)
    address = create(tus, len(content), Upload_Metadata=f"filename {b64('my film.mp4')},filetype {b64('video/mp4')},is_confidential")
    answer = head(tus, address)
    assert (answer.status, answer.offset, answer.headers["Upload-Length"]) == (200, 0, "300000")
    assert answer.headers["Cache-Control"] == "no-store" and answer.headers["Upload-Expires"].endswith("GMT")
    assert answer.headers["Upload-Metadata"] == f"filename {b64('my film.mp4')},filetype {b64('video/mp4')},is_confidential"
    at = 0
    for i, size in enumerate((1, 99_999, 0, 100_000, 100_000)):
        label = ("httpd", "second")[i % 2]
        answer = patch(tus, address, at, content[at:at + size], label=label)
        at += size
        assert (answer.status, answer.offset) == (204, at)
        assert offset(tus, address, label=("second", "httpd")[i % 2]) == at
        assert ("X-Reel-File" in answer.headers) == (at == len(content)) == ("Upload-Expires" not in answer.headers)
        assert at == len(content) or stored(tus, address) == 404
    wait_for(lambda: stored(tus, address) == content, 20, "the file; an event loop may remember for a moment that it was not there")
    assert answer.headers["X-Reel-File"] == file_of(address)
    # Complete: it says so for ever, and takes nothing more.
    assert offset(tus, address) == 300_000
    assert patch(tus, address, 300_000, b"").status == 204
    assert patch(tus, address, 300_000, b"x").status == 413
    answer = ask(tus, "GET", address, tus=False, token=False)
    assert (answer.status, answer.headers["Location"], answer.body) == (303, file_of(address), b"")
    # Terminated: what it has become is deleted, by whoever may delete.
    assert ask(tus, "DELETE", address, more={"rights": "rw"}).status == 403
    assert ask(tus, "DELETE", address).status == 204
    wait_for(lambda: stored(tus, address) == 404, 20, "the file's end; an event loop may remember it for a moment")
    assert ask(tus, "DELETE", address).status == 410


def test_a_complete_upload_whose_file_is_gone_is_not_said_to_be_stored(tus):
    """By both protocols; the other storage server may remember the file's row for some seconds."""
    address = create(tus, 3)
    assert patch(tus, address, 0, b"abc").status == 204
    file = address.split("/")[4]
    asked = {"tus": lambda: head(tus, address).status, "an empty PATCH": lambda: patch(tus, address, 3, b"").status,
             "the draft": lambda: draft(tus, "HEAD", address).status}

    def answers(status, draft_status):
        for name, ask_once in asked.items():
            expected = {"tus": status, "the draft": draft_status}.get(name, 204 if status == 200 else status)
            wait_for(lambda: ask_once() == expected, 20, f"{expected} by {name}")

    def storage(command):
        with tus.connect("storage", "web-1", [tus.keys.token()]) as client:
            reply = client.call(command, wire.file_key(APP, USER, file))
        assert reply.ok, reply
    answers(200, 204)
    storage(wire.DELETE)
    answers(410, 410)
    storage(wire.RESTORE)
    answers(200, 204)
    storage(wire.DELETE)
    tus.sql("storagedb", "".join(f"DELETE FROM t_file_{i:02} WHERE id = '{file}';" for i in range(1, 4)))
    answers(404, 404)
    with tus.connect("storage", "web-1", [tus.keys.token()]) as client:
        reply = client.put(APP, USER, file, b"another")
        assert reply.ok, reply
    answers(404, 404)


def test_wrong_requests_learn_what_is_wrong(tus):
    address = create(tus, 10)
    assert patch(tus, address, 0, b"01234").offset == 5
    for at in (0, 4, 6, 10):
        assert patch(tus, address, at, b"x").status == 409
    assert patch(tus, address, 5, b"567890").status == 413
    assert patch(tus, address, 5, b"x", Content_Type="text/plain").status == 415
    assert ask(tus, "PATCH", address, b"x", Content_Type=OCTETS).status == 400
    for wrong in ("-1", "x", "", "1 2", "99999999999999999999"):
        assert patch(tus, address, wrong, b"x").status == 400, wrong
    assert patch(tus, address, 5, b"x", Upload_Length=11).status == 409
    for version in ("0.2.2", "1.0"):
        answer = patch(tus, address, 5, b"x", Tus_Resumable=version)
        assert answer.status == 412 and answer.headers["Tus-Version"] == "1.0.0"
    assert ask(tus, "HEAD", address, tus=False).status == 412
    assert patch(tus, address, 5, b"x", token=False).status == 401
    assert patch(tus, address, 5, b"x", more={"user": "bob"}).status == 403
    assert ask(tus, "GET", BASE).status == 405 and ask(tus, "GET", address[:-1]).status == 404 and ask(tus, "PUT", address, b"x").status == 405
    for wrong in (address[:-1], address[:-1] + "g", address.rsplit("/", 1)[0] + "/u" + "0" * 32, address.replace("/u", "/q")):
        assert ask(tus, "HEAD", wrong).status == 404, wrong
    assert offset(tus, address) == 5
    for headers in ({}, {"Upload_Length": "x"}, {"Upload_Length": -1}, {"Upload_Length": 1, "Upload_Defer_Length": 1}, {"Upload_Defer_Length": 2},
                    {"Upload_Length": 1, "Upload_Metadata": "a !"}, {"Upload_Length": 1, "Upload_Metadata": "a,a"}):
        assert ask(tus, "POST", BASE, **headers).status == 400, headers
    assert ask(tus, "POST", BASE, token=False, Upload_Length=1).status == 401
    assert ask(tus, "POST", BASE, label="open", token=False, Upload_Length=100_001).status == 413
    assert ask(tus, "POST", BASE, b"x", Upload_Length=1).status == 415


def test_a_method_may_be_said_in_a_field(tus):
    address = create(tus, 3)
    answer = ask(tus, "POST", address, b"abc", Content_Type=OCTETS, Upload_Offset=0, X_HTTP_Method_Override="PATCH")
    assert (answer.status, answer.offset) == (204, 3) and stored(tus, address) == b"abc"
    other = create(tus, 3)
    assert ask(tus, "POST", other, X_HTTP_Method_Override="DELETE").status == 204 and head(tus, other).status == 404


# ---- extensions ----

def test_creation_takes_content_at_once(tus):
    for content, length in ((b"", 0), (b"abc", 3), (b"abc", 5), (os.urandom(200_000), 200_000)):
        answer = ask(tus, "POST", BASE, content or None, Upload_Length=length, **({"Content_Type": OCTETS} if content else {}))
        address = answer.headers["Location"]
        assert (answer.status, answer.offset) == (201, len(content))
        assert stored(tus, address) == (content if len(content) == length else 404)
        assert offset(tus, address) == len(content)
    assert ask(tus, "POST", BASE, b"abcd", Upload_Length=3, Content_Type=OCTETS).status == 413


def test_the_length_may_be_said_later(tus):
    address = create(tus, Upload_Defer_Length=1)
    answer = head(tus, address)
    assert answer.headers["Upload-Defer-Length"] == "1" and "Upload-Length" not in answer.headers
    assert patch(tus, address, 0, b"abc").offset == 3
    assert patch(tus, address, 3, b"def", Upload_Length=2).status == 409
    assert patch(tus, address, 3, b"def", Upload_Length=5).status == 413
    assert patch(tus, address, 3, b"de", Upload_Length=6).offset == 5
    answer = head(tus, address)
    assert answer.headers["Upload-Length"] == "6" and "Upload-Defer-Length" not in answer.headers
    assert patch(tus, address, 5, b"f").status == 204 and stored(tus, address) == b"abcdef"


def test_a_content_with_another_checksum_does_not_count(tus):
    content = os.urandom(150_000)
    address, at = create(tus, 2 * len(content)), 0
    for algorithm in ("sha1", "sha256"):
        assert patch(tus, address, at, content, Upload_Checksum=checksum(algorithm, b"x")).status == 460
        assert offset(tus, address) == at
        assert patch(tus, address, at, content, Upload_Checksum=checksum(algorithm, content)).status == 204
        at += len(content)
    assert stored(tus, address) == 2 * content
    other = create(tus, 3)
    for wrong in (checksum("md5", b"abc"), "sha1", "sha1 x", "sha1 " + b64("abc")):
        assert patch(tus, other, 0, b"abc", Upload_Checksum=wrong).status == 400, wrong
    answer = ask(tus, "POST", BASE, b"abc", Upload_Length=3, Content_Type=OCTETS, Upload_Checksum=checksum("sha1", b"x"))
    assert answer.status == 460


def test_an_upload_that_is_terminated_is_gone(tus):
    address = create(tus, 10)
    assert patch(tus, address, 0, b"abc").offset == 3
    file = address.split("/")[4]
    left = lambda: tus.sql("storagedb", f"SELECT file_path FROM t_partial WHERE id = '{file}';")
    [[name]] = left()
    assert any(str(found).endswith(name.lstrip("./")) for found in tus.files()), (name, tus.files())
    assert ask(tus, "DELETE", address, label="second").status == 204
    assert head(tus, address).status == 404 and patch(tus, address, 3, b"x").status == 404 and ask(tus, "DELETE", address).status == 404
    wait_for(lambda: not left() and not any(str(found).endswith(name.lstrip("./")) for found in tus.files()), 20, "its bytes are removed")


def test_parts_become_one_upload(tus):
    pieces = [os.urandom(size) for size in (100_000, 1, 50_000)]
    parts = [create(tus, len(piece), Upload_Concat="partial") for piece in pieces]
    final = f"final;{parts[0]} http://x.example:8080{parts[1]} {parts[2]}"
    assert patch(tus, parts[0], 0, pieces[0]).status == 204
    assert ask(tus, "POST", BASE, Upload_Concat=final).status == 409  # two of them are not complete
    for part, piece in list(zip(parts, pieces))[1:]:
        assert patch(tus, part, 0, piece, label="second").status == 204
        answer = head(tus, part)
        assert answer.headers["Upload-Concat"] == "partial" and answer.offset == len(piece) and stored(tus, part) == 404
    answer = ask(tus, "POST", BASE, Upload_Concat=final, Upload_Metadata=f"filename {b64('a.bin')}")
    assert answer.status == 201
    address = answer.headers["Location"]
    assert stored(tus, address) == b"".join(pieces)
    answer = head(tus, address)
    assert (answer.offset, answer.headers["Upload-Length"], answer.headers["Upload-Concat"]) == (150_001, "150001", final)
    assert answer.headers["Upload-Metadata"] == f"filename {b64('a.bin')}"
    assert patch(tus, address, 150_001, b"").status == 403
    for headers, status in (({"Upload_Concat": final}, 404), ({"Upload_Concat": "final;" + address}, 400), ({"Upload_Concat": "final;"}, 400),
                            ({"Upload_Concat": "both"}, 400), ({"Upload_Concat": final, "Upload_Length": 3}, 400),
                            ({"Upload_Concat": final.replace(USER, "bob")}, 403)):
        assert ask(tus, "POST", BASE, **headers).status == status, headers


def test_a_part_named_twice_is_refused_with_the_reason_and_stays(tus):
    part = create(tus, 3, Upload_Concat="partial")
    assert patch(tus, part, 0, b"abc").status == 204
    answer = ask(tus, "POST", BASE, Upload_Concat=f"final;{part} {part}")
    assert answer.status == 400 and b"named twice" in answer.body
    assert head(tus, part).offset == 3


# ---- content as it comes ----

class Slow:
    """A PATCH whose content the test sends piece by piece."""

    def __init__(self, suite, address, offset, *fields, label="httpd"):
        self.socket = socket.create_connection(("127.0.0.1", suite.daemons[label].port), timeout=60)
        self.send(f"PATCH {address} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {wire.token_text(suite.keys.token())}\r\nTus-Resumable: 1.0.0\r\n"
                  f"Content-Type: {OCTETS}\r\nUpload-Offset: {offset}\r\n".encode() + "".join(f + "\r\n" for f in fields).encode() + b"\r\n")

    def send(self, content):
        self.socket.sendall(content)
        return self

    def status(self):
        answer = http.client.HTTPResponse(self.socket)
        answer.begin()
        answer.read()
        return answer.status

    def close(self):
        self.socket.close()


def test_chunks_are_appended_too(tus):
    content = os.urandom(1_200_000)
    address = create(tus, len(content))
    client = Slow(tus, address, 0, "Transfer-Encoding: chunked").send(chunks(content[:-1], 30_000) + b"0\r\n\r\n")
    assert client.status() == 204 and offset(tus, address) == len(content) - 1
    client.close()
    client = Slow(tus, address, len(content) - 1, "Transfer-Encoding: chunked").send(chunks(content[-1:] + b"x", 1) + b"0\r\n\r\n")
    assert client.status() == 413
    client.close()
    client = Slow(tus, address, 0, "Transfer-Encoding: chunked", "Upload-Checksum: " + checksum("sha1", b"x")).send(b"0\r\n\r\n")
    assert client.status() == 411
    client.close()
    assert patch(tus, address, len(content) - 1, content[-1:]).status == 204 and stored(tus, address) == content


def test_100_continue_comes_for_the_right_offset_alone(tus):
    address = create(tus, 3)
    client = Slow(tus, address, 0, "Content-Length: 3", "Expect: 100-continue")
    assert client.socket.recv(100).startswith(b"HTTP/1.1 100 ")
    assert client.send(b"abc").status() == 204
    client.close()
    client = Slow(tus, address, 0, "Content-Length: 3", "Expect: 100-continue")
    assert client.status() == 409
    client.close()


def test_what_came_before_a_cut_counts(tus):
    content = os.urandom(400_000)
    address = create(tus, len(content))
    client = Slow(tus, address, 0, f"Content-Length: {len(content)}").send(content[:250_000])
    client.socket.shutdown(socket.SHUT_WR)
    client.close()
    wait_for(lambda: offset(tus, address) > 0, 20, "an offset")
    at = offset(tus, address)
    assert 0 < at <= 250_000
    assert patch(tus, address, at, content[at:]).status == 204 and stored(tus, address) == content


@pytest.mark.parametrize("sent", [100_000, 800_000])
def test_of_two_writers_the_later_one_wins(tus, sent):
    """The first one hangs, as seen from its client's new connection, which goes on at once; at the same storage server or another one, as
    chance has it, so it is done several times. What the first one still sends must not get into the file, finished as it is."""
    for _ in range(6):
        content = os.urandom(1_000_000)
        address = create(tus, len(content))
        epoch = lambda: tus.sql("storagedb", f"SELECT epoch FROM t_partial WHERE id = '{address.split('/')[4]}';")
        begun = epoch()
        first = Slow(tus, address, 0, f"Content-Length: {len(content)}").send(content[:sent])
        wait_for(lambda: epoch() != begun, 30, "the first writer")
        at = offset(tus, address)
        assert patch(tus, address, at, content[at:], label="second").status == 204
        try:
            first.send(b"\0" * (len(content) - sent))
            assert first.status() in (423, 409, 503)
        except OSError:
            pass
        first.close()
        assert stored(tus, address) == content


SEED = int(os.environ.get("REEL_TUS_SEED", "1"))


@pytest.mark.parametrize("seed", range(SEED, SEED + int(os.environ.get("REEL_TUS_UPLOADS", "2"))))
def test_no_offset_is_taken_back_whoever_is_killed(tus, seed):
    """Storage servers and HTTP servers are killed between PATCHes and inside of them. REEL_TUS_UPLOADS uploads (nightly: 300; the long run:
    3000), with the seeds from REEL_TUS_SEED on."""
    choose = random.Random(seed)
    content = choose.randbytes(3_000_000)
    address, answered = create(tus, len(content)), 0
    for _ in range(200):
        victim = choose.choice(["storage", "storage2", "httpd", "second", None])
        label = choose.choice(["httpd", "second"])
        size = choose.choice([1, 70_000, 400_000])
        inside = victim and choose.random() < 0.5
        end = min(len(content), answered + size)
        client = None
        if inside:
            client = Slow(tus, address, answered, f"Content-Length: {end - answered}", label=label).send(content[answered:(answered + end) // 2])
        if victim:
            tus.daemons[victim].kill()
            tus.daemons[victim].start()
        if client:
            client.close()
        at = []

        def asked():
            answer = head(tus, address, label="second" if label == "httpd" else "httpd")
            at[:] = [answer.offset]
            return answer.status == 200
        wait_for(asked, 30, "an answer")
        assert at[0] >= answered, "an offset was taken back"
        answered = at[0]
        try:
            answer = patch(tus, address, answered, content[answered:min(len(content), answered + size)], label=label)
        except (OSError, http.client.HTTPException):
            continue
        if answer.status == 204:
            answered = answer.offset
        if answered == len(content):
            break
    wait_for(lambda: stored(tus, address) == content, 30, "the file, byte for byte")


# ---- the IETF's draft ----

INTEROP = "8"
PARTIAL = "application/partial-upload"


class Draft:
    """One request by draft-ietf-httpbis-resumable-upload; 104s are read on the way."""

    def __init__(self, suite, method, target, body=b"", label="draft", interop=INTEROP, token=True, **headers):
        fields = {"Host": "x", "Upload-Draft-Interop-Version": interop, "Content-Length": len(body) if method not in ("HEAD", "DELETE") else None,
                  "Authorization": "Bearer " + wire.token_text(suite.keys.token()) if token else None,
                  **{name.replace("_", "-"): value for name, value in headers.items()}}
        head = "".join(f"{name}: {value}\r\n" for name, value in fields.items() if value is not None)
        self.socket = socket.create_connection(("127.0.0.1", suite.daemons[label].port), timeout=60)
        self.lines = self.socket.makefile("rb")
        self.socket.sendall(f"{method} {target} HTTP/1.1\r\n{head}\r\n".encode() + body)
        self.method, self.interim = method, []

    def read(self):
        """(status, fields) of one answer's head."""
        status = int(self.lines.readline().split()[1])
        return status, http.client.parse_headers(self.lines)

    def answer(self):
        status, headers = self.read()
        while status < 200:
            self.interim.append((status, headers))
            status, headers = self.read()
        self.status, self.headers = status, headers
        if self.method != "HEAD":
            self.lines.read(int(headers.get("Content-Length", 0)))
        self.close()
        return self

    def close(self):
        self.lines.close()
        self.socket.close()

    def __getitem__(self, name):
        return self.headers[name]


def draft(suite, *arguments, **more):
    return Draft(suite, *arguments, **more).answer()


def test_the_draft_stores_in_one_request_and_says_where_it_could_go_on(tus):
    content = os.urandom(200_000)
    for method, target in (("POST", f"/files/{APP}/{USER}"), ("PUT", f"/files/{APP}/{USER}/draft-1")):
        answer = draft(tus, method, target, content, Upload_Complete="?1", Content_Type="video/mp4",
                       Content_Disposition='inline; filename="a film.mp4"')
        [(status, announced)] = [found for found in answer.interim if found[0] == 104]
        assert announced["Upload-Draft-Interop-Version"] == INTEROP and announced["Location"].startswith(f"/tus/{APP}/{USER}/")
        assert "max-size=2000000" in announced["Upload-Limit"] and "max-age=" in announced["Upload-Limit"]
        assert (answer.status, answer["Upload-Complete"], answer["Location"]) == (201, "?1", file_of(announced["Location"]))
        wait_for(lambda: stored(tus, announced["Location"]) == content, 20, "the file")
        reported = draft(tus, "HEAD", announced["Location"])
        assert (reported.status, reported["Upload-Complete"], reported["Upload-Offset"], reported["Upload-Length"]) == (204, "?1", "200000", "200000")
        assert draft(tus, "PATCH", announced["Location"], b"x", Content_Type=PARTIAL, Upload_Offset=200_000, Upload_Complete="?1").status == 400
    assert draft(tus, "PUT", f"/files/{APP}/{USER}/draft-1", b"other", Upload_Complete="?1").status == 409
    answer = draft(tus, "POST", f"/files/{APP}/{USER}", b"", Upload_Complete="?1")
    assert answer.status == 201 and answer["Upload-Complete"] == "?1"
    # With a digest of all of it.
    for digest, status in ((content, 201), (b"other", 422)):
        field = "sha-256=:" + base64.b64encode(hashlib.sha256(digest).digest()).decode() + ":"
        assert draft(tus, "POST", f"/files/{APP}/{USER}", content, Upload_Complete="?1", Repr_Digest=field).status == status


@pytest.mark.parametrize("length", [None, 300_000])
def test_the_draft_appends_part_by_part(tus, length):
    content = os.urandom(300_000)
    answer = draft(tus, "POST", f"/files/{APP}/{USER}", content[:100_000], Upload_Complete="?0", Upload_Length=length)
    upload = answer["Location"]
    assert (answer.status, answer["Upload-Complete"], answer["Upload-Offset"]) == (201, "?0", "100000") and upload.startswith("/tus/")
    reported = draft(tus, "HEAD", upload)
    assert (reported.status, reported["Upload-Offset"], reported["Upload-Complete"], reported["Upload-Length"]) == (204, "100000", "?0", length and str(length))
    assert reported["Cache-Control"] == "no-store" and "max-age=" in reported["Upload-Limit"]
    answer = draft(tus, "PATCH", upload, content[:10], Content_Type=PARTIAL, Upload_Offset=99_999, Upload_Complete="?0")
    assert (answer.status, answer["Upload-Offset"]) == (409, "100000")
    for headers, status in (({"Content_Type": "text/plain", "Upload_Offset": 100_000, "Upload_Complete": "?0"}, 415),
                            ({"Content_Type": PARTIAL, "Upload_Complete": "?0"}, 400), ({"Content_Type": PARTIAL, "Upload_Offset": 100_000}, 400),
                            ({"Content_Type": PARTIAL, "Upload_Offset": "?1", "Upload_Complete": "?0"}, 400),
                            ({"Content_Type": PARTIAL, "Upload_Offset": 100_000, "Upload_Complete": "?1", "Upload_Length": 5}, 400)):
        assert draft(tus, "PATCH", upload, b"x", **headers).status == status, headers
    answer = draft(tus, "PATCH", upload, content[100_000:], Content_Type=PARTIAL, Upload_Offset=100_000, Upload_Complete="?0")
    assert (answer.status, answer["Upload-Complete"], answer["Upload-Offset"]) == (204, "?0", "300000")
    # All bytes are there, and still it is not complete until its client says so.
    assert draft(tus, "HEAD", upload)["Upload-Complete"] == "?0" and stored(tus, upload) == 404
    answer = draft(tus, "PATCH", upload, b"", Content_Type=PARTIAL, Upload_Offset=300_000, Upload_Complete="?1")
    assert (answer.status, answer["Upload-Complete"], answer["Location"]) == (201, "?1", file_of(upload))
    wait_for(lambda: stored(tus, upload) == content, 20, "the file")
    assert draft(tus, "PATCH", upload, b"", Content_Type=PARTIAL, Upload_Offset=300_000, Upload_Complete="?1").status == 410


def test_the_draft_goes_on_after_a_cut_and_cancels(tus):
    content = os.urandom(400_000)
    request = Draft(tus, "PUT", f"/files/{APP}/{USER}/draft-cut", content[:250_000], Content_Length=400_000, Upload_Complete="?1")
    status, announced = request.read()
    assert status == 104
    request.socket.shutdown(socket.SHUT_WR)
    request.close()
    upload = announced["Location"]
    at = lambda: int(draft(tus, "HEAD", upload)["Upload-Offset"])
    wait_for(lambda: at() > 0, 20, "an offset")
    first = at()
    assert first <= 250_000 and draft(tus, "HEAD", upload)["Upload-Complete"] == "?0"
    assert draft(tus, "PATCH", upload, content[first:], Content_Type=PARTIAL, Upload_Offset=first, Upload_Complete="?1").status == 201
    wait_for(lambda: stored(tus, upload) == content, 20, "the file")
    other = draft(tus, "POST", f"/files/{APP}/{USER}", b"abc", Upload_Complete="?0")["Location"]
    assert draft(tus, "DELETE", other).status == 204 and draft(tus, "HEAD", other).status == 404
    answer = draft(tus, "POST", f"/files/{APP}/{USER}", b"abc", Upload_Complete="?0", Upload_Length=2_000_001)
    assert answer.status == 413 and answer["Upload-Limit"] == "max-size=2000000"
    assert draft(tus, "POST", f"/files/{APP}/{USER}", b"abc", Upload_Complete="?0", token=False).status == 401


def test_without_the_option_or_the_version_nothing_is_done_by_the_draft(tus):
    for label, interop in (("httpd", INTEROP), ("draft", "7"), ("draft", None)):
        answer = draft(tus, "POST", f"/files/{APP}/{USER}", b"abc", label=label, interop=interop, Upload_Complete="?1")
        assert answer.status == 201 and answer.interim == [] and "Upload-Complete" not in answer.headers
        # What would be a part is not taken for the whole.
        assert draft(tus, "POST", f"/files/{APP}/{USER}", b"abc", label=label, interop=interop, Upload_Complete="?0").status == 501
    options = Draft(tus, "OPTIONS", f"/files/{APP}/{USER}").answer()
    assert options["Accept-Patch"] == PARTIAL and options["Upload-Limit"] == "max-size=2000000"
    assert "Accept-Patch" not in Draft(tus, "OPTIONS", f"/files/{APP}/{USER}", label="httpd").answer().headers


# ---- a client of others ----

def test_tuspy_stores_resumes_and_has_its_checksums_checked(tus, tmp_path):
    """python3-tuspy of Debian, as its readme uses it; goes on at the other server by the address that it kept."""
    from tusclient.client import TusClient
    from tusclient.fingerprint import fingerprint
    from tusclient.storage.filestorage import FileStorage
    content = os.urandom(700_001)
    film = tmp_path / "film.mp4"
    film.write_bytes(content)
    kept = FileStorage(str(tmp_path / "urls"))

    def uploader(label):
        client = TusClient(f"http://127.0.0.1:{tus.daemons[label].port}{BASE}",
                           headers={"Authorization": "Bearer " + wire.token_text(tus.keys.token())})
        return client.uploader(str(film), chunk_size=200_000, store_url=True, url_storage=kept, upload_checksum=True,
                               metadata={"filename": "a film.mp4", "filetype": "video/mp4"})
    first = uploader("httpd")
    first.upload(stop_at=400_000)
    assert first.offset == 400_000
    with open(film, "rb") as stream:
        mark = fingerprint.Fingerprint().get_fingerprint(stream)
    kept.set_item(mark, first.url.replace(str(tus.httpd.port), str(tus.second.port)))
    again = uploader("second")
    assert again.offset == 400_000  # it asked
    again.upload()
    address = "/" + again.url.split("/", 3)[3]
    wait_for(lambda: stored(tus, address) == content, 20, "the file")
    connection = http.client.HTTPConnection("127.0.0.1", tus.httpd.port, timeout=60)
    connection.request("GET", file_of(address) + "?download")
    answer = connection.getresponse()
    assert answer.read() == content and answer.headers["Content-Type"] == "video/mp4" and 'filename="a film.mp4"' in answer.headers["Content-Disposition"]
    connection.close()
    kept.close()
