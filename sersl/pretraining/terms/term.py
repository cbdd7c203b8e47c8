"""The interface of a pretraining objective: its heads, and its loss on one batch."""

import abc
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Generic, TypeVar

import jax
from flax import nnx

from sersl.config.schema import EncoderConfig, PretrainConfig
from sersl.models.encoder import SpeechEncoder
from sersl.objectives.mean import Mean
from sersl.parallel.random import fold
from sersl.pretraining.masking import repeat_rows
from sersl.pretraining.student import Passes, Student

Heads = TypeVar("Heads")


@dataclass(frozen=True, kw_only=True)
class Teacher:
    """The EMA teacher, run once on the clean audio with every frame visible.

    Attributes:
      encoder: its encoder, without gradient.
      heads: name of an objective to the EMA of its heads, for those with `teaches_heads`.
      hidden_states_once: [L + 1, B / clones, T, D], one row per utterance, without gradient.
      valid_once: bool [B / clones, T], real frames of these rows.
    """

    encoder: SpeechEncoder
    heads: Mapping[str, nnx.Module]
    hidden_states_once: jax.Array
    valid_once: jax.Array


@dataclass(frozen=True, kw_only=True)
class View:
    """One global batch and the student's outputs for it, shared by all objectives.

    With `masking.clones` above 1 every array holds that many differently masked copies of each row,
    side by side; B counts the copies.

    Attributes:
      batch: arrays of `sersl.data.batch`, by name.
      step: number of updates done, a scalar.
      key: PRNG key of this step; `draw` derives the keys of an objective from it.
      clones: copies of each row.
      encoder: the student's encoder, with its current parameters.
      student: the student's outputs.
      weights: float32 [B, T], weight of each frame in a loss over masked frames: 0 where a frame is
        not masked, else 1 or, with `knowledge.loss_weight`, more where the speech is intense.
      frame_weights: float32 [B, T], the same for losses over all real frames: 0 at padding only.
      passes: runs an encoder on another input of the same batch.
      ema: the EMA teacher, or None if no objective of the run needs one.
      frozen: hidden states [L + 1, B, T, D] of each of `frozen_teachers`, without gradient.
    """

    batch: Mapping[str, jax.Array]
    step: jax.Array
    key: jax.Array
    clones: int
    encoder: SpeechEncoder
    student: Student
    weights: jax.Array
    frame_weights: jax.Array
    passes: Passes
    ema: Teacher | None
    frozen: tuple[jax.Array, ...]

    @property
    def valid(self) -> jax.Array:
        """Real frames, bool [B, T]."""
        return self.student.valid

    @property
    def masked(self) -> jax.Array:
        """Frames hidden from the student, bool [B, T]."""
        return self.student.masked

    @property
    def last(self) -> jax.Array:
        """The student's last layer, [B, T, D]."""
        return self.student.hidden_states[-1]

    @property
    def teacher(self) -> Teacher:
        """The EMA teacher of a run with an objective that sets `needs_teacher`."""
        if self.ema is None:
            raise ValueError("no objective of this run sets needs_teacher")
        return self.ema

    @property
    def teacher_hidden_states(self) -> jax.Array:
        """The teacher's hidden states, [L + 1, B, T, D], repeated for each copy of a row."""
        return repeat_rows(self.teacher.hidden_states_once, self.clones, axis=1)

    def draw(self, purpose: str) -> jax.Array:
        """Derives the PRNG key of one purpose in this step."""
        return fold(self.key, purpose)


class Term(abc.ABC, Generic[Heads]):
    """One pretraining objective; `sersl.pretraining.terms.all_terms` lists them all.

    `objectives.<name>.weight` above 0 adds it to the loss. It is made before any array exists, and
    its constructor raises UserError for settings that make no sense. `Heads` is the type of the
    module that it trains beside the encoder, None if there is nothing to train.

    Attributes:
      needs: what the batch must hold besides the waveform: "annotation" (intensity and prosody),
        "category" (index into CANONICAL, or behind it), "distorted" (the waveform for the
        student), "second" (another distortion of it), "codes/<name>" (of a code book).
      masking: "needed" if the loss is over masked frames, "none" if the objective hides what it
        predicts by itself, else "any".
      reads_hidden: whether the loss uses the encoder's outputs at masked frames.
      needs_teacher: whether the train state must hold an EMA of the encoder.
      teaches_heads: whether the teacher also holds an EMA of this objective's heads.
      schedules: name to a setting that changes during training, as a function of the number of
        updates done, for the log.
    """

    needs: frozenset[str] = frozenset()
    masking: str = "any"
    reads_hidden: bool = True
    needs_teacher: bool = False
    teaches_heads: bool = False
    schedules: Mapping[str, Callable[[jax.Array], jax.Array]] = MappingProxyType({})

    def __init__(self, config: PretrainConfig):
        """Checks the settings of the whole run.

        Raises:
          UserError: settings that make no sense.
        """
        self.config = config

    @abc.abstractmethod
    def make_heads(self, *, key: jax.Array) -> Heads:
        """Makes the module that this objective trains beside the encoder, from an init key."""

    def set_teachers(self, teachers: Sequence[EncoderConfig]) -> None:
        """Receives the encoder settings of `frozen_teachers`, in order, before heads are made.

        Raises:
          UserError: a teacher is needed and missing, or lacks a layer.
        """

    def set_kept_teachers(self, teachers: Sequence[EncoderConfig]) -> None:
        """Receives the encoder settings of `kept_teachers`, in order, before heads are made.

        Raises:
          UserError: a teacher is needed and missing, or lacks a layer.
        """

    def least_frames(self) -> dict[str, int]:
        """Returns the fewest real frames that an utterance needs to count, by setting.

        Shorter utterances have weight 0 in the part of the loss that the setting belongs to.
        """
        if self.masking != "needed":
            return {}
        return {"masking.span": self.config.masking.span}

    def tokens(self, heads: Heads) -> jax.Array | None:
        """Returns learned vectors [P, D] to put in front of every row's frames, or None.

        `view.student.prefix` holds the student's outputs at them.
        """
        return None

    @abc.abstractmethod
    def loss(self, heads: Heads, view: View) -> tuple[jax.Array, dict[str, Mean]]:
        """Computes the objective on one global batch.

        Args:
          heads: the module of `make_heads` with the current parameters.
          view: the batch and the student's outputs.

        Returns:
          (loss before its weight, metrics to log).
        """

    def diagnose(self, values: Mapping[str, float]) -> str | None:
        """Checks logged values for a collapse of this objective.

        Args:
          values: name to value, as logged.

        Returns:
          What has collapsed, by how much, and what to change, to follow "at step N: "; or None.
        """
        return None
