"""Films of many kinds, made by ffmpeg, and what is asked of their streams: for test_streams.py and tests/http/matrix.py."""
import hashlib
import json
import subprocess

PICTURE = ["-f", "lavfi", "-i", "testsrc2=size=320x180:rate=25:duration=20"]
SOUND = ["-f", "lavfi", "-i", "sine=frequency=440:duration=20"]
H264 = ["-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p", "-g", "50"]
AAC = ["-c:a", "aac"]


def ffmpeg(*arguments, timeout=120, cwd=None):
    subprocess.run(["ffmpeg", "-v", "error", "-y", *map(str, arguments)], check=True, timeout=timeout, stdin=subprocess.DEVNULL, cwd=cwd)


def frames(source, stream, *before):
    """The digests of the decoded frames of one stream ("v", "a", "v:0") of a file or URL, in their order."""
    done = subprocess.run(["ffmpeg", "-v", "error", *before, "-i", str(source), "-map", f"0:{stream}", "-f", "framemd5", "-"],
                          capture_output=True, text=True, timeout=120, stdin=subprocess.DEVNULL)
    assert done.returncode == 0, done.stderr
    return [line.split(",")[-1].strip() for line in done.stdout.splitlines() if not line.startswith("#")]


def times(path, kind):
    """When the first shown frame of a stream begins, how long all are shown, and how many they are, by ffprobe."""
    done = subprocess.run(["ffprobe", "-v", "error", "-select_streams", kind, "-show_entries", "frame=pts_time", "-show_entries",
                           "stream=duration", "-of", "json", str(path)], capture_output=True, text=True, timeout=60, check=True)
    found = json.loads(done.stdout)
    shown = [float(frame["pts_time"]) for frame in found["frames"]]
    return shown[0], float(found["streams"][0]["duration"]), len(shown)


def digest(lines):
    return hashlib.md5("\n".join(lines).encode()).hexdigest()
