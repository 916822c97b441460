#!/usr/bin/env bash
# Passes every test: installs what tests need, builds with AddressSanitizer and UndefinedBehaviorSanitizer, runs the
# unit tests with the fuzzers, the simulator, the system tests, the tests of HTTP, the torture tests and the cluster tests,
# and ends with one line of counts. Exits non-zero on any failure.
#   scripts/test.sh [unit|simulation|system|http|torture|cluster|packages]...     (default: all but packages)
set -uo pipefail
cd "$(dirname "$0")/.."
rooms=("$@")
[ ${#rooms[@]} -gt 0 ] || rooms=(unit simulation system http torture cluster)
passed=0 failed=0 skipped=0
failures=() # what failed, for the end

scripts/install-packages.sh build run test || exit 1
case " ${rooms[*]} " in *" http "*) scripts/install-packages.sh http || exit 1 ;; esac
case " ${rooms[*]} " in *" cluster "*)
    # Without these packages the cluster tests say so and are skipped; nothing else needs them.
    scripts/install-packages.sh cluster || echo "test.sh: the packages of the cluster tests could not be installed" >&2 ;;
esac
case " ${rooms[*]} " in *" packages "*) scripts/install-packages.sh package || echo "test.sh: what builds packages could not be installed" >&2 ;; esac
if [ "${rooms[*]}" != packages ]; then
    echo "== Build (asan)"
    scripts/build.sh asan || exit 1
fi

# A sanitizer's finding ends the process with a code that no test expects.
export ASAN_OPTIONS=detect_leaks=1:abort_on_error=0:exitcode=99:allocator_may_return_null=1
export UBSAN_OPTIONS=print_stacktrace=1:halt_on_error=1:exitcode=99
export REEL_BUILD=$PWD/build/asan
reports=$(mktemp -d)
beside= # the process that runs rooms beside others
trap '[ -z "$beside" ] || { pkill -P "$beside"; kill "$beside"; } 2>/dev/null; rm -rf "$reports"' EXIT

