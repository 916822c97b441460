#!/usr/bin/env python3
"""reel-httpd beside Debian's nginx on this machine, in one run: paired, alternating, the median of several rounds.

Everything runs in a temporary directory on free ports and is gone afterwards. Both sides serve the same bytes to the
same client (http-bench, which discards what it receives). CPU seconds are those of the server processes, all hops.

    tests/bench/compare_nginx.py [--rounds 5] [--seconds 5] [--work large-relayed,small-relayed,...]
                                 [--threads 1] [--option NAME=VALUE]...
"""
import argparse
import json
import os
import pathlib
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "system"))
os.environ.setdefault("REEL_BUILD", str(ROOT / "build" / "release"))

import suite as suites  # noqa: E402
import wire  # noqa: E402
from processes import children, cpu_seconds  # noqa: E402

BENCH = suites.BIN / "http-bench"
GIB = 1 << 30
SMALL_FILES = 1000

NGINX = """
worker_processes auto;
worker_rlimit_nofile 40000;
pid {dir}/nginx.pid;
error_log {dir}/error.log warn;
events {{ worker_connections 16000; multi_accept on; }}
http {{
    access_log off;
    sendfile on;
    tcp_nopush on;
    tcp_nodelay on;
    keepalive_requests 100000000;
    keepalive_timeout 600s;
    open_file_cache max=10000 inactive=600s;
    open_file_cache_valid 600s;
    open_file_cache_min_uses 1;
    client_body_temp_path {dir}/t1; proxy_temp_path {dir}/t2; fastcgi_temp_path {dir}/t3;
    uwsgi_temp_path {dir}/t4; scgi_temp_path {dir}/t5;
    default_type video/mp4;
{servers}
}}
"""

# The files by sendfile, or (which is more for small ones) read into memory and sent with their head in one call.
STATIC = """
    upstream {name} {{ server 127.0.0.1:{port}; keepalive 256; keepalive_requests 100000000; }}
    server {{ listen 127.0.0.1:{port} reuseport backlog=4096; root {dir}/files; {options} }}
"""
STATICS = {"sendfile": "", "read": "sendfile off; tcp_nopush off; output_buffers 2 64k;"}
PROXY = """
    server {{
        listen 127.0.0.1:{port} reuseport backlog=4096;
        location / {{ proxy_pass http://{upstream}; proxy_http_version 1.1; proxy_set_header Connection ""; {options} }}
    }}
"""
PROXIES = {"buffered": "proxy_max_temp_file_size 0;", "unbuffered": "proxy_buffering off;"}


class Nginx:
    def __init__(self):
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix="reel-nginx-"))
        self.dir.chmod(0o755)
        (self.dir / "files").mkdir()
        ports = iter(suites.free_ports(len(STATICS) * (1 + len(PROXIES))))
        self.static = {name: next(ports) for name in STATICS}
        self.relay = {f"{proxy}, {static}": next(ports) for proxy in PROXIES for static in STATICS}
        servers = [STATIC.format(name=name, port=port, dir=self.dir, options=STATICS[name])
                   for name, port in self.static.items()]
        servers += [PROXY.format(upstream=static, port=self.relay[f"{proxy}, {static}"], options=PROXIES[proxy])
                    for proxy in PROXIES for static in STATICS]
        (self.dir / "nginx.conf").write_text(NGINX.format(dir=self.dir, servers="".join(servers)))

    def start(self):
        self.process = subprocess.Popen(["nginx", "-p", str(self.dir), "-c", str(self.dir / "nginx.conf"), "-g",
                                         "daemon off;"])
        suites.wait_for(lambda: suites.socket.create_connection(("127.0.0.1", self.static["read"])).close() or True)

    def pids(self):
        return children(self.process.pid)

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(20)
        shutil.rmtree(self.dir, ignore_errors=True)


def load(port, paths, connections, seconds, threads=1, *more):
    with tempfile.NamedTemporaryFile("w", suffix=".paths") as listed:
        listed.write("\n".join(paths) + "\n")
        listed.flush()
        done = subprocess.run([str(BENCH), "--connections", str(connections), "--seconds", str(seconds), "--threads",
                               str(threads), "--paths", listed.name, *more, f"127.0.0.1:{port}"],
                              capture_output=True, text=True)
    result = json.loads(done.stdout)
    if result["errors"]:
        raise RuntimeError(f"{result['errors']} errors, first: {result['first_error']}")
    return result


