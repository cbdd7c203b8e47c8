"""Probabilities of a released network, and its outputs for dialogues."""

import abc
import functools
from typing import Any

import jax
import numpy as np

from sersl.corpora.dialogues import relations
from sersl.models.heads.emotion_output import probabilities
from sersl.release.label_facts import LabelFacts


def calibrated(logits: jax.Array, labels: LabelFacts) -> jax.Array:
    """Turns logits [..., C] into probabilities, at the temperature of the model."""
    return probabilities(logits / (labels.temperature or 1.0), multi=labels.multi)


class DialogueNetwork(abc.ABC):
    """The part of a network that reads the turns of a dialogue."""

    _params: Any
    _labels: LabelFacts

    def in_dialogue(self, vectors: np.ndarray, speakers: np.ndarray) -> dict[str, np.ndarray]:
        """Computes the outputs of the heads for the turns of one dialogue.

        Args:
          vectors: float32 [n, E], the "embedding" of each turn.
          speakers: int [n], number of the speaker of each turn.

        Returns:
          {"category": [n, C] probabilities, "dimensions": [n, D]}, and uncertainties.
        """
        # Few shapes are compiled; empty slots change no turn.
        slots = max(8, 1 << (len(vectors) - 1).bit_length())
        padded = np.pad(vectors, ((0, slots - len(vectors)), (0, 0)))
        found = self._dialogue(self._params, padded, relations(speakers, slots))
        return {name: np.asarray(value)[: len(vectors)] for name, value in found.items()}

    @functools.cached_property
    def _dialogue(self) -> Any:
        return jax.jit(self._in_dialogue)

    def _in_dialogue(
        self, params: dict[str, Any], vectors: jax.Array, related: jax.Array
    ) -> dict[str, jax.Array]:
        model = self._merged(params)
        output = model.in_dialogue(vectors, related)
        return {
            "category": calibrated(output.category, self._labels),
            "dimensions": output.dimensions,
            **model.uncertainty(output),
        }

    @abc.abstractmethod
    def _merged(self, params: dict[str, Any]) -> Any:
        """Makes the model of parameters."""
