"""Frames of all layers to one vector per utterance, and to one per moment of it."""

import re
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx

from sersl.config.schema import PoolingConfig
from sersl.core.errors import UserError, unknown_name
from sersl.models.layers import Linear, standardize
from sersl.models.networks.all_networks import FrameNetwork, make_network
from sersl.models.pooling.frame_weights import WEIGHTS
from sersl.models.pooling.moments import (
    MIN_VARIANCE,
    correlations,
    exponential_weights,
    local_maximum,
    local_moments,
    whole_deviation,
    whole_maximum,
    whole_mean,
)


class Kind(NamedTuple):
    """What a pooling computes.

    Attributes:
      weights: of the frames: all equal; by learned attention; by one query per head on a slice of
        the channels (heads); by learned tokens.
      statistic: weighted mean; mean and standard deviation; maximum; or correlation of every pair
        of channels.
    """

    weights: Literal["equal", "attention", "heads", "tokens"]
    statistic: Literal["mean", "deviation", "maximum", "correlation"]


KINDS = {
    "mean": Kind("equal", "mean"),
    "max": Kind("equal", "maximum"),
    "statistics": Kind("equal", "deviation"),
    "attention": Kind("attention", "mean"),
    "attentive_statistics": Kind("attention", "deviation"),
    "multi_head_attention": Kind("heads", "mean"),
    "attentive_correlation": Kind("attention", "correlation"),
    "tokens": Kind("tokens", "mean"),
}
# Vectors of a layer that describe an utterance completely, where frames have equal weights.
_NUM_VECTORS = {"mean": 1, "maximum": 1, "deviation": 2}


