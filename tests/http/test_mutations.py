"""Requests that were right once, damaged at random (the seed is fixed): each is answered by something that HTTP knows or the
connection is closed, never by a failure of the server, and the server lives."""
import random
import re
import socket

from conftest import LETTERS
from web import fetch

REQUESTS = [
    b"GET /files/letters HTTP/1.1\r\nHost: x\r\n\r\n",
    b"HEAD /files/digits HTTP/1.1\r\nHost: x\r\nAccept: application/json, text/*;q=0.5\r\n\r\n",
    b"GET /files/digits HTTP/1.1\r\nHost: x\r\nRange: bytes=0-5,100-200,-7\r\nIf-Range: \"a\"\r\n\r\n",
    b"GET /files/tnvideo/alice/letters/a%20b.mp4?download=%E2%82%AC HTTP/1.1\r\nHost: x\r\nConnection: keep-alive\r\n\r\n",
    b"OPTIONS * HTTP/1.1\r\nHost: x\r\nOrigin: https://a\r\nAccess-Control-Request-Method: GET\r\n\r\n",
    b"GET /files/letters HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabcde\r\n0\r\nT: x\r\n\r\n",
    b"GET /files/letters HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\nabcde",
    b"GET http://a/files/letters HTTP/1.1\r\nHost: a\r\nIf-None-Match: W/\"a\", \"b\"\r\n"
    b"If-Modified-Since: Sun, 06 Nov 1994 08:49:37 GMT\r\n\r\n",
]
PIECES = [b"\r\n", b"\n", b"\r", b" ", b"\t", b"\0", b":", b"%", b"%00", b"..", b"/", b"?", b"-", b",", b"=", b"\"", b"\xff", b"0",
          b"99999999999999999999", b"Content-Length: 3\r\n", b"Transfer-Encoding: chunked\r\n", b"HTTP/1.1", b"Range: bytes=",
          b"x" * 5000]


def damaged(data):
    data = bytearray(data)
    for _ in range(random.choice((1, 1, 2, 4))):
        at = random.randrange(len(data) + 1)
        match random.randrange(5):
            case 0:
                data[at:at] = random.choice(PIECES)
            case 1:
                del data[at:at + random.randrange(1, 20)]
            case 2:
                data[at:at + 1] = bytes([random.randrange(256)])
            case 3:
                data[at:at] = data[at:at + random.randrange(1, 60)]
            case 4:
                data[at:at + 2] = random.choice(PIECES)
    return bytes(data)


def test_damaged_requests_never_harm_the_server(suite):
    random.seed(9112)
    statuses = set()
    for _ in range(1500):
        stream = b"".join(damaged(random.choice(REQUESTS)) for _ in range(random.choice((1, 1, 3))))
        with socket.create_connection(("127.0.0.1", suite.httpd.port), timeout=20) as s:
            out = b""
            try:
                if random.random() < 0.3 and len(stream) > 1:
                    cut = random.randrange(1, len(stream))
                    s.sendall(stream[:cut])
                    stream = stream[cut:]
                s.sendall(stream)
                s.shutdown(socket.SHUT_WR)
                while part := s.recv(65536):
                    out += part
            except (ConnectionResetError, BrokenPipeError):
                pass
        if out:
            assert re.match(rb"HTTP/1\.1 \d{3} [A-Za-z ]+\r\n", out), out[:200]
        found = {int(status) for status in re.findall(rb"HTTP/1\.1 (\d{3}) [A-Za-z ]+\r\nDate: ", out)}
        assert not found & {500, 502, 503, 504}, (found, stream)
        statuses |= found
    assert {200, 206, 400, 404, 405} <= statuses, statuses
    answer, body = fetch(suite, "/files/letters")
    assert answer.status == 200 and body == LETTERS
