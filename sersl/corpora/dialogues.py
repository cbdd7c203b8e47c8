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
    parts = []
    for index in indexes:
        given = ["" if name is None else str(name) for name in index.extra(DIALOGUE).tolist()]
        if not any(given):
            raise UserError(
                f"no utterance of corpus {index.corpus!r} has a dialogue: prepare it again with "
                "--columns dialogue=NAME,turn=NAME,speaker=NAME, or set conversation.kind to 'none'"
            )
        parts.append(
            order_turns(
                given,
                _turns(index),
                index.column("speaker").tolist(),
                index.column("utterance_id").tolist(),
                what=f"corpus {index.corpus}",
            )
        )
    offsets = np.cumsum([0, *(len(index) for index in indexes)])
    firsts = np.cumsum([0, *(len(part.rows) for part in parts)])
    return Dialogues(
        names=tuple(name for part in parts for name in part.names),
        rows=tuple(
            rows + offset
            for part, offset in zip(parts, offsets[:-1], strict=True)
            for rows in part.rows
        ),
        speakers=tuple(own for part in parts for own in part.speakers),
        of_row=np.concatenate(
            [part.of_row + first for part, first in zip(parts, firsts[:-1], strict=True)]
        ),
        notes=tuple(note for part in parts for note in part.notes),
    )


def order_turns(
    dialogues: Sequence[str],
    numbers: np.ndarray,
    speakers: Sequence[str],
    ids: Sequence[str],
    *,
    what: str,
) -> Dialogues:
    """Puts the utterances of one list into dialogues, see `read_dialogues`.

    Args:
      dialogues: name of the dialogue of each utterance; "" for none.
      numbers: float64 [N] of the turns; NaN for none.
      speakers: of the utterances; "" where unknown.
      ids: of the utterances, for messages.
      what: the list, for messages.

    Raises:
      UserError: as `read_dialogues`, but a list without dialogues is possible.
    """
    members: dict[str, list[int]] = {}
    for row, name in enumerate(dialogues):
        key = f"dialogue {name!r}" if name else f"utterance {ids[row]!r}"
        members.setdefault(key, []).append(row)
    notes = []
    alone = sum(not name for name in dialogues)
    if alone:
        notes.append(
            f"{alone} of {len(dialogues)} utterances of {what} have no dialogue: each is a "
            "dialogue of one turn"
        )
    if np.isnan(numbers).all():
        notes.append(f"{what} has no numbers of turns: the order of the list is taken")
        numbers = np.arange(len(dialogues), dtype=np.float64)
    rows = tuple(
        _in_order(np.array(own, np.int64), numbers, ids, where=f"{key} of {what}")
        for key, own in members.items()
    )
    of_row = np.empty(len(dialogues), np.int64)
    for number, own_rows in enumerate(rows):
        of_row[own_rows] = number
    return Dialogues(
        names=tuple(f"{key} of {what}" for key in members),
        rows=rows,
        speakers=tuple(
            _number_speakers([speakers[row] for row in own], [ids[row] for row in own], where=key)
            for key, own in zip(members, rows, strict=True)
        ),
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


def _in_order(
    rows: np.ndarray, numbers: np.ndarray, ids: Sequence[str], *, where: str
) -> np.ndarray:
    """Sorts int64 [n] rows of one dialogue by the float64 [N] numbers of all turns."""
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


def _number_speakers(speakers: Sequence[str], ids: Sequence[str], *, where: str) -> np.ndarray:
    """Numbers the speakers of a dialogue's turns in order of appearance: int64 [n]."""
    if len(speakers) > 1 and "" in speakers:
        utterance = ids[speakers.index("")]
        raise UserError(
            f"{where}: utterance {utterance!r} has no speaker, and turns are related by their "
            "speakers: fill in the column speaker"
        )
    numbers = {name: number for number, name in enumerate(dict.fromkeys(speakers))}
    return np.array([numbers[name] for name in speakers], np.int64)
