"""The conversations in conversations/*.vtc, spoken by varnishtest (Debian's varnish) as a client alone."""
import email.utils
import os
import pathlib
import shutil
import subprocess

import pytest

from web import fetch

CONVERSATIONS = sorted((pathlib.Path(__file__).parent / "conversations").glob("*.vtc"))


@pytest.fixture(scope="module")
def macros(suite):
    suite.put("foreign", b"x" * 100, name="电影 é.mp4")
    suite.put("playlist", b"#EXTM3U\n#EXT-X-TARGETDURATION:4\n#EXTINF:4,\nsegment\n", name="film.m3u8")
    suite.put("segment", (b"\x47" + b"\0" * 187) * 10, name="film0.ts")
    of = lambda file: fetch(suite, f"/files/{file}", "HEAD")[0].headers
    answer, _ = fetch(suite, "/files/digits", "HEAD")
    assert answer.status == 200
    modified = email.utils.parsedate_to_datetime(answer.headers["Last-Modified"])
    date = lambda seconds: email.utils.formatdate(modified.timestamp() + seconds, usegmt=True)
    macros = {"etag": answer.headers["ETag"].strip('"'), "modified": date(0), "later": date(60), "earlier": date(-60), "clip_etag": of("clip")["ETag"].strip('"'), "clip_size": of("clip")["Content-Length"],
              "clip_last": int(of("clip")["Content-Length"]) - 1, "playlist_etag": of("playlist")["ETag"].strip('"')}
    for label in ("httpd", "cors", "small", "brief"):
        macros[label] = f"127.0.0.1:{suite.daemons[label].port}"
    return [f"-D{name}={value}" for name, value in macros.items()]


@pytest.mark.parametrize("conversation", CONVERSATIONS, ids=lambda file: file.stem)
def test_conversation(conversation, macros, tmp_path):
    varnishtest = shutil.which("varnishtest") or pytest.fail("varnishtest is missing: scripts/install-packages.sh http")
    done = subprocess.run([varnishtest, "-t", "200", *macros, str(conversation)], capture_output=True, text=True,
                          cwd=tmp_path, env={**os.environ, "TMPDIR": str(tmp_path)}, timeout=240)
    said = [line for line in done.stdout.splitlines() if line.startswith(("----", "**** c", "*** c"))]
    assert done.returncode == 0, "\n".join(said[-40:]) or done.stdout[-3000:] + done.stderr[-1000:]
