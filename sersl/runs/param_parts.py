"""Trees of parameters in two parts: what each checkpoint of a run has, and what all share."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

SHARED = "shared"  # folder of a workdir; in the config of a checkpoint, the checksums of its arrays


def shared_folder(run: Path) -> Path:
    """Gives the folder of what the checkpoints of all folds share, given the folder of a fold."""
    return run.parents[1] / SHARED


def part_of(tree: Any, mask: Any) -> dict[Any, Any]:
    """Takes the leaves of a nested dict where a mask of the same structure has True."""
    found: dict[Any, Any] = {}
    for key, wanted in mask.items():
        if isinstance(wanted, Mapping):
            if inner := part_of(tree[key], wanted):
                found[key] = inner
        elif wanted:
            found[key] = tree[key]
    return found


def joined(tree: Mapping[Any, Any], part: Mapping[Any, Any]) -> dict[Any, Any]:
    """Gives a nested dict with the leaves of another added, or in place of its own."""
    found = dict(tree)
    for key, value in part.items():
        if isinstance(value, Mapping) and isinstance(found.get(key), Mapping):
            found[key] = joined(found[key], value)
        else:
            found[key] = value
    return found
