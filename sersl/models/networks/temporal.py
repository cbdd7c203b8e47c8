"""TIM-Net, MS-SENet and GM-TCNet: dilated causal convolutions over MFCC."""

import jax
import jax.numpy as jnp
from flax import nnx

from sersl.config.frame_network import NetworkConfig
from sersl.models.layers import LayerNorm, Linear, dropout
from sersl.models.networks.light_sernet import KERNELS
from sersl.models.networks.planes import (
    ConvolutionBlock,
    SqueezeExcite,
    fold_windows,
    unfold_windows,
)
from sersl.models.networks.series import CausalConvolution, keys_of, reverse_real

KERNEL = 2  # taps of every convolution of both networks


class CausalLayer(nnx.Module):
    """Dilated causal convolution, LayerNorm, ReLU, dropout of whole channels."""

    def __init__(self, width: int, *, dilation: int, key: jax.Array):
        """Makes the layer."""
        self.convolution = CausalConvolution(
            width, width, kernel=KERNEL, dilation=dilation, key=key
        )
        self.norm = LayerNorm(width, axis=None)

    def __call__(self, x: jax.Array, *, rate: float, key: jax.Array | None) -> jax.Array:
        """Maps [B, T, D] to the same shape."""
        y = jax.nn.relu(self.norm(self.convolution(x)))
        return y * dropout(jnp.ones((len(y), 1, y.shape[2])), rate, key=key)


class TemporalAwareBlock(nnx.Module):
    """The input times the sigmoid of two causal layers.

    Source: Ye et al. 2023 (2211.08233), eq. 1-2.
    """

    def __init__(self, width: int, *, dilation: int, key: jax.Array):
        """Makes two layers."""
        self.layers = nnx.List(
            [CausalLayer(width, dilation=dilation, key=k) for k in jax.random.split(key)]
        )

    def __call__(self, x: jax.Array, *, rate: float, key: jax.Array | None) -> jax.Array:
        """Maps [B, T, D] to the same shape."""
        y = x
        for layer, layer_key in zip(self.layers, keys_of(key, 2), strict=True):
            y = layer(y, rate=rate, key=layer_key)
        return x * jax.nn.sigmoid(y)


class BothDirections(nnx.Module):
    """Blocks over the frames and over the reversed frames; their sums are added with weights."""

    def __init__(self, num_inputs: int, width: int, depth: int, *, key: jax.Array):
        """Makes `depth` blocks of growing dilation for each direction."""
        keys = jax.random.split(key, (2, depth + 1))
        self.inputs = nnx.List(
            [Linear(num_inputs, width, axes=(None, None), key=own[0]) for own in keys]
        )
        self.blocks = nnx.List(
            [
                nnx.List(
                    [TemporalAwareBlock(width, dilation=2**i, key=own[1 + i]) for i in range(depth)]
                )
                for own in keys
            ]
        )
        self.fusion = nnx.Param(jnp.full(depth, 1.0 / depth), axes=(None,))

    def __call__(
        self,
        given: tuple[jax.Array, jax.Array],
        real: jax.Array,
        *,
        rate: float,
        key: jax.Array | None,
    ) -> jax.Array:
        """Maps frames and reversed frames, both [B, T, D], with real ones [B, T], to [B, T, D']."""
        fusion, sums = self.fusion[...], []
        for direction, own_key in enumerate(keys_of(key, 2)):
            y, total = self.inputs[direction](given[direction]), jnp.zeros(())
            block_keys = keys_of(own_key, len(fusion))
            for i, block in enumerate(self.blocks[direction]):
                y = block(y, rate=rate, key=block_keys[i])
                total = total + fusion[i] * y
            sums.append(total)
        return sums[0] + reverse_real(sums[1], real)


class TimNet(nnx.Module):
    """Temporal-aware blocks in both directions and at growing scales.

    Source: Ye et al. 2023 (2211.08233), sec. 2.2-2.4: 39 MFCC, 39 channels, 8 blocks (10 for
    IEMOCAP), dilations 1, 2, 4 and so on, dropout 0.1. Differs: LayerNorm for BatchNorm; the frames
    of the backward direction are put back in order, which changes no mean over time; the fusion
    weights start at 1 / blocks, not at random.
    """

    depth = 8

    def __init__(self, num_inputs: int, config: NetworkConfig, *, key: jax.Array):
        """Makes the blocks over spectra of `num_inputs` / windows_per_frame coefficients."""
        self.config = config
        bands = num_inputs // config.windows_per_frame
        width = config.width or bands
        self.both = BothDirections(bands, width, config.depth or self.depth, key=key)
        self.num_outputs = width

    def __call__(
        self, x: jax.Array, valid: jax.Array, *, key: jax.Array | None = None
    ) -> jax.Array:
        """Maps frames [B, T, D] with real ones bool [B, T] to [B, T, num_outputs]."""
        windows = self.config.windows_per_frame
        spectra, real = unfold_windows(x, valid, windows)
        given = (spectra, reverse_real(spectra, real))
        y = self.both(given, real, rate=self.config.dropout, key=key)
        return fold_windows(y, x.shape[1], windows=windows)


