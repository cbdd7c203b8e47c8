"""The image that serves: its instructions, and its commands without an engine."""

import json
import re
import subprocess
import sys
import urllib.request
import zipfile

import pytest

from tests.release.serve.running import running
from tests.tiny_runs import ROOT

FILE = ROOT / "launch" / "serve" / "Dockerfile"


def instructions():
    """Gives (word, rest) of each instruction."""
    lines = [line for line in FILE.read_text().splitlines() if not line.startswith("#")]
    joined = "\n".join(lines).replace("\\\n", " ")
    return [tuple(line.split(None, 1)) for line in joined.splitlines() if line.strip()]


def only(word):
    (found,) = [rest for name, rest in instructions() if name == word]
    return found


def test_image_when_it_is_read_then_it_is_locked_and_runs_without_root():
    names = [name for name, _ in instructions()]
    assert names[0] == "FROM" and re.fullmatch(r"python:3\.1\d-slim", only("FROM"))
    assert names.index("USER") > max(i for i, name in enumerate(names) if name in ("RUN", "COPY"))
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", only("USER"))
    known = [
        "FROM",
        "WORKDIR",
        "COPY",
        "RUN",
        "USER",
        "ENV",
        "EXPOSE",
        "HEALTHCHECK",
        "STOPSIGNAL",
        "ENTRYPOINT",
        "CMD",
    ]
    assert set(names) <= set(known)
    for rest in (rest for name, rest in instructions() if name == "COPY"):
        for source in rest.split()[:-1]:
            assert (ROOT / source).exists(), source
            # Left out of the context of the build, it could not be copied.
            top = "tools/locks" if source.startswith("tools") else source
            assert f"!{top}" in (FILE.parent / "Dockerfile.dockerignore").read_text().splitlines()


def test_image_when_its_packages_are_read_then_each_has_one_version():
    version = re.search(r"python:(3\.\d+)", only("FROM"))[1]
    run = next(rest for name, rest in instructions() if name == "RUN")
    assert f"--requirement tools/locks/serve-python{version}.txt" in run
    for number in ("3.11", "3.12", "3.13"):
        lock = (ROOT / "tools" / "locks" / f"serve-python{number}.txt").read_text().splitlines()
        packages = dict(line.split("==") for line in lock if line and not line.startswith("#"))
        assert {"starlette", "uvicorn", "websockets", "python-multipart", "jax"} <= packages.keys()
        own = (ROOT / "tools" / "locks" / f"python{number}.txt").read_text().splitlines()
        tested = dict(line.split("==") for line in own if "==" in line)
        assert all(packages[name] == tested[name] for name in packages.keys() & tested.keys())


@pytest.mark.slow
def test_image_when_its_commands_are_run_then_it_serves(tmp_path):
    wheel = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "-w", str(tmp_path)]
    subprocess.run([*wheel, str(ROOT)], check=True)
    with zipfile.ZipFile(next(tmp_path.glob("*.whl"))) as file:
        names = file.namelist()
    page = {path.name for path in (ROOT / "sersl" / "release" / "serve" / "page").iterdir()}
    assert {f"sersl/release/serve/page/{name}" for name in page} <= set(names)
    entry, given = json.loads(only("ENTRYPOINT")), json.loads(only("CMD"))
    assert entry[:2] == ["sersl", "serve"] and given == ["--model", "/model"]
    with running(tmp_path, *entry[2:4]) as served:
        check = json.loads(only("HEALTHCHECK").partition("CMD ")[2])
        code = check[2].replace(":8000", f":{served.port}")
        assert subprocess.run([sys.executable, *check[1:2], code]).returncode == 0
        assert urllib.request.urlopen(f"{served.address}/readyz").status == 200
        assert served.stop() == 0
    assert subprocess.run([sys.executable, *check[1:2], code], capture_output=True).returncode == 1
