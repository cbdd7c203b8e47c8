"""Utterance intensity by rankers, one per category: how far from neutral, or how strong.

An intense calm voice is calmer and an intense angry one louder, so that one direction cannot serve
both. Each category has a direction of its own; if the category of an utterance is unknown, a
classifier weights the directions. Scores are relative to the category's utterances of the training
data, whose mean is 0.5.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from sklearn.linear_model import LogisticRegression

from sersl.annotation.ranker import at_most, fit_ranking, ordered_pairs, similar_pairs
from sersl.config.annotation import RankerConfig
from sersl.core.errors import UserError

RANKER_VERSION = 1  # of everything below
ANY = "any"  # the ranker of all categories together; for neutral, and if there is no other
_NEUTRAL = "neutral"
_DRAWN = 20  # times as many pairs are drawn as wanted, before those without order are left out
_LARGEST = 4.0  # deviations; features are clipped to it, so that none of them dominates
_LOGISTIC = 1.702  # scale of the logistic function closest to the normal distribution


@dataclass(frozen=True)
class CategoryRanker:
    """Directions in the space of standardised features.

    Attributes:
      names: of the rankers; the first is `ANY`, the others are categories.
      weights: float32 [1 + C, F].
      centre: float32 [1 + C], mean score of the training utterances of that category.
      scale: float32 [1 + C], their deviation.
      classifier: float32 [C, F + 1], last column the bias; [0, F + 1] without categories.
    """

    names: tuple[str, ...]
    weights: np.ndarray
    centre: np.ndarray
    scale: np.ndarray
    classifier: np.ndarray

    def intensity(self, features: np.ndarray, categories: Sequence[str] | np.ndarray) -> np.ndarray:
        """Computes the intensity of utterances.

        Args:
          features: [n, F], standardised.
          categories: [n] names; "" or one without a ranker: all rankers, weighted by the
            classifier.

        Returns:
          float32 [n] in 0..1; 0.5 is the mean of the category, 0.84 one deviation above it.
        """
        inside = np.clip(features, -_LARGEST, _LARGEST)
        scores = (inside @ self.weights.T - self.centre) / self.scale
        known = {name: i for i, name in enumerate(self.names)} | {_NEUTRAL: 0}
        chosen = np.array([known.get(name, -1) for name in categories], np.int64)
        own = np.take_along_axis(scores, np.maximum(chosen, 0)[:, None], 1)[:, 0]
        mixed = scores[:, 0]
        if len(self.classifier):
            mixed = (self._shares(inside) * scores[:, 1:]).sum(axis=1)
        value = np.where(chosen >= 0, own, mixed)
        return (1 / (1 + np.exp(-_LOGISTIC * value))).astype(np.float32)

    def _shares(self, features: np.ndarray) -> np.ndarray:
        """Gives the probability of each category, [n, C]."""
        logits = features @ self.classifier[:, :-1].T + self.classifier[:, -1]
        odds = np.exp(logits - logits.max(axis=1, keepdims=True))
        return odds / odds.sum(axis=1, keepdims=True)


def fit_category_ranker(
    features: np.ndarray,
    categories: Sequence[str] | np.ndarray,
    intensities: np.ndarray,
    config: RankerConfig,
) -> CategoryRanker:
    """Fits the rankers of all categories that have enough utterances.

    Args:
      features: [n, F], standardised.
      categories: [n] names, "" unknown.
      intensities: [n] in 0..1, NaN unknown; used by supervision "intensity" only.
      config: supervision, weights, numbers of pairs.

    Returns:
      The rankers.

    Raises:
      UserError: nothing to order: no neutral utterance or no other, or no two intensities in a
        category.
    """
    labels = np.asarray(categories, dtype=object)
    features = np.clip(features, -_LARGEST, _LARGEST)
    groups = {name: np.flatnonzero(labels == name) for name in sorted(set(labels) - {"", ANY})}
    neutral = groups.pop(_NEUTRAL, np.zeros(0, np.int64))
    order = _Order(neutral, np.asarray(intensities, np.float64), config)
    every = np.concatenate([*groups.values(), np.zeros(0, np.int64)])
    pairs = {name: order.of(rows, name) for name, rows in groups.items()}
    pairs = {name: both for name, both in pairs.items() if len(both[0])}
    if not pairs:
        raise UserError(
            "there is nothing to order: supervision 'neutral' needs utterances labelled neutral "
            "and others that are not, 'intensity' needs different intensities in a category"
        )
    whole = tuple(np.concatenate([both[i] for both in pairs.values()]) for i in range(2))
    fitted = {
        ANY: (
            every,
            tuple(at_most(p, config.max_pairs, seed=config.seed, purpose=ANY) for p in whole),
        )
    }
    if config.by_category:
        fitted |= {
            name: (groups[name], both)
            for name, both in pairs.items()
            if len(groups[name]) >= config.min_utterances
        }
    weights, centre, scale = [], [], []
    for rows, (ordered, similar) in fitted.values():
        w = fit_ranking(
            features,
            ordered,
            similar,
            order_weight=config.order_weight,
            similar_weight=config.similar_weight,
        )
        scores = features[rows] @ w
        weights.append(w)
        centre.append(scores.mean())
        scale.append(max(float(scores.std()), 1e-6))
    names = tuple(fitted)
    return CategoryRanker(
        names,
        np.array(weights, np.float32),
        np.array(centre, np.float32),
        np.array(scale, np.float32),
        _fit_classifier(features, labels, names[1:], config.category_weight),
    )


@dataclass(frozen=True)
class _Order:
    """Which utterances are above which."""

    neutral: np.ndarray
    intensities: np.ndarray
    config: RankerConfig

    def of(self, rows: np.ndarray, name: str) -> tuple[np.ndarray, np.ndarray]:
        """Gives the ordered and the similar pairs of a category's rows."""
        seed, most = self.config.seed, self.config.max_pairs
        if self.config.supervision == "neutral":
            ordered = ordered_pairs(rows, self.neutral, most=most, seed=seed, purpose=name)
            alike = [rows, self.neutral]
        else:
            drawn = _DRAWN * most
            ordered = ordered_pairs(rows, rows, most=drawn, seed=seed, purpose=name)
            above, below = self.intensities[ordered].T
            ordered = ordered[above >= below + self.config.min_gap]  # not where one is NaN
            alike = [
                rows[self.intensities[rows] == value]
                for value in np.unique(self.intensities[rows])
                if not np.isnan(value)
            ]
        ordered = at_most(ordered, most, seed=seed, purpose=name)
        count = most // max(len(alike), 1) if self.config.similar_weight > 0 else 0
        similar = [
            similar_pairs(group, count, seed=seed, purpose=f"{name} {i}")
            for i, group in enumerate(alike)
        ]
        return ordered, np.concatenate([*similar, np.zeros((0, 2), np.int64)])


def _fit_classifier(features, labels, names, weight) -> np.ndarray:
    """Fits a softmax classifier of the categories, [C, F + 1]."""
    if len(names) < 2:
        shape = (len(names), features.shape[1] + 1)
        return np.zeros(shape, np.float32)
    rows = np.flatnonzero(np.isin(labels, names))
    model = LogisticRegression(C=weight, max_iter=1000)
    model.fit(features[rows], labels[rows].astype(str))
    coefficients, bias = model.coef_, model.intercept_
    if len(names) == 2:  # scikit-learn keeps one row, of the second class
        coefficients = np.concatenate([-coefficients, coefficients]) / 2
        bias = np.concatenate([-bias, bias]) / 2
    order = [list(model.classes_).index(name) for name in names]
    return np.concatenate([coefficients, bias[:, None]], axis=1)[order].astype(np.float32)
