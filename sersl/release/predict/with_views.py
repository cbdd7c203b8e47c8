"""Recordings with what a model reads beside their audio."""

import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

import numpy as np

from sersl.corpora.index import CorpusIndex
from sersl.release.predict.windows import Source

NO_VECTORS: Mapping[str, np.ndarray] = MappingProxyType({})


@dataclass(frozen=True, eq=False)
class WithViews:
    """A recording, and where its views that are tables come from.

    Attributes:
      source: the audio.
      name: of its rows in the tables of the model, the utterance_id, or a path whose file name
        without suffix is the utterance_id; "": it has no rows.
      corpus: of its rows, for tables with a column corpus; "": any.
      vectors: of views by name, float [D] or [n, D], in place of those of the tables.
    """

    source: Source
    name: str = ""
    corpus: str = ""
    vectors: Mapping[str, np.ndarray] = field(default_factory=dict)


Asked = Source | WithViews


def with_views(source: Asked) -> WithViews:
    """Names a recording by its path as given; audio in memory has no name."""
    if isinstance(source, WithViews):
        return source
    return WithViews(source, os.fspath(source) if isinstance(source, str | os.PathLike) else "")


def of_rows(
    waveforms: Iterable[np.ndarray], index: CorpusIndex, rows: Iterable[int]
) -> Iterator[WithViews]:
    """Names the waveforms of utterances of a corpus, so that tables list them.

    Args:
      waveforms: [N] each, in the order of `rows`.
      index: of the corpus.
      rows: of the index.
    """
    names = index.column("utterance_id")
    for waveform, row in zip(waveforms, rows, strict=True):
        yield WithViews(waveform, str(names[row]), index.corpus)
