"""Vectors of length 1, and their products, the cosines."""

import jax
import jax.numpy as jnp

from sersl.objectives.mean import at_least_float32

_SHORTEST = 1e-8  # lower limit of the length (torch's cosine_similarity)


def unit(x: jax.Array) -> jax.Array:
    """Scales the vectors of [..., W] to length 1, in float32 at least; zeros stay zeros."""
    x = at_least_float32(x)
    return x * jax.lax.rsqrt(jnp.maximum(jnp.square(x).sum(-1, keepdims=True), _SHORTEST**2))


def cosines(a: jax.Array, b: jax.Array) -> jax.Array:
    """Computes the cosine of every row of [B, W] with every row of [C, W]: [B, C]."""
    return jnp.matmul(unit(a), unit(b).T, precision=jax.lax.Precision.HIGHEST)
