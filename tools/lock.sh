#!/usr/bin/env bash
# Writes tools/locks/pythonX.Y.txt: the exact version of every package, per Python version.
# Versions already locked stay; `./tools/lock.sh --upgrade` takes the newest that fit.
set -euo pipefail
cd "$(dirname "$0")/.."

if ! command -v uv >/dev/null; then
    echo "lock.sh: uv is not on PATH: pip install uv" >&2
    exit 2
fi
for version in 3.11 3.12 3.13; do
    uv pip compile pyproject.toml --extra test --python-version "$version" --quiet \
        --no-annotate --no-emit-index-url --no-emit-find-links \
        --custom-compile-command ./tools/lock.sh \
        --output-file "tools/locks/python$version.txt" "$@"
    echo "tools/locks/python$version.txt: $(grep -c == "tools/locks/python$version.txt") packages"
done
