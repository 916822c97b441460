#!/usr/bin/env python3
"""What streams cost beside plain ranges of the same file, against the targets of docs/http.md: tests/bench/segments.py [BIN_DIR]

Makes a film of an hour, stores it, and measures, relayed and from a local group, as medians and worst of a number of requests: the first
playlist of a film that nobody has asked for, the next one, the first byte of a segment, segments beside ranges of the same bytes over one
connection, posters (of a cold film, of one that is known, of one that is kept) where BIN_DIR has reel-poster, the memory of the index per hour
of film, and what a hundred cold films that are opened at once, by a process of its own, do to a request for a small file and to the turns of
the loops (turns.c), in several rounds. Beside times of the clock, which others on the machine make longer, stand those of the processor and the
jobs of workers that a cold playlist took; and beside the longest turns the longest of as many pieces of arithmetic (steady.c), which says how
far these clocks can be trusted at the moment. Ends with a table of targets; the exit code is 1 where one is missed. Of turns the longest of all
rounds is judged, in processor time: a loop that another process keeps from its core is not late by its own doing.
BIN_DIR: default build/release/bin (cmake --preset release -DREEL_TESTS=ON && cmake --build --preset release).
"""
import argparse
import http.client
import os
import pathlib
import statistics
import struct
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
arguments.add_argument("bin", nargs="?", default=str(ROOT / "build" / "release" / "bin"))
arguments.add_argument("--hours", type=float, default=1.0)
arguments.add_argument("--rounds", type=int, default=5, help="of a hundred cold films that are opened at once")
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


TARGETS = []  # (what, value, the most or least it may be, unit)


def target(what, value, limit, unit="ms", least=False):
    TARGETS.append((what, value, limit, unit, value >= limit if least else value <= limit))


def show(what, values):
    print(f"  {what:46} median {statistics.median(values):8.2f}   worst {max(values):8.2f} ms")
    return statistics.median(values)


def processor_ms(*daemons):
    """That all threads of the daemons have used."""
    used = 0
    for daemon in daemons:
        for task in pathlib.Path(f"/proc/{daemon.process.pid}/task").iterdir():
            used += int((task / "schedstat").read_text().split()[0])
    return used / 1e6


def jobs(daemon):
    """That the workers of reel-httpd have done."""
    return sum(daemon.metric(f'reel_workers_job_seconds_count{{pool="{pool}"}}') for pool in ("local0", "bulk0", "index", "stream"))


class Turns:
    """The turns of a daemon's loops since begin(), by turns.c."""

    def __init__(self, daemon):
        self.path = daemon.dir / f"turns-{daemon.label}"
        preload = pathlib.Path(options.bin) / "turns.so"
        self.loaded = preload.exists()
        if self.loaded:
            daemon.environment = {"LD_PRELOAD": str(preload.resolve()), "REEL_TURNS": str(self.path)}

    def begin(self):
        if self.loaded:
            data = bytearray(self.path.read_bytes())
            for at in range(0, len(data), 64):
                data[at + 8:at + 64] = bytes(56)
            with open(self.path, "r+b") as file:
                file.write(data)

    def longest(self):
        """(ms of the processor, events in it, ms of the clock, turns, turns of more than 1 ms of the processor, the most ms for an event of any)"""
        rows = list(struct.iter_unpack("8Q", self.path.read_bytes()))
        longest = max(rows, key=lambda row: row[2])
        return (longest[2] / 1e6, longest[6], max(row[3] for row in rows) / 1e6, sum(row[1] for row in rows), sum(row[4] for row in rows),
                max(row[7] for row in rows) / 1e6)


def throughput(port, paths, headers):
    """MB/s of one connection; bodies are dropped by curl."""
    began = time.perf_counter()
    sizes = subprocess.run(["curl", "-sS", "--fail", "-w", "%{size_download}\\n", *headers, *sum([["-o", "/dev/null", f"http://127.0.0.1:{port}{path}"]
                            for path in paths], [])], check=True, capture_output=True, text=True).stdout
    return sum(map(int, sizes.split())) / (time.perf_counter() - began) / 1e6


