"""Confidence intervals of scores, by a bootstrap over speakers.

Utterances of a speaker are alike, so whole speakers are drawn: an interval from draws of single
utterances would be too narrow.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np

from sersl.core import seeds

NUM_RESAMPLES = 1000
LEVEL = 0.95  # share of the draws inside of an interval, 2.5 % outside on either side
MOST_UNDEFINED = 0.05  # share of the draws; an interval of the others alone would be biased

Statistic = Callable[[np.ndarray], Mapping[str, float]]


def resamples(
    groups: Sequence[str] | np.ndarray, *, num_resamples: int = NUM_RESAMPLES, seed: int = 0
) -> Iterator[np.ndarray]:
    """Draws whole groups with replacement, as many per draw as there are.

    Args:
      groups: [N] group names, one per row; usually corpus and speaker.
      num_resamples: number of draws.
      seed: of the draws.

    Yields:
      int64 [rows] row numbers of each draw.
    """
    _, which = np.unique(np.asarray(groups), return_inverse=True)
    order = np.argsort(which, kind="stable")
    members = np.split(order, np.cumsum(np.bincount(which))[:-1])
    random = seeds.generator(seed, "bootstrap")
    drawn = random.integers(0, len(members), (num_resamples, len(members)))
    for draw in drawn:
        yield np.concatenate([members[i] for i in draw])


def confidence_intervals(
    statistic: Statistic,
    groups: Sequence[str] | np.ndarray,
    *,
    num_resamples: int = NUM_RESAMPLES,
    seed: int = 0,
) -> dict[str, list[float] | None]:
    """Computes the 95 % percentile interval of every score of a statistic.

    Args:
      statistic: function from row numbers to named scores.
      groups: [N] group names, one per row.
      num_resamples: number of draws.
      seed: of the draws.

    Returns:
      {name: [2.5 % quantile, 97.5 % quantile]}; None if there are fewer than two groups, or if the
      score is not defined on all rows or on more than `MOST_UNDEFINED` of the draws.
    """
    overall = statistic(np.arange(len(groups)))
    intervals: dict[str, list[float] | None] = dict.fromkeys(overall)
    if len(set(groups)) < 2:
        return intervals
    draws = resamples(groups, num_resamples=num_resamples, seed=seed)
    scores = [statistic(rows) for rows in draws]
    for name, value in overall.items():
        if not np.isnan(value):
            intervals[name] = interval(np.array([score[name] for score in scores]))
    return intervals


def interval(values: np.ndarray) -> list[float] | None:
    """Gives the percentile interval of draws [num_resamples], NaN where undefined.

    None where more than `MOST_UNDEFINED` of the draws are not defined.
    """
    known = values[~np.isnan(values)]
    if len(known) < (1 - MOST_UNDEFINED) * len(values):
        return None
    edge = (1 - LEVEL) / 2
    return [float(value) for value in np.quantile(known, [edge, 1 - edge])]
