"""Clients that people use: curl, wget, ffmpeg, mpv and Chromium play, seek to the end and back, and resume; over every
way that bytes can take (relayed from a storage server; from a local group where reel-httpd has such)."""
import http.server
import json
import re
import socket
import subprocess
import threading
import time

import pytest

from browsers import Chromium, tool
from suite import BIN, wait_for
from web import path

SECONDS = 40
LOCAL = "local_groups" in subprocess.run([BIN / "reel-httpd", "--help"], capture_output=True, text=True).stdout


@pytest.fixture(scope="module")
def film(tmp_path_factory):
    """A film whose index stands at its end, so that no player gets along without seeking; noise makes it large."""
    file = tmp_path_factory.mktemp("film") / "film.mp4"
    subprocess.run(["ffmpeg", "-v", "error", "-f", "lavfi", "-i",
                    f"testsrc2=size=320x180:rate=25:duration={SECONDS},noise=alls=60:allf=t", "-f", "lavfi", "-i",
                    f"sine=frequency=440:duration={SECONDS}", "-c:v", "libx264", "-preset", "ultrafast", "-qp", "20",
                    "-pix_fmt", "yuv420p", "-g", "50", "-c:a", "aac", "-shortest", str(file)], check=True, timeout=120)
    content = file.read_bytes()
    assert content.index(b"moov") > len(content) // 2 and len(content) > 10_000_000
    return content


@pytest.fixture(scope="module", params=["relayed", "local"] if LOCAL else ["relayed"])
def played(request, suite, film):
    """(daemon, path of the film on it)"""
    label = "cors"
    if request.param == "local":
        label = "local"
        if label not in suite.daemons:
            suite.add_httpd("local", local_groups=f"group001:{suite.dir / 'data'}", cors_origins="*").start()
    suite.put("film-" + request.param, film, name="film.mp4")
    return suite.daemons[label], path("film-" + request.param, name="film.mp4")


@pytest.fixture
def url(played):
    daemon, target = played
    return f"http://127.0.0.1:{daemon.port}{target}"


def test_curl_gets_ranges_and_resumes(url, film, tmp_path):
    get = lambda *arguments: subprocess.run([tool("curl"), "-sS", "--fail", *arguments, url], check=True, timeout=60,
                                            capture_output=True).stdout
    assert get() == film
    assert get("-r", "1000-1999") == film[1000:2000]
    assert get("-r", "-1000") == film[-1000:]
    part = tmp_path / "part"
    for size in (0, 1, 5_000_000, len(film)):
        part.write_bytes(film[:size])
        # At the end of the file there is nothing to resume: 416, which curl 7.88 takes for success there.
        subprocess.run([tool("curl"), "-sS", "-C", "-", "-o", str(part), url], check=True, timeout=60)
        assert part.read_bytes() == film
    assert subprocess.run([tool("curl"), "-sS", "-o", "film.mp4", "-z", str(part), "-w", "%{http_code}", url],
                          capture_output=True, check=True, timeout=60, cwd=tmp_path).stdout == b"304"
    etags = ["--etag-save", str(tmp_path / "etag"), "--etag-compare", str(tmp_path / "etag"), "-w", "%{http_code}", "-o",
             str(tmp_path / "kept")]
    assert [get(*etags), get(*etags)] == [b"200", b"304"]


def test_curl_takes_the_file_name_from_the_link(url, film, tmp_path):
    subprocess.run([tool("curl"), "-sSOJ", "--fail", url + "?download"], check=True, timeout=60, cwd=tmp_path)
    assert (tmp_path / "film.mp4").read_bytes() == film


def test_wget_resumes_and_keeps_the_time(url, film, tmp_path):
    part = tmp_path / "film.mp4"
    for size in (1, 5_000_000, len(film)):
        part.write_bytes(film[:size])
        subprocess.run([tool("wget"), "-q", "-c", "-O", str(part), url], check=True, timeout=60)
        assert part.read_bytes() == film
    part.unlink()
    subprocess.run([tool("wget"), "-q", url], check=True, timeout=60, cwd=tmp_path)
    assert part.read_bytes() == film and abs(part.stat().st_mtime - time.time()) < 600
    assert "304" in subprocess.run([tool("wget"), "-N", url], check=True, timeout=60, cwd=tmp_path, capture_output=True,
                                   text=True).stderr


def test_ffprobe_knows_the_duration(url):
    probe = subprocess.run([tool("ffprobe"), "-v", "error", "-show_entries", "format=duration", "-of", "csv=p=0", url],
                           capture_output=True, text=True, check=True, timeout=60)
    assert abs(float(probe.stdout) - SECONDS) < 0.2 and probe.stderr == ""


def test_ffmpeg_plays_seeks_to_the_end_and_back(url, film, tmp_path):
    local = tmp_path / "film.mp4"
    local.write_bytes(film)
    for seek in ((), ("-ss", str(SECONDS - 1)), ("-ss", "1"), ("-sseof", "-2")):
        decode = lambda source: subprocess.run([tool("ffmpeg"), "-v", "error", "-xerror", *seek, "-i", source, "-t", "1", "-f",
                                                "framemd5", "-"], capture_output=True, text=True, timeout=60)
        done = decode(url)
        assert done.returncode == 0 and done.stderr == ""
        # The very frames that the file on disk gives
        assert done.stdout == decode(str(local)).stdout and done.stdout.count("\n") > 10