def stalls(port, names):
    """How long requests for a small file take while another process opens all of NAMES at once."""
    small = Client(port)
    small.get(f"/files/{APP}/{USER}/small")
    urls = "".join(f'url = "http://127.0.0.1:{port}/hls/{APP}/{USER}/{name}/m.m3u8"\noutput = "/dev/null"\n' for name in names)
    opening = subprocess.Popen(["curl", "-sS", "--fail", "--parallel", "--parallel-immediate", "--parallel-max", str(len(names)), "-K", "-"],
                               stdin=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)  # it draws a meter there
    opening.stdin.write(urls)
    opening.stdin.close()
    longest = []
    while opening.poll() is None:
        longest.append(small.get(f"/files/{APP}/{USER}/small")[1])
        time.sleep(0.0005)
    assert opening.returncode == 0, "a cold film was not opened"
    return longest


def store(suite, kind, way, count, content):
    names = [f"{kind}-{way}-{i}" for i in range(count)]
    for name in names:
        suite.put(name, content)
    return names


def measure_playlists(suite, way, daemon, film):
    base, daemons = f"/hls/{APP}/{USER}", [daemon] + ([suite.daemons["storage"]] if way == "relayed" else [])
    cold = store(suite, "cold", way, options.films, film)
    client = Client(daemon.port)
    held, used, done = daemon.metric("reel_httpd_index_bytes"), processor_ms(*daemons), jobs(daemon)
    took = show("first playlist of a cold film", [client.get(f"{base}/{name}/m.m3u8")[1] for name in cold])
    used, done = (processor_ms(*daemons) - used) / len(cold), (jobs(daemon) - done) / len(cold)
    memory = (daemon.metric("reel_httpd_index_bytes") - held) / len(cold) / options.hours / 1e6
    print(f"  {'':46} {used:.2f} ms of the processor and {done:.1f} jobs of workers for each")
    print(f"  index: {memory:.2f} MB per hour of film")
    warm = show("the same again", [client.get(f"{base}/{cold[-1]}/m.m3u8")[1] for _ in range(200)])
    target(f"{way}: first playlist of a cold film", took, 30 if way == "relayed" else 20)
    target(f"{way}: the same again", warm, 1)
    target(f"{way}: index per hour", memory, 1, "MB")


