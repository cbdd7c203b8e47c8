"""What a fine-tuning run learns: its classes, its dimensions, and the labels of every utterance."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from sersl.config.schema import FinetuneConfig
from sersl.core.errors import UserError
from sersl.corpora.labels import DIMENSIONS, LabelView, soft_label_table
from sersl.corpora.protocols.protocol import Fold
from sersl.data.batch_plan import shortest_trained
from sersl.data.sources import CorpusSource

# A concordance needs two labels.
_FEWEST_RATINGS = 2


@dataclass(frozen=True, kw_only=True)
class Targets:
    """Labels of all utterances of a run; arrays run over the indexes one after the other.

    Attributes:
      view: the classes.
      dimensions: names of the dimensions that are predicted.
      category: int32 [n], class of each utterance; -1 none.
      ratings: float64 [n, 3], arousal, dominance and valence in 0..1; NaN none.
      voted: bool [n], whether raters' votes are trained on.
      long_enough: bool [n], whether `data.min_seconds` lets it train.
    """

    view: LabelView
    dimensions: tuple[str, ...]
    category: np.ndarray
    ratings: np.ndarray
    voted: np.ndarray
    long_enough: np.ndarray

    def labelled(self, rows: np.ndarray) -> np.ndarray:
        """Selects those of int64 [m] rows that have a label to learn."""
        columns = [DIMENSIONS.index(name) for name in self.dimensions]
        rated = np.isfinite(self.ratings[rows][:, columns]).any(1)
        return rows[(self.category[rows] >= 0) | self.voted[rows] | rated]

    def counts(self, fold: Fold) -> dict[str, int]:
        """Counts the utterances of a fold that are not used: on no side, or not to train on."""
        sides = len(fold.train) + len(fold.validation) + len(fold.test)
        long_enough = fold.train[self.long_enough[fold.train]]
        return {
            "num_on_no_side": len(self.category) - sides,
            "num_too_short": len(fold.train) - len(long_enough),
            "num_unlabelled": len(long_enough) - len(self.labelled(long_enough)),
        }

    def untrained_classes(self, fold: Fold) -> list[str]:
        """Names the classes of which a fold has nothing to train on."""
        if self.voted.any():
            return []
        trained = set(self.category[fold.train].tolist())
        return [name for i, name in enumerate(self.view.names) if i not in trained]


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
      UserError: a fold has nothing to train on, or nobody voted where votes are asked for.
    """
    category = np.concatenate([view.indices(s.index.column("category")) for s in sources])
    ratings = np.stack(
        [np.concatenate([s.index.column(name) for s in sources]) for name in DIMENSIONS], axis=1
    )
    lengths = np.concatenate([source.num_samples for source in sources])
    long_enough = lengths >= shortest_trained(config.data)
    dimensions = []
    if config.labels.dimensions:
        known = np.isfinite(ratings) & long_enough[:, None]
        fewest = np.min([known[fold.train].sum(0) for fold in folds], axis=0)
        enough = zip(DIMENSIONS, fewest >= _FEWEST_RATINGS, strict=True)
        dimensions = [name for name, there in enough if there]
    targets = Targets(
        view=view,
        dimensions=tuple(dimensions),
        category=category,
        ratings=ratings,
        # Utterances without a category, but with votes, are trained on as well.
        voted=_find_votes(sources, view) if config.labels.soft else np.zeros(len(category), bool),
        long_enough=long_enough,
    )
    for fold in folds:
        _check_fold(fold, targets, config)
    return targets


def describe_targets(targets: Targets, folds: Sequence[Fold]) -> list[str]:
    """Says what is predicted, and what of each fold is not used.

    Args:
      targets: of the run.
      folds: of the protocol.

    Returns:
      Lines for people.
    """
    rated = zip(DIMENSIONS, np.isfinite(targets.ratings).any(0), strict=True)
    left = [name for name, there in rated if there and name not in targets.dimensions]
    lines = [
        f"categories: {', '.join(targets.view.names) or 'none'}; dimensions: "
        f"{', '.join(targets.dimensions) or 'none'}"
    ]
    if left:
        lines.append(
            f"not predicted: {', '.join(left)}, labelled but switched off or not in the training "
            "side of every fold"
        )
    for fold in folds:
        counts = targets.counts(fold)
        words = (
            (counts["num_on_no_side"], "on no side"),
            (counts["num_too_short"], "too short to train on"),
            (counts["num_unlabelled"], "on the training side without a label"),
        )
        unused = ", ".join(f"{count} {text}" for count, text in words if count)
        missing = targets.untrained_classes(fold)
        lines.append(
            f"fold {fold.name}: {len(fold.train)} to train, {len(fold.validation)} to validate, "
            f"{len(fold.test)} to test"
            + (f"; not used: {unused}" if unused else "")
            + (f"; nothing to train on of {', '.join(missing)}" if missing else "")
        )
    return lines


def _check_fold(fold: Fold, targets: Targets, config: FinetuneConfig) -> None:
    corpora = ", ".join(config.data.corpora)
    train = targets.labelled(fold.train[targets.long_enough[fold.train]])
    if not len(train):
        raise UserError(
            f"fold {fold.name!r}: no training utterance of {corpora} of at least "
            f"{config.data.min_seconds:g} s has a label for labels.view={config.labels.view!r}: "
            "choose another view or protocol, or lower data.min_seconds"
        )
    known = (targets.category[train] >= 0) | targets.voted[train]
    if targets.view.names and not known.any():
        raise UserError(
            f"fold {fold.name!r}: no training utterance of {corpora} has a category of labels.view="
            f"{config.labels.view!r}, so there are no categories to learn: set labels.view to "
            "'none', or choose another protocol"
        )


def _find_votes(sources: Sequence[CorpusSource], view: LabelView) -> np.ndarray:
    """Finds the utterances whose raters voted for a class: bool [n]."""
    tables = [soft_label_table(source.index.column("votes"), view) for source in sources]
    voted = np.concatenate([~np.isnan(table).any(axis=1) for table in tables])
    if not view.names or not voted.any():
        raise UserError(
            "labels.soft needs raters' votes for the categories of labels.view, and "
            f"{', '.join(source.index.corpus for source in sources)} has none: set it to False, "
            "or prepare the corpus with a column votes or annotators"
        )
    return voted
