"""Which classes a run predicts: the view of its settings over the words of its corpora."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from sersl.config.schema import FinetuneConfig, LabelsConfig
from sersl.core.errors import UserError
from sersl.core.files import read_json
from sersl.corpora.index import CorpusIndex
from sersl.corpora.label_columns import (
    all_words,
    applying,
    lists_categories,
    names_secondary,
    words,
)
from sersl.corpora.labels import OTHERS, LabelView, make_mapping, make_view
from sersl.corpora.protocols.protocol import Fold

_EXAMPLE = "write pairs such as stressed=negative,calm=positive, or one JSON file"


def choose_view(labels: LabelsConfig, indexes: Sequence[CorpusIndex]) -> LabelView:
    """Makes the label view of a run over all its corpora.

    Args:
      labels: view, mapping, categories, kind.
      indexes: of the corpora.

    Raises:
      UserError: as `make_view`, or the mapping is not one.
    """
    raw = labels.view == "raw"
    multi = labels.kind == "multi" or (
        labels.kind == "auto" and any(lists_categories(index) for index in indexes)
    )
    if labels.secondary:
        _check_secondary(labels, indexes)
        multi = True
    view = make_view(
        labels.view,
        {
            index.corpus: all_words(index, raw=raw, multi=multi, secondary=labels.secondary)
            for index in indexes
        },
        mapping=make_mapping(map(_pair, with_pairs(labels).mapping), raw=raw),
        names=labels.categories,
    )
    if not multi or not view.names:
        return view
    if labels.soft:
        raise UserError(
            "labels.soft trains on the shares of votes for one category, and several categories of "
            "an utterance may apply here: set labels.kind to 'single', or labels.soft to False"
        )
    return dataclasses.replace(
        view, multi=True, votes_at_least=labels.votes_at_least, secondary=labels.secondary
    )


def _check_secondary(labels: LabelsConfig, indexes: Sequence[CorpusIndex]) -> None:
    """Raises UserError where the secondary emotions of raters cannot be counted."""
    if labels.kind == "single" or labels.view == "raw":
        other = "labels.kind 'multi'" if labels.kind == "single" else "labels.view 'corpus'"
        raise UserError(
            "labels.secondary counts canonical categories of which several may apply: set "
            f"{other}, or labels.secondary to False"
        )
    if not any(names_secondary(index) for index in indexes):
        raise UserError(
            f"labels.secondary: no rater of {', '.join(index.corpus for index in indexes)} named a "
            "secondary emotion: set it to False, or prepare the corpus again if its parser reads "
            "them (docs/corpora.md)"
        )


def with_pairs(labels: LabelsConfig) -> LabelsConfig:
    """Replaces the file of `labels.mapping`, if it is one, by its pairs, so that they are kept.

    Raises:
      UserError: the file is not an object that gives each category a class.
    """
    if len(labels.mapping) != 1 or "=" in labels.mapping[0]:
        return labels
    path = Path(labels.mapping[0])
    content = read_json(path, what="labels.mapping", remedy=_EXAMPLE)
    for word, name in content.items():
        if not isinstance(name, str):
            raise UserError(f"{path}, key {word!r}: {name!r} is not the name of a class")
    pairs = tuple(f"{word}={name}" for word, name in content.items())
    return dataclasses.replace(labels, mapping=pairs)


def _pair(text: str) -> tuple[str, str]:
    word, equals, name = text.rpartition("=")
    if not equals or not word.strip():
        raise UserError(f"labels.mapping: {text!r} is not CATEGORY=CLASS: {_EXAMPLE}")
    return word.strip(), name.strip()


def unused_words(config: FinetuneConfig, indexes: Sequence[CorpusIndex]) -> list[str]:
    """Describes the categories of `labels.mapping` that no utterance has, for people."""
    raw = config.labels.view == "raw"
    given = make_mapping(map(_pair, config.labels.mapping), raw=raw)
    known = set().union(*(all_words(index, raw=raw, multi=True) for index in indexes))
    unused = [word for word in given if word not in known and word != OTHERS]
    return [f"labels.mapping names {', '.join(unused)}, which no utterance has"] if unused else []


def of_protocol(
    view: LabelView, config: FinetuneConfig, indexes: Sequence[CorpusIndex], folds: Sequence[Fold]
) -> LabelView:
    """Leaves out the classes of which no utterance is on any side of a fold.

    Classes that the settings name stay.
    """
    labels = config.labels
    named = labels.view not in ("corpus", "raw", "shared") or labels.categories
    if named or labels.soft or not view.names:
        return view
    rows = np.unique(np.concatenate([[*f.train, *f.validation, *f.test] for f in folds]))
    rows = rows.astype(np.int64)
    if view.multi:
        table = np.concatenate([applying(index, view) for index in indexes])[rows]
        present = (table == 1).any(axis=0)
    else:
        every = np.concatenate([words(index, raw=view.raw) for index in indexes])
        present = np.isin(np.arange(len(view.names)), view.indices(every)[rows])
    if present.all() or not present.any():
        return view
    return view.only([name for name, there in zip(view.names, present, strict=True) if there])
