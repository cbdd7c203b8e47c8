"""Some utterances of a prepared corpus, such as those of a few speakers."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from sersl.core.errors import unknown_name
from sersl.data.sources import CorpusSource


class ChosenRows(CorpusSource):
    """Reads some utterances of a corpus, without annotation and kept outputs."""

    def __init__(self, source: CorpusSource, rows: np.ndarray):
        """Takes the files of the source; opens none of them.

        Args:
          source: the corpus.
          rows: int [n], of its index.
        """
        own: dict[str, Any] = {"index": source.index.only(rows), "annotator": None, "books": ()}
        self._rows = rows
        self.__setstate__(
            source.__getstate__() | own | {"outputs": None, "views": {}, "damaged": {}}
        )

    def encoded(self, row: int) -> bytes:
        """Reads the FLAC bytes of an utterance; raises the exceptions of the libraries."""
        return super().encoded(int(self._rows[row]))


def of_speakers(source: CorpusSource, names: Sequence[str]) -> ChosenRows:
    """Chooses the utterances of some speakers.

    Raises:
      UserError: the corpus lacks one of them.
    """
    speakers = source.index.column("speaker").astype(str)
    known = sorted(set(speakers.tolist()) - {""})
    for name in names:
        if name not in known:
            raise unknown_name(f"speaker of corpus {source.index.corpus!r}", name, known)
    return ChosenRows(source, np.flatnonzero(np.isin(speakers, list(names))))
