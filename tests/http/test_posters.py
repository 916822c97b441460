"""Pictures of stored films: /poster and /storyboard, made by a real reel-poster, which hostile films do not bring down and which may
be gone at any moment; the cache of pictures on a disk."""
import base64
import concurrent.futures
import contextlib
import os
import random
import re
import signal
import subprocess
import time

import pytest

import films
import links
import wire
from films import AAC, H264, SOUND
from suite import APP, BIN, USER, wait_for
from web import fetch

pytestmark = pytest.mark.skipif(not (BIN / "reel-poster").exists(), reason="reel-poster is not built: the -dev packages of FFmpeg")
# Five seconds of red, of green, of blue: its colour says which picture it is.
COLOURS = ["-f", "lavfi", "-i", "color=red:s=320x180:d=5,format=yuv420p[r];color=lime:s=320x180:d=5,format=yuv420p[g];"
           "color=blue:s=320x180:d=5,format=yuv420p[b];[r][g][b]concat=n=3"]
SEVERAL = {
    "mp4": ["plain.mp4", *H264],
    "sound": ["sound.mp4", *H264, *AAC],
    "fragmented": ["frag.mp4", *H264, "-movflags", "frag_keyframe+empty_moov"],
    "hevc": ["hevc.mp4", "-c:v", "libx265", "-preset", "ultrafast", "-x265-params", "log-level=none:keyint=50:scenecut=0",
             "-tag:v", "hvc1"],
    "vp9": ["vp9.webm", "-c:v", "libvpx-vp9", "-deadline", "realtime", "-cpu-used", "8", "-g", "50"],
    "av1": ["av1.mp4", "-c:v", "libsvtav1", "-preset", "12", "-g", "50"],
    "mkv": ["film.mkv", *H264],
    "ts": ["film.ts", *H264],
    "quicktime": ["film.mov", *H264],
}


def poster(file, query="", user=USER):
    return f"/poster/{APP}/{user}/{file}/poster.jpg{query}"


def board(file, name="storyboard.jpg"):
    return f"/storyboard/{APP}/{USER}/{file}/{name}"


class Helper:
    """reel-poster as a service runs it."""
    def __init__(self, directory):
        self.socket, self.process = directory / "poster.sock", None

    def start(self, jobs=2):
        self.process = subprocess.Popen([str(BIN / "reel-poster"), "--socket", str(self.socket), "--jobs", str(jobs)])
        wait_for(lambda: self.socket.exists() and self.process.poll() is None, 20, "reel-poster listening")

    def stop(self):
        if self.process and self.process.poll() is None:
            self.process.terminate()
            assert self.process.wait(120) == 0
        self.process = None


@pytest.fixture(scope="module")
def helper(suite):
    running = Helper(suite.dir)
    running.start()
    yield running
    running.stop()


@pytest.fixture(scope="module")
def port(suite, helper):
    if "posters" not in suite.daemons:
        cache = suite.dir / "pictures"
        cache.mkdir()
        suite.add_httpd("posters", poster_socket=helper.socket, poster_cache=cache, poster_cache_size="1M", lookup_age="200ms",
                        local_groups=f"group001:{suite.dir / 'data'}").start()
    return suite.daemons["posters"].port


@pytest.fixture(scope="module")
def stored(suite, tmp_path_factory):
    """Stores a film once: stored(ID) of SEVERAL."""
    directory, done = tmp_path_factory.mktemp("films"), {}

    def store(name):
        if name not in done:
            file, *arguments = SEVERAL[name]
            sound = SOUND if name == "sound" else []
            films.ffmpeg(*COLOURS, *sound, "-r", "25", *arguments, directory / file)
            done[name] = suite.put(f"picture-{name}", (directory / file).read_bytes(), name=file)
        return f"picture-{name}"
    return store


def pixels(jpeg, tmp_path):
    """Width, height, and the picture as RGB bytes, as another program than reel-poster reads it."""
    file = tmp_path / "picture.jpg"
    file.write_bytes(jpeg)
    shape = subprocess.run(["ffprobe", "-v", "error", "-show_entries", "stream=width,height,codec_name", "-of", "csv=p=0", file],
                           capture_output=True, text=True, check=True, timeout=60).stdout.strip().split(",")
    rgb = subprocess.run(["ffmpeg", "-v", "error", "-i", file, "-f", "rawvideo", "-pix_fmt", "rgb24", "-"],
                         capture_output=True, check=True, timeout=60).stdout
    assert shape[0] == "mjpeg"
    width, height = int(shape[1]), int(shape[2])
    assert len(rgb) == width * height * 3
    return width, height, rgb


