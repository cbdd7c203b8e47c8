"""Dialogues of prepared corpora: which utterances belong together, their order and speakers.

The index's column `extra` holds the name of the dialogue under "dialogue" and the number of the
turn under "turn". A dialogue is one within its corpus.
"""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from sersl.core.errors import UserError
from sersl.corpora.index import CorpusIndex

DIALOGUE, TURN = "dialogue", "turn"
DIALOGUE_KEYS = (DIALOGUE, TURN)


@dataclass(frozen=True, kw_only=True)
class Dialogues:
    """The dialogues of a run; every utterance is in exactly one.

    Attributes:
      names: of the dialogues, each with that of its corpus.
      rows: per dialogue int64 [n], rows of the concatenated indexes in the order of the turns.
      speakers: per dialogue int64 [n], number of the speaker of each turn within the dialogue.
      of_row: int64 [N], number of the dialogue of every row.
      notes: sentences for the user.
    """

    names: tuple[str, ...]
    rows: tuple[np.ndarray, ...]
    speakers: tuple[np.ndarray, ...]
    of_row: np.ndarray
    notes: tuple[str, ...]

    @property
    def longest(self) -> int:
        """Most turns of a dialogue."""
        return max(map(len, self.rows), default=0)


def read_dialogues(indexes: Sequence[CorpusIndex]) -> Dialogues:
    """Reads the dialogues of corpora.

    An utterance without a dialogue is a dialogue of one turn. In a corpus without any turn numbers
    the order is that of the list.

    Args:
      indexes: of the corpora; rows count through them in this order.

    Raises:
      UserError: a corpus has no dialogue; two turns of a dialogue have the same number; a turn has
        no number although others have, or no speaker.
    """
    names: list[str] = []
    rows: list[np.ndarray] = []
    speakers: list[np.ndarray] = []
    notes: list[str] = []
    offset = 0
    for index in indexes:
        members: dict[str, list[int]] = {}
        alone = 0
        for row, name in enumerate(index.extra(DIALOGUE).tolist()):
            alone += name in (None, "")
            utterance = index.column("utterance_id")[row]
            key = f"utterance {utterance}" if name in (None, "") else f"dialogue {name}"
            members.setdefault(key, []).append(row)
        if alone == len(index):
            raise UserError(
                f"no utterance of corpus {index.corpus!r} has a dialogue: prepare it again with "
                "--columns dialogue=NAME,turn=NAME,speaker=NAME, or set conversation.kind to 'none'"
            )
        if alone:
            notes.append(
                f"{alone} of {len(index)} utterances of corpus {index.corpus} have no dialogue: "
                "each is a dialogue of one turn"
            )
        numbers = _turns(index)
        if np.isnan(numbers).all():
            notes.append(
                f"corpus {index.corpus} has no numbers of turns: the order of the list is taken"
            )
            numbers = np.arange(len(index), dtype=np.float64)
        for key, own in members.items():
            ordered = _in_order(index, key, np.array(own, np.int64), numbers)
            names.append(f"{index.corpus}/{key}")
            rows.append(ordered + offset)
            speakers.append(_speakers(index, key, ordered))
        offset += len(index)
    of_row = np.empty(offset, np.int64)
    for number, own_rows in enumerate(rows):
        of_row[own_rows] = number
    return Dialogues(
        names=tuple(names),
        rows=tuple(rows),
        speakers=tuple(speakers),
        of_row=of_row,
        notes=tuple(notes),
    )


def relations(speakers: np.ndarray, size: int) -> np.ndarray:
    """Relates the turns of a dialogue: int8 [size, size].

    Args:
      speakers: int [n], number of the speaker of each turn; n is at most `size`.
      size: slots; those behind the last turn are empty.

    Returns:
      Row i, column j: 1 where turns i and j have the same speaker, 2 where they have different
      ones, 0 where one is empty.
    """
    found = np.zeros((size, size), np.int8)
    same = speakers[:, None] == speakers[None, :]
    found[: len(speakers), : len(speakers)] = np.where(same, 1, 2)
    return found


def groups_of_speakers(dialogues: Dialogues, speakers: np.ndarray) -> np.ndarray:
    """Numbers the groups of dialogues that share speakers, directly or through others.

    Args:
      dialogues: of the run.
      speakers: [N] str of every row; "" where the speaker is unknown.

    Returns:
      int64 [N], the group of every row.
    """
    parent = list(range(len(dialogues.rows)))

    def root(number: int) -> int:
        while parent[number] != number:
            parent[number] = parent[parent[number]]
            number = parent[number]
        return number

    first: dict[str, int] = {}
    for row, name in enumerate(speakers.tolist()):
        if name:
            number = int(dialogues.of_row[row])
            parent[root(number)] = root(first.setdefault(name, number))
    roots = np.array([root(number) for number in dialogues.of_row.tolist()])
    return np.unique(roots, return_inverse=True)[1].reshape(-1)


def _turns(index: CorpusIndex) -> np.ndarray:
    """Reads the numbers of the turns: float64 [n], NaN where there is none."""
    found = np.full(len(index), np.nan)
    for row, value in enumerate(index.extra(TURN).tolist()):
        if value in (None, ""):
            continue
        try:
            found[row] = float(value)
        except (TypeError, ValueError):
            found[row] = math.nan
        if not math.isfinite(found[row]):
            raise UserError(
                f"turn {value!r:.40} of utterance {index.column('utterance_id')[row]!r} of corpus "
                f"{index.corpus!r} is not a number: correct the column {TURN} and prepare again"
            )
    return found


def _in_order(index: CorpusIndex, key: str, rows: np.ndarray, numbers: np.ndarray) -> np.ndarray:
    """Sorts int64 [n] rows of one dialogue by the float64 [N] numbers of the corpus's turns."""
    ids = index.column("utterance_id")
    where = f"{key} of corpus {index.corpus!r}"
    missing = rows[np.isnan(numbers[rows])] if len(rows) > 1 else rows[:0]
    if len(missing):
        raise UserError(
            f"{where}: utterance {ids[missing[0]]!r} has no number of its turn: fill in the column "
            f"{TURN}, or leave it out of the whole list to take the order of its rows"
        )
    ordered = rows[np.argsort(numbers[rows], kind="stable")]
    for one, other in itertools.pairwise(ordered.tolist()):
        if numbers[one] == numbers[other]:
            raise UserError(
                f"{where} has two turns of number {numbers[one]:g}, utterances {ids[one]!r} and "
                f"{ids[other]!r}: give each turn a number of its own"
            )
    return ordered


def _speakers(index: CorpusIndex, key: str, rows: np.ndarray) -> np.ndarray:
    """Numbers the speakers of int64 [n] rows in order of appearance."""
    given = index.column("speaker")[rows].tolist()
    if len(rows) > 1 and "" in given:
        utterance = index.column("utterance_id")[rows[given.index("")]]
        raise UserError(
            f"{key} of corpus {index.corpus!r}: utterance {utterance!r} has no speaker, and turns "
            "are related by their speakers: fill in the column speaker and prepare again"
        )
    numbers = {name: number for number, name in enumerate(dict.fromkeys(given))}
    return np.array([numbers[name] for name in given], np.int64)
