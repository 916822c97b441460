"""The long run of streams, for nights (scripts/nightly.sh players; about five minutes): films of all kinds, each relayed and local: the frames
of HLS and DASH are those of the file, and those of random segments by themselves too; every playlist keeps the rules."""
import itertools
import pathlib
import random
import struct

import pytest

import films
from films import AAC, H264, PICTURE, SOUND, frames
from playlists import bare, check_master, check_media, read_playlist
from suite import APP, USER
from web import fetch

SECOND = ["-f", "lavfi", "-i", "sine=frequency=880:duration=20"]
VFR = ["-vf", "select='not(eq(mod(n,7),3))*not(eq(mod(n,11),5))'", "-vsync", "vfr"]
HEVC = ["-c:v", "libx265", "-preset", "ultrafast", "-x265-params", "log-level=error:keyint=50", "-tag:v", "hvc1"]
VP9 = ["-c:v", "libvpx-vp9", "-cpu-used", "8", "-deadline", "realtime", "-g", "50"]
AV1 = ["-c:v", "libaom-av1", "-cpu-used", "8", "-usage", "realtime", "-g", "50", "-t", "8"]
BOTH = [*PICTURE, *SOUND]
KINDS = {
    "h264-aac.mp4": [*BOTH, *H264, *AAC], "bframes.mp4": [*BOTH, *H264, "-bf", "3", *AAC],
    "faststart.mp4": [*BOTH, *H264, *AAC, "-movflags", "+faststart"], "baseline.mp4": [*BOTH, *H264, "-profile:v", "baseline", *AAC],
    "hevc.mp4": [*BOTH, *HEVC, *AAC], "hevc-ac3.mp4": [*BOTH, *HEVC, "-c:a", "ac3"], "vp9-opus.mp4": [*BOTH, *VP9, "-c:a", "libopus"],
    "vp9-flac.mp4": [*BOTH, *VP9, "-c:a", "flac", "-strict", "-2"], "av1.mp4": [*BOTH, *AV1, *AAC],
    "eac3.mp4": [*BOTH, *H264, "-c:a", "eac3"], "mp3.mp4": [*BOTH, *H264, "-c:a", "libmp3lame"],
    "mov.mov": [*BOTH, *H264, *AAC], "eac3.mov": [*BOTH, *H264, "-c:a", "eac3"], "silent.mp4": [*PICTURE, *H264],
    "open-gop.mp4": [*BOTH, "-c:v", "libx264", "-preset", "veryfast", "-pix_fmt", "yuv420p", "-x264-params", "open-gop=1:keyint=50:bframes=3", *AAC],
    "vfr.mp4": [*BOTH, *VFR, *H264, *AAC], "two-sounds.mp4": [*BOTH, *SECOND, "-map", "0", "-map", "1", "-map", "2", *H264, *AAC],
    "all-key.mp4": [*BOTH, *H264, "-g", "1", *AAC], "long-gop.mp4": [*BOTH, *H264, "-g", "400", *AAC],
    "delayed.mp4": [*PICTURE, "-itsoffset", "1.5", *SOUND, *H264, *AAC], "short-sound.mp4": [*PICTURE, "-f", "lavfi", "-i", "sine=duration=7", *H264, *AAC],
    "ntsc.mp4": ["-f", "lavfi", "-i", "testsrc2=size=320x180:rate=30000/1001:duration=20", *SOUND, *H264, *AAC],
    "turned.mp4": [*BOTH, *H264, *AAC, "-metadata:s:v", "rotate=90"], "fragmented.mp4": [*BOTH, *H264, *AAC, "-movflags", "frag_keyframe+empty_moov"],
    "stream.ts": [*BOTH, *H264, *AAC, "-f", "mpegts"], "wide.mp4": None, "apart.mp4": None,
    "h264-aac.mkv": [*BOTH, *H264, "-bf", "3", *AAC], "hevc-ac3.mkv": [*BOTH, *HEVC, "-c:a", "ac3"], "hevc-eac3.mkv": [*BOTH, *HEVC, "-c:a", "eac3"],
    "vp9-opus.webm": [*BOTH, *VP9, "-c:a", "libopus"], "av1-opus.webm": [*BOTH, *AV1, "-c:a", "libopus"], "h264-flac.mkv": [*BOTH, *H264, "-c:a", "flac"],
    "h264-mp3.mkv": [*BOTH, *H264, "-c:a", "libmp3lame"], "vfr.mkv": [*BOTH, *VFR, *H264, *AAC], "silent.mkv": [*PICTURE, *H264],
    "two-sounds.mkv": [*BOTH, *SECOND, "-map", "0", "-map", "1", "-map", "2", *H264, *AAC], "live.mkv": [*BOTH, *H264, *AAC, "-live", "1"],
    "open-gop.mkv": [*BOTH, "-c:v", "libx264", "-preset", "veryfast", "-pix_fmt", "yuv420p", "-x264-params", "open-gop=1:keyint=50:bframes=3", *AAC],
    "long-clusters.mkv": [*BOTH, *H264, "-c:a", "flac", "-cluster_time_limit", "30000", "-cluster_size_limit", "100000000"],
    "delayed.mkv": [*PICTURE, "-itsoffset", "1.5", *SOUND, *H264, *AAC], "all-key.mkv": [*BOTH, *H264, "-g", "1", *AAC],
}


def boxes(data, at, end):
    while at < end:
        size = struct.unpack_from(">I", data, at)[0]
        yield data[at + 4:at + 8], at, size
        at += size


