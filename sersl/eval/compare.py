"""How sure a score is: bootstrap over speakers, and the paired difference of two systems.

Utterances of one speaker are alike, so whole speakers are drawn: an interval over single utterances
would be too narrow.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np

from sersl.core import seeds
from sersl.core.errors import UserError

NUM_RESAMPLES = 1000
LEVEL = 0.95  # share of resamples inside the interval: 2.5 % on either side

Statistic = Callable[[np.ndarray], Mapping[str, float]]


def resamples(
    groups: Sequence[str], *, num_resamples: int = NUM_RESAMPLES, seed: int = 0
) -> Iterator[np.ndarray]:
    """Draws whole groups with replacement.

    Args:
      groups: N group names, one per row; usually corpus and speaker.
      num_resamples: how many draws.
      seed: of the draws; the same seed and groups give the same rows.

    Yields:
      int64 row numbers, one array per draw; as many groups as there are, some more than once.
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
    groups: Sequence[str],
    *,
    num_resamples: int = NUM_RESAMPLES,
    seed: int = 0,
) -> dict[str, list[float] | None]:
    """Gives the 95 % percentile interval of every score of a statistic.

    Args:
      statistic: from row numbers to named scores.
      groups: N group names, one per row.
      num_resamples: how many draws.
      seed: of the draws.

    Returns:
      {name: [2.5 % quantile, 97.5 % quantile]}; None with fewer than two groups, or when no draw
      gives a number.
    """
    names = list(statistic(np.arange(len(groups))))
    if len(set(groups)) < 2:
        return dict.fromkeys(names)
    draws = resamples(groups, num_resamples=num_resamples, seed=seed)
    scores = [statistic(rows) for rows in draws]
    return {name: _interval(np.array([score[name] for score in scores])) for name in names}


def paired_difference(
    first: Statistic,
    second: Statistic,
    groups: Sequence[str],
    *,
    num_resamples: int = NUM_RESAMPLES,
    seed: int = 0,
) -> dict[str, dict]:
    """Compares two systems on the same rows, drawing the same speakers for both.

    Args:
      first: from row numbers to named scores of the first system.
      second: the same names for the second system, on the same rows.
      groups: N group names, one per row.
      num_resamples: how many draws.
      seed: of the draws.

    Returns:
      {name: {"difference": second minus first, "interval": [low, high] or None,
      "p_value": two-sided share of draws on the other side of zero, or None}}.

    Raises:
      UserError: the two systems do not have the same scores.
    """
    rows = np.arange(len(groups))
    before, after = first(rows), second(rows)
    if set(before) != set(after):
        raise UserError(
            f"the two systems have different scores ({', '.join(sorted(before))} against "
            f"{', '.join(sorted(after))}): compare runs that predict the same things"
        )
    result = {
        name: {"difference": after[name] - before[name], "interval": None, "p_value": None}
        for name in before
    }
    if len(set(groups)) < 2:
        return result
    differences = []
    for draw in resamples(groups, num_resamples=num_resamples, seed=seed):
        low, high = first(draw), second(draw)
        differences.append({name: high[name] - low[name] for name in before})
    for name, entry in result.items():
        values = np.array([difference[name] for difference in differences])
        entry["interval"] = _interval(values)
        known = values[~np.isnan(values)]
        if known.size:
            tail = min((known <= 0).sum(), (known >= 0).sum())
            # One is added on both sides, so that a finite number of draws never claims p = 0
            # (Davison and Hinkley, "Bootstrap methods and their application", 1997, eq. 4.11).
            entry["p_value"] = float(min(1.0, 2 * (tail + 1) / (known.size + 1)))
    return result


def _interval(values: np.ndarray) -> list[float] | None:
    known = values[~np.isnan(values)]
    if not known.size:
        return None
    edge = (1 - LEVEL) / 2
    return [float(value) for value in np.quantile(known, [edge, 1 - edge])]
