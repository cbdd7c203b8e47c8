"""The part of a model that answers dialogues."""

import abc
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from sersl.config.conversation import ConversationConfig
from sersl.core.errors import UserError
from sersl.release.predict.in_context import Conversation, in_context
from sersl.release.predict.outputs import Answer
from sersl.release.predict.programs import Network
from sersl.release.predict.windows import Source


class DialogueModel(abc.ABC):
    """Answers the turns of dialogues, all at once or one at a time.

    Attributes:
      context: settings of the context network; None for a model of single utterances.
      network: of the model.
      dimensions: names.
    """

    context: ConversationConfig | None
    network: Network
    dimensions: tuple[str, ...]

    @abc.abstractmethod
    def answers(self, sources: Iterable[Source], *, sample_rate: object = None) -> Iterator[Answer]:
        """Predicts recordings without context, see `Model.answers`."""

    def predict_dialogue(
        self, sources: Sequence[Source], speakers: Sequence[str], *, sample_rate: object = None
    ) -> list[dict[str, Any]]:
        """Predicts the emotions of the turns of one dialogue, each in the context of the others.

        Args:
          sources: recording of each turn, in order.
          speakers: who speaks in each.
          sample_rate: as `predict`.

        Returns:
          A dict per turn, as `predict` gives it, with "speaker". A turn without scores has "error"
          and is no context of the others.

        Raises:
          UserError: the model reads no dialogues, or there are not as many speakers.
        """
        answers = self.dialogue_answers(sources, speakers, sample_rate=sample_rate)
        return [next(answer.dicts()) for answer in answers]

    def dialogue_answers(
        self, sources: Sequence[Source], speakers: Sequence[str], *, sample_rate: object = None
    ) -> list[Answer]:
        """Predicts as `predict_dialogue`, whatever is wrong with some of the turns."""
        self._check_dialogues()
        if len(sources) != len(speakers):
            raise UserError(
                f"{len(sources)} turns have {len(speakers)} speakers: name the speaker of each turn"
            )
        answers = list(self.answers(sources, sample_rate=sample_rate))
        return in_context(self.network.in_dialogue, answers, speakers, self.dimensions)

    def conversation(self) -> Conversation:
        """Starts a conversation that takes one turn at a time.

        Returns:
          The conversation; its answers are those of `predict_dialogue`.

        Raises:
          UserError: the model reads no dialogues, or later turns as well.
        """
        self._check_dialogues()
        if self.context is not None and not self.context.causal:
            raise UserError(
                "this model reads later turns as well (conversation.causal=False), so it cannot "
                "answer turn by turn: use predict_dialogue, or train with conversation.causal=True"
            )

        def answer(source: Source, sample_rate: object) -> Answer:
            return next(iter(self.answers([source], sample_rate=sample_rate)))

        return Conversation(answer, self.network.in_dialogue, self.dimensions)

    def _check_dialogues(self) -> None:
        if self.context is None:
            raise UserError(
                "this model reads single utterances: train one with "
                "configs/finetune/conversation.py, or predict without dialogues"
            )
