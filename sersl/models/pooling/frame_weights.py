"""Attention of several heads or learned tokens over frames, for pooling."""

import jax
import jax.numpy as jnp
from flax import nnx

from sersl.config.schema import PoolingConfig
from sersl.core.errors import UserError
from sersl.models.layers import Linear, truncated_normal


class HeadQueries(nnx.Module):
    """One learned query per head, each over its own slice of the channels.

    Source: India et al. 2019 (1906.09890), eq. 3-6.
    """

    def __init__(self, width: int, config: PoolingConfig, *, key: jax.Array):
        """Makes the queries.

        Raises:
          UserError: the heads do not divide the width.
        """
        size = head_size(width, config)
        self.queries = nnx.Param(
            truncated_normal(key, (config.num_heads, size), std=size**-0.5), axes=(None, None)
        )

    def __call__(self, x: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Maps frames [B, T, D] to scores [B, T, 1, H] and values [B, T, H, D / H]."""
        heads, size = self.queries.shape
        values = x.reshape(*x.shape[:2], heads, size)
        scores = jnp.einsum("bthd,hd->bth", values, self.queries[...]) * size**-0.5
        return scores[:, :, None], values

    def join(self, vectors: jax.Array) -> jax.Array:
        """Lines up the vectors [..., 1, H, D / H] of the heads: [..., D]."""
        return vectors.reshape(*vectors.shape[:-3], -1)


class Tokens(nnx.Module):
    """Learned tokens that attend to the frames with several heads.

    Source: Set Transformer (1810.00825), eq. 11, pooling by multi-head attention with k seeds;
    differs: without its residual connection, feed-forward block and norms.
    """

    def __init__(self, width: int, config: PoolingConfig, *, key: jax.Array):
        """Makes tokens and projections.

        Raises:
          UserError: the heads do not divide the width.
        """
        size = head_size(width, config)
        self.num_heads = config.num_heads
        keys = jax.random.split(key, 4)
        self.tokens = nnx.Param(
            truncated_normal(keys[0], (config.num_tokens, config.num_heads, size), std=1.0),
            axes=(None, None, None),
        )
        self.key, self.value, self.output = (
            Linear(width, width, axes=("embed", None), key=one) for one in keys[1:]
        )

    def __call__(self, x: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Maps frames [B, T, D] to scores [B, T, K, H] and values [B, T, H, D / H]."""
        shape = (*x.shape[:2], self.num_heads, -1)
        keys, values = self.key(x).reshape(shape), self.value(x).reshape(shape)
        scores = jnp.einsum("bthd,khd->btkh", keys, self.tokens[...])
        return scores * keys.shape[-1] ** -0.5, values

    def join(self, vectors: jax.Array) -> jax.Array:
        """Projects the vector of each token and lines them up: [..., K, H, D / H] to [..., K D]."""
        whole = self.output(vectors.reshape(*vectors.shape[:-2], -1))
        return whole.reshape(*whole.shape[:-2], -1)


def head_size(width: int, config: PoolingConfig) -> int:
    """Divides the channels among the heads of `pooling.num_heads`.

    Raises:
      UserError: they do not divide.
    """
    if width % config.num_heads:
        raise UserError(
            f"pooling.num_heads={config.num_heads} does not divide the {width} channels of a "
            f"frame: set it to a divisor of {width}"
        )
    return width // config.num_heads


WEIGHTS: dict[str, type[HeadQueries] | type[Tokens]] = {"heads": HeadQueries, "tokens": Tokens}
