"""Transformers over the frames of an encoder whose windows depend on the input: DST, DWFormer."""

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from sersl.config.frame_network import NetworkConfig
from sersl.models.layers import LayerNorm, Linear, dropout
from sersl.models.networks.series import (
    NEVER,
    FeedForward,
    SelfAttention,
    check_heads,
    keys_of,
)

FAR = -1e8  # the score of a real frame outside of the window
LONGEST = 326  # frames: offsets and lengths of DST are shares of it, as published
LAMBDA = 0.85  # factor of DWFormer on windows below the median importance


class DeformableAttention(nnx.Module):
    """Attention of each head to a window whose place and length the frame itself decides.

    Scores are scaled up near the centre of the window and scaled down at its ends, in proportion to
    how far these are from whole frames, which is how the gradient reaches place and length.

    Source: Chen et al. 2023 (2302.13729), sec. 2.2, and its public code.
    """

    def __init__(self, width: int, num_heads: int, *, key: jax.Array):
        """Makes the projections; windows start around the frame, of 1 to 10 frames on each side."""
        keys = jax.random.split(key, 2)
        self.attention = SelfAttention(width, num_heads, key=keys[0])
        # The weights start at zero, so that windows start equal for all frames.
        self.window = Linear(width, 2 * num_heads, axes=(None, None), key=keys[1], std=0.0)
        share = np.linspace(1, 10, num_heads) / LONGEST
        start = np.concatenate([np.zeros(num_heads), np.log(share / (1 - share))])
        self.window.bias[...] = jnp.asarray(start, jnp.float32)

    def __call__(self, x: jax.Array, valid: jax.Array) -> jax.Array:
        """Maps [B, T, D] with real frames bool [B, T] to the same shape."""
        queries, keys, values = self.attention.queries_keys_values(x)
        flat = queries.reshape(x.shape)
        offset, half = jnp.split(self.window(flat), 2, axis=-1)
        frames = jnp.arange(x.shape[1])
        centre = frames[:, None] + jnp.tanh(offset) * LONGEST  # [B, T, H]
        half = jax.nn.sigmoid(half) * LONGEST
        weight, inside = _soft_window(centre, half, frames)
        scores = jnp.einsum("bthd,bshd->bths", queries, keys) * queries.shape[-1] ** -0.5
        scores = jnp.where(inside, scores * weight, FAR)
        # A window without a real frame leaves them all, as a softmax of equal scores.
        scores = jnp.where(valid[:, None, None], scores, NEVER)
        mixed = jnp.einsum("bths,bshd->bthd", jax.nn.softmax(scores, axis=-1), values)
        return self.attention.output(mixed.reshape(x.shape))


