#!/usr/bin/env bash
# Builds a preset: scripts/build.sh release|debug|asan|tsan [TARGET...]; binaries land in build/PRESET/bin.
set -euo pipefail
cd "$(dirname "$0")/.."
preset=${1:-release}
shift || true
log=build/$preset.log
mkdir -p build
if ! { cmake --preset "$preset" && cmake --build --preset "$preset" ${1:+--target "$@"}; } >"$log" 2>&1; then
    tail -n 60 "$log" >&2
    echo "build.sh: the build of preset '$preset' failed; the whole output is in $log" >&2
    exit 1
fi
