#!/usr/bin/env bash
# Makes the faults of tests/mutation/mutants one by one and expects the named tests to fail: see scripts/mutate.py.
set -euo pipefail
cd "$(dirname "$0")/.."
case " $* " in
    *" --check "* | *" --list "* | *" --help "* | *" -h "*) ;;
    *) scripts/install-packages.sh build run test http ;;
esac
exec python3 scripts/mutate.py "$@"