class Pooling(nnx.Module):
    """Mixes the layers of the encoder, then pools real frames by one of `KINDS`.

    The weighted sum of layers uses a softmax that starts uniform. With
    `pooling.standardize_layers`, each layer is standardized first, since the norm of frames grows
    with depth in a pre-norm Transformer. An optional projection maps each frame before pooling,
    and an optional network (`pooling.network`) runs over the frames behind it.
    Where frames have equal weights and are not projected, each layer is pooled first; then the
    layers are summed, or lined up, so that what this needs of an utterance is one or two vectors
    per layer. With `pooling.standardize_outputs`, `center` and `scale` are those of what is pooled
    first, these vectors or the frames of each layer, over the training utterances; fine-tuning sets
    them, and they never train.

    Source: layers as in SUPERB (2105.01051, sec. 2); the projection as in the classification heads
    of transformers; attention and attentive statistics as in Okabe et al. 2018 (1803.10963), eq.
    5-9, with tanh; attentive correlation as in Kakouros et al. 2023 (2211.01756), whose four
    attention heads are merged by logsumexp; differs: without its dropout of channels.
    """

    def __init__(self, num_layers: int, width: int, config: PoolingConfig, *, key: jax.Array):
        """Makes the pooling.

        Args:
          num_layers: L of the encoder, which hands over L + 1 hidden states.
          width: D of the encoder.
          config: kind, layers, projection, hidden units and heads of the attention.
          key: PRNG key of the initial weights.

        Raises:
          UserError: unknown kind, or a setting that does not go with it.
        """
        if config.kind not in KINDS:
            raise unknown_name("pooling.kind", config.kind, KINDS)
        self.config = config
        self._check()
        kind = KINDS[config.kind]
        if config.standardize_outputs:
            layers = 1 if config.layers == "last" else num_layers + 1
            shape = (layers, self.count_vectors or 1, width)
            self.center = nnx.Param(jnp.zeros(shape), axes=(None, None, "embed"))
            self.scale = nnx.Param(jnp.ones(shape), axes=(None, None, "embed"))
        if config.layers == "weighted":
            self.layer_weights = nnx.Param(jnp.zeros(num_layers + 1), axes=(None,))
        if config.projection:
            self.projection = Linear(
                width, config.projection, axes=("embed", None), key=jax.random.fold_in(key, 2)
            )
            width = config.projection
        if self._has_network:
            own = jax.random.fold_in(key, 3)
            self.network: FrameNetwork = make_network(width, config.network, key=own)
            width = self.network.num_outputs
        self.num_outputs = _num_outputs(kind, width, config)
        self._lined_up = lined_up(config.layers, num_layers)
        if self._lined_up is not None:
            self.num_outputs *= len(self._lined_up)
        if kind.weights == "attention":
            keys = jax.random.split(key)
            merged = config.num_heads if kind.statistic == "correlation" else 1
            self.attention_hidden = Linear(width, config.hidden, axes=("embed", None), key=keys[0])
            self.attention_score = Linear(config.hidden, merged, axes=(None, None), key=keys[1])
        elif kind.weights != "equal":
            self.weights = WEIGHTS[kind.weights](width, config, key=key)

    def __call__(
        self, hidden_states: jax.Array, valid: jax.Array, *, key: jax.Array | None = None
    ) -> tuple[jax.Array, jax.Array | None]:
        """Pools a batch.

        Args:
          hidden_states: [L + 1, B, T, D].
          valid: bool [B, T].
          key: PRNG key of the network's dropout; None: no dropout.

        Returns:
          (float32 [B, E] over the real frames of each utterance, a finite vector without meaning
          where there is none; float32 [B, T, E], the same over the real ones of the 51 frames
          around each frame, with the same attention before it is normalized, or None for
          correlations, which are too many). E is `num_outputs`.
        """
        if self._layers_first:
            whole = self.of_outputs(self.outputs(hidden_states, valid), valid)
            return whole, self._local_by_layer(hidden_states, valid)
        x = self.mix(hidden_states)
        if self.config.projection:
            x = self.projection(x)
        if self._has_network:
            x = self.network(x, valid, key=key)
        if self._kind.statistic == "correlation":
            return correlations(x, self._attention(x, valid)), None
        if self._kind.statistic == "maximum":
            return whole_maximum(x, valid), local_maximum(x, valid)
        values, weights = self._weigh(x, valid)
        found = [whole_mean(values, weights)]
        deviation = self._kind.statistic == "deviation"
        if deviation:
            found.append(whole_deviation(values, weights, found[0]))
        return self._join(found), self._join(local_moments(values, weights, deviation=deviation))

    def outputs(self, hidden_states: jax.Array, valid: jax.Array) -> jax.Array:
        """Computes what the pooling needs of an encoder, which depends on no parameter of its own.

        Args:
          hidden_states: [L + 1, B, T, D].
          valid: bool [B, T].

        Returns:
          [B, L', F, D], with the layers that are read: mean, maximum, or mean and standard
          deviation over the real frames of each layer (F = 1 or 2, float32), or all frames (F = T)
          for attention or a network.
        """
        states = hidden_states[-1:] if self.config.layers == "last" else hidden_states
        if not self.count_vectors:
            return jnp.moveaxis(states, 0, 1)
        states = self._standardized(states)
        if self._kind.statistic == "maximum":
            return jnp.moveaxis(whole_maximum(states, valid), 0, 1)[:, :, None]
        share = valid / jnp.maximum(valid.sum(1, keepdims=True), 1)
        mean = jnp.einsum("bt,lbtd->lbd", share, states)
        if self._kind.statistic == "mean":
            return jnp.moveaxis(mean, 0, 1)[:, :, None]
        variance = jnp.einsum("bt,lbtd->lbd", share, jnp.square(states - mean[:, :, None]))
        return jnp.stack([mean, jnp.sqrt(variance + MIN_VARIANCE)], axis=2).swapaxes(0, 1)

    def of_outputs(
        self, outputs: jax.Array, valid: jax.Array, *, key: jax.Array | None = None
    ) -> jax.Array:
        """Pools what `outputs` gave.

        Args:
          outputs: [B, L', F, D].
          valid: bool [B, T].
          key: PRNG key of the network's dropout; None: no dropout.

        Returns:
          float32 [B, E], as the first result of a call on the hidden states.
        """
        if not self.count_vectors:
            return self(jnp.moveaxis(outputs, 1, 0), valid, key=key)[0]
        outputs = outputs.astype(jnp.float32)
        if self.config.standardize_outputs:
            outputs = (outputs - self.center[...]) / self.scale[...]
        if self._lined_up is None:
            outputs = jnp.einsum("l,blfd->bfd", self._layer_shares(), outputs)
        else:
            outputs = outputs[:, self._lined_up.start : self._lined_up.stop]
        if self.config.projection:
            outputs = self.projection(outputs)
        return outputs.reshape(len(outputs), -1)

    def mix(self, hidden_states: jax.Array) -> jax.Array:
        """Mixes the layers [L', B, T, D] to float32 [B, T, D]; those lined up by their mean."""
        states = hidden_states[-1:] if self.config.layers == "last" else hidden_states
        states = self._standardized(states)
        if self.config.standardize_outputs and not self.count_vectors:
            center, scale = (part[...][:, None] for part in (self.center, self.scale))
            states = (states - center) / scale
        if self._lined_up is not None:
            return states[self._lined_up.start : self._lined_up.stop].mean(0)
        return jnp.einsum("l,lbtd->btd", self._layer_shares(), states)

    @property
    def count_vectors(self) -> int:
        """Number of vectors that `outputs` gives of each layer; 0: one for each frame."""
        return count_vectors(self.config)

    @property
    def _kind(self) -> Kind:
        return KINDS[self.config.kind]

    @property
    def _has_network(self) -> bool:
        return self.config.network.kind != "none"

    @property
    def _layers_first(self) -> bool:
        return self.count_vectors > 0 and not self.config.projection

    def _layer_shares(self):
        if self.config.layers == "last":
            return jnp.ones(1)
        return jax.nn.softmax(self.layer_weights[...])

    def _standardized(self, states):
        standard = self.config.layers_standardized
        return standardize(states) if standard else states.astype(jnp.float32)

    def _attention(self, x, valid):
        scores = self.attention_score(jnp.tanh(self.attention_hidden(x)))
        merged = scores[..., 0] if scores.shape[-1] == 1 else jax.nn.logsumexp(scores, axis=-1)
        return exponential_weights(merged, valid)

    def _weigh(self, x, valid):
        """Returns values [B, T, H, d] and weights [B, T, K, H] of frames [B, T, D]."""
        if self._kind.weights == "equal":
            return x[:, :, None], valid.astype(jnp.float32)[..., None, None]
        if self._kind.weights == "attention":
            return x[:, :, None], self._attention(x, valid)[..., None, None]
        scores, values = self.weights(x)
        return values, exponential_weights(scores, valid)

    def _join(self, moments):
        """Lines up moments [..., K, H, d], mean first: [..., E]."""
        if self._kind.weights in WEIGHTS:
            return jnp.concatenate([self.weights.join(one) for one in moments], axis=-1)
        return jnp.concatenate([one[..., 0, 0, :] for one in moments], axis=-1)

    def _local_by_layer(self, hidden_states, valid):
        states = hidden_states[-1:] if self.config.layers == "last" else hidden_states
        states = self._standardized(states)

        def local(x):
            if self._kind.statistic == "maximum":
                return local_maximum(x, valid)
            deviation = self._kind.statistic == "deviation"
            return self._join(local_moments(*self._weigh(x, valid), deviation=deviation))

        found = jax.lax.map(local, states)
        layers, rows, frames, _ = found.shape
        moments = jnp.moveaxis(found, 0, 2).reshape(rows * frames, layers, self.count_vectors, -1)
        return self.of_outputs(moments, valid).reshape(rows, frames, -1)

    def _check(self) -> None:
        config = self.config
        if config.projection and config.kind in ("max", "statistics") and not self._has_network:
            raise UserError(
                f"pooling.projection={config.projection} maps frames, and pooling.kind="
                f"{config.kind} pools them first: set it to 0, or take another kind"
            )
        by_sum = config.layers in ("weighted", "last")
        standardized_mean = config.standardize_outputs and self.count_vectors > 0
        if self._layers_first or (by_sum and not standardized_mean):
            return
        projected = " and a projection" if config.projection else ""
        if self._has_network:
            projected = " and a network"
        what = "standardize_outputs" if by_sum else f"layers={config.layers!r}"
        raise UserError(
            f"pooling.{what} does not go with pooling.kind={config.kind!r}{projected}, which pools "
            "the sum of layers: set pooling.kind to 'mean', 'max' or 'statistics', without "
            "pooling.projection and pooling.network"
        )


