"""Answers for the turns of a dialogue, all at once or one turn at a time."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from sersl.core.errors import UserError
from sersl.release.predict.outputs import Answer, Scores, named_uncertainty
from sersl.release.predict.windows import Source

# Given vectors [n, E] and speakers int [n], the outputs of each turn.
InDialogue = Callable[[np.ndarray, np.ndarray], dict[str, np.ndarray]]


class Conversation:
    """Takes the turns of one dialogue in order, and answers each from those before it.

    The vectors of all turns are kept, and the context is computed anew for each turn. Made by
    `Model.conversation`; used by one thread at a time.
    """

    def __init__(
        self,
        answer: Callable[[Source, object], Answer],
        in_dialogue: InDialogue,
        dimensions: Sequence[str],
    ):
        """Starts without turns.

        Args:
          answer: given a recording and its sample rate, the answer without context.
          in_dialogue: of the network.
          dimensions: names.
        """
        self._answer, self._in_dialogue = answer, in_dialogue
        self._dimensions = tuple(dimensions)
        self._turns: list[tuple[Answer, str]] = []

    def add(self, source: Source, *, speaker: str, sample_rate: object = None) -> dict[str, Any]:
        """Adds a turn and predicts its emotion.

        Args:
          source: path, bytes of an audio file, or waveform.
          speaker: who speaks, a name of your own.
          sample_rate: Hz of a waveform; None for files.

        Returns:
          As `Model.predict`, with "speaker".

        Raises:
          UserError: the speaker is not named, or the turn has no scores; then it is not added.
        """
        if not isinstance(speaker, str) or not speaker:
            raise UserError("a turn needs its speaker: give a name, such as speaker='agent'")
        answer = self._answer(source, sample_rate).checked()
        turns = [*self._turns, (answer, speaker)]
        found = in_context(
            self._in_dialogue,
            [one for one, _ in turns],
            [name for _, name in turns],
            self._dimensions,
        )
        self._turns = turns
        return next(found[-1].dicts())


def in_context(
    in_dialogue: InDialogue,
    answers: Sequence[Answer],
    speakers: Sequence[str],
    dimensions: Sequence[str],
) -> list[Answer]:
    """Replaces the scores of turns by those in the context of their dialogue.

    Args:
      in_dialogue: of the network.
      answers: of the turns in order, each with an embedding; those without scores stay as they are
        and are no context of the others.
      speakers: of the turns.
      dimensions: names.

    Returns:
      Answers in the same order, each row with its speaker.
    """
    scored = [place for place, answer in enumerate(answers) if answer.scored and answer.rows]
    found = [
        dataclasses.replace(
            answer,
            rows=[dataclasses.replace(row, speaker=speaker) for row in answer.rows],
        )
        for answer, speaker in zip(answers, speakers, strict=True)
    ]
    if not scored:
        return found
    names = {name: number for number, name in enumerate(dict.fromkeys(speakers))}
    outputs = in_dialogue(
        np.stack([answers[place].rows[0].embedding for place in scored]),
        np.array([names[speakers[place]] for place in scored], np.int64),
    )
    for turn, place in enumerate(scored):
        own = {name: values[turn] for name, values in outputs.items()}
        found[place] = dataclasses.replace(
            found[place], rows=[_replaced(found[place].rows[0], own, dimensions)]
        )
    return found


def _replaced(row: Scores, output: dict[str, np.ndarray], dimensions: Sequence[str]) -> Scores:
    uncertainty = named_uncertainty(output, dimensions)
    return dataclasses.replace(
        row,
        category=dict(zip(row.category, output["category"].tolist(), strict=True)),
        dimensions=dict(zip(dimensions, output["dimensions"].tolist(), strict=True)),
        uncertainty=uncertainty,
    )
