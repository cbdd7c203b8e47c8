"""Linear heads for categories and dimensions by ridge regression.

The penalty of each regression, and the scale of its outputs, are chosen by the answers for training
speakers that were left out of the regression in turn; neither a test nor a validation side is used.
Nuisance directions and views count only where these answers are better with them by more than a
standard error over the groups of speakers (Breiman et al. 1984, sec. 3.4.3).
"""

import dataclasses
import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from scipy.optimize import minimize

from sersl.eval.analysis.calibration import fit_temperature
from sersl.eval.metrics import confusion_matrix, pearson, uar
from sersl.finetuning.ridge.closed_form import Regression, Weights

# The answers of a regression on 0 and 1 are about a tenth as far apart as logits.
_LOGITS = 10.0
_SMALLEST = 1e-6  # deviation below which answers say nothing
_ALL = slice(None)
# Of answers [n, M] and which of them to score.
_Score = Callable[[np.ndarray, slice | np.ndarray], float]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Rows:
    """What a head is solved from.

    Attributes:
      features: float32 [n, F], pooled vectors.
      group: int [n] from 0, of speakers that are left out together; all 0: nobody can be left out.
      plain: bool [n], utterances that are no changed copies, by which is chosen.
      nuisance: float32 [m, F], directions that should not move the answers; None: none.
      nuisance_weights: sums of their weights to choose from, relative to that of the rows.
      blocks: (kind, width) of what makes up F: first the main encoder, "", then "side", its side
        branch, and "view", further views; empty: one block.
      kind_weights: of each block of a kind, relative to the main encoder, to choose from; kinds
        that are not in it: every number weighs as much as one of the main encoder.
    """

    features: np.ndarray
    group: np.ndarray
    plain: np.ndarray
    nuisance: np.ndarray | None = None
    nuisance_weights: Sequence[float] = ()
    blocks: Sequence[tuple[str, int]] = ()
    kind_weights: Mapping[str, Sequence[float]] = dataclasses.field(default_factory=dict)

    def take(self, known: np.ndarray) -> "Rows":
        """Selects bool [n] rows."""
        group = np.unique(self.group[known], return_inverse=True)[1].reshape(-1)
        return dataclasses.replace(
            self, features=self.features[known], group=group, plain=self.plain[known]
        )

    def scales(self) -> list[tuple[dict[str, float], np.ndarray]]:
        """Gives each choice of weights by kind, the smallest first, with its float64 [F] scales.

        The squares of the columns of a block then sum to its weight, if these are standardized.
        """
        present = dict.fromkeys(kind for kind, _ in self.blocks)
        kinds = [kind for kind in present if self.kind_weights.get(kind)]
        if not kinds:
            return [({}, np.ones(self.features.shape[1]))]
        total = sum(width for _, width in self.blocks)
        found = []
        for values in itertools.product(*(sorted(self.kind_weights[kind]) for kind in kinds)):
            chosen = dict(zip(kinds, values, strict=True))
            columns = [
                np.full(width, np.sqrt(chosen.get(kind, width / self.blocks[0][1]) * total / width))
                for kind, width in self.blocks
            ]
            found.append((chosen, np.concatenate(columns)))
        return found


@dataclasses.dataclass(frozen=True)
class Solved:
    """A head, and how its penalty was chosen.

    Attributes:
      weights: of the output layer.
      choice: JSON-able: penalty, and its score on left-out speakers for each that was tried.
    """

    weights: Weights
    choice: dict[str, Any]


def solve_categories(
    rows: Rows, category: np.ndarray, count: int, weights: np.ndarray, penalties: Sequence[float]
) -> Solved:
    """Solves a head whose softmax is the probability of each of `count` categories.

    The targets are 1 for the category and 0 for the others. The penalty has the largest UAR, and
    one temperature makes the probabilities of left-out speakers as likely as possible.

    Args:
      rows: [n].
      category: int [n] in 0..count-1.
      weights: float64 [n], above 0.
      penalties: to choose from.
    """
    targets = np.eye(count)[category]
    truth = category[rows.plain]

    def score(answers: np.ndarray, among: slice | np.ndarray) -> float:
        return uar(confusion_matrix(truth[among], answers[among].argmax(1), count))

    found, answers, choice = _choose(rows, targets, weights, penalties, score)
    scale = _LOGITS
    if answers is not None:
        temperature = fit_temperature(truth, _softmax(_LOGITS * answers))
        scale = _LOGITS / (temperature or 1.0)
    return Solved(_scaled(found, scale, 0.0), {**choice, "scale": scale})


