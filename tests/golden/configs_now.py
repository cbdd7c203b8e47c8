"""The settings of every config as the code resolves them now; `tools/golden.py` stores them.

`configs/defaults/pretrain.json` and `finetune.json` hold every setting with its default; the file
of a config holds what differs from them, so that a new setting changes one line of one file.
"""

import json
import runpy
from pathlib import Path

from sersl.config.load import from_mapping, load_config, to_dict
from sersl.config.schema import FinetuneConfig, PretrainConfig

ROOT = Path(__file__).parents[2]
STORED = Path(__file__).parent / "configs"
CLASSES = {"pretrain": PretrainConfig, "finetune": FinetuneConfig}  # by folder of configs/


def config_files() -> list[Path]:
    """Finds every config."""
    return sorted((ROOT / "configs").rglob("*.py"))


def presets(file: Path) -> tuple[str, ...]:
    """Lists the presets of one config: its PRESETS, or the keys of its STEPS."""
    names = runpy.run_path(str(file))
    return tuple(names.get("PRESETS") or names["STEPS"])


def resolved() -> dict[str, str]:
    """Resolves every preset of every config.

    Returns:
      File name below `tests/golden/configs` to indented JSON.
    """
    defaults = {verb: to_dict(cls()) for verb, cls in CLASSES.items()}
    dumps = {f"defaults/{verb}.json": _dump(values) for verb, values in defaults.items()}
    for file in config_files():
        verb = file.parent.name
        for preset in presets(file):
            values = to_dict(load_config(CLASSES[verb], f"{file}:{preset}"))
            changed = differences(values, defaults[verb])
            dumps[f"{verb}/{file.stem}.{preset}.json"] = _dump(changed)
    return dumps


def stored() -> dict[str, str]:
    """Reads what was stored, by the same names as `resolved`."""
    return {
        str(file.relative_to(STORED)): file.read_text() for file in sorted(STORED.rglob("*.json"))
    }


def differences(values: dict, defaults: dict) -> dict:
    """Gives the nested settings that differ from the defaults."""
    changed = {}
    for key, value in values.items():
        if isinstance(value, dict):
            value = differences(value, defaults[key])
        if value != defaults[key] and value != {}:
            changed[key] = value
    return changed


def restored(verb: str, text: str):
    """Builds the config whose differences from the defaults are stored as JSON."""
    return from_mapping(CLASSES[verb], json.loads(text))


def _dump(values: dict) -> str:
    return json.dumps(values, indent=1) + "\n"
