"""The strength network: log-mel to an intensity of every frame (StrengthNet, Liu et al. 2021).

Convolutions over time, an LSTM in each direction, and one number per frame; the utterance's
intensity is their plain mean over frames that are not silence (no attention, so that each frame can
be read on its own). A second output predicts the category, whose own direction of intensity is
added to the common one: an intense calm voice is calmer, an intense angry one louder.

Differs: convolutions over time only and narrower, so that an hour takes a minute on two cores; one
LSTM for both outputs; silence is 0 and not in the mean, while the source trains all frames of an
utterance on its label; features may be relative to the speaker's mean spectrum; the source has one
direction of intensity for all categories.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from sersl.audio.features import FLOOR, log_mel
from sersl.config.annotation import StrengthConfig
from sersl.core.lengths import num_frames as frames_of
from sersl.models.layers import LayerNorm, Linear, dropout, truncated_normal

STRENGTH_VERSION = 2  # of everything below
_ACTIVE = 30.0 / (10 / np.log(10))  # 30 dB in natural logarithms of power, as in functionals
_FORGET_BIAS = 1.0  # at the start (Jozefowicz et al. 2015)


class StrengthInput(NamedTuple):
    """Input of the network.

    Attributes:
      features: float32 [B, T, 2 M], log-mel of the two windows of each frame.
      valid: bool [B, T].
      active: bool [B, T], valid and within 30 dB of the loud frames (95 %).
    """

    features: jax.Array
    valid: jax.Array
    active: jax.Array


class StrengthOutput(NamedTuple):
    """Output of the network.

    Attributes:
      frames: float32 [B, T] in 0..1; 0 at padding.
      utterance: float32 [B], mean over active frames; 0 if there is none.
      category: float32 [B, C], logits.
    """

    frames: jax.Array
    utterance: jax.Array
    category: jax.Array


def strength_input(waveform: jax.Array, num_samples: jax.Array, *, num_mels: int) -> StrengthInput:
    """Computes the features of a batch.

    Args:
      waveform: [B, N] at 16 kHz, at least 400 samples.
      num_samples: int [B], real samples of each row.
      num_mels: M.

    Returns:
      Features that do not depend on the padding.
    """
    real = jnp.arange(waveform.shape[1]) < num_samples[:, None]
    features = log_mel(jnp.where(real, waveform, 0.0), num_mels=num_mels)
    valid = jnp.arange(features.shape[1]) < frames_of(num_samples)[:, None]
    features = jnp.where(valid[..., None], features, 0.0)
    level = jax.nn.logsumexp(features, axis=-1)
    return StrengthInput(features, valid, active_frames(level, valid))


def active_frames(level: jax.Array, valid: jax.Array) -> jax.Array:
    """Separates speech from silence by level alone.

    Args:
      level: [B, T], natural logarithm of power.
      valid: bool [B, T].

    Returns:
      bool [B, T]: valid, and at most 30 dB below the frame that 95 % are below.
    """
    count = valid.sum(1)
    ranked = jnp.sort(jnp.where(valid, level, jnp.inf), axis=1)
    at = jnp.clip(jnp.ceil(0.95 * count).astype(jnp.int32) - 1, 0, level.shape[1] - 1)
    top = jnp.take_along_axis(ranked, at[:, None], 1)
    quiet = np.log(FLOOR) + 1.0  # hardly above the floor of log-mel: digital silence
    return valid & (level > top - _ACTIVE) & (level > quiet)


class StrengthNetwork(nnx.Module):
    """Features to intensity."""

    def __init__(self, config: StrengthConfig, *, num_categories: int, key: jax.Array):
        """Makes the network.

        Args:
          config: sizes and dropout.
          num_categories: C; 0: no output of categories.
          key: PRNG key of the initial weights.
        """
        keys = iter(jax.random.split(key, config.num_convolutions + 6))
        self.config = config
        self.num_categories = num_categories
        self.enter = Linear(2 * config.num_mels, config.width, axes=(None, None), key=next(keys))
        self.convolutions = nnx.List(
            _Convolution(config.width, config.kernel, key=next(keys))
            for _ in range(config.num_convolutions)
        )
        self.forward = _Lstm(config.width, config.recurrent, key=next(keys))
        self.backward = _Lstm(config.width, config.recurrent, key=next(keys))
        self.norm = LayerNorm(2 * config.recurrent, axis=None)
        self.strength = Linear(2 * config.recurrent, 1, axes=(None, None), key=next(keys), std=0.02)
        if num_categories:
            shape = (2 * config.recurrent, num_categories)
            self.category = Linear(*shape, axes=(None, None), key=next(keys), std=0.02)
            # Starts at 0: a category without known intensities adds nothing.
            self.added = Linear(*shape, axes=(None, None), key=next(keys), std=0.0)

    def __call__(
        self,
        inputs: StrengthInput,
        *,
        known: jax.Array | None = None,
        key: jax.Array | None = None,
    ) -> StrengthOutput:
        """Computes the intensity of each frame.

        Args:
          inputs: with features of about zero mean and unit deviation.
          known: int [B], category of each utterance, -1: as the network predicts it; None: all -1.
          key: PRNG key of the dropout; None: no dropout.

        Returns:
          StrengthOutput, independent of the padding.
        """
        keys = [None] * 3 if key is None else list(jax.random.split(key, 3))
        real = inputs.valid[..., None]
        x = self.enter(dropout(inputs.features, self.config.dropout, key=keys[0]))
        for convolution in self.convolutions:
            x = x + convolution(x, real)
        x = dropout(x, self.config.dropout, key=keys[1])
        x = jnp.concatenate(
            [self.forward(x, inputs.valid), self.backward(x, inputs.valid, reverse=True)], axis=-1
        )
        x = dropout(self.norm(x), self.config.dropout, key=keys[2])
        strength = self.strength(x)[..., 0]
        share = inputs.active / jnp.maximum(inputs.active.sum(1, keepdims=True), 1)
        category = jnp.zeros((len(x), 0))
        if self.num_categories:
            category = self.category(jnp.einsum("bt,btd->bd", share, x))
            # No gradient of the intensity, which could pull it to a wrong category.
            chances = jax.lax.stop_gradient(jax.nn.softmax(category))
            if known is not None:
                certain = jax.nn.one_hot(known, self.num_categories)  # 0 for -1
                chances = jnp.where(known[:, None] >= 0, certain, chances)
            strength += jnp.einsum("btc,bc->bt", self.added(x), chances)
        frames = jnp.where(inputs.valid, jax.nn.sigmoid(strength), 0.0)
        return StrengthOutput(frames, (frames * share).sum(1), category)


class _Convolution(nnx.Module):
    """LayerNorm, a convolution over time, GELU; [B, T, D] to the same."""

    def __init__(self, width: int, kernel: int, *, key: jax.Array):
        self.norm = LayerNorm(width, axis=None)
        std = (kernel * width) ** -0.5
        self.kernel = nnx.Param(truncated_normal(key, (kernel, width, width), std=std))
        self.bias = nnx.Param(jnp.zeros(width))

    def __call__(self, x, real):
        y = jnp.where(real, self.norm(x), 0.0)  # padding equals the zeros beyond the ends
        y = jax.lax.conv_general_dilated(
            y, self.kernel[...], (1,), "SAME", dimension_numbers=("NWC", "WIO", "NWC")
        )
        return jax.nn.gelu(y + self.bias[...])


class _Lstm(nnx.Module):
    """Long short-term memory over time (Gers et al. 2000), one direction."""

    def __init__(self, num_inputs: int, units: int, *, key: jax.Array):
        keys = jax.random.split(key)
        self.units = units
        self.input = Linear(num_inputs, 4 * units, axes=(None, None), key=keys[0])
        self.recurrent = nnx.Param(truncated_normal(keys[1], (units, 4 * units), std=units**-0.5))

    def __call__(self, x, valid, *, reverse=False):
        """Maps [B, T, D] to [B, T, units]; padding does not change the state."""
        # One product with the input for all frames; only the recurrence is a loop.
        given = jnp.swapaxes(self.input(x), 0, 1)
        recurrent = self.recurrent[...]

        def step(state, frame):
            hidden, cell = state
            gates, real = frame
            enter, forget, new, leave = jnp.split(gates + hidden @ recurrent, 4, axis=-1)
            kept = jax.nn.sigmoid(forget + _FORGET_BIAS) * cell
            cell_now = kept + jax.nn.sigmoid(enter) * jnp.tanh(new)
            hidden_now = jax.nn.sigmoid(leave) * jnp.tanh(cell_now)
            hidden = jnp.where(real, hidden_now, hidden)
            return (hidden, jnp.where(real, cell_now, cell)), hidden

        zero = jnp.zeros((x.shape[0], self.units), x.dtype)
        frames = (given, jnp.swapaxes(valid, 0, 1)[..., None])
        _, states = jax.lax.scan(step, (zero, zero), frames, reverse=reverse)
        return jnp.swapaxes(states, 0, 1)