def measure_segments(suite, way, daemon, film):
    base, port = f"/hls/{APP}/{USER}", daemon.port
    cold = store(suite, "first", way, options.films, film)
    client = Client(port)
    took = show("first byte of a segment, cold", [client.get(f"{base}/{name}/m-100.m4s")[0] for name in cold])
    warm = show("first byte of a segment, warm", [client.get(f"{base}/{cold[0]}/m-{i}.m4s")[0] for i in range(100, 300)])
    show("first byte of a plain range", [client.get(f"/files/{APP}/{USER}/{cold[0]}", Range=f"bytes={i * 400000}-{i * 400000 + 399999}")[0]
                                         for i in range(100, 300)])
    segments = [f"{base}/{cold[0]}/m-{i}.m4s" for i in range(0, 590)]
    size = len(client.get(segments[5])[2])
    rounds = []
    for _ in range(5):
        made = throughput(port, segments, [])
        began, total = time.perf_counter(), 0
        ranges = sum([["--next", "-sS", "--fail", "-w", "%{size_download}\n", "-r", f"{i * size}-{(i + 1) * size - 1}", "-o", "/dev/null",
                       f"http://127.0.0.1:{port}/files/{APP}/{USER}/{cold[0]}"] for i in range(590) if (i + 1) * size < len(film)], [])[1:]
        total = sum(map(int, subprocess.run(["curl", *ranges], check=True, capture_output=True, text=True).stdout.split()))
        plain = total / (time.perf_counter() - began) / 1e6
        rounds.append((made, plain, made / plain))
    made, plain, ratio = sorted(rounds, key=lambda entry: entry[2])[len(rounds) // 2]
    print(f"  segments of {size / 1e6:.2f} MB {made:8.0f} MB/s, plain ranges {plain:8.0f} MB/s: {ratio:.2f}")
    target(f"{way}: first byte of a segment, cold", took, 25)
    target(f"{way}: first byte of a segment, warm", warm, 1)
    target(f"{way}: segments beside plain ranges", ratio, 0.9, "x", least=True)


def measure_posters(suite, way, daemon, film):
    cold = store(suite, "picture", way, options.films, film)
    client, poster = Client(daemon.port), f"/poster/{APP}/{USER}"
    took = show("poster of a cold film", [client.get(f"{poster}/{name}/p.jpg?t=100")[1] for name in cold])
    show("poster at another time of a known film", [client.get(f"{poster}/{cold[0]}/p.jpg?t={200 + 10 * i}")[1] for i in range(50)])
    show("poster that is kept", [client.get(f"{poster}/{cold[0]}/p.jpg?t={200 + 10 * i}")[1] for i in range(50)])
    target(f"{way}: poster of a cold film", took, 50)


class Steady:
    """What the machine does meanwhile to a tenth of a millisecond of arithmetic, by steady.c."""

    def __enter__(self):
        program = pathlib.Path(options.bin) / "steady"
        self.process = subprocess.Popen([program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) if program.exists() else None
        self.longest = 0, 0
        return self

    def __exit__(self, *_):
        if self.process:
            words = self.process.communicate()[0].split()
            self.longest = float(words[2]) / 1e3, float(words[3]) / 1e3


def measure_stalls(suite, way, daemon, short, turns):
    rounds, others = [], []
    for i in range(options.rounds):
        many = store(suite, f"many{i}", way, 100, short)
        turns.begin()
        with Steady() as steady:
            others += stalls(daemon.port, many)
        if turns.loaded:
            rounds.append((*turns.longest(), *steady.longest))
    show("a small file while 100 cold films are opened", others)
    if not turns.loaded:
        print("  no turns.so beside the daemons: turns of loops are not measured")
        return
    cpu, clock = [entry[0] for entry in rounds], [entry[2] for entry in rounds]
    worst = max(rounds)
    print(f"  longest turn of the loops meanwhile, {len(rounds)} rounds   median {statistics.median(cpu):.2f}, worst {worst[0]:.2f} ms of the processor "
          f"({worst[1]} events); {sum(entry[4] for entry in rounds)} of {sum(entry[3] for entry in rounds)} turns above 1 ms; "
          f"by the clock median {statistics.median(clock):.2f}, worst {max(clock):.2f} ms")
    print(f"  0.1 ms of arithmetic meanwhile took at most          median {statistics.median(entry[6] for entry in rounds):.2f}, "
          f"worst {max(entry[6] for entry in rounds):.2f} ms of the processor; by the clock worst {max(entry[7] for entry in rounds):.2f} ms")
    target(f"{way}: longest turn of a loop while 100 cold films are opened, {len(rounds)} rounds", worst[0], 1, "ms of the processor")


def measure(suite, way, daemon, film, short, turns):
    print(f"{way}, load average {os.getloadavg()[0]:.1f}:")
    measure_playlists(suite, way, daemon, film)
    measure_segments(suite, way, daemon, film)
    if (pathlib.Path(options.bin) / "reel-poster").exists():
        measure_posters(suite, way, daemon, film)
    measure_stalls(suite, way, daemon, short, turns)


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
        turns = {"relayed": Turns(suite.add_httpd(poster_socket=socket))}
        suite.launch()
        local = suite.add_httpd("local", local_groups=f"group001:{suite.dir / 'data'}", poster_socket=socket)
        turns["local"] = Turns(local)
        local.start()
        suite.put("small", b"x" * 1000)
        moov = int.from_bytes(film[film.index(b"moov") - 4:film.index(b"moov")], "big")
        print(f"film: {options.hours} h, {len(film) / 1e6:.0f} MB, moov {moov} bytes")
        for way, daemon in (("relayed", suite.daemons["httpd"]), ("local", local)):
            measure(suite, way, daemon, film, short, turns[way])
    finally:
        if helper:
            helper.terminate()
            helper.wait()
        suite.stop()
    print("targets:")
    for what, value, limit, unit, kept in TARGETS:
        print(f"  {'kept  ' if kept else 'MISSED'} {what}: {value:.2f} of {limit} {unit}")
    return 0 if all(entry[-1] for entry in TARGETS) else 1


if __name__ == "__main__":
    sys.exit(main())
