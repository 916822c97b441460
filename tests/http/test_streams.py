"""HLS, DASH and /info of stored films: what is decoded is what was stored, on every way that bytes take; playlists keep the
rules; requests for segments are requests for files."""
import base64
import gzip
import http.client
import json
import random
import re
import socket
import subprocess
import time
import urllib.parse
import xml.etree.ElementTree

import pytest

import films
import links
from films import AAC, H264, PICTURE, SOUND, frames
from playlists import bare, check_media, check_master, read_playlist
from suite import APP, USER, wait_for
from web import fetch

WAYS = ["relayed", "local"]
DASH = "{urn:mpeg:dash:schema:mpd:2011}"


def stream(file, resource, service="hls", user=USER):
    return f"/{service}/{APP}/{user}/{file}/{resource}".rstrip("/")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Makes a film once: made(NAME, ffmpeg's arguments)."""
    directory = tmp_path_factory.mktemp("films")

    def make(name, *arguments):
        path = directory / name
        if not path.exists():
            films.ffmpeg(*arguments, path)
        return path
    return make


@pytest.fixture(scope="module")
def ports(suite):
    if "streams" not in suite.daemons:
        suite.add_httpd("streams", local_groups=f"group001:{suite.dir / 'data'}", lookup_age="500ms").start()
    return {"relayed": suite.httpd.port, "local": suite.daemons["streams"].port}


@pytest.fixture(scope="module")
def plain(suite, made):
    """H.264 with B-frames and AAC, the index at the end."""
    path = made("plain.mp4", *PICTURE, *SOUND, *H264, "-bf", "2", *AAC)
    suite.put("plain", path.read_bytes(), name="plain.mp4")
    return path


def url(port, path):
    return f"http://127.0.0.1:{port}{path}"


def get(suite, port, path, **headers):
    answer, body = fetch(suite, path, port=port, **headers)
    assert answer.status == 200, (path, answer.status, body[:300])
    return body


def same_frames(suite, port, name, path, audio=True):
    """HLS and DASH give the pictures of the file, in their order, and its sound but what the edit list hides."""
    pictures = frames(path, "v:0")
    master = url(port, stream(name, "master.m3u8"))
    assert frames(master, "v:0") == pictures
    assert frames(url(port, stream(name, "manifest.mpd", "dash")), "v:0") == pictures
    if audio:
        heard, stored = frames(master, "a:0"), frames(path, "a:0")
        assert len(stored) <= len(heard) <= len(stored) + 2 and heard[-100:-1] == stored[-100:-1]


@pytest.mark.parametrize("way", WAYS)
def test_hls_and_dash_decode_to_the_very_frames(suite, ports, plain, way):
    same_frames(suite, ports[way], "plain", plain)


@pytest.mark.parametrize("way", WAYS)
def test_every_playlist_keeps_the_rules_and_every_uri_is_there(suite, ports, plain, way):
    port = ports[way]
    master = read_playlist(get(suite, port, stream("plain", "master.m3u8")))
    uris = check_master(master)
    assert sorted(map(bare, uris)) == ["i.m3u8", "m.m3u8"]
    for name in uris + ["v.m3u8", "a1.m3u8"]:
        media = read_playlist(get(suite, port, stream("plain", name)))
        segments = check_media(media)
        assert abs(sum(seconds for seconds, _, _ in segments) - 20) < 0.1
        for _, uri, _ in segments + [(0, media.map, None)]:
            answer, body = fetch(suite, stream("plain", uri), port=port)
            assert answer.status == 200 and len(body) == int(answer.headers["Content-Length"]), uri
            boxes = [body[4:8]]
            assert boxes[0] == (b"ftyp" if uri.startswith("init") else b"styp")


@pytest.mark.parametrize("way", WAYS)
def test_a_random_segment_decodes_by_itself(suite, ports, plain, way, tmp_path):
    """Init and segment alone, as a player has them that seeks there."""
    stored = frames(plain, "v:0")
    init = get(suite, ports[way], stream("plain", "init-m-0.mp4"))
    for number in random.sample(range(4), 2):
        part = tmp_path / f"{number}.mp4"
        part.write_bytes(init + get(suite, ports[way], stream("plain", f"m-{number}.m4s")))
        assert frames(part, "v:0") == stored[number * 150:(number + 1) * 150]


def test_a_segment_is_asked_for_as_files_are(suite, ports, plain):
    path = stream("plain", "m-1.m4s")
    tags = set()
    for port in ports.values():
        answer, whole = fetch(suite, path, port=port)
        etag = answer.headers["ETag"]
        tags.add(etag)
        head, empty = fetch(suite, path, "HEAD", port=port)
        assert head.status == 200 and empty == b"" and head.headers["Content-Length"] == str(len(whole))
        assert head.headers["ETag"] == etag and head.headers["Content-Type"] == "video/mp4"
        for first, last in ((0, 0), (0, 5000), (100, 20_000), (40_000, 90_000), (len(whole) - 10, len(whole) - 1)):
            answer, body = fetch(suite, path, port=port, Range=f"bytes={first}-{last}", If_Range=etag)
            assert answer.status == 206 and body == whole[first:last + 1], (first, last)
            assert answer.headers["Content-Range"] == f"bytes {first}-{last}/{len(whole)}"
        assert fetch(suite, path, port=port, If_None_Match=etag)[0].status == 304
        assert fetch(suite, path, port=port, If_Match='"other"')[0].status == 412
        assert fetch(suite, path, port=port, Range=f"bytes={len(whole)}-")[0].status == 416
        answer, body = fetch(suite, path, port=port, Range="bytes=0-1,5000-5001")
        assert answer.status == 206 and answer.headers["Content-Type"].startswith("multipart/byteranges")
        assert whole[:2] in body and whole[5000:5002] in body
        assert answer.headers["Content-Disposition"] is None and answer.headers["Last-Modified"]
    assert len(tags) == 1
    other = fetch(suite, stream("plain", "m-2.m4s"), "HEAD")[0].headers["ETag"]
    stored = fetch(suite, f"/files/{APP}/{USER}/plain", "HEAD")[0].headers["ETag"]
    assert other not in tags and stored not in tags and other.startswith(stored[:-1])


@pytest.mark.parametrize("kind", ["plain", "sound-longer", "webm"])
def test_a_dash_presentation_is_a_moment_longer_than_its_streams(suite, ports, plain, made, kind):
    """A player that looks whether the time is up (dash.js) would stop it at its end, before the browser says that it has ended."""
    if kind != "plain":
        suite.put(kind, made(kind + (".webm" if kind == "webm" else ".mp4"), *PICTURE, "-itsoffset", "1.5" if kind == "sound-longer" else "0", *SOUND,
                             *(["-c:v", "libvpx-vp9", "-cpu-used", "8", "-deadline", "realtime", "-g", "50", "-c:a", "libopus"] if kind == "webm" else [*H264, *AAC])).read_bytes())
    manifest = xml.etree.ElementTree.fromstring(get(suite, ports["relayed"], stream(kind, "manifest.mpd", "dash")))
    period, = manifest.iter(DASH + "Period")
    assert manifest.get("mediaPresentationDuration") == period.get("duration")
    ends = []
    for template in manifest.iter(DASH + "SegmentTemplate"):
        time = -int(template.get("presentationTimeOffset"))
        for entry in template.iter(DASH + "S"):
            time = int(entry.get("t", time)) + int(entry.get("d")) * (1 + int(entry.get("r", 0)))
        ends.append(time / int(template.get("timescale")))
    assert len(ends) == 2 and 0.0005 < float(period.get("duration")[2:-1]) - max(ends) < 0.0015
    assert kind != "sound-longer" or max(ends) > min(ends) + 1.4


def test_playlists_are_compressed_for_those_who_take_it(suite, ports, plain):
    path = stream("plain", "manifest.mpd", "dash")
    for _ in range(2):
        bare, text = fetch(suite, path)
        packed, body = fetch(suite, path, Accept_Encoding="br;q=1, gzip;q=0.5")
        refused, same = fetch(suite, path, Accept_Encoding="gzip;q=0, identity")
        assert bare.headers["Content-Encoding"] is None and refused.headers["Content-Encoding"] is None
        assert packed.headers["Content-Encoding"] == "gzip" and gzip.decompress(body) == text == same
        assert len(body) < len(text) // 2 and packed.headers["ETag"] != bare.headers["ETag"]
        assert bare.headers["Vary"] == packed.headers["Vary"] == "Accept-Encoding"
    assert fetch(suite, path, Accept_Encoding="gzip", If_None_Match=packed.headers["ETag"])[0].status == 304


def test_what_cannot_be_streamed_says_why(suite, ports, plain, made):
    content = plain.read_bytes()
    moov = content.index(b"moov") - 4
    lying = bytearray(content)
    at = content.index(b"stsz") + 12
    lying[at:at + 4] = b"\xff\xff\xff\xff"
    old = made("old.mp4", *PICTURE, "-c:v", "mpeg4", "-t", "1")
    cases = {"text": (b"not a film at all\n" * 100, "neither an MP4"), "cut": (content[:moov], "no index (moov)"),
             "short": (content[:moov + 2000], "shorter than its boxes"), "lying": (bytes(lying), "more entries than its box"),
             "old": (old.read_bytes(), "mp4v"), "nothing": (b"", "empty"),
             "words": (b"WEBVTT\n\n" + b"\n" * (4 << 20), "a WebVTT or SubRip file of 4194312 bytes; as subtitles of a stream it may have 4194304 at most")}
    for name, (data, why) in cases.items():
        suite.put("bad-" + name, data, name=name + ".mp4")
        for port in ports.values():
            for resource in ("master.m3u8", "m-0.m4s"):
                answer, body = fetch(suite, stream("bad-" + name, resource), port=port)
                assert answer.status == 415 and why in body.decode(), (name, answer.status, body)
        info = json.loads(get(suite, suite.httpd.port, stream("bad-" + name, "", "info")))
        assert info["streamable"] is False and why in info["reason"] and info["size"] == len(data)
        assert fetch(suite, f"/files/{APP}/{USER}/bad-{name}")[1] == data
    error = json.loads(fetch(suite, stream("bad-cut", "m.m3u8"), Accept="application/json")[1])
    assert error["status"] == 415 and error["error"] == "Unsupported Media Type"


def test_subtitles_that_are_too_long_say_so(suite, plain, made, tmp_path):
    """As a file of a set, and as a track of a film; the rest of the set and of the film is streamed."""
    words = tmp_path / "words.srt"
    words.write_text("".join(f"{i + 1}\n00:00:00,{100 + i:03} --> 00:00:00,{101 + i:03}\n{'a' * 60_000}\n\n" for i in range(70)))
    film = made("wordy.mp4", *PICTURE, "-i", words, "-map", "0", "-map", "1", "-t", "2", *H264, "-c:s", "mov_text")
    suite.put("wordy", film.read_bytes(), name="wordy.mp4")
    suite.put("words", words.read_bytes(), name="words.srt")
    answer, body = fetch(suite, stream("plain,words", "1-t.vtt"))
    size = words.stat().st_size
    assert answer.status == 415 and f"a WebVTT or SubRip file of {size} bytes; as subtitles of a stream it may have 4194304 at most" in body.decode()
    assert "1-t" not in get(suite, suite.httpd.port, stream("plain,words", "master.m3u8")).decode()
    answer, body = fetch(suite, stream("wordy", "t1.vtt"))
    assert answer.status == 415 and b"its track 1, of subtitles, has 42" in body and b"at most 4194304 bytes in 65536 samples" in body
    assert fetch(suite, stream("wordy", "v-0.m4s"))[0].status == 200


@pytest.mark.parametrize("path", ["hls/A/U/plain", "hls/A/U/plain/", "hls/A/U/plain/m-99.m4s", "hls/A/U/plain/a0.m3u8", "hls/A/U/plain/a7-0.m4s",
                                  "hls/A/U/plain/manifest.mpd", "dash/A/U/plain/master.m3u8", "hls/A/U/plain/init-m-1.mp4",
                                  "hls/A/U/plain/1-m.m3u8", "hls/A/U/nobody/master.m3u8", "hls/A/U/a,b,c,d,e,f,g,h,i/master.m3u8",
                                  "info/A/U/plain,plain", "hls/A/U/plain/t.m3u8", "hls/A/U/plain/m-01.m4s"])
def test_what_is_not_there_is_404(suite, plain, path):
    assert fetch(suite, "/" + path.replace("A/U", f"{APP}/{USER}"))[0].status == 404


def test_the_short_form_means_the_configured_user(suite, plain):
    assert fetch(suite, "/hls/plain/master.m3u8")[1] == fetch(suite, stream("plain", "master.m3u8"))[1]
    assert fetch(suite, "/info/plain")[0].status == 200


def test_info_says_what_ffprobe_says(suite, ports, plain):
    info = json.loads(get(suite, ports["local"], stream("plain", "", "info")))
    picture, sound = info["tracks"]
    assert (picture["width"], picture["height"], picture["frame_rate"], picture["samples"]) == (320, 180, 25.0, 500)
    assert picture["codecs"].startswith("avc1.") and sound["codecs"] == "mp4a.40.2"
    assert info["duration"] == 20.0 and info["container"] == "mp4" and info["index_bytes"] < 20_000
    assert sound["sample_rate"] == 44100 and info["streamable"] is True


def test_several_tracks_of_sound_and_text(suite, ports, made, tmp_path):
    srt = tmp_path / "text.srt"
    srt.write_text("1\n00:00:01,000 --> 00:00:02,500\nHello & <font color=red>goodbye</font>\n\n2\n00:00:10,000 --> 00:00:12,000\n<i>Zwei</i>\n")
    path = made("several.mp4", *PICTURE, *SOUND, "-f", "lavfi", "-i", "sine=frequency=880:duration=20", "-i", srt, "-map", "0", "-map", "1",
                "-map", "2", "-map", "3", *H264, *AAC, "-c:s", "mov_text", "-metadata:s:a:0", "language=eng", "-metadata:s:a:1",
                "language=deu", "-metadata:s:s:0", "language=fra")
    suite.put("several", path.read_bytes(), name="several.mp4")
    suite.put("srt", srt.read_bytes(), name="film.en.srt")
    for port in ports.values():
        same_frames(suite, port, "several,srt", path)
        text = get(suite, port, stream("several,srt", "master.m3u8")).decode()
        assert re.search(r'TYPE=AUDIO.*LANGUAGE="en".*DEFAULT=YES.*URI="a1\.m3u8\?v=', text)
        assert re.search(r'TYPE=AUDIO.*LANGUAGE="de".*DEFAULT=NO.*URI="a2\.m3u8\?v=', text)
        assert re.search(r'TYPE=SUBTITLES.*LANGUAGE="fr".*URI="t3\.m3u8\?v=', text)
        assert re.search(r'TYPE=SUBTITLES.*NAME="film.en \(2\)",LANGUAGE="en".*URI="1-t\.m3u8\?v=', text)
        check_master(read_playlist(text.encode()))
        assert frames(url(port, stream("several", "a2.m3u8")), "a")[-50:] == frames(path, "a:1")[-50:]
        for resource in ("t3", "1-t"):
            media = read_playlist(get(suite, port, stream("several,srt", resource + ".m3u8")))
            assert [bare(uri) for _, uri, _ in check_media(media)] == [resource + ".vtt"]
            vtt = get(suite, port, stream("several,srt", resource + ".vtt")).decode()
            assert vtt.startswith("WEBVTT\n\n00:00:01.000 --> 00:00:02.500\nHello &amp; goodbye\n\n00:00:10.000 --> 00:00:12.000\n")
        manifest = xml.etree.ElementTree.fromstring(get(suite, port, stream("several,srt", "manifest.mpd", "dash")))
        kinds = [part.get("contentType") for part in manifest.iter(DASH + "AdaptationSet")]
        assert sorted(kinds) == ["audio", "audio", "text", "text", "video"]


ASS = """[Script Info]
ScriptType: v4.00+

[V4+ Styles]
Format: Name, Fontname, Fontsize, PrimaryColour, SecondaryColour, OutlineColour, BackColour, Bold, Italic, Underline, StrikeOut, ScaleX, ScaleY, Spacing, Angle, BorderStyle, Outline, Shadow, Alignment, MarginL, MarginR, MarginV, Encoding
Style: Default,Arial,16,&Hffffff,&Hffffff,&H0,&H0,0,0,0,0,100,100,0,0,1,1,0,2,10,10,10,0

[Events]
Format: Layer, Start, End, Style, Name, MarginL, MarginR, MarginV, Effect, Text
Dialogue: 0,0:00:01.00,0:00:02.50,Default,,0,0,0,,{\\an8\\i1}Hello{\\i0}, you\\Nand {\\b1}goodbye
Dialogue: 0,0:00:10.00,0:00:12.00,Default,,0,0,0,,{\\p1}m 0 0 l 9 9{\\p0}Zwei
"""


def text_times(path, track):
    """When each subtitle of a track begins and how long it lasts, in seconds, by ffprobe."""
    done = subprocess.run(["ffprobe", "-v", "error", "-select_streams", str(track), "-show_entries", "packet=pts_time,duration_time", "-of",
                           "json", path], capture_output=True, text=True, timeout=60, check=True)
    return [(float(packet["pts_time"]), float(packet["duration_time"])) for packet in json.loads(done.stdout)["packets"]]


def clock(seconds):
    return f"00:00:{seconds:06.3f}"


@pytest.mark.parametrize("name", ["texts.mkv", "live-texts.mkv", "texts.webm"])
def test_subtitles_inside_of_matroska_are_renditions(suite, ports, made, tmp_path, name):
    """By the Cues that ffmpeg writes for them, and in a recording without Cues."""
    long = "x" * 3000
    (tmp_path / "text.srt").write_text("1\n00:00:01,000 --> 00:00:02,500\nHello & <font color=red>goodbye</font>\n\n"
                                       f"2\n00:00:10,000 --> 00:00:12,000\n<i>Zwei</i>\n\n3\n00:00:18,000 --> 00:00:19,000\n{long}\n")
    (tmp_path / "text.ass").write_text(ASS)
    web = name.endswith("webm")
    codecs = {"t2": "webvtt"} if web else {"t2": "subrip", "t3": "ass", "t4": "webvtt"}
    inputs = ["-i", tmp_path / "text.srt"] if web else ["-i", tmp_path / "text.srt", "-i", tmp_path / "text.ass", "-i", tmp_path / "text.srt"]
    sets = [part for number, codec in enumerate(codecs.values()) for part in (f"-c:s:{number}", codec)]
    maps = [part for number in range(2 + len(codecs)) for part in ("-map", str(number))]
    picture = ["-c:v", "libvpx-vp9", "-cpu-used", "8", "-deadline", "realtime", "-g", "10", "-c:a", "libopus"] if web else [*H264, "-g", "10", *AAC]
    live = ["-live", "1"] if name.startswith("live") else []
    small = ["-f", "lavfi", "-i", "testsrc2=size=64x36:rate=5:duration=20"]
    path = made(name, *small, *SOUND, *inputs, *maps, *picture, *sets, "-metadata:s:s:0", "language=fra", *live)
    suite.put(name, path.read_bytes(), name=name)
    expected = {"subrip": ["Hello &amp; goodbye", "<i>Zwei</i>", long], "ass": ["Hello, you\nand goodbye", "Zwei"],
                "webvtt": [None, "<i>Zwei</i>", long]}
    for port in ports.values():
        text = get(suite, port, stream(name, "master.m3u8")).decode()
        assert re.search(r'TYPE=SUBTITLES.*LANGUAGE="fr".*URI="t2\.m3u8\?v=', text)
        check_master(read_playlist(text.encode()))
        for resource, codec in codecs.items():
            media = read_playlist(get(suite, port, stream(name, resource + ".m3u8")))
            assert [bare(uri) for _, uri, _ in check_media(media)] == [resource + ".vtt"]
            vtt = get(suite, port, stream(name, resource + ".vtt")).decode()
            cues = [cue.split("\n", 1) for cue in vtt.strip().split("\n\n")]
            times = [f"{clock(begin)} --> {clock(begin + lasts)}" for begin, lasts in text_times(path, int(resource[1:]))]
            assert cues[0] == ["WEBVTT"] and [time for time, _ in cues[1:]] == times
            for (_, found), wanted in zip(cues[1:], expected[codec], strict=True):
                assert wanted is None or found == wanted
        manifest = xml.etree.ElementTree.fromstring(get(suite, port, stream(name, "manifest.mpd", "dash")))
        assert sum(part.get("contentType") == "text" for part in manifest.iter(DASH + "AdaptationSet")) == len(codecs)
        assert fetch(suite, stream(name, "t9.vtt"), port=port)[0].status == 404
        info = json.loads(get(suite, port, f"/info/{APP}/{USER}/{name}"))
        assert [track["kind"] for track in info["tracks"]] == ["video", "audio"] + ["subtitle"] * len(codecs)


def test_a_set_of_renditions_and_one_that_does_not_agree(suite, ports, plain, made):
    small = made("small.mp4", "-i", plain, "-vf", "scale=160:90", *H264, "-sc_threshold", "0", *AAC)
    other = made("other.mp4", "-i", plain, "-vf", "scale=160:90", *H264, "-g", "73", *AAC)
    suite.put("small", small.read_bytes())
    suite.put("other", other.read_bytes())
    text = get(suite, ports["relayed"], stream("plain,other,small", "master.m3u8")).decode()
    uris = check_master(read_playlist(text.encode()))
    assert sorted(map(bare, uris)) == ["2-i.m3u8", "2-m.m3u8", "i.m3u8", "m.m3u8"] and "RESOLUTION=160x90" in text
    suite.daemons["httpd"].wait_logged("left out")
    assert frames(url(ports["local"], stream("plain,other,small", "2-m.m3u8")), "v") == frames(small, "v")
    manifest = get(suite, ports["relayed"], stream("plain,small", "manifest.mpd", "dash")).decode()
    assert 'id="v"' in manifest and 'id="1-v"' in manifest


@pytest.mark.parametrize("kind", ["fragmented", "sidx", "ts"])
def test_stored_fragments_and_transport_streams_are_ranges_of_the_file(suite, ports, plain, made, kind):
    flags = {"fragmented": ["-movflags", "frag_keyframe+empty_moov"], "ts": ["-f", "mpegts"],
             "sidx": ["-movflags", "frag_keyframe+empty_moov+default_base_moof+global_sidx"]}[kind]
    path = made(f"stored-{kind}.{'ts' if kind == 'ts' else 'mp4'}", "-i", plain, "-c", "copy", *flags)
    suite.put("stored-" + kind, path.read_bytes(), name=path.name)
    for port in ports.values():
        media = read_playlist(get(suite, port, stream("stored-" + kind, "m.m3u8")))
        segments = check_media(media)
        end = media.init_size
        for _, uri, (size, offset) in segments:
            assert bare(uri) == "file." + path.suffix[1:] and offset >= end
            end = offset + size
        assert len(segments) == 4 and path.stat().st_size - end < 1000
        assert frames(url(port, stream("stored-" + kind, "master.m3u8")), "v") == frames(path, "v")
        assert get(suite, port, stream("stored-" + kind, "file" + path.suffix)) == path.read_bytes()
        assert fetch(suite, stream("stored-" + kind, "manifest.mpd", "dash"), port=port)[0].status == 415


MATROSKA = {"plain.mkv": [*PICTURE, *SOUND, *H264, "-bf", "2", *AAC],
            "live.mkv": [*PICTURE, *SOUND, *H264, "-c:a", "ac3", "-live", "1", "-t", "13"]}


@pytest.mark.parametrize("name", MATROSKA)
def test_matroska_decodes_to_the_very_frames(suite, ports, made, name, tmp_path):
    """By its Cues, and as a browser or a recorder writes it, without; each segment by itself too."""
    path = made(name, *MATROSKA[name])
    suite.put(name, path.read_bytes(), name=name)
    pictures, sound = frames(path, "v:0"), frames(path, "a:0")
    for way, port in ports.items():
        master = read_playlist(get(suite, port, stream(name, "master.m3u8")))
        assert sorted(map(bare, check_master(master))) == ["i.m3u8", "m.m3u8"]
        assert frames(url(port, stream(name, "master.m3u8")), "v:0") == pictures
        heard = frames(url(port, stream(name, "a1.m3u8")), "a:0")
        assert abs(len(heard) - len(sound)) <= 2 and heard[20:100] == sound[20:100], way
        media = read_playlist(get(suite, port, stream(name, "m.m3u8")))
        segments = check_media(media)
        init = get(suite, port, stream(name, media.map))
        number = random.randrange(len(segments))
        part = tmp_path / "part.mp4"
        part.write_bytes(init + get(suite, port, stream(name, f"m-{number}.m4s")))
        assert frames(part, "v:0") == pictures[number * 150:(number + 1) * 150]
    assert frames(url(port, stream(name, "manifest.mpd", "dash")), "v:0") == pictures
    answer, whole = fetch(suite, stream(name, "m-0.m4s"))
    part, some = fetch(suite, stream(name, "m-0.m4s"), Range="bytes=100-4099", If_Range=answer.headers["ETag"])
    assert part.status == 206 and some == whole[100:4100] and answer.headers["Content-Type"] == "video/mp4"
    info = json.loads(get(suite, port, stream(name, "", "info")))
    assert info["container"] == "matroska" and info["segments"] == len(segments)
    cut = path.read_bytes()[:path.stat().st_size // 2]
    suite.put("half-" + name, cut, name=name)
    status = fetch(suite, stream("half-" + name, "master.m3u8"))[0].status
    assert status == (200 if name.startswith("live") else 415)  # a recording that was cut off is a film up to there


@pytest.mark.parametrize("way", WAYS)
def test_a_clip_is_a_file_of_its_own(suite, ports, plain, tmp_path, way):
    """From key frame to key frame, every 2 s; it is seekable, and sound begins with the picture."""
    stored = frames(plain, "v:0")
    path = f"/files/{APP}/{USER}/plain/clip.mp4?start=6.5&end=9"
    answer, whole = fetch(suite, path, port=ports[way])
    clip = tmp_path / "clip.mp4"
    clip.write_bytes(whole)
    assert answer.headers["Content-Type"] == "video/mp4" and answer.headers["Content-Disposition"] is None
    assert frames(clip, "v") == stored[150:250] == frames(url(ports[way], path), "v")
    shown = {kind: films.times(clip, kind) for kind in "va"}
    assert shown["v"] == (0, 4, 100) and abs(shown["a"][0]) < 0.001 and abs(shown["a"][1] - 4) < 0.03
    part, some = fetch(suite, path, port=ports[way], Range="bytes=1000-60999", If_Range=answer.headers["ETag"])
    assert part.status == 206 and some == whole[1000:61000] and len(whole) < plain.stat().st_size // 3
    rest = fetch(suite, f"/files/{APP}/{USER}/plain?start=17&download=end.mp4", port=ports[way])
    clip.write_bytes(rest[1])
    assert frames(clip, "v") == stored[400:] and 'filename="end.mp4"' in rest[0].headers["Content-Disposition"]


def test_many_who_want_one_cold_film_share_one_reading(suite, ports, plain, made):
    import concurrent.futures
    path = made("shared.mp4", "-i", plain, "-c", "copy", "-movflags", "+faststart")
    suite.put("shared", path.read_bytes())
    counter = 'reel_httpd_indexes_total{result="read"}'
    before = suite.daemons["streams"].metric(counter)
    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        bodies = set(pool.map(lambda _: get(suite, ports["local"], stream("shared", "m.m3u8")), range(32)))
    wait_for(lambda: suite.daemons["streams"].metric(counter) > before, 10, "the reading to be counted")
    assert len(bodies) == 1 and suite.daemons["streams"].metric(counter) == before + 1
    assert suite.daemons["streams"].metric("reel_httpd_index_bytes") > 5000


@pytest.mark.parametrize("way", WAYS)
def test_parts_of_a_film_are_not_mixed_with_those_of_the_next_one_under_its_id(own_suite, made, plain, way):
    """A player holds a playlist of a film that is deleted, purged and replaced: it gets nothing of the new one by it, and nothing of the
    old one by the new playlist, whatever each loop remembers."""
    own_suite.add_tracker(), own_suite.add_idserver(), own_suite.add_storage(trash_keep="0s", purge_interval="100ms")
    options = {"local_groups": f"group001:{own_suite.dir / 'data'}"} if way == "local" else {}
    own_suite.add_httpd(write="open", lookup_age="1h", **options)
    own_suite.launch()
    port, other = own_suite.httpd.port, made("next.mp4", "-i", plain, "-vf", "negate", *H264, *AAC).read_bytes()
    address = f"/files/{APP}/{USER}/film"

    def parts(service, playlist):
        text = get(own_suite, port, stream("film", playlist, service)).decode()
        found = sorted(set(re.findall(r"[A-Za-z0-9$-]+\.(?:m4s|mp4|m3u8)\?v=[0-9a-f]{8}", text)))
        return [part.replace("$RepresentationID$-$Number$", "v-1") for part in found]

    def all_parts():
        return parts("hls", "master.m3u8") + parts("hls", "m.m3u8") + parts("dash", "manifest.mpd")

    def answers(links):
        return {fetch(own_suite, stream("film", link), port=port)[0].status for link in links}

    own_suite.put("film", plain.read_bytes())
    old = all_parts()
    assert {link.rsplit(".", 1)[1][:3] for link in old} == {"m4s", "mp4", "m3u"} and answers(old) == {200}
    for _ in range(8):  # as many loops as there may be know it
        fetch(own_suite, stream("film", "m-0.m4s"), port=port)
    assert fetch(own_suite, address, "DELETE", port=port)[0].status == 204

    def is_stored():
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        connection.request("PUT", address, other)
        return connection.getresponse().status == 201

    wait_for(is_stored, 30, "the ID is free")
    # What a loop still takes for the old file is found out when it is read.
    wait_for(lambda: answers(all_parts()) == {200}, 30, "all of the new film")
    for _ in range(8):
        assert answers(old) == {404}
        assert fetch(own_suite, stream("film", "master.m3u8?v=2"), port=port)[0].status == 200  # anything else that calls itself v


def test_streams_have_relative_uris_only(suite, ports, plain):
    for resource, service in (("master.m3u8", "hls"), ("m.m3u8", "hls"), ("i.m3u8", "hls"), ("manifest.mpd", "dash")):
        text = get(suite, ports["relayed"], stream("plain", resource, service)).decode()
        text = text.replace("urn:mpeg:dash:", "").replace("http://www.w3.org", "")
        assert "://" not in text and not re.search(r'^/|URI="/|media="/', text, re.M)
    assert urllib.parse.urljoin("http://h/t/SIGNED/hls/A/U/F/m.m3u8", "m-0.m4s") == "http://h/t/SIGNED/hls/A/U/F/m-0.m4s"


def test_stored_texts_are_compressed_and_srt_is_webvtt_by_name(suite, ports):
    lines = "".join(f"{i}\n00:00:{i:02},000 --> 00:00:{i:02},900\nLine {i} & more\n\n" for i in range(1, 60)).encode()
    playlist = b"#EXTM3U\n" + b"".join(b"#EXTINF:6.0,\nsegment-%d.ts\n" % i for i in range(500))
    suite.put("text-srt", lines, name="film.srt")
    suite.put("text-m3u8", playlist, name="film.m3u8")
    suite.put("text-svg", b"<svg xmlns='http://www.w3.org/2000/svg'>" + b"<g/>" * 500 + b"</svg>", name="a.svg", content_type="image/svg+xml")
    for port in ports.values():
        plain, text = fetch(suite, f"/files/{APP}/{USER}/text-m3u8", port=port)
        packed, body = fetch(suite, f"/files/{APP}/{USER}/text-m3u8", port=port, Accept_Encoding="gzip")
        assert text == playlist == gzip.decompress(body) and len(body) < len(playlist) // 4
        assert plain.headers["Content-Encoding"] is None and packed.headers["Content-Encoding"] == "gzip"
        assert packed.headers["ETag"].startswith(plain.headers["ETag"][:-1] + "-") and packed.headers["Content-Type"] == plain.headers["Content-Type"]
        assert plain.headers["Vary"] == packed.headers["Vary"] == "Accept-Encoding"
        assert fetch(suite, f"/files/{APP}/{USER}/text-m3u8", port=port, Accept_Encoding="gzip",
                     If_None_Match=packed.headers["ETag"])[0].status == 304
        part, some = fetch(suite, f"/files/{APP}/{USER}/text-m3u8", port=port, Accept_Encoding="gzip", Range="bytes=10-19")
        assert part.status == 206 and some == playlist[10:20] and part.headers["ETag"] == plain.headers["ETag"]
        drawing = fetch(suite, f"/files/{APP}/{USER}/text-svg", port=port, Accept_Encoding="gzip")[0]
        assert drawing.headers["Content-Encoding"] == "gzip" and drawing.headers["Content-Disposition"].startswith("attachment")
        assert fetch(suite, f"/files/{APP}/{USER}/text-m3u8/segment-1.ts", port=port, Accept_Encoding="gzip")[0].status == 404
        answer, vtt = fetch(suite, f"/files/{APP}/{USER}/text-srt/film.en.vtt", port=port)
        assert answer.headers["Content-Type"] == "text/vtt; charset=utf-8" and answer.headers["Content-Disposition"] is None
        assert vtt.startswith(b"WEBVTT\n\n00:00:01.000 --> 00:00:01.900\nLine 1 &amp; more\n")
        assert gzip.decompress(fetch(suite, f"/files/{APP}/{USER}/text-srt/film.en.vtt", port=port, Accept_Encoding="gzip")[1]) == vtt
        assert fetch(suite, f"/files/{APP}/{USER}/text-srt/film.srt", port=port)[1] == lines


def test_a_film_goes_on_while_its_storage_server_is_killed(own_suite, plain):
    """Segment after segment at a player's pace; one of the two storage servers is killed in the middle."""
    own_suite.add_tracker()
    own_suite.add_idserver()
    own_suite.add_storage()
    own_suite.add_storage("storage2")
    own_suite.add_httpd()
    own_suite.launch()
    own_suite.put("film", plain.read_bytes())
    port = own_suite.httpd.port
    expected = [get(own_suite, port, stream("film", f"m-{n}.m4s")) for n in range(4)]
    longest = 0
    for turn in range(24):
        if turn == 8:
            own_suite.daemons["storage"].kill()
        began = time.monotonic()
        assert get(own_suite, port, stream("film", f"m-{turn % 4}.m4s")) == expected[turn % 4]
        longest = max(longest, time.monotonic() - began)
    assert longest < 2


def test_where_links_are_signed_streams_need_one_too(suite, plain):
    signer = links.Signer("app-a", bytes(range(32)))
    keys = suite.dir / "etc" / "streams.keys"
    keys.write_text(f"app-a issuer {base64.b64encode(bytes(range(32))).decode()}\n")
    keys.chmod(0o600)
    daemon = suite.add_httpd("signed", access="signed")
    daemon.configure({**daemon.config, "auth": {"keys": keys}})
    daemon.start()
    for path in (stream("plain", "master.m3u8"), stream("plain", "m-0.m4s"), stream("plain", "manifest.mpd", "dash"),
                 stream("plain", "", "info"), stream("nobody", "master.m3u8")):
        answer, body = fetch(suite, path, port=daemon.port)
        assert answer.status == 403 and b"signed link" in body, path
        for scope, file in (("f", "plain"), ("u", "another")):
            linked = f"/t/{signer.token(APP, USER, file, int(time.time()) + 600, scope)}{path}"
            answer, body = fetch(suite, linked, port=daemon.port)
            assert answer.status == (200 if "plain" in path else 403 if scope == "f" else 404), linked
    # What a player follows from there is relative, and so carries the link too.
    base = f"/t/{signer.token(APP, USER, 'plain', int(time.time()) + 600, 'f')}"
    address = base + stream("plain", "master.m3u8")

    def follow(link):
        """What lies behind LINK of the playlist at ADDRESS."""
        target = urllib.parse.urljoin("http://h" + address, link).removeprefix("http://h")
        answer, body = fetch(suite, target, port=daemon.port)
        assert answer.status == 200 and target.startswith(base), target
        return target, body
    for uri in check_master(read_playlist(fetch(suite, address, port=daemon.port)[1])):
        playlist, text = follow(uri)
        media = read_playlist(text)
        segments = check_media(media)
        address = playlist
        for link in [media.map, segments[0][1], segments[-1][1]]:
            assert follow(link)[1][4:8] in (b"ftyp", b"styp")
        address = base + stream("plain", "master.m3u8")
    address = base + stream("plain", "manifest.mpd", "dash")
    manifest = fetch(suite, address, port=daemon.port)[1].decode()
    names = re.findall(r'(?:initialization|media)="([^"]*)"', manifest)
    assert names
    for name in names:
        assert follow(name.replace("$RepresentationID$", "v").replace("$Number$", "0"))[1][4:8] in (b"ftyp", b"styp")


def test_memory_of_segments_is_bounded_until_they_are_sent(suite, made):
    """A client that takes nothing of a large segment of Matroska holds its memory: the next one is refused, until it has gone."""
    path = made("noise.mkv", "-f", "lavfi", "-i", "color=gray:s=320x180:r=25:d=5,noise=alls=100:allf=t", "-c:v", "libx264", "-preset",
                "ultrafast", "-qp", "0", "-pix_fmt", "yuv420p", "-g", "125")
    suite.put("noise", path.read_bytes(), name="noise.mkv")
    assert 7 << 20 < path.stat().st_size < 24 << 20
    if "narrow" not in suite.daemons:
        suite.add_httpd("narrow", stream_memory="16M").start()
    port = suite.daemons["narrow"].port
    segment = stream("noise", "m-0.m4s") if b"m.m3u8" in get(suite, port, stream("noise", "master.m3u8")) else stream("noise", "v-0.m4s")
    with socket.create_connection(("127.0.0.1", port), timeout=30) as idle:
        idle.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        idle.sendall(f"GET {segment} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        assert idle.recv(12) == b"HTTP/1.1 200"
        answer, body = fetch(suite, segment, port=port)
        assert answer.status == 503 and b"httpd.stream_memory" in body and int(answer.headers["Retry-After"]) >= 1
        assert fetch(suite, stream("noise", "init-" + segment.rsplit("/", 1)[1][0] + "-0.mp4"), port=port)[0].status == 200
    wait_for(lambda: fetch(suite, segment, port=port)[0].status == 200, 20, "the memory to be given back")
    assert fetch(suite, segment, port=port)[0].status == 200
