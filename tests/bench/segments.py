#!/usr/bin/env python3
"""What streams cost beside plain ranges of the same file: tests/bench/segments.py [BIN_DIR] [--hours N] [--bits N]

Makes a film, stores it, and prints, relayed and from a local group, as medians and worst of a number of requests: the first playlist
of a film that nobody has asked for, the next one, the first byte of a segment, segments beside ranges of the same bytes over one
connection, posters (of a cold film, of one that is known, of one that is kept) where BIN_DIR has reel-poster, what a hundred cold films opened at once
do to a request for a small file, and the memory of the index per hour of film.
BIN_DIR: default build/release/bin.
"""
import argparse
import http.client
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import threading
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
arguments.add_argument("bin", nargs="?", default=str(ROOT / "build" / "release" / "bin"))
arguments.add_argument("--hours", type=float, default=1.0)
arguments.add_argument("--films", type=int, default=5, help="cold films that are opened one after the other")
options = arguments.parse_args()
os.environ["REEL_BUILD"] = str(pathlib.Path(options.bin).resolve().parent)
sys.path.insert(0, str(ROOT / "tests" / "system"))
from suite import APP, USER, Suite  # noqa: E402


def make_short(directory):
    """Ten minutes of little."""
    film = directory / "short.mp4"
    subprocess.run(["ffmpeg", "-v", "error", "-f", "lavfi", "-i", "testsrc2=size=64x36:rate=25:duration=600", "-f", "lavfi", "-i",
                    "sine=frequency=440:duration=600", "-c:v", "libx264", "-preset", "ultrafast", "-bf", "2", "-pix_fmt", "yuv420p",
                    "-g", "50", "-c:a", "aac", str(film)], check=True)
    return film.read_bytes()


def make_film(directory):
    """An hour at about 0.7 Mbit/s, B-frames, a key frame every two seconds, AAC; the index at the beginning."""
    part, film = directory / "part.mp4", directory / "film.mp4"
    subprocess.run(["ffmpeg", "-v", "error", "-f", "lavfi", "-i", "testsrc2=size=320x180:rate=25:duration=60,noise=alls=20:allf=t",
                    "-f", "lavfi", "-i", "sine=frequency=440:duration=60", "-c:v", "libx264", "-preset", "ultrafast", "-bf", "2",
                    "-b:v", "500k", "-pix_fmt", "yuv420p", "-g", "50", "-c:a", "aac", str(part)], check=True)
    subprocess.run(["ffmpeg", "-v", "error", "-stream_loop", str(int(options.hours * 60) - 1), "-i", str(part), "-c", "copy",
                    "-movflags", "+faststart", str(film)], check=True)
    return film.read_bytes()


class Client:
    def __init__(self, port):
        self.connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        self.connection.connect()

    def get(self, path, **headers):
        """(ms to the first byte, ms to the last, the body)"""
        began = time.perf_counter()
        self.connection.request("GET", path, headers=headers)
        answer = self.connection.getresponse()
        first = time.perf_counter()
        body = answer.read()
        assert answer.status in (200, 206), (path, answer.status, body[:200])
        return (first - began) * 1e3, (time.perf_counter() - began) * 1e3, body


def show(what, values):
    print(f"  {what:46} median {statistics.median(values):8.2f}   worst {max(values):8.2f} ms")


def throughput(port, paths, headers):
    """MB/s of one connection; bodies are dropped by curl."""
    began = time.perf_counter()
    sizes = subprocess.run(["curl", "-sS", "--fail", "-w", "%{size_download}\\n", *headers, *sum([["-o", "/dev/null", f"http://127.0.0.1:{port}{path}"]
                            for path in paths], [])], check=True, capture_output=True, text=True).stdout
    return sum(map(int, sizes.split())) / (time.perf_counter() - began) / 1e6


def stalls(port, names):
    """The longest that a request for a small file takes while all of NAMES are opened, each by a client of its own."""
    small = Client(port)
    small.get(f"/files/{APP}/{USER}/small")
    threads = [threading.Thread(target=lambda name=name: Client(port).get(f"/hls/{APP}/{USER}/{name}/m.m3u8")) for name in names]
    longest, count = [], 0
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        longest.append(small.get(f"/files/{APP}/{USER}/small")[1])
        count += 1
    for thread in threads:
        thread.join()
    return longest


