"""Sides of a fold: the request, the division, validation speakers, and the check for leaks."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from sersl.core.errors import UserError
from sersl.core.seeds import generator
from sersl.corpora.index import CorpusIndex
from sersl.corpora.label_columns import words
from sersl.corpora.labels import LabelView


@dataclass(frozen=True)
class Request:
    """Input of a protocol; arrays run over the concatenated indexes.

    Attributes:
      indexes: of the prepared corpora.
      speakers: [N] (corpus, speaker) as one str; "" where the speaker is unknown.
      num_folds, validation_fraction, seed, allow_speaker_overlap, file, shots, test_corpora: of
        `sersl.config.schema.ProtocolConfig`.
      view: the classes, or None: every category is one.
    """

    indexes: Sequence[CorpusIndex]
    speakers: np.ndarray
    num_folds: int
    validation_fraction: float
    seed: int
    allow_speaker_overlap: bool
    file: str = ""
    shots: int = 0
    test_corpora: tuple[str, ...] = ()
    view: LabelView | None = None

    def __len__(self) -> int:
        return len(self.speakers)

    def column(self, name: str) -> np.ndarray:
        """Concatenates one column of the indexes."""
        return np.concatenate([index.column(name) for index in self.indexes])

    def corpora(self) -> np.ndarray:
        """Names the corpus of every row: [N] str."""
        return np.concatenate(
            [np.full(len(index), index.corpus, dtype=object) for index in self.indexes]
        )

    def classes(self) -> np.ndarray:
        """Names the class of every row: [N] str, "" where it has none.

        Raises:
          UserError: several classes of one utterance may apply.
        """
        if self.view is None or not self.view.names:
            return self.column("category")
        if self.view.multi:
            raise UserError(
                "protocols 'few-shot' and 'cross-corpus' need one category of each utterance: "
                "set labels.kind to 'single', or choose another protocol"
            )
        raw = self.view.raw
        categories = np.concatenate([words(index, raw=raw) for index in self.indexes])
        return np.array([*self.view.names, ""], dtype=object)[self.view.indices(categories)]

    def recordings(self) -> np.ndarray:
        """Numbers the recordings: [N] int, copies have the same."""
        return np.unique(self.column("sha256").astype(str), return_inverse=True)[1].reshape(-1)


@dataclass(frozen=True)
class Division:
    """One fold of a protocol; sides that are None follow from the request.

    Attributes:
      name: of the fold, which becomes the name of a folder.
      test: sorted int64 rows.
      train: rows; None: all that are not tested.
      validation: rows; None: drawn from train.
      notes: sentences that explain the scores.
      warnings: reasons why the scores may mislead.
    """

    name: str
    test: np.ndarray
    train: np.ndarray | None = None
    validation: np.ndarray | None = None
    notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class Fold:
    """One division of the utterances.

    Attributes:
      name: of a folder, checked by `core.files.check_name`.
      train, validation, test: sorted int64 rows of the concatenated indexes.
      checks: result of `check_overlap`, and `notes` and `warnings` in sentences.
    """

    name: str
    train: np.ndarray
    validation: np.ndarray
    test: np.ndarray
    checks: dict[str, Any]


def name_speakers(indexes: Sequence[CorpusIndex]) -> np.ndarray:
    """Names speakers across corpora, since speaker 01 of one corpus is not 01 of another.

    Returns:
      [N] str; "" where the speaker is unknown.
    """
    several = len(indexes) > 1
    columns = []
    for index in indexes:
        prefix = f"{index.corpus}/" if several else ""
        column = index.column("speaker")
        columns.append(np.array([prefix + s if s else "" for s in column.tolist()], dtype=object))
    return np.concatenate(columns)


def rows_where(chosen: np.ndarray) -> np.ndarray:
    """Gives the sorted int64 rows where `chosen`, [N] bool, is True."""
    return np.flatnonzero(chosen).astype(np.int64)


def split_training(
    request: Request, number: int, rest: np.ndarray, *, by_utterance: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """Draws validation speakers from the training side.

    Args:
      request: fraction, seed, and whether utterances may be drawn where speakers cannot.
      number: of the fold, in the seeds.
      rest: [R] int64, rows of the training side.
      by_utterance: draw recordings although there are speakers enough.

    Returns:
      (train, validation): sorted int64 rows.

    Raises:
      UserError: fewer than two speakers to draw from, or unknown ones, and overlap was
        not allowed.
    """
    if request.validation_fraction == 0:
        return rest, rest[:0]
    rng = generator(request.seed, "validation speakers", number)
    speakers = request.speakers[rest].astype(str)
    unique = np.unique(speakers)
    if len(unique) >= 2 and "" not in unique and not by_utterance:
        groups, choices = speakers, unique
    elif request.allow_speaker_overlap:
        groups = request.recordings()[rest]
        choices = np.unique(groups)
    elif "" in unique:
        raise UserError(
            "some training utterances have no speaker, so validation cannot have other speakers: "
            "set protocol.validation_fraction to 0, or protocol.allow_speaker_overlap to true to "
            "draw utterances"
        )
    else:
        raise UserError(
            "only one speaker is left for training, so none can validate: set "
            "protocol.validation_fraction to 0, or protocol.allow_speaker_overlap to true to "
            "validate on the same speaker"
        )
    wanted = max(1, round(request.validation_fraction * len(choices)))
    wanted = min(wanted, len(choices) - 1)
    chosen = rng.choice(choices, size=wanted, replace=False)
    validates = np.isin(groups, chosen)
    return rest[~validates], rest[validates]


def check_overlap(
    sides: dict[str, np.ndarray],
    *,
    speakers: np.ndarray,
    audio: np.ndarray,
    texts: np.ndarray,
    allow: bool,
    where: str,
) -> dict:
    """Counts what two sides of a fold have in common.

    Args:
      sides: name -> rows.
      speakers: [N] str, "" unknown.
      audio: [N] str, hash of the samples.
      texts: [N] str, "" unknown.
      allow: count speakers and recordings on two sides, rather than stop.
      where: protocol and fold, for the sentence.

    Returns:
      {"sizes": {side: rows}, "speakers" | "audio" | "texts": {"train/test": common values, ...},
      "allowed": allow}. The same sentence on two sides is counted and never an error: in acted
      corpora everyone says the same ones.

    Raises:
      UserError: a speaker or a recording is on two sides and `allow` is False.
    """
    checks: dict = {"sizes": {side: len(rows) for side, rows in sides.items()}, "allowed": allow}
    names = list(sides)
    pairs = [(a, b) for i, a in enumerate(names) for b in names[i + 1 :]]
    for kind, values in (("speakers", speakers), ("audio", audio), ("texts", texts)):
        present = {side: set(values[rows].tolist()) - {""} for side, rows in sides.items()}
        checks[kind] = {f"{a}/{b}": len(present[a] & present[b]) for a, b in pairs}
        if allow or kind == "texts":
            continue
        for a, b in pairs:
            common = sorted(present[a] & present[b])
            if common:
                thing = "speaker" if kind == "speakers" else "recording with hash"
                raise UserError(
                    f"{where}: {thing} {common[0]!r} is in both {a} and {b} ({len(common)} in "
                    "all); remove it, or set protocol.allow_speaker_overlap to true"
                )
    return checks
