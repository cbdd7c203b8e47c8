"""Scores of groups of speakers, and how far apart the groups are."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from sersl.eval import bootstrap
from sersl.eval.predictions import count_speakers

NUM_RESAMPLES = 400  # of every group
MOST_GROUPS = 200  # listed of one attribute
Score = Callable[[np.ndarray], Mapping[str, float]]


def by_group(
    score: Score,
    groups: np.ndarray,
    speakers: np.ndarray,
    *,
    num_resamples: int = NUM_RESAMPLES,
    seed: int = 0,
) -> dict[str, Any]:
    """Scores every group, with intervals, and the gap between the best and the worst.

    Args:
      score: function from row numbers to named scores.
      groups: str [N], group of each row, e.g. "female"; "" unknown, which is left out.
      speakers: str [N], whole speakers are drawn, in every group on its own.
      num_resamples: number of draws.
      seed: of the draws.

    Returns:
      {"groups": {name: {"num_utterances", "num_speakers", "scores", "intervals"}}, "gaps": {score:
      {"gap", "interval", "best", "worst"}}}. There is a gap of scores that are defined in two
      groups or more, and no interval where a group has one speaker.
    """
    names = sorted(set(groups.tolist()) - {""})[:MOST_GROUPS]
    found, draws = {}, {}
    for number, name in enumerate(names):
        rows = np.flatnonzero(groups == name)
        scores = dict(score(rows))
        count = len(set(speakers[rows].tolist()))
        draws[name] = (
            _draws(score, rows, speakers, num_resamples=num_resamples, seed=seed + number)
            if count > 1
            else {}
        )
        found[name] = {
            "num_utterances": len(rows),
            "num_speakers": count_speakers(speakers[rows]),
            "scores": scores,
            "intervals": {
                metric: bootstrap.interval(draws[name][metric])
                if metric in draws[name] and not np.isnan(value)
                else None
                for metric, value in scores.items()
            },
        }
    return {"groups": found, "gaps": _gaps(found, draws)}


def _draws(
    score: Score, rows: np.ndarray, speakers: np.ndarray, *, num_resamples: int, seed: int
) -> dict[str, np.ndarray]:
    """Scores rows of drawn speakers: {score: float64 [num_resamples]}."""
    drawn = bootstrap.resamples(speakers[rows], num_resamples=num_resamples, seed=seed)
    scores = [score(rows[places]) for places in drawn]
    return {name: np.array([one[name] for one in scores]) for name in scores[0]}


def _gaps(
    found: Mapping[str, Mapping[str, Any]], draws: Mapping[str, Mapping[str, np.ndarray]]
) -> dict[str, dict[str, Any]]:
    """Compares the group of the highest and that of the lowest value of every score."""
    gaps = {}
    for metric in dict.fromkeys(name for group in found.values() for name in group["scores"]):
        known = {
            name: group["scores"][metric]
            for name, group in found.items()
            if not np.isnan(group["scores"].get(metric, np.nan))
        }
        if len(known) < 2:
            continue
        highest, lowest = max(known, key=known.__getitem__), min(known, key=known.__getitem__)
        both = [draws[name].get(metric) for name in (highest, lowest)]
        interval = None
        if both[0] is not None and both[1] is not None:
            interval = bootstrap.interval(both[0] - both[1])
        gaps[metric] = {
            "gap": known[highest] - known[lowest],
            "interval": interval,
            "highest": highest,
            "lowest": lowest,
        }
    return gaps
