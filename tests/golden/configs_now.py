"""The configs as the code resolves them now; `tools/golden.py` stores them, a test compares."""

import json
import runpy
from pathlib import Path

from sersl.config.load import load_config, to_dict
from sersl.config.schema import FinetuneConfig, PretrainConfig

ROOT = Path(__file__).parents[2]
STORED = Path(__file__).parent / "configs"
CLASSES = {"pretrain": PretrainConfig, "finetune": FinetuneConfig}  # by folder of configs/


def config_files() -> list[Path]:
    """Finds every experiment."""
    return sorted((ROOT / "configs").rglob("*.py"))


def presets(file: Path) -> tuple[str, ...]:
    """Lists the presets of one experiment: its PRESETS, or those that its STEPS name."""
    names = runpy.run_path(str(file))
    return tuple(names.get("PRESETS") or names["STEPS"])


def resolved() -> dict[str, str]:
    """Resolves every preset of every experiment.

    Returns:
      File name below `tests/golden/configs` to indented JSON with every default.
    """
    dumps = {}
    for file in config_files():
        for preset in presets(file):
            config = load_config(CLASSES[file.parent.name], f"{file}:{preset}")
            name = f"{file.parent.name}/{file.stem}.{preset}.json"
            dumps[name] = json.dumps(to_dict(config), indent=1) + "\n"
    return dumps


def stored() -> dict[str, str]:
    """Reads what was stored, by the same names as `resolved`."""
    return {
        str(file.relative_to(STORED)): file.read_text() for file in sorted(STORED.rglob("*.json"))
    }
