"""Players of desks, for nights (scripts/nightly.sh players; about three minutes): VLC, GStreamer, mpv and Firefox play a film, seek to five
places and come to its end, without an error: as HLS and as the file itself. And a film that is played while its storage servers are killed."""
import json
import os
import pathlib
import pwd
import re
import socket
import subprocess
import time

import pytest

import films
import npm
from browsers import Chromium, Firefox, tool
from suite import APP, USER, wait_for
from test_clients import EVENT, Mpv
from test_stream_players import PAGES, scripts  # noqa: F401

SECONDS = 40
PLACES = (SECONDS / 2, 3.0, SECONDS - 8, 13.5, SECONDS - 5)
HERE = pathlib.Path(__file__).resolve().parent


@pytest.fixture(scope="module")
def addresses(suite, tmp_path_factory):
    """What is played: its address by the kind of stream."""
    film, air, show = (tmp_path_factory.mktemp("film") / name for name in ("film.mp4", "air.ts", "show.mkv"))
    films.ffmpeg("-f", "lavfi", "-i", f"testsrc2=size=320x180:rate=25:duration={SECONDS}", "-f", "lavfi", "-i",
                 f"sine=frequency=440:duration={SECONDS}", *films.H264, "-bf", "2", *films.AAC, film)
    films.ffmpeg("-i", film, "-c", "copy", air)
    films.ffmpeg("-i", film, "-c", "copy", show)
    for path in (film, air, show):
        suite.put(f"seek-{path.suffix[1:]}", path.read_bytes(), name=path.name)
    base = f"http://127.0.0.1:{suite.daemons['cors'].port}"
    return {"file": f"{base}/files/{APP}/{USER}/seek-mp4/film.mp4", "hls": f"{base}/hls/{APP}/{USER}/seek-mp4/master.m3u8",
            "hls-ts": f"{base}/hls/{APP}/{USER}/seek-ts/master.m3u8", "hls-mkv": f"{base}/hls/{APP}/{USER}/seek-mkv/master.m3u8",
            "dash": f"{base}/dash/{APP}/{USER}/seek-mp4/manifest.mpd"}


class Vlc:
    """By its remote control, over a socket. It refuses to run as root, and runs as nobody then."""
    def __init__(self, url, directory):
        self.path, self.log = directory / "vlc.sock", directory / "vlc.log"
        user = {"user": pwd.getpwnam("nobody").pw_uid, "group": pwd.getpwnam("nobody").pw_gid, "extra_groups": []} if os.geteuid() == 0 else {}
        if user:
            os.chown(directory, user["user"], user["group"])
            for above in directory.parents:
                if above.owner() == "root" and above != pathlib.Path("/") and above != pathlib.Path("/tmp"):
                    above.chmod(above.stat().st_mode | 0o711)
        self.process = subprocess.Popen([tool("cvlc"), "--intf", "oldrc", "--rc-fake-tty", f"--rc-unix={self.path}", "--vout", "dummy", "--aout", "dummy",
                                         "--no-video-title-show", "--file-logging", f"--logfile={self.log}", "--log-verbose=0", "--play-and-pause",
                                         url], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                                        env={**os.environ, "HOME": str(directory), "XDG_RUNTIME_DIR": str(directory)}, **user)
        wait_for(self.path.exists, 30, "VLC's socket")
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(5)
        wait_for(lambda: self.socket.connect(str(self.path)) is None, 20, "VLC listening")

    def ask(self, command):
        self.socket.sendall(command.encode() + b"\n")
        time.sleep(0.1)
        return self.socket.recv(65536).decode(errors="replace")

    def number(self, command):
        found = re.findall(r"^(?:> )?(\d+)\s*$", self.ask(command), re.M)
        return int(found[-1]) if found else -1

    def close(self):
        self.socket.close()
        self.process.terminate()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


