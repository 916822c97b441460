"""Players of streams: mpv (plays), Chromium's own HLS; hls.js and dash.js in Chromium where REEL_NPM is set (scripts/nightly.sh does), from npm,
pinned by tests/http/players/package-lock.json. Each but mpv plays, seeks to five places and comes to the end, over relayed and local ways."""
import json

import pytest

import films
import npm
from browsers import Chromium
from suite import APP, USER, wait_for
from test_clients import EVENT, Mpv

SECONDS = 40
PAGES = {"/": ("text/html", b"""<!doctype html><meta charset=utf-8><title>player</title>
<video id=v crossorigin=anonymous muted playsinline width=320></video>""")}
PLACES = (SECONDS / 2, 3, SECONDS - 8, 13.5, SECONDS - 3)


@pytest.fixture(scope="module")
def film(tmp_path_factory):
    path = tmp_path_factory.mktemp("film") / "film.mp4"
    films.ffmpeg("-f", "lavfi", "-i", f"testsrc2=size=320x180:rate=25:duration={SECONDS}", "-f", "lavfi", "-i",
                 f"sine=frequency=440:duration={SECONDS}", *films.H264, "-bf", "2", *films.AAC, path)
    return path.read_bytes()


@pytest.fixture(scope="module", params=["relayed", "local"])
def base(request, suite, film):
    """Where the film's streams are: http://.../hls/APP/USER/ID."""
    label = "cors"
    if request.param == "local":
        label = "players"
        if label not in suite.daemons:
            suite.add_httpd(label, local_groups=f"group001:{suite.dir / 'data'}", cors_origins="*").start()
    suite.put("player-" + request.param, film, name="film.mp4")
    return f"http://127.0.0.1:{suite.daemons[label].port}/SERVICE/{APP}/{USER}/player-{request.param}/"


@pytest.fixture(scope="module")
def scripts(tmp_path_factory):
    """hls.js and dash.js, by their names."""
    modules = npm.install("players", tmp_path_factory.mktemp("npm"))
    found = {"/hls.js": modules / "hls.js" / "dist" / "hls.min.js",
             "/dash.js": modules / "dashjs" / "dist" / "modern" / "umd" / "dash.all.min.js"}
    return {name: ("text/javascript", path.read_bytes()) for name, path in found.items()}


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    browser = Chromium(tmp_path_factory.mktemp("browser"))
    yield browser
    browser.close()


def play(browser, page, begin):
    """BEGIN: what gives the stream to the element v."""
    browser.problems.clear()
    browser.call("Page.navigate", url=page)
    wait_for(lambda: browser.run("return document.getElementById('v') !== null"), 20, "the page")
    duration = browser.run(EVENT + f"const loaded = event('loadedmetadata'); {begin}; await loaded; await v.play(); "
                           "await event('timeupdate', () => v.currentTime > 0.3); return v.duration")
    assert abs(duration - SECONDS) < 0.2
    for target in PLACES:
        at, frames = browser.run(EVENT + f"""
            const sought = event('seeked'); v.currentTime = {target}; await sought;
            await event('timeupdate', () => v.currentTime > {target} + 0.2);
            return [v.currentTime, v.getVideoPlaybackQuality().totalVideoFrames]""")
        assert target < at < target + 20 and frames > 0
    assert browser.run(EVENT + "v.currentTime = v.duration - 0.5; await event('ended'); return v.ended") is True
    assert browser.run(EVENT + "return v.error === null") is True
    assert browser.problems == []


def test_chromium_plays_hls_by_itself(browser, base):
    with npm.pages(PAGES) as page:
        play(browser, page, f"v.src = {json.dumps(base.replace('SERVICE', 'hls') + 'master.m3u8')}")


@npm.NPM
@pytest.mark.parametrize("player", ["hls", "dash"])
def test_players_of_pages_play(browser, base, scripts, player):
    begin = {"hls": """await new Promise(done => { const s = document.createElement('script');
                       s.src = '/hls.js'; s.onload = done; document.head.append(s); });
                       const player = new Hls({enableWorker: false});
                       player.on(Hls.Events.ERROR, (_, data) => { if (data.fatal) console.error(data.details); });
                       player.loadSource(URL_); player.attachMedia(v)""",
             "dash": """await new Promise(done => { const s = document.createElement('script');
                        s.src = '/dash.js'; s.onload = done; document.head.append(s); });
                        const player = dashjs.MediaPlayer().create(); player.initialize(v, URL_, false)"""}[player]
    url = base.replace("SERVICE", player) + {"hls": "master.m3u8", "dash": "manifest.mpd"}[player]
    with npm.pages({**PAGES, **scripts}) as page:
        play(browser, page, begin.replace("URL_", json.dumps(url)))


def test_mpv_plays_hls_to_the_end(base, tmp_path):
    """Without seeking: libavformat 5.1, by which mpv reads it, comes to the end after a seek in HLS of fragmented MP4, also in playlists that
    it wrote itself; other kinds are in seeking.py."""
    player = Mpv(base.replace("SERVICE", "hls") + "master.m3u8", tmp_path)
    try:
        wait_for(lambda: player.get("duration"), 20, "mpv's loading")
        assert abs(player.get("duration") - SECONDS) < 0.2
        assert player.ask("set_property", "speed", 16)["error"] == "success"
        wait_for(lambda: player.get("eof-reached"), 60, "the end")
        assert player.get("time-pos") > SECONDS - 1
    finally:
        player.close()
