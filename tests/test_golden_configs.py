"""Every setting of every config, as stored: a change shows as a diff."""

import ast
import difflib
import re

import pytest

from sersl.config.load import load_config
from tests.golden.configs_now import (
    CLASSES,
    ROOT,
    config_files,
    differences,
    presets,
    resolved,
    restored,
    stored,
)

REFRESH = "`python tools/golden.py` stores them anew; check the diff before you commit it"
PRESETS = [(file, preset) for file in config_files() for preset in presets(file)]
DEFAULTS = [f"defaults/{verb}.json" for verb in CLASSES]
NAMES = [f"{f.parent.name}/{f.stem}.{preset}.json" for f, preset in PRESETS] + DEFAULTS


@pytest.fixture(scope="module")
def now():
    return resolved()


@pytest.mark.parametrize("name", NAMES)
def test_config_when_resolved_then_equals_what_is_stored(now, name):
    assert name in stored(), f"{name} is not stored; {REFRESH}"
    diff = difflib.unified_diff(
        stored()[name].splitlines(), now[name].splitlines(), "stored", "now", lineterm="", n=1
    )
    assert now[name] == stored()[name], f"{name} changed; {REFRESH}\n" + "\n".join(diff)


def test_stored_configs_when_listed_then_each_has_its_config():
    assert set(stored()) == set(NAMES), REFRESH


@pytest.mark.parametrize(("file", "preset"), PRESETS, ids=lambda v: getattr(v, "stem", v))
def test_stored_differences_when_added_to_the_defaults_then_give_the_config(now, file, preset):
    verb = file.parent.name
    text = stored()[f"{verb}/{file.stem}.{preset}.json"]
    assert restored(verb, text) == load_config(CLASSES[verb], f"{file}:{preset}")


@pytest.mark.parametrize(("file", "preset"), PRESETS, ids=lambda v: getattr(v, "stem", v))
def test_config_when_it_crops_utterances_then_a_batch_has_enough_of_the_longest(file, preset):
    data = load_config(CLASSES[file.parent.name], f"{file}:{preset}").data
    rows = round(data.seconds_per_batch / data.max_seconds, 6)
    # Those of 30 s read utterances whole, and those of nano read short ones.
    assert rows >= data.row_multiple or data.max_seconds == 30 or preset.startswith("nano")


def test_differences_when_nested_then_hold_changed_keys_alone():
    defaults = {"a": 1, "group": {"b": [1], "c": 2}, "same": {"d": 0}}
    assert differences(defaults, defaults) == {}
    values = {"a": 1, "group": {"b": [], "c": 2}, "same": {"d": 0}}
    assert differences(values, defaults) == {"group": {"b": []}}


@pytest.mark.parametrize("file", config_files(), ids=lambda file: file.stem)
def test_config_when_read_then_its_docstring_gives_paper_command_presets_time_and_score(file):
    text = ast.get_docstring(ast.parse(file.read_text())) or ""
    command = f"sersl {file.parent.name} --config {file.relative_to(ROOT)}"
    assert command in text, f"the docstring of {file} needs the exact command: {command}:PRESET ..."
    for heading in (r"Papers?: ", "Command: ", "Presets: ", "Time: ", "Score: "):
        assert re.search(f"^{heading}", text, re.MULTILINE), f"{file}: no line {heading!r}"
    for preset in presets(file):
        name = preset.removesuffix("_waveform")
        assert re.search(rf"\b{name}\b", text.partition("Presets: ")[2]), f"{file}: {preset}"