@pytest.mark.parametrize("kind", ["file", "hls", "hls-ts", "hls-mkv"])
def test_vlc(addresses, tmp_path, kind):
    player = Vlc(addresses[kind], tmp_path)
    try:
        wait_for(lambda: player.number("get_length") >= SECONDS - 1, 30, "VLC's loading")
        wait_for(lambda: player.number("get_time") >= 1, 20, "VLC's playing")
        for place in PLACES:
            player.ask(f"seek {int(place)}")
            wait_for(lambda: int(place) <= player.number("get_time") <= int(place) + 8, 20, f"VLC at {place}")
            now = player.number("get_time")
            wait_for(lambda: player.number("get_time") > now, 20, f"VLC playing on from {now}")
        player.ask(f"seek {SECONDS - 2}")
        wait_for(lambda: "pause" in player.ask("status") or player.number("get_time") >= SECONDS - 1, 20, "the end")
    finally:
        player.close()
    problems = [line for line in player.log.read_text(errors="replace").splitlines() if "error" in line and re.search("adaptive|http|mp4|ts|demux", line)]
    assert problems == []


@pytest.mark.parametrize("kind", ["file", "hls", "hls-ts", "hls-mkv", "dash"])
def test_gstreamer(addresses, tmp_path, kind):
    done = subprocess.run(["/usr/bin/python3", HERE / "players" / "gstreamer.py", addresses[kind], *map(str, PLACES)], capture_output=True, text=True,
                          timeout=180, env={**os.environ, "GST_REGISTRY": str(tmp_path / "registry")})
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert abs(found["duration"] - SECONDS) < 0.5 and len(found["places"]) == len(PLACES) and found["end"]


@pytest.mark.parametrize("kind", ["hls-ts", "dash"])
def test_mpv(addresses, tmp_path, kind):
    """The file itself is in test_clients.py. HLS of fragmented MP4 is in test_mpv_inside_of_its_cache: libavformat 5.1.9, with which Debian 12's
    mpv 0.35.1 reads it, comes to the end after a seek that it has to make, also in playlists that it wrote itself."""
    mpv_seeks(Mpv(addresses[kind], tmp_path))


@pytest.mark.parametrize("kind", ["hls", "hls-mkv"])
def test_mpv_inside_of_its_cache(addresses, tmp_path, kind):
    """As large as it is by default."""
    player = Mpv(addresses[kind], tmp_path, "--cache-secs=3600", "--demuxer-max-bytes=150MiB", "--demuxer-max-back-bytes=50MiB")
    wait_for(lambda: (player.get("demuxer-cache-time") or 0) > SECONDS - 1, 60, "all of it in mpv's cache")
    mpv_seeks(player)


def mpv_seeks(player):
    try:
        wait_for(lambda: player.get("duration"), 20, "mpv's loading")
        assert abs(player.get("duration") - SECONDS) < 0.5
        player.at(0.3, 15)
        for place in PLACES:
            assert player.ask("seek", place, "absolute+exact")["error"] == "success"
            player.at(place + 0.2, place + 15)
        player.ask("seek", SECONDS - 1, "absolute+exact")
        wait_for(lambda: player.get("eof-reached"), 20, "the end")
    finally:
        player.close()


@pytest.fixture(scope="module")
def firefox(tmp_path_factory):
    browser = Firefox(tmp_path_factory.mktemp("firefox"))
    yield browser
    browser.close()


HLS_JS = """await new Promise(done => { const s = document.createElement('script'); s.src = '/hls.js'; s.onload = done; document.head.append(s); });
            const player = new Hls({enableWorker: false}); player.on(Hls.Events.ERROR, (_, data) => { if (data.fatal) console.error(data.details); });
            player.loadSource(URL_); player.attachMedia(v)"""