# --- mpv, driven over its socket ---

class Mpv:
    def __init__(self, url, directory, *more):
        self.log = directory / "mpv.log"
        self.path = directory / "mpv.sock"
        self.process = subprocess.Popen([tool("mpv"), "--no-config", "--vo=null", "--ao=null", "--no-terminal", "--keep-open=yes",
                                         "--cache-secs=2", "--demuxer-max-bytes=1MiB", "--demuxer-max-back-bytes=256KiB",
                                         "--ytdl=no", f"--log-file={self.log}", f"--input-ipc-server={self.path}", *more, url],
                                        stdin=subprocess.DEVNULL)
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(20)
        wait_for(self.path.exists, 20, "mpv's socket")
        wait_for(lambda: self.socket.connect(str(self.path)) is None, 20, "mpv listening")
        self.lines = self.socket.makefile("rb")
        self.number = 0

    def ask(self, *command):
        self.number += 1
        self.socket.sendall(json.dumps({"command": command, "request_id": self.number}).encode() + b"\n")
        while True:
            answer = json.loads(self.lines.readline())
            if answer.get("request_id") == self.number and "error" in answer:
                return answer

    def get(self, name):
        return self.ask("get_property", name).get("data")

    def at(self, low, high):
        """Playing between these seconds, by picture and clock."""
        wait_for(lambda: not self.get("seeking") and low <= (self.get("time-pos") or -1) <= high, 20,
                 f"playing at {low} to {high} s")

    def close(self):
        if self.process.poll() is None:
            self.process.terminate()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.lines.close()
        self.socket.close()


def test_mpv_plays_seeks_to_the_end_and_back(url, tmp_path):
    player = Mpv(url, tmp_path)
    try:
        wait_for(lambda: player.get("duration"), 20, "mpv's loading")
        assert abs(player.get("duration") - SECONDS) < 0.2
        player.at(0.3, 15)
        for target in (SECONDS - 3, 1, SECONDS - 2, 20):
            assert player.ask("seek", target, "absolute+exact")["error"] == "success"
            player.at(target + 0.2, target + 15)
        player.ask("seek", SECONDS - 1, "absolute+exact")
        wait_for(lambda: player.get("eof-reached"), 20, "the end")
    finally:
        player.close()
    problems = [line for line in player.log.read_text(errors="replace").splitlines() if re.match(r"\[ *[\d.]+\]\[[ef]\]", line)]
    assert problems == []


# --- Chromium, driven over its own protocol ---

PAGE = b"""<!doctype html><meta charset=utf-8><title>player</title>
<video id=v crossorigin=anonymous muted playsinline width=320></video>"""


@pytest.fixture(scope="module")
def page():
    """A page of another origin than the film's."""
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            found = self.path == "/"
            self.send_response(200 if found else 204)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(PAGE if found else b"")

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="module")
def chromium(tmp_path_factory):
    browser = Chromium(tmp_path_factory.mktemp("chromium"))
    yield browser
    browser.close()


EVENT = """const v = document.getElementById('v');
const event = (name, condition) => new Promise((yes, no) => {
    const timer = setTimeout(() => no(new Error(name + ' did not come; at ' + v.currentTime + ', ready ' + v.readyState)), 20000);
    const look = () => { if (!condition || condition()) { clearTimeout(timer); v.removeEventListener(name, look); yes(); } };
    v.addEventListener(name, look);
    v.addEventListener('error', () => no(new Error('media error ' + v.error.code + ' ' + v.error.message)));
});
"""


def test_chromium_plays_seeks_and_knows_the_duration(chromium, page, url):
    chromium.problems.clear()
    chromium.call("Page.navigate", url=page)
    wait_for(lambda: chromium.run("return document.getElementById('v') !== null"), 20, "the page")
    duration = chromium.run(EVENT + f"""
        const loaded = event('loadedmetadata'); v.src = {json.dumps(url)}; await loaded; return v.duration""")
    assert abs(duration - SECONDS) < 0.2
    assert chromium.run(EVENT + """
        await v.play(); await event('timeupdate', () => v.currentTime > 0.3); return v.videoWidth""") == 320
    for target in (SECONDS - 2, 1, SECONDS / 2):
        at, frames = chromium.run(EVENT + f"""
            const sought = event('seeked'); v.currentTime = {target}; await sought;
            await event('timeupdate', () => v.currentTime > {target} + 0.3);
            // A picture of it can be read by the page: the answer's CORS fields hold for every range.
            const canvas = document.createElement('canvas'); canvas.getContext('2d').drawImage(v, 0, 0);
            canvas.toDataURL();
            return [v.currentTime, v.getVideoPlaybackQuality().totalVideoFrames]""")
        assert target < at < target + 20 and frames > 0
    assert chromium.run(EVENT + """
        v.currentTime = v.duration - 0.5; await event('ended'); return v.ended""") is True
    # What hls.js and its like read from another origin
    assert chromium.run(f"""
        const answer = await fetch({json.dumps(url)}, {{headers: {{Range: 'bytes=100-199'}}}});
        const body = await answer.arrayBuffer();
        return [answer.status, answer.headers.get('Content-Range') !== null, answer.headers.get('ETag') !== null,
                answer.headers.get('Accept-Ranges'), body.byteLength]""") == [206, True, True, "bytes", 100]
    assert chromium.problems == []