def solve_applying(
    rows: Rows, applies: np.ndarray, weights: np.ndarray, penalties: Sequence[float]
) -> Solved:
    """Solves a head whose sigmoid is the probability that one category applies.

    Scale and shift of its output make the labels of left-out speakers as likely as possible
    (Platt 1999).

    Args:
      rows: [n].
      applies: [n], 1 applies, 0 does not.
      weights: float64 [n], above 0.
      penalties: to choose from.
    """
    truth = applies[rows.plain].astype(int)

    def score(answers: np.ndarray, among: slice | np.ndarray) -> float:
        return uar(confusion_matrix(truth[among], (answers[among, 0] > 0.5).astype(int), 2))

    found, answers, choice = _choose(rows, applies[:, None], weights, penalties, score)
    scale, shift = _LOGITS, -_LOGITS / 2
    if answers is not None and len(np.unique(truth)) == 2:
        scale, shift = _platt(answers[:, 0], truth)
    return Solved(_scaled(found, scale, shift), {**choice, "scale": scale, "shift": shift})


def solve_dimension(
    rows: Rows, ratings: np.ndarray, weights: np.ndarray, penalties: Sequence[float]
) -> Solved:
    """Solves a head for the values of one dimension.

    The penalty has the largest correlation. Ridge regression answers too near to the mean: the
    outputs are scaled such that the answers for left-out speakers have the mean and the variance of
    their ratings, which maximizes the concordance for this correlation (Lin 1989, eq. 4).

    Args:
      rows: [n].
      ratings: [n] in 0..1.
      weights: float64 [n], above 0.
      penalties: to choose from.
    """
    truth = ratings[rows.plain]

    def score(answers: np.ndarray, among: slice | np.ndarray) -> float:
        return pearson(truth[among], answers[among, 0])

    found, answers, choice = _choose(rows, ratings[:, None], weights, penalties, score)
    scale, shift = 1.0, 0.0
    if answers is not None and answers.std() > _SMALLEST and score(answers, _ALL) > 0:
        scale = float(truth.std() / answers.std())
        shift = float(truth.mean() - scale * answers.mean())
    return Solved(_scaled(found, scale, shift), {**choice, "scale": scale, "shift": shift})


def row_weights(
    corpus: np.ndarray, category: np.ndarray | None, shares: Sequence[float] = ()
) -> np.ndarray:
    """Weights of mean 1 by which categories inside of a corpus have equal sums: float64 [n].

    Args:
      corpus: int [n].
      category: int [n]; None: the rows of a corpus weigh the same.
      shares: sums of the corpora, in proportion; empty: equal.
    """
    weights = np.empty(len(corpus))
    corpora = np.unique(corpus)
    sums = [shares[one] if len(shares) else 1.0 for one in corpora.tolist()]
    for one, total in zip(corpora, sums, strict=True):
        rows = corpus == one
        kinds = np.zeros(rows.sum(), int) if category is None else category[rows]
        _, kind, counts = np.unique(kinds, return_inverse=True, return_counts=True)
        weights[rows] = total / (len(counts) * counts[kind.reshape(-1)])
    return weights * (len(corpus) / (sum(sums) or 1.0))


class _Option(NamedTuple):
    """Weights of nuisance and views, with the penalty that is best for them."""

    names: dict[str, float]
    regression: Regression
    scale: int
    penalty: float
    score: float
    answers: np.ndarray


