#!/usr/bin/env bash
# Writes tools/locks/pythonX.Y.txt: the exact version of every package, per Python version.
# beam-pythonX.Y.txt is an environment with Apache Beam, which wants an older protobuf and pyarrow;
# peers-pythonX.Y.txt holds what only the tests need on top; torch.txt is written by hand.
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
    lock=tools/locks/python$version.txt
    peers=tools/locks/peers-python$version.txt
    echo "$lock: $(grep -c == "$lock") packages"
    uv pip compile pyproject.toml --extra test --extra docs --extra onnx --extra peers --constraint "$lock" \
        --python-version "$version" --quiet --no-annotate --no-header \
        --no-emit-index-url --no-emit-find-links --output-file "$peers" "$@"
    # What the first lock holds is there already.
    grep -vxFf "$lock" "$peers" >"$peers.new" && mv "$peers.new" "$peers"
    echo "$peers: $(grep -c == "$peers") packages"
    beam=tools/locks/beam-python$version.txt
    uv pip compile pyproject.toml --extra beam --only-binary apache-beam \
        --python-version "$version" --quiet --no-annotate --no-emit-index-url \
        --no-emit-find-links --custom-compile-command ./tools/lock.sh --output-file "$beam" "$@"
    echo "$beam: $(grep -c == "$beam") packages"
done