class MultiScaleSpectrum(nnx.Module):
    """Convolutions at three scales and a squeeze-excitation, reduced to one channel."""

    def __init__(self, width: int, *, key: jax.Array):
        """Makes the layers, with `width` channels."""
        keys = jax.random.split(key, len(KERNELS) + 2)
        self.paths = nnx.List(
            [
                ConvolutionBlock(1, width, kernel, key=k, bias=True)
                for kernel, k in zip(KERNELS, keys, strict=False)
            ]
        )
        self.excite = SqueezeExcite(width, reduction=1, key=keys[-2])
        self.reduce = Linear(width, 1, axes=(None, None), key=keys[-1])

    def __call__(
        self, x: jax.Array, real: jax.Array, *, rate: float, key: jax.Array | None
    ) -> jax.Array:
        """Maps spectra [B, T, F] with real ones bool [B, T] to [B, T, 3 F]."""
        paths = []
        for path, path_key in zip(self.paths, keys_of(key, len(self.paths)), strict=True):
            y = path(x[..., None], real)
            paths.append(y * dropout(jnp.ones((len(y), 1, 1, y.shape[3])), rate, key=path_key))
        y = jax.nn.relu(self.reduce(self.excite(jnp.concatenate(paths, axis=2), real)))
        return y[..., 0]


class MsSeNet(nnx.Module):
    """TIM-Net over the spectra beside what three scales of convolution make of them.

    Source: Li et al. 2024 (2312.11974) and its public code: kernels 11 x 1, 1 x 9 and 3 x 3 with 39
    channels and dropout 0.2, a squeeze-excitation of as many units, in each direction, then
    TIM-Net. Differs: MaskedGroupNorm and LayerNorm for BatchNorm.
    """

    depth = 8
    first_dropout = 0.2  # of whole channels of the convolutions

    def __init__(self, num_inputs: int, config: NetworkConfig, *, key: jax.Array):
        """Makes the layers over spectra of `num_inputs` / windows_per_frame coefficients."""
        self.config = config
        bands = num_inputs // config.windows_per_frame
        width = config.width or bands
        keys = jax.random.split(key, 3)
        self.scales = nnx.List([MultiScaleSpectrum(width, key=k) for k in keys[:2]])
        inputs = (1 + len(KERNELS)) * bands
        self.both = BothDirections(inputs, width, config.depth or self.depth, key=keys[2])
        self.num_outputs = width

    def __call__(
        self, x: jax.Array, valid: jax.Array, *, key: jax.Array | None = None
    ) -> jax.Array:
        """Maps frames [B, T, D] with real ones bool [B, T] to [B, T, num_outputs]."""
        windows = self.config.windows_per_frame
        spectra, real = unfold_windows(x, valid, windows)
        *own, body_key = keys_of(key, 3)
        rate = self.first_dropout if self.config.dropout else 0.0
        given = []
        for scale, one, scale_key in zip(
            self.scales, (spectra, reverse_real(spectra, real)), own, strict=True
        ):
            seen = scale(one, real, rate=rate, key=scale_key)
            given.append(jnp.concatenate([seen, one], axis=-1))
        y = self.both((given[0], given[1]), real, rate=self.config.dropout, key=body_key)
        return fold_windows(y, x.shape[1], windows=windows)


class GatedBlock(nnx.Module):
    """One layer times the sigmoid of another, the sum of which is added to the input."""

    def __init__(self, width: int, *, dilation: int, key: jax.Array):
        """Makes two pairs of layers, the second behind the first."""
        self.layers = nnx.List(
            [CausalLayer(width, dilation=dilation, key=k) for k in jax.random.split(key, 4)]
        )

    def __call__(
        self, x: jax.Array, *, rate: float, key: jax.Array | None
    ) -> tuple[jax.Array, jax.Array]:
        """Maps [B, T, D] to (input of the next block, output of this one), both [B, T, D]."""
        keys, y = keys_of(key, 4), x
        for pair in (0, 2):
            value, gate = (self.layers[i](y, rate=rate, key=keys[i]) for i in (pair, pair + 1))
            y = value * jax.nn.sigmoid(gate)
        return x + y, y


class GmTcNet(nnx.Module):
    """Blocks of gated causal convolutions with growing dilation; the sum of their outputs.

    Source: Ye et al. 2022 (2210.15834), abstract: gated dilated causal convolutions at several
    scales with skip connections between blocks, over MFCC. Differs: the layers of a block and the
    number of blocks are guesses from TIM-Net, by the same authors; LayerNorm for BatchNorm.
    """

    depth = 7

    def __init__(self, num_inputs: int, config: NetworkConfig, *, key: jax.Array):
        """Makes the blocks."""
        self.config = config
        num_inputs //= config.windows_per_frame
        width, depth = config.width or num_inputs, config.depth or self.depth
        keys = jax.random.split(key, depth + 1)
        self.input = Linear(num_inputs, width, axes=(None, None), key=keys[0])
        self.blocks = nnx.List(
            [GatedBlock(width, dilation=2**i, key=keys[1 + i]) for i in range(depth)]
        )
        self.num_outputs = width

    def __call__(
        self, x: jax.Array, valid: jax.Array, *, key: jax.Array | None = None
    ) -> jax.Array:
        """Maps frames [B, T, D] with real ones bool [B, T] to [B, T, num_outputs]."""
        windows = self.config.windows_per_frame
        spectra, _ = unfold_windows(x, valid, windows)
        y, total = self.input(spectra), jnp.zeros(())
        for block, own_key in zip(self.blocks, keys_of(key, len(self.blocks)), strict=True):
            y, out = block(y, rate=self.config.dropout, key=own_key)
            total = total + out
        return fold_windows(jax.nn.relu(total), x.shape[1], windows=windows)