def colour(rgb, width, x, y):
    red, green, blue = rgb[3 * (y * width + x):][:3]
    return max(("red", red), ("green", green), ("blue", blue), key=lambda part: part[1])[0] if max(red, green, blue) > 100 else "black"


def get(suite, port, path, **headers):
    answer, body = fetch(suite, path, port=port, **headers)
    assert answer.status == 200, (path, answer.status, body[:300])
    return answer, body


@pytest.mark.parametrize("kind", SEVERAL)
def test_a_poster_shows_the_film_at_that_time(suite, port, stored, tmp_path, kind):
    name = stored(kind)
    for query, expected in (("?t=0", "red"), ("?t=7", "green"), ("?t=12.5&w=160", "blue"), ("?t=99999", "blue")):
        answer, body = get(suite, port, poster(name, query))
        width, height, rgb = pixels(body, tmp_path)
        assert answer.headers["Content-Type"] == "image/jpeg"
        assert (width, height) == ((160, 90) if "w=" in query else (320, 180)), query
        assert colour(rgb, width, width // 2, height // 2) == expected, (kind, query)


def test_a_poster_is_asked_for_as_files_are(suite, port, stored):
    path = poster(stored("mp4"), "?w=100")
    answer, body = get(suite, port, path)
    etag = answer.headers["ETag"]
    file = fetch(suite, f"/files/{APP}/{USER}/picture-mp4", "HEAD", port=port)[0]
    assert answer.headers["Last-Modified"] == file.headers["Last-Modified"]
    assert answer.headers["Cache-Control"] == file.headers["Cache-Control"] and etag != file.headers["ETag"]
    assert answer.headers["Content-Disposition"] is None
    head, nothing = fetch(suite, path, "HEAD", port=port)
    assert head.status == 200 and nothing == b"" and head.headers["Content-Length"] == str(len(body))
    assert fetch(suite, path, port=port, If_None_Match=etag)[0].status == 304
    part, some = fetch(suite, path, port=port, Range="bytes=10-19")
    assert part.status == 206 and some == body[10:20]
    assert get(suite, port, poster(stored("mp4"), "?w=50"))[0].headers["ETag"] != etag


def test_a_storyboard_has_a_tile_for_each_time(suite, port, stored, tmp_path):
    name = stored("sound")
    answer, text = get(suite, port, board(name, "storyboard.vtt"))
    assert answer.headers["Content-Type"] == "text/vtt; charset=utf-8"
    cues = re.findall(r"(\d\d):(\d\d):(\d\d)\.(\d{3}) --> \S+\n(\S+)#xywh=(\d+),(\d+),(\d+),(\d+)\n", text.decode())
    assert text.startswith(b"WEBVTT\n\n") and len(cues) == 3 and {cue[4] for cue in cues} == {"storyboard.jpg"}
    width, _, rgb = pixels(get(suite, port, board(name))[1], tmp_path)
    for hours, minutes, seconds, _, _, x, y, w, h in cues:
        begin = int(hours) * 3600 + int(minutes) * 60 + int(seconds)
        expected = ("red", "green", "blue")[begin // 5]
        assert colour(rgb, width, int(x) + int(w) // 2, int(y) + int(h) // 2) == expected
        assert (int(w), int(h)) == (160, 90)
    assert fetch(suite, board(name, "other.jpg"), port=port)[0].status == 404


def test_what_a_file_brings_along_needs_no_decoder(suite, port, tmp_path):
    """The cover of a piece of music, byte for byte, also where there is no reel-poster."""
    cover = tmp_path / "cover.png"
    films.ffmpeg("-f", "lavfi", "-i", "color=yellow:s=64x64:d=0.1", "-frames:v", "1", cover)
    for kind, codec in (("mp3", ["-c:a", "libmp3lame", "-id3v2_version", "3"]), ("flac", ["-c:a", "flac"]), ("m4a", AAC)):
        song = tmp_path / f"song.{kind}"
        films.ffmpeg("-f", "lavfi", "-i", "sine=duration=1", "-i", cover, "-map", "0", "-map", "1", *codec, "-c:v", "copy",
                     "-disposition:v:0", "attached_pic", song)
        suite.put(f"song-{kind}", song.read_bytes(), name=song.name)
        for where in (port, suite.httpd.port):
            answer, body = get(suite, where, poster(f"song-{kind}"))
            assert body == cover.read_bytes() and answer.headers["Content-Type"] == "image/png", kind


@pytest.mark.parametrize("query", ["?t=x", "?t=-1", "?w=", "?w=1.5", "?t=99999999999"])
def test_a_wish_that_cannot_be_read_is_refused(suite, port, stored, query):
    assert fetch(suite, poster(stored("mp4"), query), port=port)[0].status == 400


def test_what_has_no_picture_says_why(suite, port):
    for name, status, why in (("digits", 415, b""), ("absent", 404, b"")):
        answer, body = fetch(suite, poster(name), port=port)
        assert answer.status == status and answer.headers["Cache-Control"] == "no-store" and len(body) > 10, name
        assert fetch(suite, board(name), port=port)[0].status == status


def test_hostile_films_do_not_bring_it_down(suite, port, helper, stored):
    """Key frames overwritten, the file cut off, sizes that lie: a reason, in time, and the next film is shown."""
    good = open_film(suite, port, stored)
    begin, index = good.index(b"mdat") + 4, good.index(b"moov") - 4  # the index is behind the content
    assert begin < index
    broken = {"noise": good[:begin] + random.Random(1).randbytes(index - begin) + good[index:],
              "zeros": good[:begin] + bytes(index - begin) + good[index:],
              "cut": good[:len(good) // 2],
              "no-parameters": good.replace(b"avcC", b"avcX")}
    for name, content in broken.items():
        suite.put(f"hostile-{name}", content, name=f"{name}.mp4")
        answer, body = fetch(suite, poster(f"hostile-{name}", "?t=1"), port=port)
        assert answer.status == 415 and len(body) > 40, (name, answer.status, body[:200])
    assert helper.process.poll() is None
    get(suite, port, poster(stored("mp4"), "?t=1&w=98"))


def open_film(suite, port, stored):
    return get(suite, port, f"/files/{APP}/{USER}/{stored('mp4')}")[1]


def children(process):
    found = subprocess.run(["ps", "-o", "pid=", "--ppid", str(process.pid)], capture_output=True, text=True, timeout=30).stdout
    return [int(pid) for pid in found.split()]


def test_a_decoder_that_is_killed_is_an_answer_that_says_so(suite, port, helper, stored):
    """As its limits of time and memory kill it. For a while no other one is started for that place of that film."""
    name = "picture-killed"
    suite.put(name, open_film(suite, port, stored), name="killed.mp4")
    with concurrent.futures.ThreadPoolExecutor() as pool:
        for width in range(200, 260, 2):
            before = set(children(helper.process))
            waiting = pool.submit(fetch, suite, poster(name, f"?t=3&w={width}"), port=port)
            caught = None
            while not waiting.done() and caught is None:
                for pid in set(children(helper.process)) - before:
                    with contextlib.suppress(ProcessLookupError):  # it has ended since it was listed
                        os.kill(pid, signal.SIGKILL)
                        caught = pid
            answer, body = waiting.result()
            if answer.status == 503:
                assert b"reel-poster ended" in body and answer.headers["Retry-After"]
                if b"before it had made one" in body:
                    break
                continue # it had, and was killed while it sent it: that says nothing about the film
            assert answer.status == 200 # it was faster than this test
        else:
            pytest.fail("no child could be killed in time")
    answer, body = fetch(suite, poster(name, f"?t=3&w={width + 100}"), port=port)
    assert answer.status == 503 and b"reel-poster ended" in body
    get(suite, port, poster(name, f"?t=8&w={width}"))
    get(suite, port, poster(stored("mp4"), f"?t=3&w={width}"))


def cache_files(suite):
    return sorted((suite.dir / "pictures").iterdir())


def test_pictures_are_kept_on_the_disk_within_a_bound_and_survive_a_kill(suite, port, helper, stored):
    daemon = suite.daemons["posters"]
    name = stored("mp4")
    path = poster(name, "?t=7&w=300")
    before = get(suite, port, path)[1]
    wait_for(lambda: cache_files(suite), 10, "a kept picture")
    (suite.dir / "pictures" / "new-77").write_bytes(b"half of one")
    daemon.expected_code = -signal.SIGKILL
    daemon.process.kill()
    daemon.process.wait()
    daemon.expected_code = 0
    daemon.start()
    helper.stop()
    try:
        assert get(suite, port, path)[1] == before  # from the disk: nobody can make it now
        assert not (suite.dir / "pictures" / "new-77").exists()
        answer, body = fetch(suite, poster(name, "?t=7&w=302"), port=port)
        assert answer.status == 503 and b"no poster: reel-poster is not installed" in body and answer.headers["Retry-After"]
        # A kept file that was damaged is not served.
        for file in cache_files(suite):
            file.write_bytes(file.read_bytes()[:-5])
        daemon.stop()
        daemon.start()
        assert fetch(suite, path, port=port)[0].status == 503
    finally:
        helper.start()
    assert get(suite, port, path)[1] == before
    for start in range(20):
        get(suite, port, board(stored("sound"))) if start == 0 else get(suite, port, poster(name, f"?t=1&w={100 + 2 * start}"))
    wait_for(lambda: sum(file.stat().st_size for file in cache_files(suite)) <= 1 << 20, 10, "no more than the bound")


def test_a_deleted_film_has_no_poster(suite, port, helper, stored):
    suite.put("picture-gone", open_film(suite, port, stored), name="gone.mp4")
    get(suite, port, poster("picture-gone", "?t=1"))
    with suite.client() as client:
        assert client.call(wire.DELETE, wire.file_key(APP, USER, "picture-gone")).ok
    # Each loop believes what it knows of a file for lookup_age.
    wait_for(lambda: fetch(suite, poster("picture-gone", "?t=1"), port=port)[0].status == 404, 20, "the deletion to be seen")
    wait_for(lambda: fetch(suite, board("picture-gone"), port=port)[0].status == 404, 20, "the deletion to be seen")


SECRET = "QUJDREVGR0hJSktMTU5PUFFSU1RVVldYWVphYmNkZWY="
SIGNER = links.Signer("app-a", base64.b64decode(SECRET))


@pytest.fixture
def signed_port(suite, helper):
    keys, cache = suite.dir / "etc" / "picture-keys", suite.dir / "signed-pictures"
    keys.write_text(f"app-a issuer {SECRET}\n")
    keys.chmod(0o600)
    cache.mkdir()
    daemon = suite.add_httpd("signed-pictures", access="signed", write="on", poster_socket=helper.socket, poster_cache=cache)
    daemon.configure({**daemon.config, "auth": {"keys": keys}})
    daemon.start()
    yield daemon.port
    suite.daemons.pop("signed-pictures").stop()


def test_a_picture_is_seen_by_whoever_may_see_the_film_alone(suite, stored, signed_port):
    """Also one that is kept already, in memory and on the disk."""
    name, other = stored("mp4"), stored("mkv")
    until = int(time.time()) + 1000
    paths = [poster(name, "?t=1"), board(name), board(name, "storyboard.vtt")]

    def status(path, **headers):
        return fetch(suite, path, port=signed_port, **headers)[0].status
    token = SIGNER.token(APP, USER, name, until)
    for path in paths:
        assert status(path) == 403
        answer, _ = fetch(suite, f"/t/{token}{path}", port=signed_port)
        assert answer.status == 200 and answer.headers["Cache-Control"].startswith("private")
        assert status(path, Cookie=f"reel={SIGNER.token(APP, USER, name, until, 'u')}") == 200
        # It is kept now.
        assert status(path) == 403 and fetch(suite, path, "HEAD", port=signed_port)[0].status == 403
        assert status(path, If_None_Match=answer.headers["ETag"]) == 403
        assert status(f"/t/{SIGNER.token(APP, USER, other, until)}{path}") == 403
        assert status(f"/t/{SIGNER.token(APP, 'bob', name, until, 'u')}{path}") == 403
        assert status(f"/t/{SIGNER.token(APP, USER, name, until - 2000)}{path}") == 403
        assert status(f"/t/{token[:-1]}{'A' if token[-1] != 'A' else 'Q'}{path}") in (400, 403)
        assert fetch(suite, path, "PUT", port=signed_port)[0].status == 405
    # A token to write and delete, of the same key, opens no picture, as it opens no file.
    for rights in ("r", "rwd"):
        bearer = subprocess.run([str(BIN / "reel"), "-u", USER, "auth", "token", "--rights", rights], capture_output=True, text=True,
                                timeout=60, check=True, env={**os.environ, "REEL_KEYS": str(suite.dir / "etc" / "picture-keys")}).stdout.strip()
        for path in (*paths, f"/files/{APP}/{USER}/{name}"):
            assert status(path, Authorization=f"Bearer {bearer}") == 403


def test_many_who_ask_at_once_get_the_same_picture(suite, port, stored):
    path = poster(stored("mp4"), "?t=9&w=222")
    with concurrent.futures.ThreadPoolExecutor(12) as pool:
        answers = list(pool.map(lambda _: get(suite, port, path)[1], range(12)))
    assert len(set(answers)) == 1


def test_without_reel_poster_films_are_served_and_posters_say_what_is_missing(suite, port, stored):
    name = stored("mp4")
    answer, body = fetch(suite, poster(name, "?t=1"))
    assert answer.status == 503 and b"no poster: reel-poster is not installed" in body
    assert fetch(suite, f"/hls/{APP}/{USER}/{name}/master.m3u8")[0].status == 200
    suite.add_httpd("pictureless", poster_socket="").start()
    try:
        answer, body = fetch(suite, poster(name, "?t=1"), port=suite.daemons["pictureless"].port)
        assert answer.status == 501 and b"httpd.poster_socket" in body
    finally:
        suite.daemons.pop("pictureless").stop()