class Dst(nnx.Module):
    """Layers of deformable attention and feed-forward blocks, both post-norm.

    Source: Chen et al. 2023 (2302.13729): 4 layers, 8 heads, feed-forward blocks of half the width
    (512 of WavLM Large's 1024). Differs: 326 frames are the unit of places and lengths for every
    input, where the public code pads every utterance to 326.
    """

    depth, num_heads = 4, 8

    def __init__(self, num_inputs: int, config: NetworkConfig, *, key: jax.Array):
        """Makes the layers over frames of `num_inputs` channels."""
        self.config = config
        self.num_outputs = num_inputs
        heads = check_heads(num_inputs, config.num_heads or self.num_heads)
        keys = jax.random.split(key, (config.depth or self.depth, 2))
        self.attentions = nnx.List(
            [DeformableAttention(num_inputs, heads, key=own[0]) for own in keys]
        )
        self.norms = nnx.List([LayerNorm(num_inputs, axis=None) for _ in keys])
        self.forwards = nnx.List(
            [FeedForward(num_inputs, max(1, num_inputs // 2), key=own[1]) for own in keys]
        )

    def __call__(
        self, x: jax.Array, valid: jax.Array, *, key: jax.Array | None = None
    ) -> jax.Array:
        """Maps frames [B, T, D] with real ones bool [B, T] to [B, T, num_outputs]."""
        keys, rate = keys_of(key, 2 * len(self.norms)), self.config.dropout
        for i, attention in enumerate(self.attentions):
            x = self.norms[i](x + dropout(attention(x, valid), rate, key=keys[2 * i]))
            x = self.forwards[i](x, rate=rate, key=keys[2 * i + 1])
        return x


class ImportanceLayer(nnx.Module):
    """A Transformer layer that also returns the importance of its inputs: attention to them."""

    def __init__(self, width: int, num_heads: int, *, key: jax.Array):
        """Makes attention, norm and feed-forward block."""
        keys = jax.random.split(key)
        self.attention = SelfAttention(width, num_heads, key=keys[0])
        self.norm = LayerNorm(width, axis=None)
        self.forward = FeedForward(width, max(1, width // 2), key=keys[1])

    def __call__(
        self, x: jax.Array, seen: jax.Array, asks: jax.Array, *, rate: float, key: jax.Array | None
    ) -> tuple[jax.Array, jax.Array]:
        """Runs the layer.

        Args:
          x: [B, T, D].
          seen: bool [B, T, T], which frames each frame attends to.
          asks: bool [B, T], frames whose attention counts as importance.
          rate: of dropout.
          key: PRNG key of dropout; None: none.

        Returns:
          ([B, T, D]; [B, T], the attention of all frames to each, mean over heads).
        """
        first, second = keys_of(key, 2)
        y, weights = self.attention.with_weights(x, seen)
        importance = jnp.einsum("bhts,bt->bs", weights, asks.astype(x.dtype)) / weights.shape[1]
        x = self.norm(x + dropout(y, rate, key=first))
        return self.forward(x, rate=rate, key=second), importance


class DynamicWindowBlock(nnx.Module):
    """Attention within windows of high and of low importance, then between windows.

    Source: Chen et al. 2023 (2303.01694), sec. 2.2-2.4, and its public code.
    """

    def __init__(self, width: int, num_heads: int, *, key: jax.Array):
        """Makes the layers within and between windows."""
        keys = jax.random.split(key)
        self.first_norm, self.second_norm = (LayerNorm(width, axis=None) for _ in range(2))
        self.local = ImportanceLayer(width, num_heads, key=keys[0])
        self.between = ImportanceLayer(width, num_heads, key=keys[1])

    def __call__(
        self,
        x: jax.Array,
        valid: jax.Array,
        importance: jax.Array,
        *,
        rate: float,
        key: jax.Array | None,
    ) -> tuple[jax.Array, jax.Array]:
        """Maps [B, T, D] and importance [B, T] to both after the block; valid is bool [B, T]."""
        first, second = keys_of(key, 2)
        high, window = split_windows(importance, valid)
        together = (window[:, :, None] == window[:, None]) & valid[:, None] & valid[:, :, None]
        # Padding attends to padding: a softmax needs something to attend to.
        seen = together | ~valid[:, :, None]
        y, found = self.local(self.first_norm(x), seen, valid, rate=rate, key=first)
        scores = jnp.where(together, found[:, None], NEVER)
        # Zero before exp at padding, where its gradient would not be finite.
        relative = jnp.where(valid, found - jax.nn.logsumexp(scores, axis=-1), 0.0)
        share = jnp.where(valid, jnp.exp(relative), 0.0)
        y = y * jnp.where(high, 1.0, LAMBDA)[..., None]
        # One row for each window: there are at most T.
        members = jax.nn.one_hot(jnp.where(valid, window, -1), x.shape[1], axis=1)
        wholes = jnp.einsum("bwt,bt,btd->bwd", members, share, y)
        exists = members.any(-1)
        seen = exists[:, None] | ~exists[:, :, None]
        wholes, weight = self.between(self.second_norm(wholes), seen, exists, rate=rate, key=second)
        weight = jax.nn.softmax(jnp.where(exists, weight, NEVER), axis=-1)
        y = y + jnp.einsum("bwt,bwd->btd", members, wholes)
        return y, share * jnp.einsum("bwt,bw->bt", members, weight)


class DwFormer(nnx.Module):
    """A Transformer layer whose attention splits the frames into windows, then window blocks.

    Source: Chen et al. 2023 (2303.01694): 3 blocks, 8 heads, feed-forward blocks of half the width
    (512 of WavLM Large's 1024), windows below the median times 0.85. Differs: importances are
    normalized over real frames only.
    """

    depth, num_heads = 3, 8

    def __init__(self, num_inputs: int, config: NetworkConfig, *, key: jax.Array):
        """Makes the layers over frames of `num_inputs` channels."""
        self.config = config
        self.num_outputs = num_inputs
        heads = check_heads(num_inputs, config.num_heads or self.num_heads)
        keys = jax.random.split(key, 1 + (config.depth or self.depth))
        self.first = ImportanceLayer(num_inputs, heads, key=keys[0])
        self.blocks = nnx.List([DynamicWindowBlock(num_inputs, heads, key=k) for k in keys[1:]])
        self.norms = nnx.List([LayerNorm(num_inputs, axis=None) for _ in keys[1:]])

    def __call__(
        self, x: jax.Array, valid: jax.Array, *, key: jax.Array | None = None
    ) -> jax.Array:
        """Maps frames [B, T, D] with real ones bool [B, T] to [B, T, num_outputs]."""
        keys, rate = keys_of(key, 1 + len(self.blocks)), self.config.dropout
        seen = jnp.where(valid.any(1)[:, None, None], valid[:, None], True)
        seen = jnp.broadcast_to(seen, (*valid.shape, valid.shape[1]))
        x = jnp.where(valid[..., None], x, 0.0)
        x, importance = self.first(self.norms[0](x), seen, valid, rate=rate, key=keys[0])
        for i, block in enumerate(self.blocks):
            given = x if i == 0 else self.norms[i](x)
            x, importance = block(given, valid, importance, rate=rate, key=keys[i + 1])
        return x


def split_windows(importance: jax.Array, valid: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Cuts an utterance where its importance crosses its median.

    A cut right behind another is left out, so that no single frame becomes a window.

    Args:
      importance: [B, T].
      valid: bool [B, T], real frames, which come first.

    Returns:
      (bool [B, T], frames at or above the median; int [B, T], number of the window of a frame).
    """
    count = valid.sum(1, keepdims=True)
    ordered = jnp.sort(jnp.where(valid, importance, jnp.inf), axis=1)
    middle = jnp.minimum(count // 2, importance.shape[1] - 1)
    high = (importance >= jnp.take_along_axis(ordered, middle, axis=1)) & valid
    later = jnp.pad(high[:, 1:], ((0, 0), (0, 1)))
    # A cut at t separates t from t + 1.
    cut = (high != later) & (jnp.arange(importance.shape[1]) < count - 1)
    before = jnp.pad(cut[:, :-1], ((0, 0), (1, 0)))
    cut = cut & ~before
    window = jnp.cumsum(jnp.pad(cut[:, :-1], ((0, 0), (1, 0))), axis=1)
    return high, window


def _soft_window(
    centre: jax.Array, half: jax.Array, frames: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Weighs frames [T] by windows with centre and half length [B, T, H].

    Returns:
      (factors [B, T, H, T] of scores; bool [B, T, H, T], frames from the first to the last that the
      window touches).
    """
    low, high = jnp.floor(centre - half), jnp.ceil(centre + half)
    left = jnp.floor(centre)
    at = frames.astype(jnp.float32)

    def point(where: jax.Array, value: jax.Array) -> jax.Array:
        return jnp.where(at == where[..., None], value[..., None], 0.0)

    near = point(left, 1 - (centre - left)) + point(left + 1, centre - left)
    ends = point(low, low - (centre - half)) + point(high, centre + half - high)
    inside = (at >= low[..., None]) & (at <= high[..., None])
    return 1.0 + near + ends, inside