run_unit() {
    local last
    scripts/unit.py build/asan | tee "$reports/unit"
    last=$(tail -n 1 "$reports/unit")
    count() { grep -oE "[0-9]+ $1" <<<"$last" | grep -oE '^[0-9]+' || echo 0; }
    [ -n "$(grep -E '^[0-9]+ passed' <<<"$last")" ] || { failed=$((failed + 1)); return; }
    passed=$((passed + $(count passed))) failed=$((failed + $(count failed))) skipped=$((skipped + $(count skipped)))
    mapfile -t -O ${#failures[@]} failures < <(sed -nE 's/^(FAILED .*)/unit: \1/p; s/^not ok [0-9]+ - (.*)/unit: \1/p' "$reports/unit" | grep -v '# SKIP')
}

# Every fuzzer runs its seeds; with clang each one then fuzzes for a few seconds (tests/fuzz/README.md describes the long run). One per core.
fuzz_one() { # EXECUTABLE, the rest are its arguments
    local executable=$1 name
    name=$(basename "$executable")
    shift
    timeout 120 "$executable" "$@" "$reports/corpus-$name" "tests/fuzz/seeds/${name#fuzz_}" >"$reports/$name.out" 2>&1
    echo $? >"$reports/$name.code"
}

fuzz_all() { # DIRECTORY of the fuzzers, the rest are arguments of each
    local executables=("$1"/fuzz_*) pids=() executable name cores
    cores=$(nproc)
    shift
    for executable in "${executables[@]}"; do
        mkdir -p "$reports/corpus-$(basename "$executable")"
        [ ${#pids[@]} -lt "$cores" ] || wait "${pids[-cores]}"
        fuzz_one "$executable" "$@" &
        pids+=($!)
    done
    wait "${pids[@]}"
    for executable in "${executables[@]}"; do
        name=$(basename "$executable")
        if [ "$(cat "$reports/$name.code")" = 0 ]; then
            echo "ok     $name: $(grep -oE '^[0-9]+ inputs replayed|number_of_executed_units: *[0-9]+' "$reports/$name.out" | tail -n 1)"
            passed=$((passed + 1))
        else
            echo "FAILED $name $*"
            tail -n 60 "$reports/$name.out"
            failures+=("fuzzing: $name $*")
            failed=$((failed + 1))
        fi
    done
}

run_fuzz() {
    fuzz_all build/asan/fuzz
    if ! command -v clang >/dev/null || ! compgen -G '/usr/lib/llvm-*/lib/clang/*/lib/linux/libclang_rt.fuzzer-*.a' >/dev/null; then
        echo "clang with libFuzzer is not installed (scripts/install-packages.sh analysis): the fuzzers ran their seeds only"
        return
    fi
    scripts/build.sh fuzz || { failures+=("build: fuzz") failed=$((failed + 1)); return; }
    fuzz_all build/fuzz/fuzz -max_total_time=5 -max_len=16384 -verbosity=0 -print_final_stats=1 -artifact_prefix=build/fuzz/
}

# Each seed is a story of failures under virtual time (tests/simulation/README.md), and one test.
run_simulation() {
    local report=$reports/simulation.out seeds=300 bad
    scripts/build.sh simulation || { failures+=("build: simulation") failed=$((failed + 1)); return; }
    scripts/simulate.sh "$seeds" >"$report" 2>&1
    local code=$?
    bad=$(grep -cE '^seed [0-9]+ (failed|ended)' "$report")
    [ "$code" = 0 ] || [ "$bad" -gt 0 ] || bad=1
    grep -E '^(seed|VIOLATION|[0-9]+ seeds)' "$report"
    passed=$((passed + seeds - bad)) failed=$((failed + bad))
    [ "$bad" = 0 ] || failures+=("simulation: $bad seeds, exit code $code")
}

run_pytest() { # ROOM
    tests_of "$1"
    "${command[@]}" 2>&1 | tee "$reports/$1.out"
    count_pytest "$1" "${PIPESTATUS[0]}"
}

count_pytest() { # ROOM EXIT-CODE
    local last errors code=$2
    last=$(tail -n 1 "$reports/$1.out")
    count() { grep -oE "[0-9]+ $1" <<<"$last" | grep -oE '^[0-9]+' || echo 0; }
    errors=$(($(count failed) + $(count 'errors?')))
    [ "$code" = 0 ] || [ "$errors" -gt 0 ] || errors=1
    [ "$errors" = 0 ] || mapfile -t -O ${#failures[@]} failures < <(
        echo "$1: $errors tests, exit code $code"
        sed -nE 's/^((FAILED|ERROR) [^ ]*).*/\1/p' "$reports/$1.out")
    passed=$((passed + $(count passed))) failed=$((failed + errors)) skipped=$((skipped + $(count skipped)))
}

tests_of() { # ROOM: into command
    case $1 in
        cluster | packages) command=("tests/$1/run.py" "tests/$1") ;;
        *) command=(/usr/bin/python3 -m pytest -p no:cacheprovider -q -ra --tb=short "tests/$1") ;;
    esac
}

# Cluster and torture mostly wait, for heartbeats and for parts to be missed: they run beside other rooms, and what they print is shown
# when their turn has come. Files of torture are taken by whoever is free first, the longest ones before the others.
wants() { [[ " ${rooms[*]} " == *" $1 "* ]]; }

torture_files() { ls -S tests/torture/test_*.py; }

run_torture_share() {
    local file name
    for file in $(torture_files); do
        name=$(basename "$file" .py)
        mkdir "$reports/taken-$name" 2>/dev/null || continue
        /usr/bin/python3 -m pytest -p no:cacheprovider -q -ra --tb=short "$file" >"$reports/$name.out" 2>&1
        echo $? >"$reports/$name.code"
    done
}

start_beside() {
    [ -z "$beside" ] || return 0
    {
        if wants cluster; then
            tests_of cluster
            "${command[@]}" >"$reports/cluster.out" 2>&1
            echo $? >"$reports/cluster.code"
        fi
        if wants torture; then run_torture_share; fi
    } &
    beside=$!
}

show() { # ROOM or file of torture, which has ended
    cat "$reports/$1.out"
    count_pytest "$1" "$(cat "$reports/$1.code")"
}

run_beside() { # ROOM
    local file
    start_beside
    if [ "$1" = torture ]; then run_torture_share; fi
    wait "$beside" 2>/dev/null || true # its rooms have exit codes of their own
    if [ "$1" = cluster ]; then
        show cluster
    else
        for file in $(torture_files); do show "$(basename "$file" .py)"; done
    fi
}

for room in "${rooms[@]}"; do
    case $room in system | http | torture | cluster) start_beside ;; esac
    echo "== Tests: $room"
    case $room in
        unit) run_unit; run_fuzz ;;
        simulation) run_simulation ;;
        system | http | packages) run_pytest "$room" ;;
        torture | cluster) run_beside "$room" ;;
        *) echo "test.sh: unknown room '$room'; known: unit simulation system http torture cluster packages" >&2; exit 2 ;;
    esac
done
echo
[ "$failed" = 0 ] || printf 'failed: %s\n' "${failures[@]}"
echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" = 0 ] && [ "$passed" -gt 0 ]
