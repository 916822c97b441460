"""A checker of HLS playlists against the rules of RFC 8216 that can be seen in a text; written from the RFC alone."""
import re
from types import SimpleNamespace

ATTRIBUTE = re.compile(r'([A-Z0-9-]+)=("[^"\r\n]*"|[^",\s][^,\s]*)(?:,|$)')
MEDIA_TAGS = {"EXTINF", "EXT-X-BYTERANGE", "EXT-X-DISCONTINUITY", "EXT-X-KEY", "EXT-X-MAP", "EXT-X-TARGETDURATION",
              "EXT-X-MEDIA-SEQUENCE", "EXT-X-ENDLIST", "EXT-X-PLAYLIST-TYPE", "EXT-X-I-FRAMES-ONLY"}
MASTER_TAGS = {"EXT-X-MEDIA", "EXT-X-STREAM-INF", "EXT-X-I-FRAME-STREAM-INF"}
BOTH_TAGS = {"EXTM3U", "EXT-X-VERSION", "EXT-X-INDEPENDENT-SEGMENTS"}


def attributes(text):
    """Section 4.2: no attribute twice, nothing between them."""
    found, at = {}, 0
    while at < len(text):
        match = ATTRIBUTE.match(text, at)
        assert match, f"attribute list: {text[at:]}"
        assert match[1] not in found, f"{match[1]} stands twice"
        found[match[1]] = match[2].strip('"')
        at = match.end()
    return found


def read_playlist(data):
    """Section 4.1: UTF-8 without a byte order mark, EXTM3U first, lines that are tags, URIs, comments or empty."""
    text = data.decode("utf-8")
    assert not text.startswith("\ufeff") and text.endswith("\n")
    lines = text.splitlines()
    assert lines[0] == "#EXTM3U" and not any(ord(c) < 32 for line in lines for c in line)
    entries = []
    for line in lines:
        if line.startswith("#EXT"):
            name, _, value = line[1:].partition(":")
            assert name in MEDIA_TAGS | MASTER_TAGS | BOTH_TAGS, f"unknown tag {name}"
            entries.append((name, value))
        elif line and not line.startswith("#"):
            assert re.fullmatch(r"[A-Za-z0-9._~%!$&'()*+,;=:@/?-]+", line), f"no URI: {line}"
            entries.append((None, line))
    names = [name for name, _ in entries]
    for once in ("EXTM3U", "EXT-X-VERSION", "EXT-X-INDEPENDENT-SEGMENTS", "EXT-X-TARGETDURATION", "EXT-X-MEDIA-SEQUENCE",
                 "EXT-X-ENDLIST", "EXT-X-PLAYLIST-TYPE", "EXT-X-I-FRAMES-ONLY"):
        assert names.count(once) <= 1, f"{once} stands twice"
    assert not (MEDIA_TAGS & set(names) and MASTER_TAGS & set(names)), "a playlist is media or master (section 4.1)"
    return SimpleNamespace(entries=entries, names=names, map=None, init_size=0)


def check_media(playlist):
    """Section 4.3.2 and 4.3.3. Returns (seconds, URI, (size, offset) or None) of each segment; notes map and init_size."""
    entries, segments = playlist.entries, []
    single = dict(entry for entry in entries if entry[0])
    target = int(single["EXT-X-TARGETDURATION"])
    assert single["EXT-X-PLAYLIST-TYPE"] == "VOD" and playlist.names[-1] == "EXT-X-ENDLIST"
    version, needed = int(single.get("EXT-X-VERSION", 1)), 3
    seconds = place = None
    order = [name for name in playlist.names if name]
    for header in ("EXT-X-TARGETDURATION", "EXT-X-MEDIA-SEQUENCE", "EXT-X-PLAYLIST-TYPE"):
        assert order.index(header) < order.index("EXTINF"), f"{header} comes behind the first segment"
    for name, value in entries:
        if name == "EXTINF":
            assert seconds is None, "a segment without URI"
            match = re.fullmatch(r"(\d+\.\d+),(.*)", value)
            assert match, value
            seconds = float(match[1])
            assert seconds > 0 and round(seconds) <= target, f"{seconds} s is above the target of {target} s (section 4.3.3.1)"
        elif name == "EXT-X-BYTERANGE":
            size, offset = map(int, re.fullmatch(r"(\d+)@(\d+)", value).groups())
            place, needed = (size, offset), max(needed, 4)
        elif name == "EXT-X-MAP":
            found = attributes(value)
            if playlist.map is None:
                playlist.map = found["URI"]
            if "BYTERANGE" in found:
                size, offset = map(int, found["BYTERANGE"].split("@"))
                assert offset == 0
                playlist.init_size = size
            needed = max(needed, 5 if "EXT-X-I-FRAMES-ONLY" in playlist.names else 6)
        elif name is None:
            assert seconds is not None, "a URI without EXTINF"
            segments.append((seconds, value, place))
            seconds = place = None
    assert segments and seconds is None and version >= needed, (version, needed)
    if any(bare(uri).endswith((".m4s", ".mp4")) for _, uri, _ in segments):
        assert playlist.map, "a fragmented MP4 needs EXT-X-MAP (section 3.3)"
    return segments


def bare(uri):
    """Without the version of the file that it is a part of."""
    return uri.partition("?")[0]


def check_master(playlist):
    """Section 4.3.4. Returns the URIs of all variants and I-frame playlists."""
    groups, used, uris, pending = {}, [], [], None
    for name, value in playlist.entries:
        if name == "EXT-X-MEDIA":
            media = attributes(value)
            assert media["TYPE"] in ("AUDIO", "SUBTITLES") and media["NAME"] and media["URI"]
            names = groups.setdefault((media["TYPE"], media["GROUP-ID"]), [])
            assert media["NAME"] not in [other["NAME"] for other in names], "a name stands twice in a group"
            names.append(media)
            if media.get("DEFAULT") == "YES":
                assert media.get("AUTOSELECT", "YES") == "YES"
                assert [other.get("DEFAULT") for other in names].count("YES") == 1
        elif name in ("EXT-X-STREAM-INF", "EXT-X-I-FRAME-STREAM-INF"):
            variant = attributes(value)
            assert int(variant["BANDWIDTH"]) >= int(variant.get("AVERAGE-BANDWIDTH", 0)) and int(variant["BANDWIDTH"]) > 0
            assert re.fullmatch(r"\d+x\d+", variant.get("RESOLUTION", "1x1"))
            if name == "EXT-X-STREAM-INF":
                used += [(kind, variant[kind]) for kind in ("AUDIO", "SUBTITLES") if kind in variant]
                pending = variant
            else:
                uris.append(variant["URI"])
        elif name is None:
            assert pending, "a URI without EXT-X-STREAM-INF"
            uris.append(value)
            pending = None
    assert pending is None and uris and len(set(uris)) == len(uris)
    assert set(used) == set(groups), "variants name groups that are not there, or groups that nobody names"
    return uris
