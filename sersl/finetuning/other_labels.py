"""Labels beside emotion, as tables that the compiled step holds, one row per utterance.

A batch names its utterances, so that nothing else of reading changes.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from sersl.config.schema import FinetuneConfig
from sersl.core.errors import UserError
from sersl.corpora.index import CorpusIndex
from sersl.corpora.label_columns import rater_labels
from sersl.corpora.labels import LabelView
from sersl.corpora.protocols.protocol import Fold
from sersl.finetuning.beside import CLASS_TASKS
from sersl.objectives.supervision.category_losses import CATEGORY_LOSSES
from sersl.parallel.sharding import place

_FEWEST_CLASSES = 2


@dataclasses.dataclass(frozen=True, kw_only=True)
class OtherLabels:
    """The tables of a run.

    Attributes:
      tables: name to int32 [n] or [n, S], -1 unknown, rows of the indexes one after the other.
      sizes: name to the number of classes, for the heads.
      target: fold to bool [n], utterances whose audio is trained on without labels.
    """

    tables: dict[str, np.ndarray]
    sizes: dict[str, int]
    target: dict[str, np.ndarray]

    def constants(self, fold: Fold | None) -> dict[str, np.ndarray]:
        """Gives the tables of a fold, or of any fold, for shapes."""
        found = dict(self.tables)
        if self.target:
            names = list(self.target) if fold is None else [fold.name]
            found["target"] = self.target[names[0]]
        return found

    def rows(self, fold: Fold, labelled: np.ndarray) -> np.ndarray:
        """Joins int64 [m] labelled rows of a fold with those that it trains on without labels."""
        if not self.target:
            return labelled
        return np.concatenate([labelled, np.flatnonzero(self.target[fold.name])])


def collect_other_labels(
    config: FinetuneConfig,
    indexes: Sequence[CorpusIndex],
    view: LabelView,
    folds: Sequence[Fold],
    long_enough: np.ndarray,
) -> OtherLabels:
    """Collects what the settings ask for.

    Args:
      config: of the run, after `with_annotators`.
      indexes: of the corpora, in order.
      view: the classes.
      folds: of the protocol.
      long_enough: bool [n], utterances that may train.

    Raises:
      UserError: a label that is asked for is missing on the training side of a fold.
    """
    tables: dict[str, np.ndarray] = {}
    sizes: dict[str, int] = {}
    tasks = config.tasks
    for name in CLASS_TASKS:
        if getattr(tasks, f"{name}_weight"):
            values = np.concatenate([_values(index, name) for index in indexes])
            setting = f"tasks.{name}_weight"
            tables[name], sizes[name] = _classes(values, folds, setting=setting, what=name)
    if tasks.adversary != "none":
        values = np.concatenate([_values(index, tasks.adversary) for index in indexes])
        tables["adversary"], sizes["adversary"] = _classes(
            values, folds, setting="tasks.adversary", what=tasks.adversary
        )
    if tasks.transcript_weight:
        texts = np.concatenate([index.column("text") for index in indexes])
        tables["transcript"], sizes["transcript"] = _characters(texts, folds)
    if view.names and CATEGORY_LOSSES[config.heads.category_loss].needs == "annotators":
        tables["annotators"] = _by_annotator(indexes, view, config.heads.annotators)
    target = {}
    if config.domain.kind != "none":
        outputs = {"dann": 2, "mdd": len(view.names)}
        sizes |= {"domain": outputs[config.domain.kind]} if config.domain.kind in outputs else {}
        target = {fold.name: _target(fold, long_enough) for fold in folds}
    if config.heads.contrast_weight:
        sizes["contrast"] = config.heads.contrast_width
    return OtherLabels(tables=tables, sizes=sizes, target=target)


def placed(tables: Mapping[str, np.ndarray], mesh: Mesh) -> dict[str, jax.Array]:
    """Puts tables of any shape on every device, once: a step would copy those of the host again."""
    whole = NamedSharding(mesh, P())
    return {name: place(table, whole) for name, table in tables.items()}


def with_annotators(
    config: FinetuneConfig, indexes: Sequence[CorpusIndex], view: LabelView, folds: Sequence[Fold]
) -> FinetuneConfig:
    """Names the annotators that are modelled, where the settings leave it to the corpus.

    Raises:
      UserError: too few utterances are labelled on the training side of every fold, or a name
        is unknown.
    """
    heads = config.heads
    if CATEGORY_LOSSES[heads.category_loss].needs != "annotators" or not view.names:
        return config
    labels = rater_labels(indexes, view)
    counts = np.array(
        [
            np.bincount(
                labels.rater[fold.train][labels.rater[fold.train] >= 0],
                minlength=len(labels.names),
            )
            for fold in folds
        ]
    ).min(0)
    enough = [
        name
        for name, count in zip(labels.names, counts, strict=True)
        if count >= heads.annotator_labels
    ]
    missing = [name for name in heads.annotators if name not in enough]
    if missing or not enough:
        who = f"annotator {missing[0]!r}" if missing else "no annotator"
        raise UserError(
            f"heads.category_loss={heads.category_loss!r}: {who} labelled heads.annotator_labels="
            f"{heads.annotator_labels} utterances on the training side of every fold: lower it, "
            "or choose another loss"
        )
    names = heads.annotators or tuple(enough)
    return dataclasses.replace(config, heads=dataclasses.replace(heads, annotators=names))


def _values(index: CorpusIndex, name: str) -> np.ndarray:
    """Reads a label of each utterance as text, "" where there is none."""
    if name == "corpus":
        return np.full(len(index), index.corpus, object)
    if name == "sentiment":
        found = [_text(value) for value in index.extra(name)]
        return np.array(found, object)
    values = index.column(name)
    if name == "speaker":
        return np.array([f"{index.corpus}/{value}" if value else "" for value in values], object)
    return values


def _text(value: Any) -> str:
    return "" if value is None or isinstance(value, dict | list) else str(value).strip()


def _classes(
    values: np.ndarray, folds: Sequence[Fold], *, setting: str, what: str
) -> tuple[np.ndarray, int]:
    """Numbers texts [n]; returns (int32 [n], number of classes) of what some fold trains on."""
    trained = np.unique(np.concatenate([fold.train for fold in folds])).astype(int)
    names = sorted(set(values[trained]) - {""})
    number = {name: i for i, name in enumerate(names)}
    table = np.array([number.get(value, -1) for value in values], np.int32)
    for fold in folds:
        num = len(set(table[fold.train].tolist()) - {-1})
        if num < _FEWEST_CLASSES:
            raise UserError(
                f"{setting} needs at least two values of {what} on the training side of every "
                f"fold, and fold {fold.name!r} has {num}: leave {setting} out, or prepare the "
                f"corpus with a column {what}"
            )
    return table, len(names)


def _characters(texts: np.ndarray, folds: Sequence[Fold]) -> tuple[np.ndarray, int]:
    """Numbers characters from 1 (0 is blank); returns (int32 [n, S], number of classes)."""
    clean = [" ".join(str(text).lower().split()) for text in texts]
    trained = np.unique(np.concatenate([fold.train for fold in folds])).astype(int)
    for fold in folds:
        if not any(clean[row] for row in fold.train):
            raise UserError(
                f"tasks.transcript_weight needs transcripts, and fold {fold.name!r} has none on "
                "its training side: set it to 0, or prepare the corpus with a column text"
            )
    # Of the training sides; other characters are left out of a transcript.
    known = sorted(set("".join(clean[row] for row in trained)))
    number = {character: i for i, character in enumerate(known, start=1)}
    coded = [[number[c] for c in text if c in number] for text in clean]
    table = np.full((len(clean), max(map(len, coded))), -1, np.int32)
    for row, codes in enumerate(coded):
        table[row, : len(codes)] = codes
    return table, 1 + len(known)


def _by_annotator(
    indexes: Sequence[CorpusIndex], view: LabelView, annotators: Sequence[str]
) -> np.ndarray:
    """Lays out the answers of the modelled annotators: int32 [n, A]."""
    labels = rater_labels(indexes, view)
    column = np.full(len(labels.names) + 1, -1)
    for number, name in enumerate(annotators):
        column[labels.names.index(name)] = number
    table = np.full((len(labels.rater), len(annotators)), -1, np.int32)
    modelled = column[labels.rater]
    rows, answers = np.nonzero(modelled >= 0)
    table[rows, modelled[rows, answers]] = labels.category[rows, answers]
    return table


def _target(fold: Fold, long_enough: np.ndarray) -> np.ndarray:
    rows = fold.test[long_enough[fold.test]]
    if not len(rows):
        raise UserError(
            f"domain.kind adapts to the audio of the test side, and fold {fold.name!r} has none: "
            "set protocol.final_model to False, and domain.kind to 'none' for the final model"
        )
    found = np.zeros(len(long_enough), bool)
    found[rows] = True
    return found