@pytest.mark.parametrize("kind", ["file", "hls", "hls-ts", "hls-mkv"])
def test_firefox(firefox, addresses, request, kind):
    """The file by itself; HLS by hls.js, which comes from npm (REEL_NPM)."""
    if kind != "file" and not os.environ.get("REEL_NPM"):
        pytest.skip("REEL_NPM is not set: players from npm are for the night")
    scripts_of_it = {} if kind == "file" else request.getfixturevalue("scripts")
    begin = ("v.src = URL_" if kind == "file" else HLS_JS).replace("URL_", json.dumps(addresses[kind]))
    with npm.pages({**PAGES, **scripts_of_it}) as page:
        firefox.problems.clear()
        firefox.call("browsingContext.navigate", context=firefox.page, url=page, wait="complete")
        duration = firefox.run(EVENT + f"const loaded = event('loadedmetadata'); {begin}; await loaded; await v.play(); "
                               "await event('timeupdate', () => v.currentTime > 0.3); return v.duration")
        assert abs(duration - SECONDS) < 0.5
        for place in PLACES:
            at = firefox.run(EVENT + f"""const sought = event('seeked'); v.currentTime = {place}; await sought;
                await event('timeupdate', () => v.currentTime > {place} + 0.2); return v.currentTime""")
            assert place < at < place + 20
        assert firefox.run(EVENT + "v.currentTime = v.duration - 0.5; await event('ended'); return v.ended && v.error === null") is True
        assert firefox.problems == []


def test_a_film_goes_on_while_its_storage_servers_are_killed(own_suite, tmp_path):
    """Chromium's own HLS at twice the speed; one server after the other is killed, each while the other one is there. No stall of more than 2 s."""
    seconds, path = 60, tmp_path / "film.mp4"
    films.ffmpeg("-f", "lavfi", "-i", f"testsrc2=size=640x360:rate=25:duration={seconds},noise=alls=40:allf=t", "-f", "lavfi", "-i",
                 f"sine=duration={seconds}", *films.H264, "-b:v", "6M", *films.AAC, path)
    assert path.stat().st_size > 30_000_000
    suite = own_suite
    suite.add_tracker()
    suite.add_idserver()
    suite.add_storage("storage")
    suite.add_storage("storage2")
    suite.add_httpd(cors_origins="*")
    suite.launch()
    suite.put("film", path.read_bytes(), name="film.mp4")
    browser = Chromium(tmp_path)
    try:
        with npm.pages(PAGES) as page:
            browser.call("Page.navigate", url=page)
            wait_for(lambda: browser.run("return document.getElementById('v') !== null"), 20, "the page")
        url = f"http://127.0.0.1:{suite.httpd.port}/hls/{APP}/{USER}/film/master.m3u8"
        browser.run(EVENT + f"""const loaded = event('loadedmetadata'); v.src = {json.dumps(url)}; await loaded; v.playbackRate = 2; await v.play();
            await event('timeupdate', () => v.currentTime > 0.3);
            window.longest = 0; window.last = [performance.now(), v.currentTime];
            window.watch = setInterval(() => {{ const now = performance.now();
                if (v.currentTime !== last[1]) last = [now, v.currentTime];
                else if (!v.ended) longest = Math.max(longest, now - last[0]); }}, 50)""")
        seen = browser.run("""const v = document.getElementById('v'); v.pause(); await new Promise(done => setTimeout(done, 600));
            const seen = longest; await v.play(); last = [performance.now(), v.currentTime]; longest = 0; return seen""")
        assert seen > 300, "a stall would not be noticed"
        for label in ("storage", "storage2"):
            begin, buffered = browser.run("const v = document.getElementById('v'); return [v.currentTime, v.buffered.end(v.buffered.length - 1)]")
            assert buffered < seconds - 5, "all of the film is there already: nothing can be shown"
            suite.daemons[label].kill()
            wait_for(lambda: browser.run("return document.getElementById('v').currentTime") > begin + 8, 60, "the film going on")
            suite.daemons[label].start()
            suite.wait_active(2)
        wait_for(lambda: browser.run("return document.getElementById('v').ended"), 120, "the end")
        assert browser.run("return document.getElementById('v').error === null") is True
        longest = browser.run("return window.longest")
        print(f"the longest stall: {longest:.0f} ms")
        assert longest < 2000 and browser.problems == []
    finally:
        browser.close()
