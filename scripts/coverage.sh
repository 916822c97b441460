#!/usr/bin/env bash
# Unit coverage: builds the coverage preset, runs the unit tests, and prints which part of the lines of each room they
# execute. Exits with 1 when a unit test fails, a room is below 80 % or all rooms together below 85 %.
#   scripts/coverage.sh [--files] [--missing PATH] [NAME...]
#     --files          the files of each room too
#     --missing PATH   the lines of files whose path begins with PATH that no test executes
#     NAME...          only these unit tests (the limits then only inform)
set -uo pipefail
cd "$(dirname "$0")/.."
table=()
tests=()
while [ $# -gt 0 ]; do
    case $1 in
        --files) table+=(--files) ;;
        --missing) table+=(--missing "$2"); shift ;;
        -*) sed -n '2,8s/^# \{0,1\}//p' "$0" >&2; exit 2 ;;
        *) tests+=("$1") ;;
    esac
    shift
done
scripts/install-packages.sh build test coverage || exit 1
scripts/build.sh coverage || exit 1
find build/coverage -name '*.gcda' -delete
# What sources that are gone left behind would be counted too.
ninja -C build/coverage -t cleandead >/dev/null
find build/coverage -name '*.gcno' | while read -r notes; do [ -f "${notes%.gcno}.o" ] || rm -f "$notes" "${notes%.gcno}.gcda"; done
scripts/unit.py build/coverage "${tests[@]}" >build/coverage/unit.txt
code=$?
grep -E '^FAILED' -A 60 build/coverage/unit.txt
tail -n 1 build/coverage/unit.txt
rooms=(common client tracker idserver storage httpd poster)
(cd build/coverage && gcovr --root ../.. --object-directory . -j 2 \
    --filter "../../($(IFS='|'; echo "${rooms[*]}"))/" --exclude ../../client/example.c \
    --json coverage.json --gcov-ignore-parse-errors "${rooms[@]}" 2>gcovr.txt) || { tail build/coverage/gcovr.txt >&2; exit 1; }
scripts/coverage-table.py "${table[@]}" build/coverage/coverage.json || [ ${#tests[@]} -gt 0 ] || code=1
exit $code
