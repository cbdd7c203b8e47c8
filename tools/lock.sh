#!/usr/bin/env bash
# Writes tools/locks/pythonX.Y.txt, the exact version of every package for each Python version.
# beam-pythonX.Y.txt is an environment with Apache Beam, which needs an older protobuf and pyarrow;
# peers-pythonX.Y.txt adds what only the tests need; serve-pythonX.Y.txt is an image that serves; torch.txt is maintained by hand.
# Locked versions stay; `./tools/lock.sh --upgrade` updates them to the newest that fit.
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
    uv pip compile pyproject.toml --extra test --extra docs --extra onnx --extra stablehlo --extra hub \
        --extra serve --extra peers \
        --constraint "$lock" \
        --python-version "$version" --quiet --no-annotate --no-header \
        --no-emit-index-url --no-emit-find-links --output-file "$peers" "$@"
    # Only what the first lock does not have.
    grep -vxFf "$lock" "$peers" >"$peers.new" && mv "$peers.new" "$peers"
    echo "$peers: $(grep -c == "$peers") packages"
    serve=tools/locks/serve-python$version.txt
    uv pip compile pyproject.toml --extra serve --extra av --constraint "$lock" --constraint "$peers" \
        --python-version "$version" --quiet --no-annotate --no-emit-index-url \
        --no-emit-find-links --custom-compile-command ./tools/lock.sh --output-file "$serve" "$@"
    echo "$serve: $(grep -c == "$serve") packages"
    beam=tools/locks/beam-python$version.txt
    uv pip compile pyproject.toml --extra beam --only-binary apache-beam \
        --python-version "$version" --quiet --no-annotate --no-emit-index-url \
        --no-emit-find-links --custom-compile-command ./tools/lock.sh --output-file "$beam" "$@"
    echo "$beam: $(grep -c == "$beam") packages"
done
