"""Heads of pretraining objectives: from the encoder's output to predictions."""

import jax
import jax.numpy as jnp
from flax import nnx

from sersl.models.layers import LayerNorm, Linear


class Projection(nnx.Module):
    """A linear map of each frame."""

    def __init__(self, width: int, num_outputs: int, *, key: jax.Array):
        """Makes the map from `width` inputs."""
        self.linear = Linear(width, num_outputs, axes=("embed", None), key=key)

    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps [B, T, D] to float32 [B, T, num_outputs]."""
        return self.linear(x).astype(jnp.float32)


class RegressionHead(nnx.Module):
    """A hidden layer with GELU, then a linear map, of each frame."""

    def __init__(self, width: int, hidden: int, num_features: int, *, key: jax.Array):
        """Makes the head with `width` inputs, `hidden` units and `num_features` outputs."""
        keys = jax.random.split(key)
        self.hidden = Linear(width, hidden, axes=("embed", "mlp"), key=keys[0])
        self.output = Linear(hidden, num_features, axes=("mlp", None), key=keys[1])

    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps [B, T, D] to float32 [B, T, num_features]."""
        hidden = jax.nn.gelu(self.hidden(x), approximate=False)
        return self.output(hidden).astype(jnp.float32)


class SpectrumHead(nnx.Module):
    """A hidden layer with GELU and LayerNorm, then a linear map, of each frame.

    Source: MockingJay (1910.12638); s3prl's prediction head.
    """

    def __init__(self, width: int, hidden: int, num_features: int, *, key: jax.Array):
        """Makes the head with `width` inputs, `hidden` units and `num_features` outputs."""
        keys = jax.random.split(key)
        self.hidden = Linear(width, hidden, axes=("embed", "mlp"), key=keys[0])
        self.norm = LayerNorm(hidden, axis="mlp")
        self.output = Linear(hidden, num_features, axes=("mlp", None), key=keys[1])

    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps [B, T, D] to float32 [B, T, num_features]."""
        hidden = self.norm(jax.nn.gelu(self.hidden(x), approximate=False))
        return self.output(hidden).astype(jnp.float32)
