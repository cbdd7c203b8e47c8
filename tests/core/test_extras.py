"""Every hint about an optional package works for a package and from a clone."""

import re
import tomllib
from pathlib import Path

from sersl.core.extras import install_hint

ROOT = Path(__file__).parents[2]


def test_hint_when_made_then_has_the_command_for_a_package_and_for_a_clone():
    hint = install_hint("onnx")
    assert "pip install 'sersl[onnx]'" in hint and "pip install -e '.[onnx]'" in hint


def test_hints_when_looked_for_in_the_code_then_all_are_made_by_the_one_function():
    known = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    named = set()
    for file in (ROOT / "sersl").rglob("*.py"):
        source = file.read_text(encoding="utf-8")
        if file.name != "extras.py":
            assert not re.search(r"pip install (-e )?['\"](sersl|\.)\[", source), file
        named |= set(re.findall(r"install_hint\(['\"](\w+)['\"]\)", source))
    assert "onnx" in named and named <= set(known)