def count_vectors(config: PoolingConfig) -> int:
    """Counts the vectors that a pooling needs of each layer; 0: one for each frame."""
    kind = KINDS[config.kind]
    equal = config.network.kind == "none" and kind.weights == "equal"
    return _NUM_VECTORS[kind.statistic] if equal else 0


def lined_up(layers: str, num_layers: int) -> range | None:
    """Reads the hidden states whose vectors are lined up, from 0 (input of the first layer) on.

    Args:
      layers: of `PoolingConfig`.
      num_layers: L of the encoder, which hands over L + 1 hidden states.

    Returns:
      Their indexes; None for "weighted" and "last".

    Raises:
      UserError: neither a name nor a range of hidden states.
    """
    if layers in ("weighted", "last"):
        return None
    if layers == "all":
        return range(num_layers + 1)
    found = re.fullmatch(r"(\d{1,4})(?:-(\d{1,4}))?", layers)
    first = int(found[1]) if found else 1
    last = int(found[2] or first) if found else 0
    if not first <= last <= num_layers:
        raise UserError(
            f"pooling.layers={layers!r} is neither weighted, last nor all, nor hidden states of "
            f"this encoder: write one of 0 to {num_layers}, such as {num_layers}, or a range such "
            f"as 0-{num_layers}"
        )
    return range(first, last + 1)


def gives_frames(config: PoolingConfig) -> bool:
    """Tells whether the pooling also gives a vector per frame."""
    return KINDS[config.kind].statistic != "correlation"


def _num_outputs(kind: Kind, width: int, config: PoolingConfig) -> int:
    """Counts E of one layer."""
    if kind.statistic == "correlation":
        if width < 2:
            raise UserError(
                f"pooling.kind={config.kind!r} compares channels, and pooling.projection={width} "
                "leaves one: set it to 2 or more"
            )
        return width * (width - 1) // 2
    tokens = config.num_tokens if kind.weights == "tokens" else 1
    return width * tokens * (2 if kind.statistic == "deviation" else 1)
