"""The network of CTL-MTNet for one corpus: convolutions, attention, capsules with routing."""

import jax
import jax.numpy as jnp
from flax import nnx

from sersl.config.frame_network import NetworkConfig
from sersl.models.layers import Linear, dropout
from sersl.models.networks.planes import (
    Convolution2d,
    MaskedGroupNorm,
    pool_2d,
    unfold_windows,
)
from sersl.models.networks.series import NEVER, keys_of

CAPSULES = 6  # at each position, and after routing
ROUTINGS = 3
TINY = 1e-7  # added to squared lengths


class CapsuleNetwork(nnx.Module):
    """Three convolutions with average pooling, capsules, attention between them, routing.

    The mean of the routed capsules belongs to the whole utterance; every frame gets it.

    Source: CTL-MTNet, Wen et al. 2022 (2207.10644), its public code for one corpus: 64 channels of
    3 x 3, ELU, six capsules of 64 at each position times their attention, six capsules after three
    routings with shared weights. Differs: MaskedGroupNorm; dropout of one rate for all layers;
    the loss is that of `heads.category_loss`, not the margin loss; no adversary for a second
    corpus.
    """

    width, depth = 64, 3

    def __init__(self, num_inputs: int, config: NetworkConfig, *, key: jax.Array):
        """Makes the layers; `num_inputs` coefficients may be any number."""
        del num_inputs
        self.config = config
        width, depth = config.width or self.width, config.depth or self.depth
        keys = jax.random.split(key, depth + 2)
        self.layers = nnx.List(
            [Convolution2d(width if i else 1, width, (3, 3), key=keys[i]) for i in range(depth)]
        )
        self.norms = nnx.List([MaskedGroupNorm(width) for _ in range(depth)])
        self.capsules = Convolution2d(width, CAPSULES * width, (3, 3), key=keys[-2])
        self.scale = nnx.Param(jnp.ones(()), axes=())
        self.votes = Linear(width, CAPSULES * width, axes=(None, None), key=keys[-1], bias=False)
        self.num_outputs = width

    def __call__(
        self, x: jax.Array, valid: jax.Array, *, key: jax.Array | None = None
    ) -> jax.Array:
        """Maps frames [B, T, D] with real ones bool [B, T] to [B, T, num_outputs]."""
        spectra, real = unfold_windows(x, valid, self.config.windows_per_frame)
        y, keys = spectra[..., None], keys_of(key, len(self.layers))
        for i, (layer, norm) in enumerate(zip(self.layers, self.norms, strict=True)):
            y = norm(layer(y), real)
            y, real = pool_2d(jnp.where(y > 0, y, jnp.expm1(jnp.minimum(y, 0.0))), real, (2, 2))
            y = dropout(y, self.config.dropout, key=keys[i])
        shown = jnp.repeat(real, y.shape[2] * CAPSULES, axis=1)
        found = squash(self.capsules(y).reshape(len(y), -1, self.num_outputs))
        scores = jnp.einsum("bnd,bmd->bnm", found, found) * self.scale[...]
        weights = jax.nn.softmax(jnp.where(shown[:, None], scores, NEVER), axis=-1)
        found = found * jnp.einsum("bnm,bmd->bnd", weights, found)
        votes = self.votes(found).reshape(*shown.shape, CAPSULES, self.num_outputs)
        whole = route(votes, shown, num_routings=ROUTINGS).mean(1)
        return jnp.broadcast_to(whole[:, None], (*valid.shape, self.num_outputs))


def squash(x: jax.Array) -> jax.Array:
    """Scales vectors [..., D] of length n to length n^2 / (1 + n^2)."""
    square = jnp.square(x).sum(-1, keepdims=True)
    return x * square / (1 + square) / jnp.sqrt(square + TINY)


def route(votes: jax.Array, real: jax.Array, *, num_routings: int) -> jax.Array:
    """Combines the votes of capsules, weighted by their agreement with the result.

    Args:
      votes: [B, N, K, D], of each of N capsules for each of K.
      real: bool [B, N], capsules that count.
      num_routings: rounds.

    Returns:
      [B, K, D], of length below 1.

    Source: Sabour et al. 2017 (1710.09829), procedure 1. Differs, as in the public code of
    CTL-MTNet: agreement is with the result of length 1, and replaces that of the round before.
    """
    share = jnp.full(votes.shape[:3], 1.0 / votes.shape[2])
    total = jnp.zeros(())
    for _ in range(num_routings):
        total = jnp.einsum("bnk,bnkd->bkd", share * real[..., None], votes)
        square = jnp.square(total).sum(-1, keepdims=True)
        unit = total * jax.lax.rsqrt(square + TINY)
        share = jax.nn.softmax(jnp.einsum("bkd,bnkd->bnk", unit, votes), axis=-1)
    return squash(total)
