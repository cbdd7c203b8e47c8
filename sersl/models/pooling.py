"""Frames of all layers to one vector per utterance, and to one per moment of it."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx

from sersl.config.schema import PoolingConfig
from sersl.core.errors import UserError, unknown_name
from sersl.models.layers import Linear, standardize

# Frames that a local vector looks at: 25 on each side, about one second.
LOCAL_FRAMES = 51
MIN_VARIANCE = 1e-5  # under the root of the deviation, whose gradient is infinite at 0


class Kind(NamedTuple):
    """What a pooling computes.

    Attributes:
      attentive: weight frames by learned attention, instead of equally.
      deviation: append the standard deviation to the mean.
      by_layer: pool each layer, then sum the layers, instead of the other way round.
    """

    attentive: bool
    deviation: bool
    by_layer: bool


KINDS = {
    "mean": Kind(attentive=False, deviation=False, by_layer=False),
    "statistics": Kind(attentive=False, deviation=True, by_layer=True),
    "attentive_statistics": Kind(attentive=True, deviation=True, by_layer=False),
}


class Pooling(nnx.Module):
    """Mixes the layers of the encoder, then pools real frames by one of `KINDS`.

    The weighted sum of layers uses a softmax that starts uniform. With
    `pooling.standardize_layers`, each layer is standardized first, since the norm of frames grows
    with depth in a pre-norm Transformer. An optional projection maps each frame before pooling.
    "statistics" takes the mean and the standard deviation of each layer and then sums the layers,
    or lines them up, so that what it needs of an utterance is two vectors per layer. With
    `pooling.standardize_outputs`, `center` and `scale` are those of the training utterances, which
    fine-tuning sets, and never train.

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
          UserError: unknown kind, or a setting that does not go with it.
        """
        if config.kind not in KINDS:
            raise unknown_name("pooling.kind", config.kind, KINDS)
        self.config = config
        self._check()
        if config.layers == "weighted":
            self.layer_weights = nnx.Param(jnp.zeros(num_layers + 1), axes=(None,))
        if config.projection:
            self.projection = Linear(
                width, config.projection, axes=("embed", None), key=jax.random.fold_in(key, 2)
            )
            width = config.projection
        self.num_outputs = width * (2 if self._kind.deviation else 1)
        if config.layers == "all":
            self.num_outputs *= num_layers + 1
        if config.standardize_outputs:
            shape = (1 if config.layers == "last" else num_layers + 1, self.count_vectors, width)
            self.center = nnx.Param(jnp.zeros(shape), axes=(None, None, "embed"))
            self.scale = nnx.Param(jnp.ones(shape), axes=(None, None, "embed"))
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
        if self._kind.by_layer:
            whole = self.of_outputs(self.outputs(hidden_states, valid), valid)
            return whole, self._local_by_layer(hidden_states, valid)
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

    def outputs(self, hidden_states: jax.Array, valid: jax.Array) -> jax.Array:
        """Computes what the pooling needs of an encoder, which depends on no parameter of its own.

        Args:
          hidden_states: [L + 1, B, T, D].
          valid: bool [B, T].

        Returns:
          [B, L', F, D], with the layers that are read: the mean over real frames of each layer, or
          mean and standard deviation (F = 1 or 2, float32), or all frames (F = T) for attention.
        """
        states = hidden_states[-1:] if self.config.layers == "last" else hidden_states
        if self._kind.attentive:
            return jnp.moveaxis(states, 0, 1)
        states = self._standardized(states)
        share = valid / jnp.maximum(valid.sum(1, keepdims=True), 1)
        mean = jnp.einsum("bt,lbtd->lbd", share, states)
        if not self._kind.deviation:
            return jnp.moveaxis(mean, 0, 1)[:, :, None]
        variance = jnp.einsum("bt,lbtd->lbd", share, jnp.square(states - mean[:, :, None]))
        return jnp.stack([mean, jnp.sqrt(variance + MIN_VARIANCE)], axis=2).swapaxes(0, 1)

    def of_outputs(self, outputs: jax.Array, valid: jax.Array) -> jax.Array:
        """Pools what `outputs` gave.

        Args:
          outputs: [B, L', F, D].
          valid: bool [B, T].

        Returns:
          float32 [B, E], as the first result of a call on the hidden states.
        """
        if self._kind.attentive:
            return self(jnp.moveaxis(outputs, 1, 0), valid)[0]
        outputs = outputs.astype(jnp.float32)
        if self.config.standardize_outputs:
            outputs = (outputs - self.center[...]) / self.scale[...]
        if self.config.layers != "all":
            outputs = jnp.einsum("l,blfd->bfd", self._layer_shares(), outputs)
        if self.config.projection:
            outputs = self.projection(outputs)
        return outputs.reshape(len(outputs), -1)

    @property
    def count_vectors(self) -> int:
        """Number of vectors that `outputs` gives of each layer; 0: one for each frame."""
        return 0 if self._kind.attentive else 1 + self._kind.deviation

    @property
    def _kind(self) -> Kind:
        return KINDS[self.config.kind]

    def _mix(self, hidden_states):
        if self.config.layers == "last":
            return hidden_states[-1].astype(jnp.float32)
        states = self._standardized(hidden_states)
        return jnp.einsum("l,lbtd->btd", self._layer_shares(), states)

    def _layer_shares(self):
        if self.config.layers == "last":
            return jnp.ones(1)
        return jax.nn.softmax(self.layer_weights[...])

    def _standardized(self, states):
        if self.config.layers != "last" and self.config.standardize_layers:
            states = standardize(states)
        return states.astype(jnp.float32)

    def _whole(self, x, weights):
        total = weights.sum(1, keepdims=True)
        share = weights / jnp.where(total > 0, total, 1.0)
        mean = jnp.einsum("bt,btd->bd", share, x)
        if not self._kind.deviation:
            return mean
        # Around the mean, not as a difference of squares, which loses digits.
        variance = jnp.einsum("bt,btd->bd", share, jnp.square(x - mean[:, None]))
        return jnp.concatenate([mean, jnp.sqrt(variance + MIN_VARIANCE)], axis=-1)

    def _local_by_layer(self, hidden_states, valid):
        states = hidden_states[-1:] if self.config.layers == "last" else hidden_states
        real, states = valid.astype(jnp.float32), self._standardized(states)
        local = jax.lax.map(lambda x: self._local(x, real), states)
        layers, rows, frames, _ = local.shape
        moments = jnp.moveaxis(local, 0, 2).reshape(rows * frames, layers, self.count_vectors, -1)
        return self.of_outputs(moments, valid).reshape(rows, frames, -1)

    def _check(self) -> None:
        config = self.config
        if self._kind.by_layer and config.projection:
            raise UserError(
                f"pooling.projection={config.projection} maps frames, and pooling.kind="
                f"{config.kind} pools them first: set it to 0, or take another kind"
            )
        if not self._kind.by_layer and (config.layers == "all" or config.standardize_outputs):
            raise UserError(
                f"pooling.layers='all' and pooling.standardize_outputs do not go with pooling.kind="
                f"{config.kind!r}, which pools the sum of layers: set pooling.kind to 'statistics'"
            )

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
