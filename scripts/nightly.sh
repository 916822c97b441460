#!/usr/bin/env bash
# The second stage, for nights: what .ci/run leaves out because it takes long.
#   scripts/nightly.sh [STEP]...     steps: mutate analyze tsan fuzz torture players soak packages (default: all)
#   REEL_FUZZ_SECONDS (600) for each fuzzer, REEL_TORTURE_ROUNDS (5), REEL_TORTURE_KILLS (1000; a quarter of an hour per database),
#   REEL_SOAK_SECONDS (600), REEL_MOVED_FILES (100000; a quarter of an hour per database)
# Goes on after a failed step; the last line names what failed.
set -uo pipefail
cd "$(dirname "$0")/.."
steps=("$@")
[ ${#steps[@]} -gt 0 ] || steps=(mutate analyze tsan fuzz torture players soak packages)
failed=()
pytest=(/usr/bin/python3 -m pytest -p no:cacheprovider -q -ra --tb=short)
export UBSAN_OPTIONS=print_stacktrace=1:halt_on_error=1:exitcode=99
export ASAN_OPTIONS=detect_leaks=1:abort_on_error=0:exitcode=99:allocator_may_return_null=1
scripts/install-packages.sh build run test http analysis || exit 1

# Every mutant must be killed.
mutate() { scripts/mutate.sh -j 2; }

# clang-tidy and cppcheck over all sources, unit tests under valgrind.
analyze() { scripts/analyze.sh; }

# Unit tests and the tests of many things at once with ThreadSanitizer.
tsan() {
    export TSAN_OPTIONS="exitcode=66:suppressions=$PWD/tests/tsan.supp"
    local code=0
    scripts/build.sh tsan || return 1
    scripts/unit.py --timeout 900 build/tsan || code=1
    REEL_BACKENDS=sqlite REEL_BUILD=$PWD/build/tsan "${pytest[@]}" tests/system/test_storage.py tests/system/test_tracker.py \
        tests/system/test_http.py tests/torture/test_scrub.py tests/torture/test_purge.py || code=1
    unset TSAN_OPTIONS
    return $code
}

fuzz() {
    local executable name code=0
    scripts/build.sh fuzz || return 1
    for executable in build/fuzz/fuzz/fuzz_*; do
        name=$(basename "$executable")
        mkdir -p "build/fuzz/corpus/$name"
        "$executable" -max_total_time="${REEL_FUZZ_SECONDS:-600}" -max_len=16384 -verbosity=0 -print_final_stats=1 \
            -artifact_prefix=build/fuzz/ "build/fuzz/corpus/$name" "tests/fuzz/seeds/${name#fuzz_}" || { echo "$name found a fault"; code=1; }
    done
    return $code
}

# Each round has other seeds; a failing test prints its own.
torture() {
    local round code=0
    scripts/build.sh asan || return 1
    for round in $(seq "${REEL_TORTURE_ROUNDS:-5}"); do
        echo "torture, round $round"
        REEL_BUILD=$PWD/build/asan "${pytest[@]}" tests/torture || code=1
    done
    REEL_BUILD=$PWD/build/asan tests/torture/rotation.py || code=1
    REEL_TORTURE_KILLS=${REEL_TORTURE_KILLS:-1000} REEL_BUILD=$PWD/build/asan "${pytest[@]}" -s tests/torture/test_torture.py || code=1
    REEL_TORTURE_JOURNAL=on REEL_BACKENDS=sqlite REEL_TORTURE_KILLS=${REEL_TORTURE_KILLS:-1000} REEL_BUILD=$PWD/build/asan "${pytest[@]}" \
        -s tests/torture/test_torture.py || code=1
    REEL_TUS_UPLOADS=${REEL_TUS_UPLOADS:-300} REEL_BUILD=$PWD/build/asan "${pytest[@]}" tests/http/test_tus.py -k taken_back || code=1
    REEL_BUILD=$PWD/build/asan tests/system/many_moved.py || code=1
    REEL_FAULTS=1 REEL_BUILD=$PWD/build/asan "${pytest[@]}" -s tests/system/test_faults_named.py || code=1
    REEL_ALERTS_LONG=1 REEL_BUILD=$PWD/build/asan "${pytest[@]}" tests/system/test_alerts_fire.py || code=1
    return $code
}

# Streams of films of all kinds, the players of pages (hls.js, dash.js), which npm gives by their lock file, and those of desks; other people's uploaders
# (tus-js-client, Uppy, rclone); the web page through every button in Chromium and Firefox (pictures: build/asan/pictures).
players() {
    scripts/install-packages.sh players || return 1
    scripts/build.sh asan || return 1
    local code=0
    REEL_NPM=1 REEL_BUILD=$PWD/build/asan "${pytest[@]}" tests/http/matrix.py tests/http/test_stream_players.py tests/http/seeking.py || code=1
    REEL_NPM=1 REEL_BROWSERS="chromium firefox" REEL_BUILD=$PWD/build/asan "${pytest[@]}" tests/http/test_web.py tests/http/test_uploaders.py || code=1
    return $code
}

soak() {
    scripts/install-packages.sh cluster || return 1
    scripts/build.sh asan || return 1
    REEL_SOAK_SECONDS=${REEL_SOAK_SECONDS:-600} REEL_BUILD=$PWD/build/asan tests/cluster/run.py tests/cluster/test_soak.py
}

# Packages, built twice to see that the bytes are the same; then their life on a machine with a real systemd, and docs/deployment.md
# on three of them.
packages() {
    local code=0 dist=$PWD/dist
    scripts/install-packages.sh cluster package || return 1
    scripts/package.sh || return 1
    (umask 027; TZ=Asia/Tokyo LC_ALL=C.UTF-8 scripts/package.sh --work build/package-again/elsewhere --dist build/dist-again) || return 1
    (cd build/dist-again && sha256sum *.deb *.tar.gz debug/*.deb) >build/dist-again.sums
    (cd dist && sha256sum --quiet -c ../build/dist-again.sums) || { echo "two builds of the same sources differ"; code=1; }
    REEL_DIST=$dist scripts/test.sh packages || code=1
    scripts/build.sh asan || return 1
    REEL_DIST=$dist REEL_BUILD=$PWD/build/asan tests/cluster/run.py tests/cluster/test_deployment.py || code=1
    return $code
}

for step in "${steps[@]}"; do
    case $step in mutate | analyze | tsan | fuzz | torture | players | soak | packages) ;; *) echo "nightly.sh: unknown step '$step'" >&2; exit 2 ;; esac
    echo "== $step"
    start=$SECONDS
    if "$step"; then echo "ok     $step ($((SECONDS - start)) s)"; else echo "FAILED $step ($((SECONDS - start)) s)"; failed+=("$step"); fi
done
echo "nightly: ${#steps[@]} steps, failed: ${failed[*]:-none}"
[ ${#failed[@]} = 0 ]