def measure(port, paths, connections, seconds, pids, threads=1):
    before = cpu_seconds(*pids)
    result = load(port, paths, connections, seconds, threads)
    cpu = cpu_seconds(*pids) - before
    return {"rate": result["requests_per_second"], "throughput": result["megabytes_per_second"],
            "cpu_per_gb": cpu / (result["bytes"] / 1e9) if result["bytes"] else 0,
            "cpu_per_request_us": cpu / max(result["requests"], 1) * 1e6, "p99_ms": result["p99_ms"]}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=5)
    parser.add_argument("--work", default="large-local,large-relayed,small-local,small-relayed")
    parser.add_argument("--threads", type=int, default=1, help="of the client, for every side")
    parser.add_argument("--option", action="append", default=[], help="of reel-httpd, NAME=VALUE")
    options = parser.parse_args()
    settings = dict(option.split("=", 1) for option in options.option)
    wanted = options.work.split(",")

    nginx, suite = Nginx(), suites.Suite("sqlite")
    try:
        data = suite.dir / "data"
        suite.start(storage_options={"heartbeat_interval": "2s"}, httpd_options=settings)
        large = os.urandom(1 << 20)
        with open(nginx.dir / "files" / "large", "wb") as file:
            for _ in range(1024):
                file.write(large)
        small = [os.urandom(4096) for _ in range(SMALL_FILES)]
        for number, content in enumerate(small):
            (nginx.dir / "files" / f"small{number}").write_bytes(content)
        with suite.client() as client:
            client.send(wire.header(408 + GIB, wire.UPLOAD) + wire.upload_head(suites.APP, suites.USER, "large", GIB))
            for _ in range(1024):
                client.send(large)
            assert client.receive().ok
            for number, content in enumerate(small):
                assert client.upload(suites.APP, suites.USER, f"small{number}", content).ok
        assert wire.ask(suite.tracker.address, wire.SADDRS, wire.file_key(suites.APP, suites.USER, "large")).ok
        nginx.start()
        httpd, storage = suite.httpd, suite.storage
        local = None
        if any(w.endswith("-local") for w in wanted):
            local = suite.add_httpd("httpd-local", local_groups=f"group001:{data}={data}", **settings)
            local.start()
        prefix = f"/files/{suites.APP}/{suites.USER}/"
        nginx_paths = {"large": ["/large"], "small": [f"/small{n}" for n in range(SMALL_FILES)]}
        reel_paths = {kind: [prefix + p[1:] for p in paths] for kind, paths in nginx_paths.items()}
        for work in wanted:
            kind, way = work.split("-")
            connections = 16 if kind == "large" else 64
            ways = nginx.static if way == "local" else nginx.relay
            peers = {f"nginx {name}": (port, nginx.pids()) for name, port in ways.items()
                     if kind == "small" or name.endswith("sendfile")}
            ours = (local.port, [local.process.pid]) if way == "local" else \
                (httpd.port, [httpd.process.pid, storage.process.pid])
            results = {name: [] for name in [*peers, "reel-httpd"]}
            for round in range(options.rounds + 1):
                for name, (port, pids) in peers.items():
                    results[name].append(measure(port, nginx_paths[kind], connections, options.seconds, pids, options.threads))
                results["reel-httpd"].append(measure(ours[0], reel_paths[kind], connections, options.seconds, ours[1], options.threads))
            key = "throughput" if kind == "large" else "rate"
            cost = "cpu_per_gb" if kind == "large" else "cpu_per_request_us"
            unit, cost_unit = ("MB/s", "CPU s/GB") if kind == "large" else ("requests/s", "CPU us/request")
            middle = {name: {k: statistics.median(r[k] for r in rounds[1:]) for k in rounds[0]}
                      for name, rounds in results.items()}  # the first round warms up
            best = max(peers, key=lambda name: middle[name][key])
            print(f"== {work}, {connections} connections, median of {options.rounds} rounds of {options.seconds} s")
            for name, values in middle.items():
                print(f"   {name:26} {values[key]:10.1f} {unit}   {values[cost]:8.3f} {cost_unit}   p99 {values['p99_ms']:.2f} ms")
            print(f"   ratio to {best}: {middle['reel-httpd'][key] / middle[best][key]:.2f}x {unit}, "
                  f"{middle['reel-httpd'][cost] / middle[best][cost]:.2f}x {cost_unit}", flush=True)
    finally:
        if hasattr(nginx, "process"):
            nginx.stop()
        suite.stop()


main()
