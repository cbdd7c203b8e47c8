"""Layers over frames [B, T, D] that padding at the end never changes."""

import jax
import jax.numpy as jnp
from flax import nnx

from sersl.core.errors import UserError
from sersl.models.layers import LayerNorm, Linear, dropout, truncated_normal

NEVER = -1e30  # the score of a frame that must have no weight


class Lstm(nnx.Module):
    """One layer of long short-term memory, from the first frame to the last, in float32.

    Source: Gers et al. 2000; gates in the order input, forget, cell, output as torch.nn.LSTM.
    """

    def __init__(self, num_inputs: int, width: int, *, key: jax.Array):
        """Makes a layer of `width` units; the forget gate starts open (bias 1)."""
        keys = jax.random.split(key)
        self.input = Linear(num_inputs, 4 * width, axes=(None, None), key=keys[0])
        self.input.bias[...] = self.input.bias[...].at[width : 2 * width].set(1.0)
        self.kernel = nnx.Param(
            truncated_normal(keys[1], (width, 4 * width), std=width**-0.5), axes=(None, None)
        )

    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps [B, T, D] to [B, T, width]; frame t depends on no later one."""
        kernel = self.kernel[...]

        def step(carried, given):
            state, cell = carried
            taken, kept, new, shown = jnp.split(given + state @ kernel, 4, axis=-1)
            cell = jax.nn.sigmoid(kept) * cell + jax.nn.sigmoid(taken) * jnp.tanh(new)
            state = jax.nn.sigmoid(shown) * jnp.tanh(cell)
            return (state, cell), state

        start = jnp.zeros((x.shape[0], kernel.shape[0]))
        states = jax.lax.scan(step, (start, start), jnp.moveaxis(self.input(x), 1, 0))[1]
        return jnp.moveaxis(states, 0, 1)


class BidirectionalLstm(nnx.Module):
    """Two LSTMs, one of them over the reversed real frames, side by side."""

    def __init__(self, num_inputs: int, width: int, *, key: jax.Array):
        """Makes `width` units for each direction."""
        keys = jax.random.split(key)
        self.forward = Lstm(num_inputs, width, key=keys[0])
        self.backward = Lstm(num_inputs, width, key=keys[1])

    def __call__(self, x: jax.Array, real: jax.Array) -> jax.Array:
        """Maps [B, T, D] with real frames bool [B, T] to [B, T, 2 width]."""
        backward = reverse_real(self.backward(reverse_real(x, real)), real)
        return jnp.concatenate([self.forward(x), backward], axis=-1)


class CausalConvolution(nnx.Module):
    """A dilated convolution over a frame and frames before it."""

    def __init__(
        self, num_inputs: int, num_outputs: int, *, kernel: int, dilation: int, key: jax.Array
    ):
        """Makes `kernel` taps, `dilation` frames apart."""
        self.taps, self.dilation = kernel, dilation
        self.map = Linear(kernel * num_inputs, num_outputs, axes=(None, None), key=key)

    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps [B, T, D] to [B, T, D']."""
        reach = (self.taps - 1) * self.dilation
        padded = jnp.pad(x, ((0, 0), (reach, 0), (0, 0)))
        starts = [tap * self.dilation for tap in range(self.taps)]
        return self.map(jnp.concatenate([padded[:, s : s + x.shape[1]] for s in starts], axis=-1))


class SelfAttention(nnx.Module):
    """Multi-head attention between the frames of an utterance.

    Source: Vaswani et al. 2017 (1706.03762), sec. 3.2.
    """

    def __init__(self, width: int, num_heads: int, *, key: jax.Array):
        """Makes the projections; `num_heads` must divide `width`."""
        self.num_heads = num_heads
        keys = jax.random.split(key)
        self.qkv = Linear(width, 3 * width, axes=(None, None), key=keys[0])
        self.output = Linear(width, width, axes=(None, None), key=keys[1])

    def queries_keys_values(self, x: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
        """Projects [B, T, D] to three arrays [B, T, H, D / H]."""
        heads = self.qkv(x).reshape(*x.shape[:2], 3, self.num_heads, -1)
        return heads[:, :, 0], heads[:, :, 1], heads[:, :, 2]

    def __call__(self, x: jax.Array, seen: jax.Array) -> jax.Array:
        """Maps [B, T, D] to the same shape; frame t attends to s where seen bool [B, t, s]."""
        return self.with_weights(x, seen)[0]

    def with_weights(
        self, x: jax.Array, seen: jax.Array, *, bias: jax.Array | None = None
    ) -> tuple[jax.Array, jax.Array]:
        """Also returns the attention weights [B, H, T, T]; `bias`, as they are, adds to scores."""
        queries, keys, values = self.queries_keys_values(x)
        scores = jnp.einsum("bthd,bshd->bhts", queries, keys) * queries.shape[-1] ** -0.5
        if bias is not None:
            scores = scores + bias
        weights = jax.nn.softmax(jnp.where(seen[:, None], scores, NEVER), axis=-1)
        mixed = jnp.einsum("bhts,bshd->bthd", weights, values)
        return self.output(mixed.reshape(x.shape)), weights


class FeedForward(nnx.Module):
    """Linear map, ReLU, linear map, dropout; added to the input, then LayerNorm (post-norm)."""

    def __init__(self, width: int, hidden: int, *, key: jax.Array):
        """Makes the two linear maps and the norm."""
        keys = jax.random.split(key)
        self.first = Linear(width, hidden, axes=(None, None), key=keys[0])
        self.second = Linear(hidden, width, axes=(None, None), key=keys[1])
        self.norm = LayerNorm(width, axis=None)

    def __call__(self, x: jax.Array, *, rate: float, key: jax.Array | None) -> jax.Array:
        """Maps [B, T, D] to the same shape."""
        y = self.second(jax.nn.relu(self.first(x)))
        return self.norm(x + dropout(y, rate, key=key))


def reverse_real(x: jax.Array, real: jax.Array) -> jax.Array:
    """Reverses the real frames of [B, T, D]; padding, from bool [B, T], stays behind them."""
    frames = jnp.arange(x.shape[1])
    last = real.sum(1, keepdims=True) - 1
    order = jnp.where(real, last - frames, frames)
    return jnp.take_along_axis(x, order[..., None], axis=1)


def keys_of(key: jax.Array | None, count: int) -> list[jax.Array | None]:
    """Splits the key of a call into `count` keys; None where there is none."""
    return [None] * count if key is None else list(jax.random.split(key, count))


def check_heads(width: int, num_heads: int) -> int:
    """Returns `num_heads`.

    Raises:
      UserError: they do not divide the width.
    """
    if width % num_heads:
        raise UserError(
            f"the {num_heads} attention heads of pooling.network do not divide the {width} "
            f"channels of a frame: set pooling.network.num_heads to a divisor of {width}"
        )
    return num_heads
