"""Figures of a report about the model rather than its scores."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.ticker import MaxNLocator, PercentFormatter

from sersl.eval.confidence import Reliability
from sersl.eval.plots import ACCENT, FOLD_COLOURS, INK, figure_at, short_label


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
