#!/usr/bin/env bash
# Figures of the packet protocol: a tracker, an ID server and a storage server of its own in a temporary directory, then
# reel-bench at several sizes and connection counts. tests/bench/packet.sh [SECONDS a run, default 5]
#   REEL_BENCH_MYSQL=mysql://user:password@host   metadata there instead of in SQLite files (its databases are made and stay)
#   REEL_BENCH_DIR=DIR                            where the files go (default: a new directory below $TMPDIR or /tmp)
set -euo pipefail
cd "$(dirname "$0")/../.."
seconds=${1:-5}
cmake --preset release -DREEL_TESTS=ON >/dev/null
cmake --build --preset release >/dev/null
bin=build/release/bin
base=$((20000 + RANDOM % 20000))
top=$(mktemp -d "${REEL_BENCH_DIR:-${TMPDIR:-/tmp}}/reel-bench-XXXXXX")
dir=
finish() {
    [ -z "$dir" ] || scripts/quickstart.sh --dir "$dir" --stop >/dev/null
    rm -rf "$top"
}
trap finish EXIT
# ext4 passes by every inode that was deleted a short time ago, one by one, whenever it makes a file near them: 0.8 ms a file
# after a run of some thousand, seen by perf as recently_deleted() and find_get_block_common(). To avoid that: nothing is
# removed before the end, and each run gets a region of its own (chattr +T on the directory above it). Between two
# runs of this script either wait for five minutes, or name a file system that is fresh:
#     truncate -s 8G image && mkfs.ext4 -q image && mount -o loop image DIR && REEL_BENCH_DIR=DIR tests/bench/packet.sh
# (a loop device's syncs are slower than the disk's own: compare relaxed runs there), or XFS, which does not search.
chattr +T "$top" 2>/dev/null || true
for durability in durable relaxed; do
    dir=$top/$durability
    scripts/quickstart.sh --dir "$dir" --port-base $base ${REEL_BENCH_MYSQL:+--mysql "$REEL_BENCH_MYSQL"} >/dev/null
    if [ $durability = relaxed ]; then
        kill "$(cat "$dir/run/storage.pid")"
        while [ -e "$dir/run/storage.pid" ]; do sleep 0.1; done
        "$bin/reel-storage" -c "$dir/etc/storage.conf" -o storage.durability=relaxed >>"$dir/log/storage.out" 2>&1 &
        until curl -sf "http://127.0.0.1:$((base + 6))/healthz" >/dev/null; do sleep 0.1; done
    fi
    echo "== $durability, metadata in $([ -n "${REEL_BENCH_MYSQL:-}" ] && echo MySQL || echo SQLite)"
    for connections in 1 16 64 256; do
        "$bin/reel-bench" --size 4096 --connections $connections --seconds "$seconds" 127.0.0.1:$((base + 2))
    done
    "$bin/reel-bench" --size 1048576 --connections 16 --seconds "$seconds" 127.0.0.1:$((base + 2))
    if [ $durability = durable ]; then
        for connections in 1 64; do
            "$bin/reel-bench" --mode download --size 4096 --connections $connections --seconds "$seconds" 127.0.0.1:$((base + 2))
        done
        "$bin/reel-bench" --mode download --size 1048576 --connections 16 --seconds "$seconds" 127.0.0.1:$((base + 2))
        "$bin/reel-bench" --mode mixed --size 65536 --connections 64 --seconds "$seconds" 127.0.0.1:$((base + 2))
    fi
    scripts/quickstart.sh --dir "$dir" --stop >/dev/null
    dir=
done