def tables(data, at, end):
    """Where the stco boxes are."""
    for kind, begin, size in boxes(data, at, end):
        if kind in (b"moov", b"trak", b"mdia", b"minf", b"stbl"):
            yield from tables(data, begin + 8, begin + size)
        elif kind == b"stco":
            yield begin, size


def rewritten(path):
    """A copy with co64, as muxers of large files write it: the index behind the content, all other bytes where they were."""
    data = path.read_bytes()
    (_, moov, size), = [box for box in boxes(data, 0, len(data)) if box[0] == b"moov"]
    assert moov + size == len(data)

    def convert(at, end):
        out = b""
        for kind, begin, length in boxes(data, at, end):
            body = data[begin + 8:begin + length]
            if kind in (b"moov", b"trak", b"mdia", b"minf", b"stbl"):
                body = convert(begin + 8, begin + length)
            elif kind == b"stco":
                count = struct.unpack_from(">I", body, 4)[0]
                kind, body = b"co64", body[:8] + struct.pack(f">{count}Q", *struct.unpack_from(f">{count}I", body, 8))
            out += struct.pack(">I", len(body) + 8) + kind + body
        return out
    return data[:moov] + convert(moov, len(data))


def all_sound_behind(path):
    """A copy in which all sound lies behind all pictures, sample by sample in chunks of their own."""
    data = bytearray(path.read_bytes())
    places = list(tables(data, 0, len(data)))
    assert len(places) == 2
    picture, sound = ([struct.unpack_from(">I", data, at + 16 + 4 * i)[0] for i in range(struct.unpack_from(">I", data, at + 12)[0])]
                      for at, _ in places)
    (_, mdat, size), = [box for box in boxes(data, 0, len(data)) if box[0] == b"mdat"]
    ends = sorted(picture + sound) + [mdat + size]
    length = {begin: ends[ends.index(begin) + 1] - begin for begin in picture + sound}
    content, moved = b"", {}
    for begin in picture + sound:
        moved[begin] = mdat + 8 + len(content)
        content += bytes(data[begin:begin + length[begin]])
    assert len(content) <= size - 8
    for at, _ in places:
        for i in range(struct.unpack_from(">I", data, at + 12)[0]):
            old = struct.unpack_from(">I", data, at + 16 + 4 * i)[0]
            struct.pack_into(">I", data, at + 16 + 4 * i, moved[old])
    data[mdat + 8:mdat + 8 + len(content)] = content
    return bytes(data)


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    return tmp_path_factory.mktemp("films")


@pytest.fixture(scope="module")
def ports(suite):
    suite.add_httpd("matrix", local_groups=f"group001:{suite.dir / 'data'}").start()
    return suite.httpd.port, suite.daemons["matrix"].port


def make(directory, name):
    path = directory / name
    if KINDS[name]:
        films.ffmpeg(*KINDS[name], path)
        return path
    plain = directory / ("plain-" + name)
    films.ffmpeg(*BOTH, *H264, *AAC, plain)
    path.write_bytes(rewritten(plain) if name == "wide.mp4" else all_sound_behind(plain))
    assert frames(path, "v") == frames(plain, "v")
    return path


def media_playlists(suite, port, name):
    path = f"/hls/{APP}/{USER}/{name}/"
    master = read_playlist(fetch(suite, path + "master.m3u8", port=port)[1])
    for uri in check_master(master):
        media = read_playlist(fetch(suite, path + uri, port=port)[1])
        yield uri, media, check_media(media)


@pytest.mark.parametrize("name", KINDS)
def test_a_kind(suite, ports, directory, name):
    path = make(directory, name)
    suite.put(name, path.read_bytes(), name=name)
    pictures = frames(path, "v:0")
    sound = [] if name.startswith("silent") else frames(path, "a:0")
    ranges = name in ("stream.ts", "fragmented.mp4")
    for port in ports:
        base = f"http://127.0.0.1:{port}"
        assert frames(f"{base}/hls/{APP}/{USER}/{name}/master.m3u8", "v:0") == pictures
        if not ranges:
            assert frames(f"{base}/dash/{APP}/{USER}/{name}/manifest.mpd", "v:0") == pictures
        if sound:
            heard = frames(f"{base}/hls/{APP}/{USER}/{name}/master.m3u8", "a:0")
            missing = [line for line in sound[1:-1] if line not in set(heard)]
            assert abs(len(heard) - len(sound)) <= 3 and len(missing) <= 3, (len(heard), len(sound), len(missing))
        for uri, media, segments in list(media_playlists(suite, port, name)):
            if ranges or bare(uri) == "i.m3u8":
                continue
            if uri[0] in "mv":
                check_segments(suite, port, name, media, segments, pictures, directory, name.startswith("open-gop"))


def check_segments(suite, port, name, media, segments, pictures, directory, open_gop):
    """Random segments alone decode to the pictures that are theirs."""
    def get(uri):
        answer, body = fetch(suite, f"/hls/{APP}/{USER}/{name}/{uri}", port=port)
        assert answer.status == 200, uri
        return body
    init = get(media.map)
    known = set(pictures)
    for _, uri, _ in random.sample(segments, min(3, len(segments))):
        part = pathlib.Path(directory) / "part.mp4"
        part.write_bytes(init + get(uri))
        own = frames(part, "v") if b"moof" in part.read_bytes() else []
        assert own and (open_gop or all(picture in known for picture in own)), uri
        if not open_gop:
            where = [pictures.index(picture) for picture in own]
            assert all(b >= a for a, b in itertools.pairwise(where)) or len(set(pictures)) < len(pictures), uri
