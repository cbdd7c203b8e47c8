"""What a run logged while it trained: of each fold, or the mean over the folds of each seed."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sersl.core.files import check_name
from sersl.core.json_lines import read_json_lines
from sersl.eval.over_seeds import SEEDS
from sersl.eval.workdir_files import read_results

Log = list[dict[str, Any]]  # records with "step" and numbers by name


def read_logs(workdir: Path, results: Mapping[str, Any]) -> dict[str, Log]:
    """Reads the logs of a scored run.

    Args:
      workdir: of the run.
      results: its results.json.

    Returns:
      Records by fold; by seed for a run of several seeds, then the mean over its folds. Empty
      records for a fold or seed without a log.

    Raises:
      UserError: a file is damaged.
    """
    if not results.get("seeds"):
        return {fold["fold"]: _read_log(workdir, fold["fold"]) for fold in results["folds"]}
    logs = {}
    for seed in results["seeds"]:
        folder = workdir / SEEDS / str(seed)
        folds = read_results(folder)["folds"]
        logs[str(seed)] = mean_log([_read_log(folder, fold["fold"]) for fold in folds])
    return logs


def mean_log(logs: Sequence[Log]) -> Log:
    """Averages each number at each step over the logs that have it there."""
    found: dict[int, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for log in logs:
        for record in log:
            for name, value in record.items():
                if isinstance(value, int | float):
                    found[record["step"]][name].append(value)
    return [
        {name: float(np.mean(values)) for name, values in found[step].items()} | {"step": step}
        for step in sorted(found)
    ]


def _read_log(workdir: Path, fold: str) -> Log:
    path = workdir / "folds" / check_name(fold, what="fold") / "metrics.jsonl"
    return read_json_lines(
        path,
        what="log of a run",
        remedy="restore it from a copy, or remove it to report without it",
    )
