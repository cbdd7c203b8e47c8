"""Every hyper-parameter of every experiment, written down: a change shows as a diff."""

import ast
import difflib

import pytest

from tests.golden.configs_now import ROOT, config_files, presets, resolved, stored

REFRESH = "python tools/golden.py writes them anew: look at the diff before you commit it"
NAMES = [f"{f.parent.name}/{f.stem}.{preset}.json" for f in config_files() for preset in presets(f)]


@pytest.fixture(scope="module")
def now():
    return resolved()


@pytest.mark.parametrize("name", NAMES)
def test_config_when_resolved_then_is_what_was_stored(now, name):
    assert name in stored(), f"{name} is not stored; {REFRESH}"
    diff = difflib.unified_diff(
        stored()[name].splitlines(), now[name].splitlines(), "stored", "now", lineterm="", n=1
    )
    assert now[name] == stored()[name], f"{name} changed; {REFRESH}\n" + "\n".join(diff)


def test_stored_configs_when_listed_then_each_has_its_experiment():
    assert set(stored()) == set(NAMES), REFRESH


@pytest.mark.parametrize("file", config_files(), ids=lambda file: file.stem)
def test_experiment_when_read_then_its_docstring_gives_the_command(file):
    text = ast.get_docstring(ast.parse(file.read_text())) or ""
    command = f"sersl {file.parent.name} --config {file.relative_to(ROOT)}"
    assert command in text, f"the docstring of {file} needs the exact command: {command}:PRESET ..."
