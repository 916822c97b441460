#!/usr/bin/env bash
# The long run of the simulator: scripts/simulate.sh [SEEDS [FIRST]], on all cores; 10000 seeds from 1 by default.
# Ends with the counts of each core; exits non-zero when a seed broke the promise (tests/simulation/README.md).
set -euo pipefail
cd "$(dirname "$0")/.."
seeds=${1:-10000} first=${2:-1}
cores=$(nproc)
scripts/build.sh simulation
share=$(((seeds + cores - 1) / cores))
pids=()
for ((i = 0; i < cores; i++)); do
    from=$((first + i * share))
    to=$((from + share - 1))
    [ "$to" -lt $((first + seeds)) ] || to=$((first + seeds - 1))
    [ "$from" -le "$to" ] || continue
    build/simulation/simulation/reel-simulation "$from" "$to" &
    pids+=($!)
done
failed=0
for pid in "${pids[@]}"; do
    wait "$pid" || failed=1
done
exit $failed
