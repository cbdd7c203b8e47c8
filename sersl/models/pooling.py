"""Frames of all layers to one vector per utterance, and to one per moment of it."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx

from sersl.config.schema import PoolingConfig
from sersl.core.errors import unknown_name
from sersl.models.layers import Linear, standardize

# Frames that a local vector looks at: 25 on each side, about one second.
LOCAL_FRAMES = 51
MIN_VARIANCE = 1e-5  # under the root of the deviation, whose gradient is infinite at 0


class Kind(NamedTuple):
    """What a pooling computes.

    Attributes:
      attentive: weight frames by learned attention, instead of equally.
      deviation: append the standard deviation to the mean.
    """

    attentive: bool
    deviation: bool


KINDS = {
    "mean": Kind(attentive=False, deviation=False),
    "attentive_statistics": Kind(attentive=True, deviation=True),
}


class Pooling(nnx.Module):
    """Mixes the layers of the encoder, then pools real frames by one of `KINDS`.

    The weighted sum of layers uses a softmax that starts uniform. With
    `pooling.standardize_layers`, each layer is standardized first, since the norm of frames grows
    with depth in a pre-norm Transformer. An optional projection maps each frame before pooling.

    Source: layers as in SUPERB (2105.01051, sec. 2); the projection as in the classification heads
    of transformers; attentive statistics as in Okabe et al. 2018 (1803.10963), eq. 5-9, with tanh.
    """

    def __init__(self, num_layers: int, width: int, config: PoolingConfig, *, key: jax.Array):
        """Makes the pooling.

        Args:
          num_layers: L of the encoder, which hands over L + 1 hidden states.
          width: D of the encoder.
          config: kind, layers, projection, hidden units of the attention.
          key: PRNG key of the initial weights.

        Raises:
          UserError: unknown kind.
        """
        if config.kind not in KINDS:
            raise unknown_name("pooling.kind", config.kind, KINDS)
        self.config = config
        if config.layers == "weighted":
            self.layer_weights = nnx.Param(jnp.zeros(num_layers + 1), axes=(None,))
        if config.projection:
            self.projection = Linear(
                width, config.projection, axes=("embed", None), key=jax.random.fold_in(key, 2)
            )
            width = config.projection
        self.num_outputs = width * (2 if self._kind.deviation else 1)
        if self._kind.attentive:
            keys = jax.random.split(key)
            self.attention_hidden = Linear(width, config.hidden, axes=("embed", None), key=keys[0])
            self.attention_score = Linear(config.hidden, 1, axes=(None, None), key=keys[1])

    def __call__(self, hidden_states: jax.Array, valid: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Pools a batch.

        Args:
          hidden_states: [L + 1, B, T, D].
          valid: bool [B, T].

        Returns:
          (float32 [B, E] over the real frames of each utterance, a finite vector without meaning
          where there is none; float32 [B, T, E], the same over the real ones of the 51 frames
          around each frame, with the same attention before it is normalized). E is D, or the width
          of the projection; twice that (mean, then standard deviation) with `Kind.deviation`.
        """
        x = self._mix(hidden_states)
        if self.config.projection:
            x = self.projection(x)
        real = valid.astype(jnp.float32)
        if self._kind.attentive:
            score = self.attention_score(jnp.tanh(self.attention_hidden(x)))[..., 0]
            # Padding weighs exp(-inf) = 0; the largest is subtracted against overflow, and a row
            # without real frames has none.
            largest = jnp.where(valid, score, -jnp.inf).max(1, keepdims=True)
            largest = jnp.where(jnp.isfinite(largest), largest, 0.0)
            largest = jax.lax.stop_gradient(largest)
            real = jnp.where(valid, jnp.exp(jnp.where(valid, score, 0.0) - largest), 0.0)
        return self._whole(x, real), self._local(x, real)

    @property
    def _kind(self) -> Kind:
        return KINDS[self.config.kind]

    def _mix(self, hidden_states):
        if self.config.layers == "last":
            return hidden_states[-1].astype(jnp.float32)
        weights = jax.nn.softmax(self.layer_weights[...])
        if self.config.standardize_layers:
            hidden_states = standardize(hidden_states)
        return jnp.einsum("l,lbtd->btd", weights, hidden_states.astype(jnp.float32))

    def _whole(self, x, weights):
        total = weights.sum(1, keepdims=True)
        share = weights / jnp.where(total > 0, total, 1.0)
        mean = jnp.einsum("bt,btd->bd", share, x)
        if not self._kind.deviation:
            return mean
        # Around the mean, not as a difference of squares, which loses digits.
        variance = jnp.einsum("bt,btd->bd", share, jnp.square(x - mean[:, None]))
        return jnp.concatenate([mean, jnp.sqrt(variance + MIN_VARIANCE)], axis=-1)

    def _local(self, x, weights):
        frames = jnp.arange(x.shape[1])
        near = jnp.abs(frames[:, None] - frames) <= LOCAL_FRAMES // 2
        local = weights[:, None, :] * near
        total = local.sum(2, keepdims=True)
        share = local / jnp.where(total > 0, total, 1.0)
        mean = jnp.einsum("bts,bsd->btd", share, x)
        if not self._kind.deviation:
            return mean
        variance = jnp.einsum("bts,bsd->btd", share, jnp.square(x)) - jnp.square(mean)
        deviation = jnp.sqrt(jnp.maximum(variance, 0.0) + MIN_VARIANCE)
        return jnp.concatenate([mean, deviation], axis=-1)
