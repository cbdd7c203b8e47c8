#!/usr/bin/env bash
# ./tools/test.sh [slow] [PYTEST ARGUMENTS]: environment, ruff and the tests; slow adds long tests.
set -euo pipefail
cd "$(dirname "$0")/.."

# One process per core, at most four; the tests of a file share fixtures, so they stay together.
cores=$(getconf _NPROCESSORS_ONLN)
options=(--numprocesses $((cores < 4 ? cores : 4)) --dist loadfile --durations 15)
slow=
if [[ ${1:-} == slow ]]; then
    slow=yes
    shift
else
    options+=(-m "not slow")
fi
./launch/environment.sh
# Other implementations that tests compare with, which users do not need.
locks=tools/locks
python=$(.venv/bin/python -c 'import sys; print("%d.%d" % sys.version_info[:2])')
peers=$(cat "$locks/peers-python$python.txt" "$locks/torch.txt" "$locks/python$python.txt" | cksum)
if [[ ! -f .venv/peers || $(<.venv/peers) != "$peers" ]]; then
    echo "test: installing torch, transformers and onnxruntime, which tests compare with" >&2
    # pip, not uv: it chooses the build of torch that fits the configured index.
    .venv/bin/python -m pip install --quiet --disable-pip-version-check \
        -r "$locks/torch.txt" -r "$locks/peers-python$python.txt" -c "$locks/python$python.txt"
    echo "$peers" >.venv/peers
fi
# Apache Beam conflicts with the versions above, so long tests run it in its own environment.
if [[ -n $slow ]]; then
    beam=$(cksum <"$locks/beam-python$python.txt")
    if [[ ! -f .venv/beam/installed || $(<.venv/beam/installed) != "$beam" ]]; then
        echo "test: installing apache-beam into .venv/beam" >&2
        .venv/bin/python -m venv --clear .venv/beam
        .venv/beam/bin/python -m pip install --quiet --disable-pip-version-check \
            -r "$locks/beam-python$python.txt"
        .venv/beam/bin/python -m pip install --quiet --disable-pip-version-check --no-deps -e .
        echo "$beam" >.venv/beam/installed
    fi
fi
.venv/bin/ruff check .
.venv/bin/ruff format --check .
.venv/bin/mypy
exec .venv/bin/python -m pytest "${options[@]}" "$@"
