"""What a sweep tries: the trials of `get_sweep()` in a config file, and their part in one job."""

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

from sersl.config.load import load_sweep
from sersl.core.errors import UserError

# Settings that change what is measured, so that trials could not be compared.
_FIXED = ("protocol.", "labels.", "data.data_dir", "data.corpora", "train.seed")
MOST_TRIALS = 10_000


def read_trials(spec: str) -> list[dict[str, str]]:
    """Reads the trials of a config file.

    Args:
      spec: "FILE.py" or "FILE.py:PRESET"; the file defines `get_sweep()`, which returns a list of
        {setting: value}, or a grid {setting: list of values}.

    Returns:
      Settings of every trial as on the command line, all different, e.g.
      {"optimizer.learning_rate": "0.001"}.

    Raises:
      UserError: no or a wrong `get_sweep`, or a setting that must not differ between trials.
    """
    given = load_sweep(spec)
    if isinstance(given, Mapping):
        axes = [(str(key), _values(key, values)) for key, values in given.items()]
        keys = [key for key, _ in axes]
        points = itertools.product(*(values for _, values in axes))
        given = [dict(zip(keys, point, strict=True)) for point in points]
    if not isinstance(given, list | tuple) or not all(isinstance(one, Mapping) for one in given):
        raise UserError(
            f"get_sweep of config file {spec} must return a list of dicts, or a dict of lists"
        )
    trials = [{str(key): _text(value) for key, value in one.items()} for one in given]
    if not 1 < len(trials) <= MOST_TRIALS:
        raise UserError(
            f"get_sweep of config file {spec} gives {len(trials)} trials; it must give 2 to "
            f"{MOST_TRIALS}"
        )
    for number, trial in enumerate(trials):
        for key in trial:
            if key.startswith(_FIXED):
                raise UserError(
                    f"get_sweep of config file {spec} changes {key!r}, which changes what is "
                    "measured: give it on the command line, for all trials"
                )
        if trial in trials[:number]:
            raise UserError(f"get_sweep of config file {spec} gives {trial} twice: leave one")
    return trials


def _values(key: Any, values: Any) -> Sequence[Any]:
    if not isinstance(values, list | tuple) or not values:
        raise UserError(f"get_sweep gives {key!r} no list of values: write a list, e.g. [0.1, 0.2]")
    return values


def _text(value: Any) -> str:
    """Writes a value as on the command line."""
    match value:
        case str():
            return value
        case bool():
            return "true" if value else "false"
        case list() | tuple() if not any(isinstance(item, list | tuple) for item in value):
            return ",".join(_text(item) for item in value)
    return repr(value)
