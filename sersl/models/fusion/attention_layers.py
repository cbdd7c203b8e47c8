"""Attention from the frames of one view to those of others, where any of them may be missing."""

import jax
import jax.numpy as jnp
from flax import nnx

from sersl.core.errors import UserError
from sersl.models.layers import LayerNorm, Linear, dropout


class CrossAttention(nnx.Module):
    """Multi-head attention with a residual: x + Attention(norm(x), norm(y)).

    Rows without a real frame in y keep x.
    """

    def __init__(self, width: int, num_heads: int, *, rate: float, key: jax.Array):
        """Makes the projections.

        Args:
          width: of x and y.
          num_heads: of the attention.
          rate: of the dropout on what is added.
          key: PRNG key of the initial weights.

        Raises:
          UserError: the heads do not divide the width.
        """
        if width % num_heads:
            raise UserError(
                f"fusion.width={width} is not a multiple of fusion.num_heads={num_heads}: change "
                "one of them"
            )
        keys = jax.random.split(key, 4)
        axes = ("embed", "heads")
        self.num_heads, self.rate = num_heads, rate
        self.norm, self.other_norm = LayerNorm(width), LayerNorm(width)
        self.query = Linear(width, width, axes=axes, key=keys[0])
        self.key = Linear(width, width, axes=axes, key=keys[1], bias=False)
        self.value = Linear(width, width, axes=axes, key=keys[2])
        self.output = Linear(width, width, axes=("heads", "embed"), key=keys[3])

    def __call__(
        self, x: jax.Array, y: jax.Array, valid: jax.Array, *, key: jax.Array | None = None
    ) -> jax.Array:
        """Attends.

        Args:
          x: [B, T, W].
          y: [B, S, W].
          valid: bool [B, S], real frames of y.
          key: PRNG key of dropout; None: none.

        Returns:
          float32 [B, T, W].
        """
        other = self.other_norm(y)
        query = self._heads(self.query(self.norm(x)))
        keys, values = self._heads(self.key(other)), self._heads(self.value(other))
        scores = jnp.einsum("bthd,bshd->bhts", query, keys) * query.shape[-1] ** -0.5
        real = valid[:, None, None]
        weights = jnp.where(real, jax.nn.softmax(jnp.where(real, scores, -1e9)), 0)
        found = jnp.einsum("bhts,bshd->bthd", weights, values).reshape(x.shape)
        added = jnp.where(valid.any(1)[:, None, None], self.output(found), 0)
        return x + dropout(added, self.rate, key=key)

    def _heads(self, x: jax.Array) -> jax.Array:
        return x.reshape(*x.shape[:2], self.num_heads, -1)


class FeedForward(nnx.Module):
    """x + W2 gelu(W1 norm(x)), with four times the width inside."""

    def __init__(self, width: int, *, rate: float, key: jax.Array):
        """Makes both layers; `rate` is that of the dropout on what is added."""
        keys = jax.random.split(key)
        self.rate = rate
        self.norm = LayerNorm(width)
        self.inner = Linear(width, 4 * width, axes=("embed", "mlp"), key=keys[0])
        self.output = Linear(4 * width, width, axes=("mlp", "embed"), key=keys[1])

    def __call__(self, x: jax.Array, *, key: jax.Array | None = None) -> jax.Array:
        """Maps [B, T, W] to the same shape."""
        found = self.output(jax.nn.gelu(self.inner(self.norm(x)), approximate=False))
        return x + dropout(found, self.rate, key=key)


def mean_of_real(x: jax.Array, valid: jax.Array) -> jax.Array:
    """Averages [B, T, W] over real frames, bool [B, T]: [B, W], 0 where there is none."""
    share = valid / jnp.maximum(valid.sum(1, keepdims=True), 1)
    return jnp.einsum("bt,btw->bw", share, jnp.where(valid[..., None], x, 0))
