#!/usr/bin/env bash
# ./tools/test.sh [slow] [PYTEST ARGUMENTS]: environment, ruff and the tests; slow adds the long ones.
set -euo pipefail
cd "$(dirname "$0")/.."

# One process per core, at most four; the tests of a file stay together, they share what they make.
cores=$(getconf _NPROCESSORS_ONLN)
options=(--numprocesses $((cores < 4 ? cores : 4)) --dist loadfile --durations 15)
if [[ ${1:-} == slow ]]; then
    shift
else
    options+=(-m "not slow")
fi
./launch/environment.sh
.venv/bin/ruff check .
.venv/bin/ruff format --check .
exec .venv/bin/python -m pytest "${options[@]}" "$@"
