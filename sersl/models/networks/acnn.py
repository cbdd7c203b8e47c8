"""ACNN: one wide convolution over time and max pooling, under attention."""

import jax
from flax import nnx

from sersl.config.frame_network import NetworkConfig
from sersl.models.layers import dropout
from sersl.models.networks.planes import Convolution2d, fold_windows, pool_2d, unfold_windows

KERNEL, STRIDE, POOL = 10, 3, 10  # spectra, spectra, steps of the convolution


class AttentiveConvolution(nnx.Module):
    """A convolution whose kernels cover all bands, ReLU, and the maximum over 0.3 s.

    With pooling.kind attention, its attention layer.

    Source: Neumann & Vu 2017 (1706.00612): convolution over all bands, max pooling, attention.
    Differs: the sizes (200 kernels of 10 spectra, stride 3, maximum over 10 steps) are not checked
    against the paper.
    """

    width = 200

    def __init__(self, num_inputs: int, config: NetworkConfig, *, key: jax.Array):
        """Makes the convolution over spectra of `num_inputs` / windows_per_frame bands."""
        self.config = config
        self.num_outputs = config.width or self.width
        bands = num_inputs // config.windows_per_frame
        self.convolution = Convolution2d(
            bands, self.num_outputs, (KERNEL, 1), key=key, stride=(STRIDE, 1)
        )

    def __call__(
        self, x: jax.Array, valid: jax.Array, *, key: jax.Array | None = None
    ) -> jax.Array:
        """Maps frames [B, T, D] with real ones bool [B, T] to [B, T, num_outputs]."""
        windows = self.config.windows_per_frame
        spectra, real = unfold_windows(x, valid, windows)
        y = jax.nn.relu(self.convolution(spectra[:, :, None]))
        real = real[:, ::STRIDE]
        y, _ = pool_2d(y * real[:, :, None, None], real, (POOL, 1), maximum=True)
        y = dropout(y[:, :, 0], self.config.dropout, key=key)
        return fold_windows(y, x.shape[1], windows=windows, stride=STRIDE * POOL)
