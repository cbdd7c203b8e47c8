"""A recurrent network over spectra beside convolutions over the spectrogram, fused."""

import jax
import jax.numpy as jnp
from flax import nnx

from sersl.config.frame_network import NetworkConfig
from sersl.models.layers import LayerNorm, Linear, dropout
from sersl.models.networks.planes import (
    ConvolutionBlock,
    SqueezeExcite,
    fold_windows,
    pool_2d,
    unfold_windows,
)
from sersl.models.networks.series import BidirectionalLstm, SelfAttention, keys_of

STRIDE = 2  # spectra of 10 ms for each vector of both branches


class ParallelBranches(nnx.Module):
    """The two branches: a bidirectional LSTM over spectra, and convolutions, as wide as each other.

    The convolutions end in a squeeze-excitation and a mean over bands.
    """

    width, depth, units = 32, 3, 64

    def __init__(self, num_inputs: int, config: NetworkConfig, *, key: jax.Array):
        """Makes the layers over spectra of `num_inputs` / windows_per_frame bands."""
        self.config = config
        width, depth = config.width or self.width, config.depth or self.depth
        self.size = 2 * (config.width or self.units)
        keys = jax.random.split(key, depth + 3)
        sizes = [1, *(width * min(4, 2**i) for i in range(depth))]
        self.layers = nnx.List(
            [ConvolutionBlock(sizes[i], sizes[i + 1], (3, 3), key=keys[i]) for i in range(depth)]
        )
        self.squeeze = SqueezeExcite(sizes[-1], reduction=4, key=keys[-3])
        self.projection = Linear(sizes[-1], self.size, axes=(None, None), key=keys[-2])
        bands = num_inputs // config.windows_per_frame
        self.lstm = BidirectionalLstm(bands, self.size // 2, key=keys[-1])

    def __call__(
        self, x: jax.Array, valid: jax.Array, *, key: jax.Array | None
    ) -> tuple[jax.Array, jax.Array, jax.Array]:
        """Maps frames [B, T, D] with real ones bool [B, T].

        Returns:
          (vectors of the LSTM and of the convolutions, each [B, T', W]; real ones, bool [B, T']).
        """
        spectra, real = unfold_windows(x, valid, self.config.windows_per_frame)
        y, own, keys = spectra[..., None], real, keys_of(key, len(self.layers))
        for i, layer in enumerate(self.layers):
            frames = STRIDE if i == 0 else 1
            y, own = pool_2d(layer(y, own), own, (frames, 2), maximum=True)
            y = dropout(y, self.config.dropout, key=keys[i])
        planes = self.projection(self.squeeze(y, own).mean(2))
        slow, _ = pool_2d(spectra[..., None], real, (STRIDE, 1), maximum=False)
        return self.lstm(slow[..., 0], own), planes, own


class AmsNet(nnx.Module):
    """Both branches, weighed against each other for each number by a learned gate.

    With pooling.kind attention, its attention over the outputs of the LSTM.

    Source: Chen et al. 2023 (Expert Systems with Applications 214), abstract: an LSTM with
    attention over features of frames, a convolutional network with squeeze-excitation, and a
    connection attention that fuses them. Differs: both branches read the same spectra, the gate
    is the sigmoid of a linear map of both, sizes are not checked against the paper.
    """

    def __init__(self, num_inputs: int, config: NetworkConfig, *, key: jax.Array):
        """Makes the branches and the gate."""
        self.config = config
        keys = jax.random.split(key)
        self.branches = ParallelBranches(num_inputs, config, key=keys[0])
        size = self.branches.size
        self.gate = Linear(2 * size, 2 * size, axes=(None, None), key=keys[1])
        self.num_outputs = 2 * size

    def __call__(
        self, x: jax.Array, valid: jax.Array, *, key: jax.Array | None = None
    ) -> jax.Array:
        """Maps frames [B, T, D] with real ones bool [B, T] to [B, T, num_outputs]."""
        frames, planes, _ = self.branches(x, valid, key=key)
        both = jnp.concatenate([frames, planes], axis=-1)
        both = both * jax.nn.sigmoid(self.gate(both))
        windows = self.config.windows_per_frame
        return fold_windows(both, x.shape[1], windows=windows, stride=STRIDE)


class StrlSer(nnx.Module):
    """Both branches side by side, then multi-head self-attention over time.

    Source: spatio-temporal representation learning with multi-head attention (STRL-SER). Differs:
    the paper was not available; branches, fusion and sizes follow its title.
    """

    num_heads = 4

    def __init__(self, num_inputs: int, config: NetworkConfig, *, key: jax.Array):
        """Makes the branches and the attention."""
        self.config = config
        keys = jax.random.split(key)
        self.branches = ParallelBranches(num_inputs, config, key=keys[0])
        self.num_outputs = 2 * self.branches.size
        heads = config.num_heads or self.num_heads
        self.attention = SelfAttention(self.num_outputs, heads, key=keys[1])
        self.norm = LayerNorm(self.num_outputs, axis=None)

    def __call__(
        self, x: jax.Array, valid: jax.Array, *, key: jax.Array | None = None
    ) -> jax.Array:
        """Maps frames [B, T, D] with real ones bool [B, T] to [B, T, num_outputs]."""
        frames, planes, real = self.branches(x, valid, key=key)
        both = jnp.concatenate([frames, planes], axis=-1)
        seen = jnp.repeat(real[:, None], both.shape[1], axis=1)
        both = self.norm(both + self.attention(both, seen))
        windows = self.config.windows_per_frame
        return fold_windows(both, x.shape[1], windows=windows, stride=STRIDE)
