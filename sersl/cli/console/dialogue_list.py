"""The list of `sersl predict --dialogues`: recordings with dialogue, turn and speaker."""

from argparse import Namespace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from sersl.core.errors import UserError
from sersl.corpora.dialogues import DIALOGUE, TURN, Dialogues, order_turns
from sersl.corpora.listing import local_path
from sersl.corpora.manifests.columns import Columns
from sersl.corpora.tables.delimited import read_table

# Options that name other recordings, or cut them.
_OTHERS = ("list", "window", "hop", "speech", "rttm", "frames", "shard")


class DialogueList(NamedTuple):
    """Recordings of dialogues.

    Attributes:
      paths: of all rows.
      speakers: of all rows.
      dialogues: the rows of each dialogue in order.
    """

    paths: list[Path]
    speakers: list[str]
    dialogues: Dialogues


def read_dialogue_list(arguments: Namespace) -> DialogueList:
    """Reads the table with the columns path, dialogue, turn and speaker.

    Args:
      arguments: of `sersl predict`, with `dialogues`.

    Raises:
      UserError: another option goes with other recordings; a column is missing; or a turn has no
        speaker or the number of another.
    """
    for name in _OTHERS:
        if getattr(arguments, name):
            raise UserError(f"--dialogues goes without --{name}: leave one of them out")
    if arguments.inputs:
        raise UserError("--dialogues names the recordings itself: leave the files and folders out")
    path = Path(arguments.dialogues)
    columns = Columns()
    rows = [columns.rename(row) for row in read_table(path, label=str(path))]
    if not rows:
        raise UserError(f"{path} has no rows: write a recording in each line")
    for name in (DIALOGUE, "speaker"):
        if name not in rows[0]:
            raise UserError(
                f"{path} has no column {name!r}: --dialogues needs path, dialogue, speaker and, "
                "unless the rows are in order, turn"
            )
    paths = [path.parent / local_path(row.text("path"), path.parent) for row in rows]
    speakers = [row.name("speaker") for row in rows]
    dialogues = order_turns(
        [row.name(DIALOGUE) for row in rows],
        np.array([row.number(TURN) for row in rows]),
        speakers,
        [row.text("path") for row in rows],
        what=path.name,
    )
    return DialogueList(paths, speakers, dialogues)
