"""Figures of a report about the model rather than its scores."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.ticker import MaxNLocator, PercentFormatter

from sersl.eval.analysis.degradation import condition_title, shown_scores
from sersl.eval.comparison.tables import title as title_of
from sersl.eval.confidence import Reliability
from sersl.eval.figures.plots import ACCENT, BLUES, FOLD_COLOURS, INK, figure_at, short_label

_MOST_GROUPS = 40  # in a map; the others are not drawn


def reliability(path: Path, *, bins: Reliability) -> None:
    """Draws accuracy over confidence, and below it how many utterances each bin has."""
    width = 1 / len(bins.num_utterances)
    left = np.arange(len(bins.num_utterances)) * width
    with figure_at(path, 5.2, 5.0) as figure:
        top, below = figure.subplots(2, 1, sharex=True, height_ratios=[3, 1])
        known = bins.num_utterances > 0
        looks = {"width": width, "align": "edge", "edgecolor": "white"}
        top.bar(left[known], bins.accuracy[known], color="#93b4f5", **looks)
        top.plot(bins.confidence[known], bins.accuracy[known], "o", color=ACCENT, markersize=4)
        top.plot([0, 1], [0, 1], color=INK, linewidth=1, linestyle="--")
        top.set(xlim=(0, 1), ylim=(0, 1), ylabel="predicted right")
        top.set_title(f"expected calibration error {bins.error:.3f}")
        below.bar(left, bins.num_utterances, color="#cbd5e1", **looks)
        below.set(xlabel="probability of the predicted category", ylabel="utterances")
        below.yaxis.set_major_locator(MaxNLocator(3, integer=True))
        for axes in (top, below):
            axes.grid(True, axis="y")
            axes.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
        top.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))


def robustness(path: Path, *, conditions: Mapping[str, Mapping[str, Any]]) -> None:
    """Draws the first score over the SNR of each noise, and under each other condition.

    Args:
      path: the PNG to write.
      conditions: see `sersl.eval.analysis.degradation`, with "clean".
    """
    metric = shown_scores(conditions)[0]
    values = {name: _or_nan(one["scores"][metric]) for name, one in conditions.items()}
    kinds: dict[str, list[str]] = {}
    for name, one in conditions.items():
        if one["group"] == "noise":
            kinds.setdefault(one["kind"], []).append(name)
    others = [name for name, one in conditions.items() if one["group"] not in ("noise", "clean")]
    num = max(bool(kinds) + bool(others), 1)
    with figure_at(path, 5.2 * num, max(3.6, 1.4 + 0.3 * len(others))) as figure:
        panels = list(figure.subplots(1, num, squeeze=False)[0])
        label = f"as recorded {values['clean']:.3f}"
        if kinds:
            axes = panels.pop(0)
            axes.axhline(values["clean"], color=INK, linewidth=1, linestyle="--", label=label)
            for number, (kind, names) in enumerate(kinds.items()):
                points = [(conditions[name]["level"], values[name]) for name in names]
                colour = FOLD_COLOURS[number % len(FOLD_COLOURS)]
                axes.plot(*zip(*points, strict=True), "o-", color=colour, markersize=4, label=kind)
            axes.invert_xaxis()
            axes.set(xlabel="SNR, dB", ylim=(min(0, axes.get_ylim()[0]), None))
            axes.set_title(f"{title_of(metric)} in noise")
            axes.grid(True)
            axes.legend(fontsize=8, loc="lower left")
        if others:
            axes = panels.pop(0)
            axes.barh(range(len(others)), [values[name] for name in others], color="#93b4f5")
            axes.axvline(values["clean"], color=INK, linewidth=1, linestyle="--", label=label)
            axes.set_yticks(range(len(others)), [condition_title(name) for name in others])
            axes.set_ylim(len(others) - 0.5, -0.5)
            axes.set_title(f"{title_of(metric)} of rooms and lines")
            axes.grid(True, axis="x")


def embeddings(
    path: Path, *, places: np.ndarray, shares: np.ndarray, colours: Mapping[str, np.ndarray]
) -> None:
    """Draws a map of embeddings, one panel per way to colour it.

    Args:
      path: the PNG to write.
      places: [N, 2].
      shares: [2], of the variance, for the axes.
      colours: title to the group of each, str [N]; "" is not known.
    """
    with figure_at(path, 5.4 * len(colours), 5.0) as figure:
        panels = figure.subplots(1, len(colours), squeeze=False)[0]
        for axes, (name, groups) in zip(panels, colours.items(), strict=True):
            known = sorted(set(groups.tolist()) - {""})
            looks = {"s": 14, "alpha": 0.7, "linewidth": 0}
            unknown = groups == ""
            axes.scatter(*places[unknown].T, color="#cbd5e1", **looks)
            for number, group in enumerate(known[:_MOST_GROUPS]):
                own = groups == group
                colour = FOLD_COLOURS[number % len(FOLD_COLOURS)]
                mark = "os^D"[number // len(FOLD_COLOURS) % 4]
                axes.scatter(
                    *places[own].T, color=colour, marker=mark, label=short_label(group), **looks
                )
            axes.set_title(f"by {name}")
            axes.set_xlabel(f"component 1, {100 * shares[0]:.0f} % of the variance")
            axes.set_ylabel(f"component 2, {100 * shares[1]:.0f} %")
            axes.grid(True)
            if known:
                axes.legend(fontsize=8, ncols=4, loc="upper center", bbox_to_anchor=(0.5, -0.12))


def _or_nan(value: float | None) -> float:
    return float("nan") if value is None else value


def layers(path: Path, *, weights: Mapping[str, Sequence[float]]) -> None:
    """Draws the weight of each layer in the weighted sum, one line per fold.

    Args:
      path: the PNG to write.
      weights: {fold: one share per hidden state, the input of the first layer first}.
    """
    with figure_at(path, 7.0, 3.4) as figure:
        axes = figure.subplots()
        for number, (fold, shares) in enumerate(weights.items()):
            axes.plot(
                range(len(shares)),
                shares,
                color=FOLD_COLOURS[number % len(FOLD_COLOURS)],
                linewidth=1.6,
                marker="o",
                markersize=3,
                label=short_label(fold),
            )
        axes.set(xlabel="layer; 0 is the input of the first", ylabel="weight", ylim=(0, None))
        axes.xaxis.set_major_locator(MaxNLocator(13, integer=True))
        axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
        axes.grid(True)
        if len(weights) > 1:
            figure.legend(loc="outside right upper", fontsize=8, title="fold")


def heat_map(
    path: Path, *, values: np.ndarray, rows: Sequence[str], columns: Sequence[str], title: str
) -> None:
    """Draws a table of scores in colours, with the numbers.

    Args:
      path: the PNG to write.
      values: [R, K], NaN where there is none.
      rows: R corpora of training.
      columns: K corpora of the test.
      title: of the score.
    """
    known = values[~np.isnan(values)]
    low, high = (float(known.min()), float(known.max())) if known.size else (0.0, 1.0)
    with figure_at(path, 3.4 + 0.95 * len(columns), 2.2 + 0.55 * len(rows)) as figure:
        axes = figure.subplots()
        axes.imshow(values, cmap=BLUES, vmin=low - 0.1, vmax=max(high, low + 1e-6), aspect="auto")
        for i, j in np.ndindex(*values.shape):
            value = values[i, j]
            dark = value > low + 0.5 * (high - low)
            text = "-" if np.isnan(value) else f"{value:.3f}"
            axes.text(j, i, text, ha="center", va="center", color="white" if dark else INK)
        names = [short_label(name) for name in columns]
        axes.set_xticks(range(len(names)), names, rotation=40, ha="right", rotation_mode="anchor")
        axes.set_yticks(range(len(rows)), [short_label(name) for name in rows])
        axes.tick_params(length=0, labelcolor=INK)
        axes.set(xlabel="tested on", ylabel="trained on")
        axes.set_title(title)
        axes.spines[:].set_visible(False)


def learning_curves(
    path: Path,
    *,
    curves: Mapping[str, Sequence[tuple[float, float, tuple[float, float] | None]]],
    title: str,
) -> None:
    """Draws a score over the number of training utterances, with intervals.

    Args:
      path: the PNG to write.
      curves: name to (utterances, score, interval) of each point, sorted.
      title: of the score.
    """
    with figure_at(path, 6.4, 4.2) as figure:
        axes = figure.subplots()
        for number, (name, points) in enumerate(curves.items()):
            colour = FOLD_COLOURS[number % len(FOLD_COLOURS)]
            sizes = [max(size, 1.0) for size, _, _ in points]
            label = short_label(name) if name else None
            axes.plot(sizes, [mean for _, mean, _ in points], "o-", color=colour, label=label)
            for size, (_, _, ends) in zip(sizes, points, strict=True):
                if ends is not None:
                    axes.plot([size, size], ends, color=colour, linewidth=4, alpha=0.3)
        axes.set_xscale("log")
        axes.set_xlabel("training utterances, mean over the folds")
        axes.set_title(title)
        axes.grid(True)
        if any(curves):
            axes.legend(fontsize=8, loc="lower right")