def measure(suite, way, daemon, film, short):
    port = daemon.port
    base = f"/hls/{APP}/{USER}"
    print(f"{way}:")
    cold = [f"cold-{way}-{i}" for i in range(options.films)]
    for name in cold:
        suite.put(name, film)
    client = Client(port)
    held = daemon.metric("reel_httpd_index_bytes")
    show("first playlist of a cold film", [client.get(f"{base}/{name}/m.m3u8")[1] for name in cold])
    print(f"  index: {(daemon.metric('reel_httpd_index_bytes') - held) / len(cold) / options.hours / 1e6:.2f} MB per hour of film")
    show("the same again", [client.get(f"{base}/{cold[-1]}/m.m3u8")[1] for _ in range(200)])
    cold = [f"first-{way}-{i}" for i in range(options.films)]
    for name in cold:
        suite.put(name, film)
    client = Client(port)
    show("first byte of a segment, cold", [client.get(f"{base}/{name}/m-100.m4s")[0] for name in cold])
    show("first byte of a segment, warm", [client.get(f"{base}/{cold[0]}/m-{i}.m4s")[0] for i in range(100, 300)])
    show("first byte of a plain range", [client.get(f"/files/{APP}/{USER}/{cold[0]}", Range=f"bytes={i * 400000}-{i * 400000 + 399999}")[0]
                                         for i in range(100, 300)])
    segments = [f"{base}/{cold[0]}/m-{i}.m4s" for i in range(0, 590)]
    size = len(client.get(segments[5])[2])
    rounds = []
    for _ in range(3):
        made = throughput(port, segments, [])
        plain = 0.0
        began, total = time.perf_counter(), 0
        ranges = sum([["--next", "-sS", "--fail", "-w", "%{size_download}\\n", "-r", f"{i * size}-{(i + 1) * size - 1}", "-o", "/dev/null",
                       f"http://127.0.0.1:{port}/files/{APP}/{USER}/{cold[0]}"] for i in range(590) if (i + 1) * size < len(film)], [])[1:]
        total = sum(map(int, subprocess.run(["curl", *ranges], check=True, capture_output=True, text=True).stdout.split()))
        plain = total / (time.perf_counter() - began) / 1e6
        rounds.append((made, plain, made / plain))
    made, plain, ratio = sorted(rounds, key=lambda entry: entry[2])[1]
    print(f"  segments of {size / 1e6:.2f} MB {made:8.0f} MB/s, plain ranges {plain:8.0f} MB/s: {ratio:.2f}")
    if (pathlib.Path(options.bin) / "reel-poster").exists():
        cold = [f"picture-{way}-{i}" for i in range(options.films)]
        for name in cold:
            suite.put(name, film)
        client, poster = Client(port), f"/poster/{APP}/{USER}"
        show("poster of a cold film", [client.get(f"{poster}/{name}/p.jpg?t=100")[1] for name in cold])
        show("poster at another time of a known film", [client.get(f"{poster}/{cold[0]}/p.jpg?t={200 + 10 * i}")[1] for i in range(50)])
        show("poster that is kept", [client.get(f"{poster}/{cold[0]}/p.jpg?t={200 + 10 * i}")[1] for i in range(50)])
    many = [f"many-{way}-{i}" for i in range(100)]
    for name in many:
        suite.put(name, short)
    show("a small file while 100 cold films are opened", stalls(port, many))


def main():
    suite, helper = Suite("sqlite"), None
    try:
        with tempfile.TemporaryDirectory() as directory:
            film, short = make_film(pathlib.Path(directory)), make_short(pathlib.Path(directory))
        suite.add_tracker()
        suite.add_idserver()
        suite.add_storage()
        socket = suite.dir / "poster.sock"
        if (pathlib.Path(options.bin) / "reel-poster").exists():
            helper = subprocess.Popen([pathlib.Path(options.bin) / "reel-poster", "--socket", socket])
        suite.add_httpd(poster_socket=socket)
        suite.launch()
        suite.add_httpd("local", local_groups=f"group001:{suite.dir / 'data'}", poster_socket=socket).start()
        suite.put("small", b"x" * 1000)
        moov = int.from_bytes(film[film.index(b"moov") - 4:film.index(b"moov")], "big")
        print(f"film: {options.hours} h, {len(film) / 1e6:.0f} MB, moov {moov} bytes")
        for way in ("httpd", "local"):
            daemon = suite.daemons[way]
            measure(suite, "relayed" if way == "httpd" else "local", daemon, film, short)
    finally:
        if helper:
            helper.terminate()
            helper.wait()
        suite.stop()


if __name__ == "__main__":
    main()
