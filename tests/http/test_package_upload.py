"""`reel upload --package`: finished HLS and DASH streams, made by ffmpeg, stored and played through reel-httpd."""
import json
import os
import re
import urllib.parse

import pytest

import films
from films import AAC, H264, frames
from suite import APP, USER
from web import fetch

SECONDS = 6
INPUT = ["-f", "lavfi", "-i", f"testsrc2=size=320x180:rate=25:duration={SECONDS}", "-f", "lavfi", "-i",
         f"sine=frequency=440:duration={SECONDS}", *H264, "-g", "50", *AAC]


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    path = tmp_path_factory.mktemp("original") / "film.mp4"
    films.ffmpeg(*INPUT, path)
    return path


@pytest.fixture
def folder(tmp_path, original):
    """A function that makes a folder with a stream of the film."""
    def make(*options):
        path = tmp_path / "package"
        path.mkdir()
        films.ffmpeg("-i", original, "-c", "copy", *options, cwd=path)
        return path
    return make


def upload(suite, folder, *more):
    """The links that are printed."""
    done = suite.reel("upload", "--package", folder, "--http", f"http://127.0.0.1:{suite.httpd.port}", *more)
    return done.stdout.decode().split()


HLS_TS = ["-f", "hls", "-hls_time", "2", "-hls_playlist_type", "vod", "-master_pl_name", "master.m3u8",
          "-hls_segment_filename", "part %02d.ts", "video.m3u8"]
HLS_MP4 = ["-f", "hls", "-hls_time", "2", "-hls_playlist_type", "vod", "-hls_segment_type", "fmp4", "-hls_flags", "single_file",
           "all.m3u8"]
BOTH = ["-f", "dash", "-seg_duration", "2", "-hls_playlist", "1", "-use_timeline", "1", "stream.mpd"]
BY_NUMBER = ["-f", "dash", "-seg_duration", "2", "-use_timeline", "0", "stream.mpd"]
ON_DEMAND = ["-f", "dash", "-seg_duration", "2", "-single_file", "1", "stream.mpd"]


@pytest.mark.parametrize("options, links", [(HLS_TS, 1), (HLS_MP4, 1), (BOTH, 2), (BY_NUMBER, 1)],
                         ids=["hls-ts", "hls-one-file", "dash-and-hls", "dash-by-number"])
def test_a_stream_is_played_as_it_was_in_its_folder(suite, folder, original, options, links):
    path = folder(*options)
    found = upload(suite, path, "-j", "4")
    assert len(found) == links
    for link in found:
        assert frames(link, "v:0") == frames(original, "v:0")
        assert len(frames(link, "a:0")) >= len(frames(original, "a:0")) - 1


def test_a_manifest_of_one_file_per_track_leads_to_these_files(suite, folder):
    """Not played: ffmpeg reads such a manifest not to its end, wherever it lies."""
    path = folder(*ON_DEMAND)
    link = urllib.parse.urlsplit(upload(suite, path)[0]).path
    _, body = fetch(suite, link)
    found = re.findall(r"<BaseURL>(.*?)</BaseURL>", body.decode())
    names = re.findall(r"<BaseURL>(.*?)</BaseURL>", (path / "stream.mpd").read_text())
    assert len(found) == len(names) == 2
    for inner, name in zip(found, names):
        answer, content = fetch(suite, urllib.parse.urljoin(link, inner), Range="bytes=100-299")
        assert answer.status == 206 and content == (path / name).read_bytes()[100:300]


def test_all_that_is_stored_begins_with_the_file_id_of_the_master_playlist(suite, folder):
    path = folder(*HLS_TS)
    (path / "notes.txt").write_text("not of the stream")
    done = suite.reel("upload", "--package", path, "--file-id", "pack-one", "--json")
    printed = json.loads(done.stdout)
    assert printed["file"] == "pack-one" and printed["url"] == f"/files/{APP}/{USER}/pack-one/master.m3u8"
    assert b"notes.txt: no playlist names it" in done.stderr
    stored = [line.split("\t")[0] for line in suite.reel("find", "*.ts", "*.m3u8").stdout.decode().splitlines()]
    own = sorted(name for name in stored if name.startswith("pack-one"))
    assert own == sorted(["pack-one", "pack-one-video.m3u8"] + [f"pack-one-part {n:02}.ts" for n in range(SECONDS // 2)])
    # The second time nothing is stored anew, and the link is the same.
    assert suite.reel("upload", "--package", path, "--file-id", "pack-one", "--json").stdout == done.stdout


def test_below_a_playlist_lies_nothing_but_the_playlist(suite, folder):
    path = folder(*HLS_TS)
    link = urllib.parse.urlsplit(upload(suite, path)[0]).path
    answer, body = fetch(suite, link)
    assert answer.status == 200 and answer.headers["Content-Type"].startswith("application/vnd.apple.mpegurl")
    inner = re.search(rb"^\.\./.*$", body, re.M)[0].decode()
    assert fetch(suite, urllib.parse.urljoin(link, inner))[0].status == 200
    assert fetch(suite, urllib.parse.urljoin(link, "part%2000.ts"))[0].status == 404
    assert fetch(suite, urllib.parse.urljoin(link, "master.mpd"))[0].status == 404


def test_what_is_wrong_is_said_and_nothing_is_stored(suite, folder):
    path = folder(*HLS_TS)
    playlist = (path / "video.m3u8").read_text()
    (path.parent / "other.ts").write_bytes(b"x")
    os.symlink("/etc/hostname", path / "link.ts")

    def refused(text):
        (path / "video.m3u8").write_text(text)
        done = suite.reel("upload", "--package", path, "--file-id", "pack-bad", check=False)
        assert done.returncode != 0 and done.stdout == b""
        assert suite.reel("stat", "pack-bad-part 00.ts", check=False).returncode == 3
        return done.stderr.decode()
    first = "part 00.ts"
    assert "master.m3u8: line 4: video.m3u8: line 7: gone.ts is not in the folder" in refused(playlist.replace(first, "gone.ts"))
    assert "../other.ts: it leads out of the folder" in refused(playlist.replace(first, "../other.ts"))
    assert "link.ts is not in the folder" in refused(playlist.replace(first, "link.ts"))
    assert "an absolute URI" in refused(playlist.replace(first, "http://tv.example/a.ts"))
    assert "no #EXT-X-ENDLIST" in refused(playlist.replace("#EXT-X-ENDLIST", ""))
    assert "leads back to it" in refused("#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\nmaster.m3u8\n")
