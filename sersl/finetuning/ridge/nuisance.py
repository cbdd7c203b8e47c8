"""How speakers of corpora without labels differ, which answers should not follow."""

from collections.abc import Iterable, Sequence

import numpy as np

from sersl.core.errors import UserError
from sersl.data.sources import CorpusSource

_MOST = 4096  # speakers of a corpus that are read, so that large ones fit into memory


def rows_of_speakers(source: CorpusSource) -> list[np.ndarray]:
    """Lists the rows of each speaker, int64 [k].

    Rows without a speaker, and those of a corpus with one speaker, are listed one by one. Of more
    than 4,096 an even selection is listed.

    Raises:
      UserError: there is one utterance alone.
    """
    speaker = source.index.column("speaker").astype(str)
    rows = np.arange(len(speaker))
    names, number = np.unique(speaker, return_inverse=True)
    number = number.reshape(-1)
    alone = (speaker == "") | (len(names) == 1)
    found = [rows[number == own] for own in np.unique(number[~alone])]
    found += list(rows[alone, None])
    if len(found) < 2:
        raise UserError(
            f"solver.nuisance_corpora names {source.index.corpus}, which has a single utterance: "
            "give corpora with two speakers or more"
        )
    if len(found) > _MOST:
        found = [found[i] for i in np.linspace(0, len(found) - 1, _MOST).astype(int)]
    return found


def deviations(
    speakers: Sequence[np.ndarray], parts: Iterable[tuple[np.ndarray, np.ndarray]]
) -> np.ndarray:
    """Computes how the mean vector of each speaker differs from the mean over speakers.

    Args:
      speakers: of `rows_of_speakers`, S of them.
      parts: (rows int [n], vectors float32 [n, F]) that hold every listed row once.

    Returns:
      float32 [S, F], with a mean of 0.
    """
    number = np.concatenate([np.full(len(rows), i) for i, rows in enumerate(speakers)])
    place = dict(zip(np.concatenate(speakers).tolist(), number.tolist(), strict=True))
    sums: np.ndarray | None = None
    for rows, vectors in parts:
        if sums is None:
            sums = np.zeros((len(speakers), vectors.shape[1]))
        np.add.at(sums, [place[row] for row in rows.tolist()], vectors)
    assert sums is not None
    means = sums / np.array([len(rows) for rows in speakers])[:, None]
    return (means - means.mean(0)).astype(np.float32)
