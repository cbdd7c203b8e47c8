"""Scores over the number of training utterances, from runs with other shots or shares."""

from collections.abc import Sequence
from pathlib import Path

from sersl.core.display import one_line
from sersl.eval.comparison.comparison_files import write_page
from sersl.eval.comparison.paired import Comparison, Entry
from sersl.eval.comparison.tables import notes, numbers, title
from sersl.eval.figures.diagrams import learning_curves
from sersl.eval.report_tables import NONE, interval_text, number_text

_NAME = "curve"
Point = tuple[float, float, tuple[float, float] | None]


def curves_of(comparison: Comparison, metric: str) -> dict[str, list[tuple[Entry, Point]]]:
    """Groups systems to curves, each sorted by the number of training utterances.

    The name of a curve is what is before ":" in the name of a system, such as "whisper" of
    "whisper:5 shots"; systems without ":" are one curve.

    Args:
      comparison: of systems.
      metric: the score.

    Returns:
      Curve to its (system, (utterances trained on, score, interval)).
    """
    found: dict[str, list[tuple[Entry, Point]]] = {}
    for entry in comparison.entries:
        if entry.is_ensemble:
            continue
        before, colon, _ = entry.name.partition(":")
        mean, _, low, high, *_ = numbers(entry.values[metric])
        ends = None if low is None or high is None else (low, high)
        point = (entry.num_train, float("nan") if mean is None else mean, ends)
        found.setdefault(before if colon else "", []).append((entry, point))
    return {name: sorted(points, key=lambda p: p[1][0]) for name, points in found.items()}


def curve_table(comparison: Comparison, metric: str) -> tuple[list[str], list[list[str]]]:
    """Formats a header and a row per system, curve after curve."""
    header = ["system", "training utterances", title(metric), "95 % interval"]
    rows = []
    for points in curves_of(comparison, metric).values():
        for entry, (num_train, mean, ends) in points:
            value = entry.values[metric]
            spread = "" if value.deviation is None else f" ± {value.deviation:.3f}"
            score = NONE if mean != mean else number_text(mean) + spread
            name = one_line(entry.name)
            rows.append([name, f"{num_train:.0f}", score, interval_text(ends)])
    return header, rows


def write_curve(folder: Path, comparison: Comparison, metric: str) -> Path:
    """Writes curve.md, .tex, .png and .html; returns the page."""
    curves = curves_of(comparison, metric)
    learning_curves(
        folder / f"{_NAME}.png",
        curves={name: [point for _, point in points] for name, points in curves.items()},
        title=title(metric),
    )
    return write_page(
        folder,
        _NAME,
        curve_table(comparison, metric),
        heading="Scores over the number of training utterances",
        notes=_notes(comparison),
        caption=f"{title(metric)} of every number of training utterances",
    )


def _notes(comparison: Comparison) -> Sequence[str]:
    return [note for note in notes(comparison) if "not trained on the same number" not in note]
