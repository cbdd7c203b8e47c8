"""The small parts all models are made of: Linear, LayerNorm, dropout, and how weights start.

Parameters are float32 and carry one logical axis name (or None) per dimension, which
`sersl.parallel.sharding` maps to the mesh. Randomness comes in as keys: a module holds none.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import nnx
from jax.sharding import PartitionSpec

Axes = tuple[str | None, ...]
EPSILON = 1e-5  # of LayerNorm (wav2vec 2.0)


def truncated_normal(key: jax.Array, shape: Sequence[int], *, std: float) -> jax.Array:
    """Draws from a normal that is cut at two deviations.

    Args:
      key: PRNG key.
      shape: of the result.
      std: deviation before the cut.

    Returns:
      float32 of that shape.
    """
    return std * jax.random.truncated_normal(key, -2.0, 2.0, tuple(shape), jnp.float32)


class Linear(nnx.Module):
    """x W + b over the last dimension; W truncated normal, b zero.

    Without `std` the deviation is num_inputs^-1/2 (LeCun et al. 1998), which keeps the scale of
    the input at any width; the 0.02 of BERT and wav2vec 2.0 suits widths near 768 only.
    """

    def __init__(
        self,
        num_inputs: int,
        num_outputs: int,
        *,
        axes: Axes,
        key: jax.Array,
        dtype: str = "float32",
        std: float | None = None,
        bias: bool = True,
    ):
        """Makes the layer.

        Args:
          num_inputs: width of the input.
          num_outputs: width of the output.
          axes: logical axis names of input and output.
          key: PRNG key of the initial weights.
          dtype: of the product.
          std: deviation of the initial weights; None: num_inputs^-1/2.
          bias: whether there is a b.
        """
        self.dtype = dtype
        std = num_inputs**-0.5 if std is None else std
        self.kernel = nnx.Param(
            truncated_normal(key, (num_inputs, num_outputs), std=std), axes=axes
        )
        if bias:
            self.bias = nnx.Param(jnp.zeros(num_outputs, jnp.float32), axes=axes[1:])
        self.has_bias = bias

    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps [..., num_inputs] to [..., num_outputs] in the layer's dtype."""
        # One flat product: XLA on CPU multiplies [B, T, D] row by row, at 1.7 times the cost.
        flat = x.reshape(-1, x.shape[-1]).astype(self.dtype)
        y = flat @ self.kernel[...].astype(self.dtype)
        if self.has_bias:
            y = y + self.bias[...].astype(self.dtype)
        return y.reshape(*x.shape[:-1], y.shape[-1])


class LayerNorm(nnx.Module):
    """Standardises the last dimension in float32, then scales and shifts."""

    def __init__(self, width: int, *, axis: str | None = "embed", dtype: str = "float32"):
        """Makes the layer.

        Args:
          width: of the input.
          axis: its logical axis name.
          dtype: of the output.
        """
        self.dtype = dtype
        self.scale = nnx.Param(jnp.ones(width, jnp.float32), axes=(axis,))
        self.bias = nnx.Param(jnp.zeros(width, jnp.float32), axes=(axis,))

    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps [..., width] to the same shape in the layer's dtype."""
        y = standardize(x) * self.scale[...] + self.bias[...]
        return y.astype(self.dtype)


def standardize(x: jax.Array) -> jax.Array:
    """Gives the last dimension of [..., D] zero mean and unit population variance, in float32."""
    x = x.astype(jnp.float32)
    centred = x - x.mean(-1, keepdims=True)
    return centred * inverse_deviation(jnp.square(centred).mean(-1, keepdims=True))


def inverse_deviation(variance: jax.Array) -> jax.Array:
    """Gives what centred values are multiplied by to have unit variance.

    Where there is no variance at all, as in digital silence, it is 0: the values are 0 whatever
    they are multiplied by, and norms in a row, each of which would multiply the gradient by
    EPSILON^-1/2 = 316, let none through.

    Args:
      variance: float32, any shape.

    Returns:
      (variance + EPSILON)^-1/2 of the same shape, or 0.
    """
    return jnp.where(variance > 0, jax.lax.rsqrt(variance + EPSILON), 0.0)


def dropout(x: jax.Array, rate: float, *, key: jax.Array | None) -> jax.Array:
    """Zeroes values with probability `rate` and scales the others up.

    Args:
      x: any shape.
      rate: probability in [0, 1), kept to within 2^-17.
      key: PRNG key; None leaves x as it is.

    Returns:
      Like x.
    """
    if key is None or rate == 0.0:
        return x
    # 16 random bits a value: half the cost of `bernoulli`, which is a tenth of a step on CPU.
    threshold = round(rate * 2**16)
    keep = jax.random.bits(key, x.shape, jnp.uint16) >= threshold
    return jnp.where(keep, x * (2**16 / (2**16 - threshold)), 0).astype(x.dtype)


def shard_rows(x: jax.Array) -> jax.Array:
    """Pins the first dimension to the mesh axes of rows, where a mesh is set.

    Without it, propagation from parameters cut along "embed" may spread activations by width and
    gather them again in every layer.

    Args:
      x: [B, ...].

    Returns:
      The same values.
    """
    names = jax.sharding.get_abstract_mesh().axis_names
    if "data" not in names or "fsdp" not in names:
        return x
    rows = PartitionSpec(("data", "fsdp"), *[None] * (x.ndim - 1))
    return jax.lax.with_sharding_constraint(x, rows)
