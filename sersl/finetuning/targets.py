"""What a fine-tuning run learns: its classes, its dimensions, and the labels of every utterance."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from sersl.config.schema import FinetuneConfig
from sersl.core.errors import UserError, unknown_name
from sersl.corpora import label_columns
from sersl.corpora.anchors import ANCHORED, ANCHORS
from sersl.corpora.index import CorpusIndex
from sersl.corpora.labels import DIMENSIONS, LabelView, order_dimensions
from sersl.corpora.protocols.protocol import Fold
from sersl.data.batch_plan import shortest_trained
from sersl.data.sources import CorpusSource
from sersl.eval.answers import Truth
from sersl.eval.metrics import is_measurable

# A concordance needs two labels.
_FEWEST_RATINGS = 2
_MOST_WEIGHT = 100.0  # of a label that applies, where several may; rarer ones get no more


@dataclass(frozen=True, kw_only=True)
class Targets:
    """Labels of all utterances of a run; arrays run over the indexes one after the other.

    Attributes:
      view: the classes.
      dimensions: names of the dimensions that are predicted.
      rated: names of those that any corpus has ratings of.
      category: int32 [n], class of each utterance; -1 none.
      categories: float32 [n, C], where several classes may apply: 1 applies, 0 does not, NaN not
        known; [n, 0] otherwise.
      ratings: float64 [n, E], the rated dimensions in 0..1; NaN none.
      voted: bool [n], whether raters' votes are trained on.
      long_enough: bool [n], whether `data.min_seconds` lets it train.
    """

    view: LabelView
    dimensions: tuple[str, ...]
    rated: tuple[str, ...]
    category: np.ndarray
    categories: np.ndarray
    ratings: np.ndarray
    voted: np.ndarray
    long_enough: np.ndarray

    @property
    def truth(self) -> Truth:
        """The labels that answers are compared with."""
        return Truth(
            category=self.category,
            categories=self.categories,
            dimensions=self.ratings,
            dimension_names=self.rated,
        )

    @property
    def classified(self) -> np.ndarray:
        """Tells which utterances have a label of a class: bool [n]."""
        if self.view.multi:
            return ~np.isnan(self.categories).all(axis=1)
        return (self.category >= 0) | self.voted

    def trainable(self, fold: Fold) -> np.ndarray:
        """Lists the utterances of a training side that `data.min_seconds` lets train: int64 [m]."""
        return fold.train[self.long_enough[fold.train]]

    def labelled(self, rows: np.ndarray) -> np.ndarray:
        """Selects those of int64 [m] rows that have a label to learn."""
        columns = [self.rated.index(name) for name in self.dimensions]
        rated = np.isfinite(self.ratings[rows][:, columns]).any(1)
        return rows[self.classified[rows] | rated]

    def counts(self, fold: Fold) -> dict[str, int]:
        """Counts the utterances of a fold that are not used: on no side, or not to train on."""
        sides = len(fold.train) + len(fold.validation) + len(fold.test)
        long_enough = self.trainable(fold)
        return {
            "num_on_no_side": len(self.category) - sides,
            "num_too_short": len(fold.train) - len(long_enough),
            "num_unlabelled": len(long_enough) - len(self.labelled(long_enough)),
        }

    def class_counts(self, rows: np.ndarray) -> np.ndarray:
        """Counts the utterances of each class among int64 [m] rows: int64 [C]."""
        if self.view.multi:
            return np.nansum(self.categories[rows], axis=0).astype(np.int64)
        category = self.category[rows]
        return np.bincount(category[category >= 0], minlength=len(self.view.names))

    def class_weights(self, rows: np.ndarray) -> np.ndarray:
        """Weighs the classes by their inverse frequency among int64 [m] rows: float32 [C].

        n / (C n_c) of one category; where several may apply, those rows to which a class does not
        apply over those to which it does, 0.01 to 100.
        """
        counts = self.class_counts(rows)
        if not len(counts):
            return np.ones(0, np.float32)
        if self.view.multi:
            known = int(self.classified[rows].sum())
            ratio = (known - counts) / np.maximum(counts, 1)
            return np.clip(ratio, 1 / _MOST_WEIGHT, _MOST_WEIGHT).astype(np.float32)
        # A class that is not there has no rows to weigh.
        return (counts.sum() / (len(counts) * np.maximum(counts, 1))).astype(np.float32)

    def untrained_classes(self, fold: Fold) -> list[str]:
        """Names the classes of which a fold has nothing to train on."""
        if self.voted.any():
            return []
        counts = self.class_counts(self.trainable(fold))
        return [name for name, count in zip(self.view.names, counts, strict=True) if not count]


def choose_targets(
    config: FinetuneConfig, sources: Sequence[CorpusSource], view: LabelView, folds: Sequence[Fold]
) -> Targets:
    """Collects the labels, and chooses the dimensions: those that every fold can be trained on.

    Args:
      config: of the run.
      sources: corpora in order.
      view: classes.
      folds: of the protocol.

    Returns:
      The targets.

    Raises:
      UserError: a fold has nothing to train on, or not of a class that it tests; all labels are the
        same; or there are no votes although they are needed.
    """
    indexes = [source.index for source in sources]
    words = [label_columns.words(index, raw=view.raw) for index in indexes]
    category = np.concatenate([view.indices(one) for one in words])
    categories = np.zeros((len(category), 0), np.float32)
    if view.multi:
        categories = np.concatenate([label_columns.applying(index, view) for index in indexes])
        category = np.full(len(category), -1, np.int32)
    found = [label_columns.rated_dimensions(index) for index in indexes]
    rated = order_dimensions(name for names in found for name in names)
    if config.labels.anchored:
        rated = (*rated, *ANCHORED)
    ratings = np.concatenate([label_columns.ratings(index, rated) for index in indexes])
    lengths = np.concatenate([source.num_samples for source in sources])
    long_enough = lengths >= shortest_trained(config.data)
    targets = Targets(
        view=view,
        dimensions=_dimensions(config, rated, np.isfinite(ratings) & long_enough[:, None], folds),
        rated=rated,
        category=category,
        categories=categories,
        ratings=ratings,
        # Utterances without a category, but with votes, are trained on as well.
        voted=_find_votes(indexes, view) if config.labels.soft else np.zeros(len(category), bool),
        long_enough=long_enough,
    )
    if len(view.names) == 1 and not view.multi:
        raise UserError(
            f"all utterances with a category are {view.names[0]!r}, so there is nothing to tell "
            "apart: set labels.view to 'none', or add utterances of another category"
        )
    for fold in folds:
        _check_fold(fold, targets, config)
    return targets


def _dimensions(
    config: FinetuneConfig, rated: tuple[str, ...], known: np.ndarray, folds: Sequence[Fold]
) -> tuple[str, ...]:
    """Names the dimensions that every fold can train; known is bool [n, E]."""
    left_out = config.labels.without_dimensions
    for name in left_out:
        if name not in (*rated, *DIMENSIONS):
            raise unknown_name("dimension in labels.without_dimensions", name, rated)
    if not config.labels.dimensions or not rated:
        return ()
    fewest = np.min([known[fold.train].sum(0) for fold in folds], axis=0)
    if config.labels.anchored and any(fewest[[rated.index(name) for name in ANCHORED]] < 2):
        raise UserError(
            "labels.anchored needs at least two utterances of categories with anchors "
            f"({', '.join(ANCHORS)}) on the training side of every fold: set it to False"
        )
    enough = zip(rated, fewest >= _FEWEST_RATINGS, strict=True)
    return tuple(name for name, there in enough if there and name not in left_out)


def describe_targets(targets: Targets, folds: Sequence[Fold]) -> list[str]:
    """Says what is predicted, and what of each fold is not used.

    Args:
      targets: of the run.
      folds: of the protocol.

    Returns:
      Lines for people.
    """
    left = [name for name in targets.rated if name not in targets.dimensions]
    lines = [
        f"categories: {', '.join(targets.view.names) or 'none'}"
        f"{', several may apply' if targets.view.multi else ''}; dimensions: "
        f"{', '.join(targets.dimensions) or 'none'}"
    ]
    if left:
        lines.append(
            f"not predicted: {', '.join(left)}, labelled but switched off or not in the training "
            "side of every fold"
        )
    for fold in folds:
        counts = targets.counts(fold)
        num_train = len(fold.train) - counts["num_too_short"] - counts["num_unlabelled"]
        held = np.concatenate([fold.validation, fold.test])
        words = (
            (counts["num_on_no_side"], "on no side"),
            (counts["num_too_short"], "too short to train on"),
            (counts["num_unlabelled"], "on the training side without a label"),
            (len(held) - len(targets.labelled(held)), "to validate or test without a label"),
        )
        unused = ", ".join(f"{count} {text}" for count, text in words if count)
        missing = targets.untrained_classes(fold)
        lines.append(
            f"fold {fold.name}: {num_train} to train, {len(fold.validation)} to validate, "
            f"{len(fold.test)} to test"
            + (f"; not used: {unused}" if unused else "")
            + (f"; nothing to train on of {', '.join(missing)}" if missing else "")
        )
    return lines


def _check_fold(fold: Fold, targets: Targets, config: FinetuneConfig) -> None:
    corpora = ", ".join(config.data.corpora)
    train = targets.labelled(targets.trainable(fold))
    if not len(train):
        raise UserError(
            f"fold {fold.name!r}: no training utterance of {corpora} of at least "
            f"{config.data.min_seconds:g} s has a label for labels.view={config.labels.view!r}: "
            "choose another view or protocol, or lower data.min_seconds"
        )
    if targets.view.names and not targets.classified[train].any():
        raise UserError(
            f"fold {fold.name!r}: no training utterance of {corpora} has a category of labels.view="
            f"{config.labels.view!r}, so there are no categories to learn: set labels.view to "
            "'none', or choose another protocol"
        )

    _check_classes(fold, targets)
    _check_dimensions(fold, targets)


def _check_classes(fold: Fold, targets: Targets) -> None:
    tested = targets.class_counts(np.concatenate([fold.validation, fold.test]))
    missing = targets.untrained_classes(fold)
    for name, count in zip(targets.view.names, tested, strict=True):
        if name in missing and count:
            raise UserError(
                f"fold {fold.name!r}: the class {name!r} is on the validation or test side, and "
                "the training side has no utterance of it of at least data.min_seconds: choose "
                "another protocol or protocol.num_folds, merge it with labels.mapping, or leave it "
                "out with labels.categories"
            )


def _check_dimensions(fold: Fold, targets: Targets) -> None:
    train = targets.trainable(fold)
    for name in targets.dimensions:
        if not is_measurable(targets.ratings[train, targets.rated.index(name)]):
            raise UserError(
                f"fold {fold.name!r}: all training ratings of {name!r} are the same, so there is "
                f"nothing to learn: leave it out with labels.without_dimensions={name}, or choose "
                "another protocol"
            )


def _find_votes(indexes: Sequence[CorpusIndex], view: LabelView) -> np.ndarray:
    """Finds the utterances whose raters voted for a class: bool [n]."""
    tables = [label_columns.soft_labels(index, view) for index in indexes]
    voted = np.concatenate([~np.isnan(table).any(axis=1) for table in tables])
    if not view.names or not voted.any():
        raise UserError(
            "labels.soft needs raters' votes for the categories of labels.view, and "
            f"{', '.join(index.corpus for index in indexes)} has none: set it to False, "
            "or prepare the corpus with a column votes or annotators"
        )
    return voted
