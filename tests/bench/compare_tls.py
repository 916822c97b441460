#!/usr/bin/env python3
"""HTTPS of reel-httpd beside Debian's nginx on this machine, in one run: paired, alternating, the median of several rounds.

Everything runs in a temporary directory on free ports and is gone afterwards. Both have the same certificate (P-256) and
choose the same cipher (AES-128-GCM); the client is tls-bench. nginx reads its files with `sendfile off`, since without kTLS it
cannot send them otherwise. CPU is that of the server processes, all hops. Ends with 1 where a rate is below nginx's.

    tests/bench/compare_tls.py [--rounds 3] [--seconds 3] [--megabytes 1024] [--work large,small,relayed,relayed-large,full,resumed,idle]

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

BENCH = suites.BIN / "tls-bench"
SMALL_FILES = 200

NGINX = """
worker_processes auto;
worker_rlimit_nofile 20000;
pid {dir}/nginx.pid;
error_log {dir}/error.log warn;
events {{ worker_connections 4000; multi_accept on; }}
http {{
    access_log off; sendfile off; tcp_nodelay on; output_buffers 2 64k; keepalive_requests 100000000; keepalive_timeout 600s;
    open_file_cache max=10000 inactive=600s; open_file_cache_valid 600s; open_file_cache_min_uses 1;
    client_body_temp_path {dir}/t1; proxy_temp_path {dir}/t2; fastcgi_temp_path {dir}/t3; uwsgi_temp_path {dir}/t4; scgi_temp_path {dir}/t5;
    ssl_certificate {dir}/site.pem; ssl_certificate_key {dir}/site.key; ssl_protocols TLSv1.2 TLSv1.3;
    ssl_conf_command Ciphersuites TLS_AES_128_GCM_SHA256; ssl_session_tickets on;
    upstream static {{ server 127.0.0.1:{plain}; keepalive 256; keepalive_requests 100000000; }}
    server {{ listen 127.0.0.1:{local} ssl reuseport backlog=4096; root {dir}/files; }}
    server {{ listen 127.0.0.1:{relay} ssl reuseport backlog=4096;
        location / {{ proxy_pass http://static; proxy_http_version 1.1; proxy_set_header Connection ""; proxy_max_temp_file_size 0; }} }}
    server {{ listen 127.0.0.1:{plain} reuseport backlog=4096; root {dir}/files; sendfile on; }}
}}
"""


def memory_kib(pids):
    """Private memory, so that nothing counts twice."""
    total = 0
    for pid in pids:
        for line in open(f"/proc/{pid}/smaps_rollup"):
            if line.startswith(("Private_Clean:", "Private_Dirty:")):
                total += int(line.split()[1])
    return total


def certificate(directory):
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout",
                    directory / "site.key", "-out", directory / "site.pem", "-days", "30", "-subj", "/CN=localhost"],
                   check=True, capture_output=True)


def bench(mode, connections, seconds, port, paths, pids):
    before = cpu_seconds(*pids)
    done = subprocess.run([str(BENCH), mode, str(connections), str(seconds), f"127.0.0.1:{port}", *paths],
                          capture_output=True, text=True, check=True)
    result = json.loads(done.stdout)
    if result["errors"] or (mode == "resumed" and result["resumed"] < result["count"] - connections):
        raise RuntimeError(f"{mode} at {port}: {result}")
    result["cpu"] = cpu_seconds(*pids) - before
    return result


def idle(port, path, pids, count=1000):
    before = memory_kib(pids)
    process = subprocess.Popen([str(BENCH), "idle", str(count), "0", f"127.0.0.1:{port}", path],
                               stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    process.stdout.readline()
    grown = memory_kib(pids) - before
    process.communicate()
    return grown / count


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=3)
    parser.add_argument("--megabytes", type=int, default=1024, help="of the large file")
    parser.add_argument("--work", default="large,small,relayed,full,resumed,idle")
    options = parser.parse_args()

    directory = pathlib.Path(tempfile.mkdtemp(prefix="reel-tls-"))
    directory.chmod(0o755)
    (directory / "files").mkdir()
    certificate(directory)
    local, relay, plain, ours_local, ours_relay = suites.free_ports(5)
    (directory / "nginx.conf").write_text(NGINX.format(dir=directory, local=local, relay=relay, plain=plain))
    suite, nginx, missed = suites.Suite("sqlite"), None, False
    try:
        data = suite.dir / "data"
        suite.start(storage_options={"heartbeat_interval": "2s"})
        piece = os.urandom(1 << 20)
        with open(directory / "files" / "large", "wb") as file:
            for _ in range(options.megabytes):
                file.write(piece)
        size = options.megabytes << 20
        with suite.client() as client:
            client.send(wire.header(408 + size, wire.UPLOAD) + wire.upload_head(suites.APP, suites.USER, "large", size))
            for _ in range(options.megabytes):
                client.send(piece)
            assert client.receive().ok
            for number in range(SMALL_FILES):
                content = os.urandom(4096)
                (directory / "files" / f"small{number}").write_bytes(content)
                assert client.upload(suites.APP, suites.USER, f"small{number}", content).ok
        for label, port, more in (("tls-local", ours_local, {"local_groups": f"group001:{data}={data}"}), ("tls-relay", ours_relay, {})):
            daemon = suite.add_httpd(label, listen_tls=f"127.0.0.1:{port}", **more)
            daemon.config["tls"] = {"cert": directory / "site.pem", "key": directory / "site.key"}
            daemon.config["log"] = {"level": "info"}
            daemon.configure(daemon.config)
            daemon.start()
        nginx = subprocess.Popen(["nginx", "-p", str(directory), "-c", str(directory / "nginx.conf"), "-g", "daemon off;"])
        suites.wait_for(lambda: suites.socket.create_connection(("127.0.0.1", local)).close() or True)
        theirs = children(nginx.pid)
        own = {label: [suite.daemons[label].process.pid] for label in ("tls-local", "tls-relay")}
        own["tls-relay"].append(suite.storage.process.pid)
        prefix = f"/files/{suites.APP}/{suites.USER}/"
        names = {"large": ["large"], "small": [f"small{n}" for n in range(SMALL_FILES)]}
        kinds = {  # mode, connections, names, nginx's port, our port, label, the figure that counts
            "large": ("requests", 4, "large", local, ours_local, "tls-local", "megabytes_per_second"),
            "small": ("requests", 32, "small", local, ours_local, "tls-local", "per_second"),
            "relayed": ("requests", 32, "small", relay, ours_relay, "tls-relay", "per_second"),
            "relayed-large": ("requests", 4, "large", relay, ours_relay, "tls-relay", "megabytes_per_second"),
            "full": ("full", 8, "small", local, ours_local, "tls-local", "per_second"),
            "resumed": ("resumed", 8, "small", local, ours_local, "tls-local", "per_second"),
        }
        for work in options.work.split(","):
            if work == "idle":
                print(f"== idle, 1000 connections after one request: nginx {idle(local, '/small0', theirs):.1f} KiB each, "
                      f"reel-httpd {idle(ours_local, prefix + 'small0', own['tls-local']):.1f} KiB each", flush=True)
                continue
            mode, connections, kind, their_port, our_port, label, key = kinds[work]
            results = {"nginx": [], "reel-httpd": []}
            for _ in range(options.rounds + 1):  # the first one warms up
                results["nginx"].append(bench(mode, connections, options.seconds, their_port, ["/" + n for n in names[kind]], theirs))
                results["reel-httpd"].append(bench(mode, connections, options.seconds, our_port, [prefix + n for n in names[kind]], own[label]))
            middle = {name: {"rate": statistics.median(r[key] for r in rounds[1:]),
                             "per_cpu": statistics.median(r[key] * options.seconds / max(r["cpu"], 0.01) for r in rounds[1:])}
                      for name, rounds in results.items()}
            unit = "MB" if key == "megabytes_per_second" else "handshakes" if work in ("full", "resumed") else "requests"
            print(f"== {work}, {connections} connections, median of {options.rounds} rounds of {options.seconds} s")
            for name, values in middle.items():
                print(f"   {name:12} {values['rate']:10.1f} {unit}/s   {values['per_cpu']:10.1f} {unit} per CPU second")
            ratio = middle["reel-httpd"]["rate"] / middle["nginx"]["rate"]
            missed = missed or ratio < 1
            print(f"   ratio: {ratio:.2f}x (target 1.00x){'  MISSED' if ratio < 1 else ''}, per CPU second "
                  f"{middle['reel-httpd']['per_cpu'] / middle['nginx']['per_cpu']:.2f}x", flush=True)
    finally:
        if nginx:
            nginx.send_signal(signal.SIGTERM)
            nginx.wait(20)
        suite.stop()
        shutil.rmtree(directory, ignore_errors=True)
    return 1 if missed else 0


sys.exit(main())
