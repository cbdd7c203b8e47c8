"""Building blocks of all models: Linear, LayerNorm, dropout, initial weights.

Parameters are float32 and have one logical axis name (or None) per dimension, which
`sersl.parallel.sharding` maps to the mesh. Random keys are arguments: no module stores one.
"""

from collections.abc import Sequence
from typing import Protocol

import jax
import jax.numpy as jnp
from flax import nnx
from jax.sharding import PartitionSpec

Axes = tuple[str | None, ...]
EPSILON = 1e-5  # of LayerNorm (wav2vec 2.0)


def truncated_normal(key: jax.Array, shape: Sequence[int], *, std: float) -> jax.Array:
    """Draws float32 of this shape from a normal truncated at two standard deviations.

    `std` is the standard deviation before truncation.
    """
    return std * jax.random.truncated_normal(key, -2.0, 2.0, tuple(shape), jnp.float32)


class Adapter(Protocol):
    """A trainable change to the output of a linear map."""

    def __call__(self, x: jax.Array, y: jax.Array) -> jax.Array:
        """Changes y [N, num_outputs], the output for x [N, num_inputs]."""
        ...


class Linear(nnx.Module):
    """x W + b over the last dimension; initially W is truncated normal and b zero.

    The default standard deviation num_inputs^-1/2 (LeCun et al. 1998) keeps the scale of the input
    at any width; the 0.02 of BERT and wav2vec 2.0 suits widths near 768 only.
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
          dtype: dtype of the computation.
          std: standard deviation of the initial weights; None: num_inputs^-1/2.
          bias: whether to add b.
        """
        self.dtype = dtype
        std = num_inputs**-0.5 if std is None else std
        self.kernel = nnx.Param(
            truncated_normal(key, (num_inputs, num_outputs), std=std), axes=axes
        )
        if bias:
            self.bias = nnx.Param(jnp.zeros(num_outputs, jnp.float32), axes=axes[1:])
        self.has_bias = bias
        self.adapter: Adapter | None = nnx.data(None)  # see `sersl.models.adapters`

    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps [..., num_inputs] to [..., num_outputs] in the layer's dtype."""
        # One flat product: on CPU XLA multiplies [B, T, D] row by row, in 1.7 times the time.
        flat = x.reshape(-1, x.shape[-1]).astype(self.dtype)
        y = flat @ self.kernel[...].astype(self.dtype)
        if self.has_bias:
            y = y + self.bias[...].astype(self.dtype)
        if self.adapter is not None:
            y = self.adapter(flat, y)
        return y.reshape(*x.shape[:-1], y.shape[-1])


class LayerNorm(nnx.Module):
    """LayerNorm over the last dimension, computed in float32."""

    def __init__(self, width: int, *, axis: str | None = "embed", dtype: str = "float32"):
        """Makes scale and bias with this logical axis name; `dtype` is that of the output."""
        self.dtype = dtype
        self.scale = nnx.Param(jnp.ones(width, jnp.float32), axes=(axis,))
        self.bias = nnx.Param(jnp.zeros(width, jnp.float32), axes=(axis,))

    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps [..., width] to the same shape in the layer's dtype."""
        y = standardize(x) * self.scale[...] + self.bias[...]
        return y.astype(self.dtype)


def standardize(x: jax.Array) -> jax.Array:
    """Standardizes the last dimension of [..., D] with its population variance, in float32."""
    x = x.astype(jnp.float32)
    centred = x - x.mean(-1, keepdims=True)
    return centred * inverse_deviation(jnp.square(centred).mean(-1, keepdims=True))


def inverse_deviation(variance: jax.Array) -> jax.Array:
    """Returns (variance + EPSILON)^-1/2 for an array of any shape, and 0 for a variance of 0.

    Without variance, as in digital silence, the centred values are 0 with any factor. With a factor
    of EPSILON^-1/2 = 316 a stack of norms would multiply the gradient by 316 each; with 0 no
    gradient flows.
    """
    return jnp.where(variance > 0, jax.lax.rsqrt(variance + EPSILON), 0.0)


def dropout(x: jax.Array, rate: float, *, key: jax.Array | None) -> jax.Array:
    """Zeroes values of any shape with probability `rate`, within 2^-17, and scales the others up.

    Without a key, x is returned as it is.
    """
    if key is None or rate == 0.0:
        return x
    # 16 random bits per value cost half of `bernoulli`, which takes a tenth of a step on CPU.
    threshold = round(rate * 2**16)
    keep = jax.random.bits(key, x.shape, jnp.uint16) >= threshold
    return jnp.where(keep, x * (2**16 / (2**16 - threshold)), 0).astype(x.dtype)


def shard_rows(x: jax.Array) -> jax.Array:
    """Constrains the first dimension of [B, ...] to the mesh axes of rows, if a mesh is set.

    Otherwise XLA may shard activations by width, because parameters are sharded along "embed", and
    gather them in every layer.
    """
    names = jax.sharding.get_abstract_mesh().axis_names
    if "data" not in names or "fsdp" not in names:
        return x
    rows = PartitionSpec(("data", "fsdp"), *[None] * (x.ndim - 1))
    return jax.lax.with_sharding_constraint(x, rows)


def fit_frames(x: jax.Array, num_frames: int, *, axis: int) -> jax.Array:
    """Cuts an array [..., T, ...] to `num_frames` frames along an axis, or pads it with zeros."""
    missing = num_frames - x.shape[axis]
    if missing <= 0:
        return jax.lax.slice_in_dim(x, 0, num_frames, axis=axis)
    return jnp.pad(x, [(0, missing if i == axis else 0) for i in range(x.ndim)])
