"""Layers over the frames of an encoder: shift, windows, dropped frames, a graph of frames."""

import jax
import jax.numpy as jnp
from flax import nnx

from sersl.config.frame_network import NetworkConfig
from sersl.models.layers import LayerNorm, Linear, dropout
from sersl.models.networks.series import (
    FeedForward,
    SelfAttention,
    check_heads,
    keys_of,
)

SHIFTED = 4  # a quarter of the channels moves by a frame in each direction
WINDOW = 16  # frames of a window of the shifted-window Transformer, 0.32 s
KEPT = 0.5  # share of the frames that frame selection keeps


class ShiftFormer(nnx.Module):
    """A quarter of the channels one frame later, a quarter one earlier, then a feed-forward block.

    Source: Shen et al. 2023 (2302.13277), Shiftformer: 2 layers, feed-forward blocks of four times
    the width, post-norm. Differs: ReLU for GELU in the feed-forward blocks.
    """

    depth = 2

    def __init__(self, num_inputs: int, config: NetworkConfig, *, key: jax.Array):
        """Makes the layers over frames of `num_inputs` channels."""
        self.config = config
        self.num_outputs = num_inputs
        keys = jax.random.split(key, config.depth or self.depth)
        self.layers = nnx.List([FeedForward(num_inputs, 4 * num_inputs, key=k) for k in keys])

    def __call__(
        self, x: jax.Array, valid: jax.Array, *, key: jax.Array | None = None
    ) -> jax.Array:
        """Maps frames [B, T, D] with real ones bool [B, T] to [B, T, num_outputs]."""
        for layer, layer_key in zip(self.layers, keys_of(key, len(self.layers)), strict=True):
            x = shift_channels(jnp.where(valid[..., None], x, 0.0))
            x = layer(x, rate=self.config.dropout, key=layer_key)
        return x


