#!/usr/bin/env bash
# Static analysis and valgrind: clang-tidy and cppcheck over the sources, the unit tests under valgrind (debug build).
# Exits non-zero on any finding.
#   scripts/analyze.sh [--since COMMIT] [tidy|cppcheck|valgrind]...     (default: all three)
#   --since COMMIT   only the sources of which more than comments changed since then, in themselves or their header; tidy and cppcheck only
set -uo pipefail
cd "$(dirname "$0")/.."
rooms=(common client tracker idserver storage httpd)
since=
if [ "${1:-}" = --since ]; then
    since=$2
    shift 2
fi
steps=("$@")
[ ${#steps[@]} -gt 0 ] || steps=(cppcheck tidy valgrind)

# What the analysers see of standard input: the code without its comments, and those that are meant for them.
seen() {
    local text
    text=$(cat)
    grep -oE '(NOLINT|cppcheck-suppress).*' <<<"$text"
    cc -fpreprocessed -dD -E -P -x c - <<<"$text" 2>/dev/null
}

changed() { # FILE
    ! git cat-file -e "$since:$1" 2>/dev/null || ! cmp -s <(git show "$since:$1" | seen) <(seen <"$1")
}

scripts/install-packages.sh build run test analysis || exit 1
if [ -n "$since" ]; then
    preset=asan # CI has it built
    mapfile -t sources < <(git diff --name-only --diff-filter=d "$since" -- "${rooms[@]/%//*.[ch]}" |
        while read -r file; do ! changed "$file" || echo "$file"; done | sed 's/\.h$/.c/' | sort -u |
        while read -r file; do [ ! -f "$file" ] || echo "$file"; done)
    echo "${#sources[@]} sources changed since $since"
    [ ${#sources[@]} -gt 0 ] || exit 0
else
    preset=debug
    mapfile -t sources < <(git ls-files "${rooms[@]/%//*.c}")
fi
scripts/build.sh $preset || exit 1
failed=0
for step in "${steps[@]}"; do
    echo "== $step"
    case $step in
        cppcheck)
            cppcheck --quiet --std=c11 --enable=warning,performance,portability --inline-suppr --error-exitcode=1 \
                --suppress=missingIncludeSystem --include="/usr/include/$(cc -print-multiarch)/sys/queue.h" --include=/usr/include/jansson.h \
                -D_GNU_SOURCE -DREEL_VERSION='"0"' -I. -j 2 "${sources[@]}" || failed=1 ;;
        tidy)
            printf '%s\n' "${sources[@]}" | xargs -P 2 -n 4 clang-tidy --quiet -p build/$preset 2>/dev/null | tee build/tidy.txt |
                grep -E 'warning:|error:' && failed=1 ;;
        valgrind)
            for executable in build/$preset/unit/test_*; do
                REEL_VALGRIND=1 timeout 900 valgrind --quiet --suppressions=tests/valgrind.supp --leak-check=full --errors-for-leak-kinds=definite --error-exitcode=9 \
                    "$executable" >build/valgrind.txt 2>&1
                code=$?
                if [ $code = 0 ]; then echo "ok     $(basename "$executable")"; else
                    echo "FAILED $(basename "$executable") (exit code $code)"; grep -E "^==|FAILED|ERROR" build/valgrind.txt | head -n 60; failed=1; fi
            done ;;
        *) echo "analyze.sh: unknown step '$step'; known: cppcheck tidy valgrind" >&2; exit 2 ;;
    esac
done
exit $failed
