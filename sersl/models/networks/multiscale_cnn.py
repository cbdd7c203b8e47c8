"""Convolutions of several lengths side by side, over all bands."""

import jax
import jax.numpy as jnp
from flax import nnx

from sersl.config.frame_network import NetworkConfig
from sersl.models.layers import dropout
from sersl.models.networks.planes import Convolution2d, fold_windows, unfold_windows

KERNELS = (3, 5, 7, 9)  # spectra


class MultiScaleCnn(nnx.Module):
    """Convolutions over 3, 5, 7 and 9 spectra and ReLU, side by side.

    With pooling.kind statistics, its statistical pooling without the maximum.

    Source: Peng et al. 2021 (2106.04133), abstract: multi-scale convolutions, statistical pooling
    and attention. Differs: audio only; the sizes (128 kernels of each length) are not checked
    against the paper.
    """

    width = 128

    def __init__(self, num_inputs: int, config: NetworkConfig, *, key: jax.Array):
        """Makes the convolutions over spectra of `num_inputs` / windows_per_frame bands."""
        self.config = config
        width, bands = config.width or self.width, num_inputs // config.windows_per_frame
        keys = jax.random.split(key, len(KERNELS))
        self.scales = nnx.List(
            [
                Convolution2d(bands, width, (taps, 1), key=k)
                for taps, k in zip(KERNELS, keys, strict=True)
            ]
        )
        self.num_outputs = len(KERNELS) * width

    def __call__(
        self, x: jax.Array, valid: jax.Array, *, key: jax.Array | None = None
    ) -> jax.Array:
        """Maps frames [B, T, D] with real ones bool [B, T] to [B, T, num_outputs]."""
        windows = self.config.windows_per_frame
        spectra, _ = unfold_windows(x, valid, windows)
        found = [jax.nn.relu(scale(spectra[:, :, None])[:, :, 0]) for scale in self.scales]
        y = dropout(jnp.concatenate(found, axis=-1), self.config.dropout, key=key)
        return fold_windows(y, x.shape[1], windows=windows)
