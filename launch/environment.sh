#!/usr/bin/env bash
# Creates .venv/ at the root with the locked versions and sersl, unless it is up to date.
#   PYTHON=/path/to/python ./launch/environment.sh    uses that Python instead of the newest found
# Uses uv if it is on PATH (seconds), pip otherwise (minutes).
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
venv=$root/.venv

stop() {
    echo "environment: $1" >&2
    exit 2
}

version_of() { # INTERPRETER: prints its version X.Y; fails if it does not run
    "$1" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null
}

find_python() {
    local candidate version candidates=(python3.13 python3.12 python3.11 python3) where='PATH has'
    [[ -z ${PYTHON:-} ]] || candidates=("$PYTHON") where="PYTHON=$PYTHON is"
    for candidate in "${candidates[@]}"; do
        version=$(version_of "$candidate") || continue
        if [[ -f $root/tools/locks/python$version.txt ]]; then
            echo "$candidate"
            return
        fi
    done
    stop "$where no Python 3.11, 3.12 or 3.13: install one, or set PYTHON=/path/to/python"
}

if version=$(version_of "$venv/bin/python"); then
    if [[ -n ${PYTHON:-} && $(version_of "$PYTHON") != "$version" ]]; then
        stop "$venv has Python $version, unlike PYTHON=$PYTHON: remove $venv first"
    fi
else
    python=$(find_python)
    version=$(version_of "$python")
fi
lock=$root/tools/locks/python$version.txt
[[ -f $lock ]] || stop "$venv has Python $version, sersl needs 3.11, 3.12 or 3.13: remove $venv first"

# The stamp records what was installed. It is written last, so that a failed install is repeated.
stamp=$venv/installed
wanted="$root $(cksum <"$lock") $(cksum <"$root/pyproject.toml")"
if [[ -f $stamp && $(<"$stamp") == "$wanted" ]]; then
    exit 0
fi

echo "environment: installing $(grep -c == "$lock") packages for Python $version into $venv" >&2
quiet=--quiet
[[ -t 2 ]] && quiet=
if command -v uv >/dev/null; then
    [[ -x $venv/bin/python ]] || uv venv --quiet --seed --python "$(command -v "$python")" "$venv"
    uv pip install $quiet --python "$venv/bin/python" -r "$lock"
    uv pip install $quiet --python "$venv/bin/python" --no-deps -e "$root"
else
    [[ -x $venv/bin/python ]] || "$python" -m venv "$venv" ||
        stop "$python cannot create an environment: install its venv module, e.g. apt install python3-venv"
    "$venv/bin/python" -m pip install $quiet --disable-pip-version-check -r "$lock"
    "$venv/bin/python" -m pip install $quiet --disable-pip-version-check --no-deps -e "$root"
fi
echo "$wanted" >"$stamp"
