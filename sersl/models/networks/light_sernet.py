"""Light-SERNet: a small fully convolutional network over MFCC."""

import jax
import jax.numpy as jnp
from flax import nnx

from sersl.config.frame_network import NetworkConfig
from sersl.models.networks.planes import (
    ConvolutionBlock,
    fold_windows,
    pool_2d,
    unfold_windows,
)

KERNELS = ((11, 1), (1, 9), (3, 3))  # over time, over coefficients, over both
# Channels as multiples of the first layer's, and the average pooling behind each layer.
LAYERS = ((2, (2, 2)), (3, (2, 2)), (4, (2, 1)), (5, (2, 1)))


class LightSerNet(nnx.Module):
    """Three parallel convolutions, then five layers of convolution and average pooling.

    The last layer is averaged over coefficients; the pooling of the model averages over time.

    Source: Aftab et al. 2022 (2110.03435), fig. 1, with 32 channels in each parallel convolution
    and dropout 0.3 before the output. Differs: MaskedGroupNorm for BatchNorm.
    """

    width = 32

    def __init__(self, num_inputs: int, config: NetworkConfig, *, key: jax.Array):
        """Makes the layers over spectra of `num_inputs` / windows_per_frame coefficients."""
        self.config = config
        width = config.width or self.width
        keys = jax.random.split(key, len(KERNELS) + len(LAYERS) + 1)
        self.paths = nnx.List(
            [
                ConvolutionBlock(1, width, kernel, key=k, bias=True)
                for kernel, k in zip(KERNELS, keys, strict=False)
            ]
        )
        sizes = [len(KERNELS) * width, *(times * width for times, _ in LAYERS)]
        self.layers = nnx.List(
            [
                ConvolutionBlock(sizes[i], sizes[i + 1], (3, 3), key=keys[len(KERNELS) + i])
                for i in range(len(LAYERS))
            ]
        )
        self.num_outputs = 10 * width
        self.last = ConvolutionBlock(sizes[-1], self.num_outputs, (1, 1), key=keys[-1])

    def __call__(
        self, x: jax.Array, valid: jax.Array, *, key: jax.Array | None = None
    ) -> jax.Array:
        """Maps frames [B, T, D] with real ones bool [B, T] to [B, T, num_outputs]."""
        windows = self.config.windows_per_frame
        spectra, real = unfold_windows(x, valid, windows)
        spectra = spectra[..., None]
        paths = [path(spectra, real) for path in self.paths]
        y, real = pool_2d(jnp.concatenate(paths, axis=-1), real, (2, 2))
        for layer, (_, size) in zip(self.layers, LAYERS, strict=True):
            y, real = pool_2d(layer(y, real), real, size)
        y = self.last(y, real).mean(2)
        return fold_windows(y, x.shape[1], windows=windows, stride=2 ** (1 + len(LAYERS)))
