"""The graph of COGMEN over the frames of one utterance: edges to the past and to the future."""

import jax
import jax.numpy as jnp
from flax import nnx

from sersl.config.frame_network import NetworkConfig
from sersl.models.layers import LayerNorm, Linear, dropout
from sersl.models.networks.series import SelfAttention, check_heads, keys_of

PAST, FUTURE = 5, 5  # frames with an edge to a frame


class RelationalGraph(nnx.Module):
    """A relational graph convolution, then attention along the edges.

    Nodes are frames; each has edges to the 5 frames before it and to the 5 after it, which are two
    relations with their own weights.

    Source: COGMEN, Joshi et al. 2022 (2205.02455), sec. 3.3: relational graph convolution
    (Schlichtkrull et al. 2018, 1703.06103, eq. 2, means over neighbours), then a graph Transformer.
    Differs: nodes are frames of one utterance instead of the utterances of a dialogue, so that
    there are no relations between speakers; one layer of each, 100 channels, and a frame attends to
    itself as well.
    """

    width, num_heads = 100, 4

    def __init__(self, num_inputs: int, config: NetworkConfig, *, key: jax.Array):
        """Makes the layers over frames of `num_inputs` channels."""
        self.config = config
        width = config.width or self.width
        heads = check_heads(width, config.num_heads or self.num_heads)
        keys = jax.random.split(key, 4)
        self.own = Linear(num_inputs, width, axes=(None, None), key=keys[0])
        self.past, self.future = (
            Linear(num_inputs, width, axes=(None, None), key=k, bias=False) for k in keys[1:3]
        )
        self.attention = SelfAttention(width, heads, key=keys[3])
        self.norm = LayerNorm(width, axis=None)
        self.num_outputs = width

    def __call__(
        self, x: jax.Array, valid: jax.Array, *, key: jax.Array | None = None
    ) -> jax.Array:
        """Maps frames [B, T, D] with real ones bool [B, T] to [B, T, num_outputs]."""
        first, second = keys_of(key, 2)
        past, future = edges(valid)
        x = jnp.where(valid[..., None], x, 0.0)
        y = self.own(x) + self.past(mean_over(past, x)) + self.future(mean_over(future, x))
        y = dropout(jax.nn.relu(y), self.config.dropout, key=first)
        itself = jnp.eye(x.shape[1], dtype=bool)
        y = self.norm(y + self.attention(y, past | future | itself))
        return dropout(y, self.config.dropout, key=second)


def edges(valid: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Returns the edges of frame t to s in the past and in the future, bool [B, t, s] each."""
    frames = jnp.arange(valid.shape[1])
    before = frames[:, None] - frames
    real = valid[:, None] & valid[:, :, None]
    past = (before > 0) & (before <= PAST)
    future = (before < 0) & (before >= -FUTURE)
    return past & real, future & real


def mean_over(edge: jax.Array, x: jax.Array) -> jax.Array:
    """Averages [B, T, D] over the neighbours bool [B, T, T] of each frame; 0 without any."""
    count = jnp.maximum(edge.sum(-1, keepdims=True), 1)
    return jnp.einsum("bts,bsd->btd", edge.astype(x.dtype), x) / count
