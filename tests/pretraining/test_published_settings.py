"""The table of published settings in docs/recipes.md against the configs."""

import functools
import re
from pathlib import Path
from typing import NamedTuple

import pytest

from sersl.config.load import load_config
from sersl.config.schema import PretrainConfig

ROOT = Path(__file__).parents[2]
TEXT = (
    (ROOT / "docs" / "recipes.md").read_text().split("## Published settings")[1].split("\n## ")[0]
)
OWN = {"emotion_aware", "continue_emotion", "student"}


class Row(NamedTuple):
    recipe: str
    setting: str
    published: str
    ours: str
    reason: str


ROWS = [
    Row(*(cell.strip().strip("`") for cell in line.strip("|").split("|")))
    for line in TEXT.splitlines()
    if line.startswith("| `")
]


@functools.cache
def config_of(recipe: str) -> PretrainConfig:
    return load_config(PretrainConfig, str(ROOT / "configs/pretrain" / recipe.replace(":", ".py:")))


def shown(value) -> str:
    if isinstance(value, tuple):
        return ", ".join(map(str, value))
    return f"{value:g}" if isinstance(value, float) else str(value)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row.recipe}:{row.setting}")
def test_published_settings_when_compared_then_ours_is_the_configs_and_differences_have_a_reason(
    row,
):
    value = functools.reduce(getattr, row.setting.split("."), config_of(row.recipe))
    assert row.ours == shown(value)
    assert bool(row.reason) == (row.published != row.ours)


def test_published_settings_when_counted_then_of_every_recipe():
    without = set(re.findall(r"`(\w+)`", TEXT.split("not published")[0].split("settings of")[-1]))
    files = {file.stem for file in (ROOT / "configs/pretrain").glob("*.py")}
    assert {row.recipe.split(":")[0] for row in ROWS} == files - without - OWN
    assert without < files


@pytest.mark.parametrize(
    "recipe", ["apc", "npc", "cpc", "mockingjay", "tera", "wav2vec2", "hubert"]
)
def test_published_settings_when_the_optimizer_is_published_then_all_of_it_is_in_the_table(recipe):
    found = {row.setting for row in ROWS if row.recipe.split(":")[0] == recipe}
    names = ("learning_rate", "schedule", "warmup_fraction", "epsilon", "clip_norm")
    assert found >= {f"optimizer.{name}" for name in names}
