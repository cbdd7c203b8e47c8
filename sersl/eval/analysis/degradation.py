"""Scores of one model under several recording conditions, and how much each of them costs."""

import csv
import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from sersl.data.conditions import CONDITIONS
from sersl.eval import bootstrap
from sersl.eval.comparison.tables import as_markdown, title
from sersl.eval.predictions import Predictions
from sersl.eval.report_tables import NONE
from sersl.eval.scorer import Scorer

NUM_RESAMPLES = 400  # of every condition
CLEAN = "clean"


def degradation(predictions: Mapping[str, Predictions], *, seed: int = 0) -> dict[str, Any]:
    """Scores the answers under each condition, and their differences from clean recordings.

    Args:
      predictions: condition to predictions for the same corpus, with "clean".
      seed: of the bootstrap.

    Returns:
      {condition: {"group", "kind", "level", "num_utterances", "scores", "intervals", "changes",
      "change_intervals"}}. A change is the score minus that of clean recordings, over the
      utterances that were scored under both; intervals draw whole speakers, the same for both.
    """
    clean = predictions[CLEAN]
    place = {name: row for row, name in enumerate(_names(clean))}
    found = {}
    for name, own in predictions.items():
        common = [row for row, utterance in enumerate(_names(own)) if utterance in place]
        after = Scorer(own.take(np.array(common, np.int64)))
        before = Scorer(clean.take(np.array([place[_names(own)[r]] for r in common], np.int64)))
        condition = CONDITIONS[name]
        found[name] = {
            "group": condition.group,
            "kind": condition.kind,
            "level": condition.level,
            "num_utterances": len(own),
            **_scored(after, before, own.groups[common], seed=seed),
        }
    return found


def _scored(after: Scorer, before: Scorer, groups: np.ndarray, *, seed: int) -> dict[str, Any]:
    def both(rows: np.ndarray) -> dict[str, float]:
        new, old = after(rows), before(rows)
        changes = {f"change {name}": value - old[name] for name, value in new.items()}
        return new | changes

    values = both(np.arange(len(groups)))
    intervals = bootstrap.confidence_intervals(both, groups, num_resamples=NUM_RESAMPLES, seed=seed)
    names = [name for name in values if not name.startswith("change ")]
    return {
        "scores": {name: values[name] for name in names},
        "intervals": {name: intervals[name] for name in names},
        "changes": {name: values[f"change {name}"] for name in names},
        "change_intervals": {name: intervals[f"change {name}"] for name in names},
    }


def _names(predictions: Predictions) -> list[tuple[str, str]]:
    text = predictions.text
    return list(zip(text["corpus"].tolist(), text["utterance_id"].tolist(), strict=True))


def shown_scores(conditions: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Lists the scores of a table: those of categories and the CCC of each dimension."""
    first = next(iter(conditions.values()))["scores"]
    names = [name for name in ("uar", "accuracy", "macro_f1", "average_precision") if name in first]
    return [*names, *(name for name in first if name.startswith("ccc."))]


def degradation_rows(
    conditions: Mapping[str, Mapping[str, Any]],
) -> tuple[list[str], list[list[str]]]:
    """Formats a header and one row per condition: scores, and the change of the first score."""
    names = shown_scores(conditions)
    header = ["condition", *(title(name) for name in names)]
    header += [f"change of {title(name)}" for name in names[:1]]
    rows = []
    for name, entry in conditions.items():
        scores = [_score(entry["scores"][one], entry["intervals"][one]) for one in names]
        changes = [
            NONE
            if name == CLEAN
            else _score(entry["changes"][one], entry["change_intervals"][one], sign="+")
            for one in names[:1]
        ]
        rows.append([condition_title(name), *scores, *changes])
    return header, rows


def condition_title(name: str) -> str:
    """Describes a condition: "white_-5dB" gives "white noise, -5 dB"."""
    condition = CONDITIONS[name]
    if condition.group == "noise":
        return f"{condition.kind} noise, {condition.level:g} dB"
    if condition.group == "room":
        return f"room, T60 {condition.level:g} s"
    words = condition.kind.replace("_", "-") or "as recorded"
    return f"{words}, low bit rate" if condition.low else words


def degradation_markdown(conditions: Mapping[str, Mapping[str, Any]]) -> str:
    """Writes the table in Markdown."""
    return as_markdown(*degradation_rows(conditions))


def degradation_csv(conditions: Mapping[str, Mapping[str, Any]]) -> str:
    """Writes every score under every condition, one a line, with all digits."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    ends = ("low", "high")
    columns = ("score", *ends, "change", *(f"change_{end}" for end in ends))
    writer.writerow(["condition", "num_utterances", "metric", *columns])
    for name, entry in conditions.items():
        for metric, value in entry["scores"].items():
            numbers = [value, *(entry["intervals"][metric] or (None, None))]
            change = entry["change_intervals"][metric] or (None, None)
            numbers += [entry["changes"][metric], *change]
            cells = ["" if n is None or np.isnan(n) else f"{n:.6g}" for n in numbers]
            writer.writerow([name, entry["num_utterances"], metric, *cells])
    return file.getvalue()


def _score(value: float | None, interval: Sequence[float] | None, *, sign: str = "") -> str:
    if value is None or np.isnan(value):
        return NONE
    ends = f" [{interval[0]:{sign}.3f}, {interval[1]:{sign}.3f}]" if interval else ""
    return f"{value:{sign}.3f}{ends}"
