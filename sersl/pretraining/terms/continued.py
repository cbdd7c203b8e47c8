"""Objectives for continuing an encoder: functionals of the utterance, an anchor to the start."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp

from sersl.config.schema import EncoderConfig
from sersl.core.errors import UserError
from sersl.models.acoustic.functional_scales import CENTRES, SCALES
from sersl.models.acoustic.functionals import FUNCTIONALS, utterance_functionals
from sersl.models.layers import standardize
from sersl.models.pretraining_heads import RegressionHead
from sersl.models.transformer import with_branch
from sersl.objectives.anchor import anchor
from sersl.objectives.mean import Mean
from sersl.objectives.regression import regression
from sersl.objectives.teachers import check_frames
from sersl.pretraining.terms.contrast import pool
from sersl.pretraining.terms.term import Term, View

_MOST = 5.0  # standard deviations to which a functional is clipped


class Functionals(Term[RegressionHead]):
    """Regress the functionals of an utterance from mean and deviation of the last layer."""

    reads_hidden = False

    def make_heads(self, *, key: jax.Array) -> RegressionHead:
        """Makes the head."""
        hidden = self.config.objectives.functionals.hidden
        return RegressionHead(2 * self.config.encoder.width, hidden, len(FUNCTIONALS), key=key)

    def loss(self, heads: RegressionHead, view: View) -> tuple[jax.Array, dict[str, Mean]]:
        """Predicts the functionals of the clean audio, see `regression` with the L1 error."""
        waveform = jnp.where(view.batch["valid"], view.batch["waveform"], 0.0)
        values = utterance_functionals(waveform, view.batch["valid"].sum(1))
        target = jnp.clip((values - CENTRES) / SCALES, -_MOST, _MOST)
        present = view.student.present
        return regression(
            heads(mean_and_deviation(view.last, present)),
            target,
            weights=present.any(1),
            loss="l1",
            name="functionals",
        )


class Anchor(Term[None]):
    """Keep a continued encoder near its start.

    Every layer is compared with that of the first frozen teacher, the start, on clean audio. A side
    branch is compared with what it starts as instead, the layer that it reads, added to another
    with `encoder.side_onto`, standardized over channels as after its LayerNorm, and needs no
    teacher.
    """

    def set_teachers(self, teachers: Sequence[EncoderConfig]) -> None:
        """Checks that there is a teacher and that it has the student's layers and width."""
        encoder = self.config.encoder
        if encoder.side_layers:
            return
        if not teachers:
            raise UserError(
                "objectives.anchor needs the start as a frozen teacher: set frozen_teachers to the "
                "folder of init_from"
            )
        start = teachers[0]
        if (start.num_layers, start.width) != (encoder.num_layers, encoder.width):
            raise UserError(
                f"objectives.anchor compares layer by layer, and frozen teacher 0 has "
                f"{start.num_layers} layers of width {start.width} where the student has "
                f"{encoder.num_layers} of width {encoder.width}: name the folder of init_from first"
            )

    def make_heads(self, *, key: jax.Array) -> None:
        """Makes nothing: layers are compared as they are."""

    def loss(self, heads: None, view: View) -> tuple[jax.Array, dict[str, Mean]]:
        """Compares the layers, see `anchor`.

        Raises:
          UserError: the teacher has another frame rate.
        """
        encoder, states = self.config.encoder, view.student.hidden_states
        num_states = encoder.num_layers + 1
        if encoder.side_layers:
            branch, read = standardize(states[num_states:]), standardize(states[encoder.side_from])
            start = jnp.broadcast_to(read, branch.shape)
            if encoder.side_onto:
                both = with_branch(states[encoder.side_onto], read)
                start = start.at[-1].set(standardize(both))
            return anchor(branch, start, weights=view.valid)
        start = view.frozen[0]
        check_frames(view.valid.shape[1], start.shape[2], name=self.config.frozen_teachers[0])
        return anchor(states, start[:num_states], weights=view.valid)


def mean_and_deviation(hidden: jax.Array, valid: jax.Array) -> jax.Array:
    """Gives mean and population standard deviation over the real frames of each row.

    Args:
      hidden: [B, T, D].
      valid: bool [B, T].

    Returns:
      float32 [B, 2 D]; a row without real frames has mean 0 and about no deviation.
    """
    mean = pool(hidden, valid)
    squares = pool(jnp.square(hidden.astype(jnp.float32) - mean[:, None]), valid)
    return jnp.concatenate([mean, jnp.sqrt(squares + 1e-5)], axis=-1)
