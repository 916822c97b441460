#!/usr/bin/env bash
# Static analysis and valgrind: clang-tidy and cppcheck over the sources, the unit tests under valgrind (debug build).
# Exits non-zero on any finding. scripts/analyze.sh [tidy|cppcheck|valgrind]...
set -uo pipefail
cd "$(dirname "$0")/.."
steps=("$@")
[ ${#steps[@]} -gt 0 ] || steps=(cppcheck tidy valgrind)
scripts/install-packages.sh build run test analysis || exit 1
scripts/build.sh debug || exit 1
sources=$(git ls-files 'common/*.c' 'client/*.c' 'tracker/*.c' 'idserver/*.c' 'storage/*.c' 'httpd/*.c')
failed=0
for step in "${steps[@]}"; do
    echo "== $step"
    case $step in
        cppcheck)
            cppcheck --quiet --std=c11 --enable=warning,performance,portability --inline-suppr --error-exitcode=1 \
                --suppress=missingIncludeSystem --include="/usr/include/$(cc -print-multiarch)/sys/queue.h" -D_GNU_SOURCE -DREEL_VERSION='"0"' -I. -j 2 $sources || failed=1 ;;
        tidy)
            # shellcheck disable=SC2086
            printf '%s\n' $sources | xargs -P 2 -n 4 clang-tidy --quiet -p build/debug 2>/dev/null | tee build/tidy.txt |
                grep -E 'warning:|error:' && failed=1 ;;
        valgrind)
            for executable in build/debug/unit/test_*; do
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
