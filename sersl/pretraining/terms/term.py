"""What an objective is to pretraining: heads of its own, and a loss on what the encoder said."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import jax
from flax import nnx

from sersl.config.schema import EncoderConfig, PretrainConfig
from sersl.models.encoder import EncoderOutput, SpeechEncoder
from sersl.objectives.mean import Mean
from sersl.parallel.random import fold
from sersl.pretraining.student import repeat_rows


@dataclass(frozen=True, kw_only=True)
class View:
    """One global batch as every objective sees it: the student has been run once.

    With `masking.clones` each row is there that many times, its copies side by side and differently
    masked, in every array; B counts them.

    Attributes:
      batch: arrays of `sersl.data.transforms`, by name.
      step: updates done, a scalar.
      key: PRNG key of this step; `draw` gives an objective its own.
      clones: copies of each row.
      valid: bool [B, T], real frames.
      masked: bool [B, T], frames hidden from the student.
      present: bool [B, T], frames whose hidden states mean something: the real ones or, with
        `masking.replace=remove`, those of them that are not masked.
      sought: bool [B, T, F], features to be found again: of hidden frames and altered bands.
      weights: float32 [B, T], what a frame's loss counts: 0 where it is not masked, else 1 or, with
        `knowledge.loss_weight`, more where the speech is intense.
      frame_weights: float32 [B, T], the same without the mask, 0 at padding: for losses over all
        real frames.
      features: [B, T, F], the frontend's of the clean audio, neither masked nor altered, 0 at
        padding.
      hidden_states: [L + 1, B, T, D] of the student, see `EncoderOutput`.
      prefix: name of an objective to [B, P, D], the student's last layer at its `tokens`.
      encode: runs the student again on another input: encode(waveform, valid, masked=...,
        key=...) -> EncoderOutput.
      teacher_encode: the same with the EMA teacher, without gradient; None where no objective of
        the run needs one.
      teacher_heads: name of an objective to the EMA of its heads, for those with `teaches_heads`.
      taught_once: [L + 1, B / clones, T, D] of the EMA teacher, which saw every frame; or None.
      valid_once: bool [B / clones, T], real frames of those.
      frozen: hidden_states of each of `frozen_teachers`, which saw every frame, without gradient.
    """

    batch: Mapping[str, jax.Array]
    step: jax.Array
    key: jax.Array
    clones: int
    valid: jax.Array
    masked: jax.Array
    present: jax.Array
    sought: jax.Array
    weights: jax.Array
    frame_weights: jax.Array
    features: jax.Array
    hidden_states: jax.Array
    prefix: Mapping[str, jax.Array]
    encode: Callable[..., EncoderOutput]
    teacher_encode: Callable[..., EncoderOutput] | None
    teacher_heads: Mapping[str, nnx.Module]
    taught_once: jax.Array | None
    valid_once: jax.Array
    frozen: tuple[jax.Array, ...]

    @property
    def last(self) -> jax.Array:
        """The student's last layer, [B, T, D]."""
        return self.hidden_states[-1]

    @property
    def teacher_hidden_states(self) -> jax.Array | None:
        """The teacher's, [L + 1, B, T, D], for each copy of a row; None without a teacher."""
        if self.taught_once is None:
            return None
        return repeat_rows(self.taught_once, self.clones, axis=1)

    def draw(self, purpose: str) -> jax.Array:
        """Gives the PRNG key of one purpose in this step."""
        return fold(self.key, purpose)


class Term:
    """One objective of pretraining; `sersl.pretraining.terms.all_terms` lists them all.

    A term is a setting away: `objectives.<name>.weight` above 0 brings it in. It is made before any
    array is, and refuses settings that make no sense with one sentence.

    Attributes:
      needs: what the batch must hold beside the waveform: "annotation" (intensity and prosody),
        "category" (of CANONICAL), "distorted" (the waveform as the student hears it), "second"
        (distorted once more), "codes/<name>" (of a code book).
      masking: "needed" where the loss counts masked frames, "none" where the objective hides by
        itself what it seeks, else "any".
      reads_hidden: whether the encoder must say something of frames that it did not see.
      needs_teacher: whether the state keeps an exponential average of the encoder.
      teaches_heads: whether the teacher keeps an average of this term's heads too.
      schedules: name to setting that changes during training, given the updates done; logged.
    """

    needs: frozenset[str] = frozenset()
    masking: str = "any"
    reads_hidden: bool = True
    needs_teacher: bool = False
    teaches_heads: bool = False
    schedules: Mapping[str, Callable[[jax.Array], jax.Array]] = MappingProxyType({})

    def __init__(self, config: PretrainConfig):
        """Checks the settings.

        Args:
          config: of the whole run.

        Raises:
          UserError: settings that make no sense.
        """
        self.config = config

    def make_heads(self, encoder: SpeechEncoder, *, key: jax.Array) -> nnx.Module | None:
        """Makes what this objective trains beside the encoder.

        Args:
          encoder: the student; for its widths only.
          key: PRNG key of the initial weights.

        Returns:
          A module, or None when there is nothing.
        """
        raise NotImplementedError

    def meet(self, teachers: Sequence[EncoderConfig]) -> None:
        """Looks at the frozen teachers of the run, before heads are made.

        Args:
          teachers: settings of the encoders of `frozen_teachers`, in their order.

        Raises:
          UserError: there are none where one is needed, or they lack a layer.
        """
        del teachers

    def tokens(self, heads: nnx.Module | None) -> jax.Array | None:
        """Gives learned vectors to put in front of the frames of every row.

        Args:
          heads: as `make_heads` gave them, with today's parameters.

        Returns:
          [P, D], of which `View.prefix` will say what the student made of them; None: none.
        """
        del heads
        return None

    def loss(self, heads: nnx.Module | None, view: View) -> tuple[jax.Array, dict[str, Mean]]:
        """Computes the objective on one global batch.

        Args:
          heads: as `make_heads` gave them, with today's parameters.
          view: the batch.

        Returns:
          (loss without its weight, every value worth logging).
        """
        raise NotImplementedError

    def diagnose(self, values: Mapping[str, float]) -> str | None:
        """Looks for a collapse of this objective in logged values.

        Args:
          values: name to value, as logged.

        Returns:
          What has collapsed, by how much, and what to change, to follow "at step N: "; or None.
        """
        del values
        return None
