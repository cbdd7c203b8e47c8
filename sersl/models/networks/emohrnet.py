"""EmoHRNet: branches at three resolutions that exchange their features."""

import jax
import jax.numpy as jnp
from flax import nnx

from sersl.config.frame_network import NetworkConfig
from sersl.models.layers import Linear, dropout, fit_frames
from sersl.models.networks.planes import (
    ConvolutionBlock,
    MaskedGroupNorm,
    fold_windows,
    pool_2d,
    unfold_windows,
)
from sersl.models.networks.series import keys_of

BRANCHES = 3


class ResidualBlock(nnx.Module):
    """Two convolutions, whose result is added to the input."""

    def __init__(self, width: int, *, key: jax.Array):
        """Makes the layers."""
        keys = jax.random.split(key)
        self.first, self.second = (ConvolutionBlock(width, width, (3, 3), key=k) for k in keys)

    def __call__(self, x: jax.Array, real: jax.Array) -> jax.Array:
        """Maps [B, T, F, C] with real frames bool [B, T] to the same shape."""
        return x + self.second(self.first(x, real), real)


class Exchange(nnx.Module):
    """Gives every branch the sum of all branches at its own resolution.

    Source: Wang et al. 2020 (1908.07919), sec. 3.2: 1 x 1 convolutions and nearest neighbours
    upwards. Differs: averages downwards, where HRNet has convolutions with stride 2.
    """

    def __init__(self, width: int, *, key: jax.Array):
        """Makes a map for each pair of branches, of `width`, 2 and 4 times `width` channels."""
        keys = jax.random.split(key, (BRANCHES, BRANCHES))
        sizes = [width * 2**i for i in range(BRANCHES)]
        self.maps = nnx.List(
            [
                nnx.List(
                    [
                        Linear(source, sizes[to], axes=(None, None), key=keys[to, at], bias=False)
                        for at, source in enumerate(sizes)
                    ]
                )
                for to in range(BRANCHES)
            ]
        )
        self.norms = nnx.List([MaskedGroupNorm(size) for size in sizes])

    def __call__(self, branches: list[jax.Array], reals: list[jax.Array]) -> list[jax.Array]:
        """Maps branches [B, T / 2^i, F / 2^i, C 2^i], with real frames, to the same shapes."""
        found = []
        for to, (like, real) in enumerate(zip(branches, reals, strict=True)):
            total = sum(
                (
                    resample(own(branches[at]), reals[at], like=like, by=to - at)
                    for at, own in enumerate(self.maps[to])
                ),
                start=jnp.zeros(()),
            )
            found.append(jax.nn.relu(self.norms[to](total, real)))
        return found


class EmoHrNet(nnx.Module):
    """A stem at half the resolution, then stages of residual blocks and exchange.

    Source: Muppidi & Radfar 2024 (2510.06072), abstract: HRNet over mel spectrograms. Differs: the
    sizes (16, 32 and 64 channels, 2 stages of one residual block, a stem of two convolutions) are
    not checked against the paper; all branches start at once; MaskedGroupNorm.
    """

    width, depth = 16, 2

    def __init__(self, num_inputs: int, config: NetworkConfig, *, key: jax.Array):
        """Makes the layers; `num_inputs` bands may be any number, since bands are averaged."""
        del num_inputs
        self.config = config
        width, depth = config.width or self.width, config.depth or self.depth
        keys = jax.random.split(key, depth + 1)
        first, second, *more = jax.random.split(keys[0], 1 + BRANCHES)
        self.stem = ConvolutionBlock(1, width, (3, 3), key=first)
        self.starts = nnx.List(
            [
                ConvolutionBlock(width * 2 ** max(0, i - 1), width * 2**i, (3, 3), key=k)
                for i, k in enumerate((second, *more))
            ]
        )
        self.blocks = nnx.List(
            [
                nnx.List(
                    [
                        ResidualBlock(width * 2**i, key=jax.random.fold_in(stage, i))
                        for i in range(BRANCHES)
                    ]
                )
                for stage in keys[1:]
            ]
        )
        self.exchanges = nnx.List(
            [Exchange(width, key=jax.random.fold_in(stage, BRANCHES)) for stage in keys[1:]]
        )
        self.num_outputs = width * (2**BRANCHES - 1)

    def __call__(
        self, x: jax.Array, valid: jax.Array, *, key: jax.Array | None = None
    ) -> jax.Array:
        """Maps frames [B, T, D] with real ones bool [B, T] to [B, T, num_outputs]."""
        windows = self.config.windows_per_frame
        y, real = unfold_windows(x, valid, windows)
        y = self.stem(y[..., None], real)
        branches: list[jax.Array] = []
        reals: list[jax.Array] = []
        for start in self.starts:
            y, real = pool_2d(y, real, (2, 2))
            y = start(y, real)
            branches.append(y)
            reals.append(real)
        keys = keys_of(key, len(self.blocks))
        for stage, exchange, stage_key in zip(self.blocks, self.exchanges, keys, strict=True):
            branches = [
                block(branch, own)
                for block, branch, own in zip(stage, branches, reals, strict=True)
            ]
            branches = exchange(branches, reals)
            dropped = zip(branches, keys_of(stage_key, BRANCHES), strict=True)
            branches = [dropout(branch, self.config.dropout, key=k) for branch, k in dropped]
        y = jnp.concatenate(
            [
                resample(branch, own, like=branches[0], by=-i)
                for i, (branch, own) in enumerate(zip(branches, reals, strict=True))
            ],
            axis=-1,
        )
        return fold_windows(y.mean(2), x.shape[1], windows=windows, stride=2)


def resample(x: jax.Array, real: jax.Array, *, like: jax.Array, by: int) -> jax.Array:
    """Halves the resolution `by` times, or doubles it -`by` times, by means and repetition.

    Args:
      x: [B, T, F, C], 0 at padding.
      real: bool [B, T].
      like: [B, T', F', any], whose resolution is wanted.
      by: number of times.

    Returns:
      [B, T', F', C].
    """
    for _ in range(by):
        x, real = pool_2d(x, real, (2, 2))
    if by < 0:
        x = jnp.repeat(jnp.repeat(x, 2**-by, axis=1), 2**-by, axis=2)
    return fit_frames(fit_frames(x, like.shape[1], axis=1), like.shape[2], axis=2)