class ShiftedWindows(nnx.Module):
    """Transformer layers in which frames attend to their window; every other layer shifts windows.

    Source: Speech Swin-Transformer, Wang et al. 2024 (2401.10536): attention in windows over time
    and in windows shifted by half. Differs: windows over frames of an encoder instead of patches of
    a spectrogram, no merging of patches; the sizes (4 layers, 4 heads, windows of 16 frames).
    """

    depth, num_heads = 4, 4

    def __init__(self, num_inputs: int, config: NetworkConfig, *, key: jax.Array):
        """Makes the layers over frames of `num_inputs` channels."""
        self.config = config
        self.num_outputs = num_inputs
        heads = check_heads(num_inputs, config.num_heads or self.num_heads)
        keys = jax.random.split(key, (config.depth or self.depth, 2))
        self.attentions = nnx.List([SelfAttention(num_inputs, heads, key=own[0]) for own in keys])
        self.norms = nnx.List([LayerNorm(num_inputs, axis=None) for _ in keys])
        self.forwards = nnx.List(
            [FeedForward(num_inputs, 4 * num_inputs, key=own[1]) for own in keys]
        )

    def __call__(
        self, x: jax.Array, valid: jax.Array, *, key: jax.Array | None = None
    ) -> jax.Array:
        """Maps frames [B, T, D] with real ones bool [B, T] to [B, T, num_outputs]."""
        frames = jnp.arange(x.shape[1])
        keys, rate = keys_of(key, 2 * len(self.norms)), self.config.dropout
        for i, attention in enumerate(self.attentions):
            window = (frames + i % 2 * WINDOW // 2) // WINDOW
            seen = (window[:, None] == window) & (valid[:, None] | ~valid[:, :, None])
            x = self.norms[i](x + dropout(attention(x, seen), rate, key=keys[2 * i]))
            x = self.forwards[i](x, rate=rate, key=keys[2 * i + 1])
        return x


class FrameGraph(nnx.Module):
    """Graph convolutions over the cycle of the frames of an utterance.

    Every frame is a node with an edge to the frames before and after it; the last real frame is a
    neighbour of the first.

    Source: compact graph, Shirian & Guha 2021 (2008.02063): graph convolutions over a cycle or
    line of frames, whose nodes are then pooled. Differs: the weights of the frame and of its
    neighbours are learned instead of a filter for each frequency of the graph, which needs a fixed
    number of nodes; the sizes (2 layers of 64) are not checked against the paper.
    """

    width, depth = 64, 2

    def __init__(self, num_inputs: int, config: NetworkConfig, *, key: jax.Array):
        """Makes the layers over frames of `num_inputs` features."""
        self.config = config
        width, depth = config.width or self.width, config.depth or self.depth
        keys = jax.random.split(key, (depth, 2))
        sizes = [num_inputs, *[width] * depth]
        self.first = nnx.List(
            [
                Linear(3 * sizes[i], width, axes=(None, None), key=own[0])
                for i, own in enumerate(keys)
            ]
        )
        self.second = nnx.List(
            [Linear(width, width, axes=(None, None), key=own[1]) for own in keys]
        )
        self.norms = nnx.List([LayerNorm(width, axis=None) for _ in keys])
        self.num_outputs = width

    def __call__(
        self, x: jax.Array, valid: jax.Array, *, key: jax.Array | None = None
    ) -> jax.Array:
        """Maps frames [B, T, D] with real ones bool [B, T] to [B, T, num_outputs]."""
        count = jnp.maximum(valid.sum(1, keepdims=True), 1)
        frames = jnp.arange(x.shape[1])
        keys = keys_of(key, len(self.norms))
        for i, (first, second) in enumerate(zip(self.first, self.second, strict=True)):
            around = [
                jnp.take_along_axis(x, ((frames + step) % count)[..., None], axis=1)
                for step in (-1, 1)
            ]
            y = jax.nn.relu(first(jnp.concatenate([x, *around], axis=-1)))
            x = self.norms[i](jax.nn.relu(second(y)))
            x = dropout(x, self.config.dropout, key=keys[i])
        return x


class FrameSelection(nnx.Module):
    """Attention layers over the frames with the highest learned scores; the others become zero.

    Source: the idea of salient frame selection and of DropFormer, which drop frames of low
    importance between layers. Differs: their sizes and scores were not available; here half of the
    remaining frames are kept before each of 2 layers, times the sigmoid of their scores, which is
    how the gradient reaches the scores.
    """

    depth, num_heads = 2, 4

    def __init__(self, num_inputs: int, config: NetworkConfig, *, key: jax.Array):
        """Makes the layers over frames of `num_inputs` channels."""
        self.config = config
        self.num_outputs = num_inputs
        heads = check_heads(num_inputs, config.num_heads or self.num_heads)
        keys = jax.random.split(key, (config.depth or self.depth, 3))
        self.scores = nnx.List(
            [Linear(num_inputs, 1, axes=(None, None), key=own[0]) for own in keys]
        )
        self.attentions = nnx.List([SelfAttention(num_inputs, heads, key=own[1]) for own in keys])
        self.norms = nnx.List([LayerNorm(num_inputs, axis=None) for _ in keys])
        self.forwards = nnx.List(
            [FeedForward(num_inputs, 2 * num_inputs, key=own[2]) for own in keys]
        )

    def __call__(
        self, x: jax.Array, valid: jax.Array, *, key: jax.Array | None = None
    ) -> jax.Array:
        """Maps frames [B, T, D] with real ones bool [B, T] to [B, T, num_outputs]."""
        keys, rate, kept = keys_of(key, 2 * len(self.norms)), self.config.dropout, valid
        for i, attention in enumerate(self.attentions):
            score = self.scores[i](x)[..., 0]
            kept = highest(score, kept, share=KEPT)
            x = x * jax.nn.sigmoid(score)[..., None]
            seen = kept[:, None] | ~kept[:, :, None]
            x = self.norms[i](x + dropout(attention(x, seen), rate, key=keys[2 * i]))
            x = self.forwards[i](x, rate=rate, key=keys[2 * i + 1])
        return jnp.where(kept[..., None], x, 0.0)


def highest(score: jax.Array, kept: jax.Array, *, share: float) -> jax.Array:
    """Keeps the frames with the highest scores.

    Args:
      score: [B, T].
      kept: bool [B, T], frames to choose from.
      share: of these frames to keep, rounded up.

    Returns:
      bool [B, T]; of equal scores the earlier frames.
    """
    order = jnp.argsort(jnp.where(kept, -score, jnp.inf), axis=1, stable=True)
    rank = jnp.argsort(order, axis=1)
    return kept & (rank < jnp.ceil(kept.sum(1, keepdims=True) * share))


def shift_channels(x: jax.Array) -> jax.Array:
    """Moves a quarter of the channels of [B, T, D] a frame later and a quarter a frame earlier."""
    moved = x.shape[2] // SHIFTED
    later = jnp.pad(x[:, :-1, :moved], ((0, 0), (1, 0), (0, 0)))
    earlier = jnp.pad(x[:, 1:, moved : 2 * moved], ((0, 0), (0, 1), (0, 0)))
    return jnp.concatenate([later, earlier, x[:, :, 2 * moved :]], axis=-1)
