"""Ranges beyond 2^31 and 2^32 of a sparse file of 4.5 GB, relayed from a storage server and from the local volume."""
import http.client

import pytest

from suite import Suite, wait_for
from web import path

SIZE = 4_500_000_000
EDGES = (1 << 31, 1 << 32)


@pytest.fixture(scope="module")
def far():
    """What is stored is small; then its file and its row are given the size. Around each edge there are bytes that say where they are."""
    suite = Suite("sqlite")
    try:
        suite.add_tracker(), suite.add_idserver(), suite.add_storage()
        suite.add_httpd(), suite.add_httpd("local", local_groups=f"group001:{suite.dir / 'data'}")
        suite.launch()
        suite.put("far", b"0123456789" * 10, name="far.bin")
        suite.storage.stop()  # it remembers rows
        [file] = suite.files()
        with open(file, "r+b") as stream:
            stream.truncate(SIZE)
            for edge in (*EDGES, SIZE):
                stream.seek(edge - 64)
                stream.write(marks(edge - 64, 128 if edge < SIZE else 64))
        assert file.stat().st_blocks * 512 < 1_000_000  # sparse
        for table in ("t_file_01", "t_file_02", "t_file_03"):
            suite.sql("storagedb", f"UPDATE {table} SET file_size = {SIZE}, digest = '', sha256 = '' WHERE id = 'far';")
        suite.storage.start()
        yield suite
    finally:
        suite.stop()


def marks(start, size):
    """Bytes that say where they are: the decimal digits of every place that is a multiple of 16."""
    first = start - start % 16
    return b"".join(b"%016d" % at for at in range(first, start + size, 16))[start - first:start - first + size]


def fetch(suite, label, **fields):
    connection = http.client.HTTPConnection("127.0.0.1", suite.daemons[label].port, timeout=60)
    try:
        connection.request(fields.pop("method", "GET"), path("far"), headers={name.replace("_", "-"): value for name, value in fields.items()})
        answer = connection.getresponse()
        return answer.status, answer.headers, answer.read()
    finally:
        connection.close()


@pytest.mark.parametrize("label", ["httpd", "local"])
def test_ranges_beyond_two_and_four_gigabytes(far, label):
    wait_for(lambda: fetch(far, label, method="HEAD")[0] == 200, 30, "the storage server")
    status, headers, _ = fetch(far, label, method="HEAD")
    assert (status, headers["Content-Length"]) == (200, str(SIZE))
    for edge in EDGES:
        for first, last in ((edge - 1, edge), (edge, edge + 9), (edge - 64, edge + 63), (edge - 2, edge - 1), (edge + 1, edge + 1)):
            status, headers, body = fetch(far, label, Range=f"bytes={first}-{last}")
            assert (status, headers["Content-Range"]) == (206, f"bytes {first}-{last}/{SIZE}")
            assert body == marks(first, last - first + 1)
    for text, first in (("bytes=-64", SIZE - 64), (f"bytes={SIZE - 10}-", SIZE - 10), (f"bytes={SIZE - 1}-{1 << 62}", SIZE - 1)):
        status, headers, body = fetch(far, label, Range=text)
        assert (status, headers["Content-Range"], body) == (206, f"bytes {first}-{SIZE - 1}/{SIZE}", marks(first, SIZE - first))
    # Far more than what a 32-bit number holds, from one edge to the other, counted as it comes.
    first, last = EDGES[0] - 8, EDGES[0] + 50_000_000
    status, headers, body = fetch(far, label, Range=f"bytes={first}-{last}")
    assert status == 206 and len(body) == last - first + 1 and body[:72] == marks(first, 72) and not any(body[72:])
    status, headers, body = fetch(far, label, Range=f"bytes=0-9,{EDGES[0]}-{EDGES[0] + 9},{EDGES[1]}-{EDGES[1] + 9}")
    assert status == 206 and headers["Content-Type"].startswith("multipart/byteranges") and int(headers["Content-Length"]) == len(body)
    for edge in EDGES:
        assert f"Content-Range: bytes {edge}-{edge + 9}/{SIZE}\r\n".encode() in body and marks(edge, 10) in body
    status, headers, _ = fetch(far, label, Range=f"bytes={SIZE}-")
    assert (status, headers["Content-Range"]) == (416, f"bytes */{SIZE}")