def _choose(
    rows: Rows,
    targets: np.ndarray,
    weights: np.ndarray,
    penalties: Sequence[float],
    score: _Score,
) -> tuple[Weights, np.ndarray | None, dict[str, Any]]:
    """Fits the penalty with the best score of left-out answers, the largest of equal ones.

    The weights of nuisance directions and of views are the smallest, or the best of those that are
    clearly better.

    Returns:
      (weights of all rows; left-out answers [plain rows, M] of this penalty, or None where nobody
      can be left out; choice).
    """
    penalties = sorted(penalties)
    nuisances = [0.0] if rows.nuisance is None else sorted(rows.nuisance_weights)
    chosen, scales = zip(*rows.scales(), strict=True)

    def named(nuisance: float, scale: int) -> dict[str, float]:
        own = {} if rows.nuisance is None else {"nuisance_weight": nuisance}
        return own | {f"{kind}_weight": weight for kind, weight in chosen[scale].items()}

    def regression(nuisance: float) -> Regression:
        return Regression(
            rows.features,
            targets,
            weights,
            nuisance=rows.nuisance if nuisance else None,
            nuisance_weight=nuisance,
            scales=scales,
        )

    if not rows.group.any() or not rows.plain.any():
        nuisance, penalty = (known[len(known) // 2] for known in (nuisances, penalties))
        scale = len(scales) // 2
        found = regression(nuisance).solve(penalty, scale)
        return found, None, {"penalty": penalty, **named(nuisance, scale), "selection": {}}
    options: list[_Option] = []
    selection: dict[str, Any] = {}
    for nuisance in nuisances:
        tried = regression(nuisance)
        every = tried.left_out(rows.group, penalties)[:, :, rows.plain]
        for scale, answers in enumerate(every):
            scores = [score(one, _ALL) for one in answers]
            shown = {
                f"{penalty:g}": value if np.isfinite(value) else None
                for penalty, value in zip(penalties, scores, strict=True)
            }
            names = named(nuisance, scale)
            title = [f"{key.removesuffix('_weight')} {weight:g}" for key, weight in names.items()]
            selection |= {", ".join(title): shown} if title else shown
            values = [value if np.isfinite(value) else -np.inf for value in scores]
            at = max(range(len(values)), key=lambda number: (values[number], number))
            options.append(
                _Option(names, tried, scale, penalties[at], values[at], answers[at].copy())
            )
    plainest, group = options[0], rows.group[rows.plain]
    better = [one for one in options[1:] if _clearly_better(one, plainest, group, score)]
    best = max([plainest, *better], key=lambda one: one.score)
    choice = {"penalty": best.penalty, **best.names, "selection": selection}
    return best.regression.solve(best.penalty, best.scale), best.answers, choice


def _clearly_better(one: _Option, other: _Option, group: np.ndarray, score: _Score) -> bool:
    """Whether the mean gain over groups of left-out speakers, int [n], exceeds its standard error.

    Groups whose score is undefined do not count; with fewer than two nothing is clear.
    """
    gains = np.array(
        [
            score(one.answers, group == number) - score(other.answers, group == number)
            for number in np.unique(group)
        ]
    )
    gains = gains[np.isfinite(gains)]
    return len(gains) > 1 and bool(gains.mean() > gains.std(ddof=1) / np.sqrt(len(gains)))


def _scaled(weights: Weights, scale: float, shift: float) -> Weights:
    return Weights(weights.kernel * scale, weights.bias * scale + shift)


def _softmax(logits: np.ndarray) -> np.ndarray:
    odds = np.exp(logits - logits.max(1, keepdims=True))
    return odds / odds.sum(1, keepdims=True)


def _platt(answers: np.ndarray, truth: np.ndarray) -> tuple[float, float]:
    """Finds scale and shift of answers [n] with the most likely labels [n], 0 or 1."""
    sign = 1.0 - 2.0 * truth

    def loss(point: np.ndarray) -> float:
        margins = sign * (point[0] * answers + point[1])
        # A little of the square, without which labels that a line separates have no best scale.
        return float(np.logaddexp(0.0, margins).mean() + 1e-6 * np.square(point).sum())

    found = minimize(loss, np.array([_LOGITS, -_LOGITS / 2]), method="L-BFGS-B")
    return float(found.x[0]), float(found.x[1])
