"""Networks that end in a bidirectional LSTM, over frames or behind convolutions."""

import jax
import jax.numpy as jnp
from flax import nnx

from sersl.config.frame_network import NetworkConfig
from sersl.models.layers import LayerNorm, Linear, dropout
from sersl.models.networks.planes import (
    Convolution2d,
    ConvolutionBlock,
    fold_windows,
    pool_2d,
    slopes_of,
    unfold_windows,
)
from sersl.models.networks.series import BidirectionalLstm, SelfAttention, keys_of

LEAK = 0.01  # slope of the rectifier of the 3-D network for negative values


class Blstm(nnx.Module):
    """Two dense layers over frames, then a bidirectional LSTM.

    With pooling.kind multi_head_attention and one head, this is the network with local attention:
    the weight of a frame is the softmax of its product with a learned vector.

    Source: Mirsamadi et al. 2017: descriptors per frame, dense layers, bidirectional LSTM, softmax
    of the product with a learned vector. Differs: the sizes (dense layers of 512, LSTM of 128 in
    each direction, dropout 0.5) are not checked against the paper; the product is divided by the
    square root of its width.
    """

    width, depth, hidden = 128, 2, 4  # hidden: units of the dense layers, in LSTM widths

    def __init__(self, num_inputs: int, config: NetworkConfig, *, key: jax.Array):
        """Makes the layers over frames of `num_inputs` features."""
        self.config = config
        width, depth = config.width or self.width, config.depth or self.depth
        keys = jax.random.split(key, depth + 1)
        sizes = [num_inputs, *[self.hidden * width] * depth]
        self.dense = nnx.List(
            [Linear(sizes[i], sizes[i + 1], axes=(None, None), key=keys[i]) for i in range(depth)]
        )
        self.lstm = BidirectionalLstm(sizes[-1], width, key=keys[-1])
        self.num_outputs = 2 * width

    def __call__(
        self, x: jax.Array, valid: jax.Array, *, key: jax.Array | None = None
    ) -> jax.Array:
        """Maps frames [B, T, D] with real ones bool [B, T] to [B, T, num_outputs]."""
        keys = keys_of(key, len(self.dense) + 1)
        for layer, layer_key in zip(self.dense, keys, strict=False):
            x = dropout(jax.nn.relu(layer(x)), self.config.dropout, key=layer_key)
        return dropout(self.lstm(x, valid), self.config.dropout, key=keys[-1])


class CnnBlstm(nnx.Module):
    """Convolutions over the spectrogram with max pooling, then a bidirectional LSTM.

    Source: Etienne et al. 2018 (1802.05630): four convolutions and one bidirectional LSTM, trained
    with vocal tract length perturbation. Differs: the channels (32, doubled twice), kernels (3 x 3)
    and LSTM units (128), MaskedGroupNorm.
    """

    width, depth, units, num_heads = 32, 4, 128, 0

    def __init__(self, num_inputs: int, config: NetworkConfig, *, key: jax.Array):
        """Makes the layers over spectra of `num_inputs` / windows_per_frame bands."""
        self.config = config
        width, depth = config.width or self.width, config.depth or self.depth
        units = 4 * config.width or self.units
        keys = jax.random.split(key, depth + 2)
        sizes = [1, *(width * min(4, 2**i) for i in range(depth))]
        self.layers = nnx.List(
            [ConvolutionBlock(sizes[i], sizes[i + 1], (3, 3), key=keys[i]) for i in range(depth)]
        )
        bands = num_inputs // config.windows_per_frame
        for _ in range(depth):
            bands = -(-bands // 2)
        self.lstm = BidirectionalLstm(bands * sizes[-1], units, key=keys[-2])
        self.num_outputs = 2 * units
        if self.num_heads:
            heads = config.num_heads or self.num_heads
            self.attention = SelfAttention(self.num_outputs, heads, key=keys[-1])
            self.norm = LayerNorm(self.num_outputs, axis=None)

    def __call__(
        self, x: jax.Array, valid: jax.Array, *, key: jax.Array | None = None
    ) -> jax.Array:
        """Maps frames [B, T, D] with real ones bool [B, T] to [B, T, num_outputs]."""
        windows = self.config.windows_per_frame
        y, real = unfold_windows(x, valid, windows)
        y, stride, keys = y[..., None], 1, keys_of(key, len(self.layers) + 1)
        for i, layer in enumerate(self.layers):
            frames = 2 if i < 2 else 1  # 40 ms for each vector of the LSTM
            y, real = pool_2d(layer(y, real), real, (frames, 2), maximum=True)
            y, stride = dropout(y, self.config.dropout, key=keys[i]), stride * frames
        y = self.lstm(y.reshape(*y.shape[:2], -1), real)
        if self.num_heads:
            y = self.norm(y + self.attention(y, jnp.repeat(real[:, None], y.shape[1], axis=1)))
        y = dropout(y, self.config.dropout, key=keys[-1])
        return fold_windows(y, x.shape[1], windows=windows, stride=stride)


class CnnBlstmAttention(CnnBlstm):
    """CnnBlstm, then self-attention with a residual connection and LayerNorm.

    With `tasks.gender_weight`, the output also predicts the gender of the speaker.

    Source: Li et al. 2019 (Interspeech): convolutions, bidirectional LSTM, self-attention, and
    emotion and gender with weight 1 each. Differs: the sizes, which are those of CnnBlstm.
    """

    num_heads = 4


class Acrnn(nnx.Module):
    """The "3-D" network: spectra with slopes as channels, convolutions, bidirectional LSTM.

    With pooling.kind attention, its attention layer.

    Source: Chen et al. 2018 (IEEE SPL 25(10)) and its public code: 40 bands with first and second
    slopes, a convolution of 128 channels and 5 x 3 taps, maximum over 2 x 4, five convolutions of
    256, a dense layer of 768, LSTM of 128 in each direction, attention, a dense layer of 64.
    Differs: LayerNorm for BatchNorm, Gaussian initial weights by number of inputs.
    """

    width, depth = 128, 6

    def __init__(self, num_inputs: int, config: NetworkConfig, *, key: jax.Array):
        """Makes the layers over spectra of `num_inputs` / windows_per_frame bands."""
        self.config = config
        width, depth = config.width or self.width, config.depth or self.depth
        keys = jax.random.split(key, depth + 2)
        sizes = [3, width, *[2 * width] * (depth - 1)]
        self.layers = nnx.List(
            [Convolution2d(sizes[i], sizes[i + 1], (5, 3), key=keys[i]) for i in range(depth)]
        )
        bands = -(-num_inputs // config.windows_per_frame // 4)
        self.dense = Linear(bands * sizes[-1], 6 * width, axes=(None, None), key=keys[-2])
        self.norm = LayerNorm(6 * width, axis=None)
        self.lstm = BidirectionalLstm(6 * width, width, key=keys[-1])
        self.num_outputs = 2 * width

    def __call__(
        self, x: jax.Array, valid: jax.Array, *, key: jax.Array | None = None
    ) -> jax.Array:
        """Maps frames [B, T, D] with real ones bool [B, T] to [B, T, num_outputs]."""
        windows = self.config.windows_per_frame
        spectra, real = unfold_windows(x, valid, windows)
        slopes = slopes_of(spectra, real)
        y = jnp.stack([spectra, slopes, slopes_of(slopes, real)], axis=-1)
        for i, (layer, layer_key) in enumerate(
            zip(self.layers, keys_of(key, len(self.layers)), strict=True)
        ):
            y = jnp.where(real[:, :, None, None], jax.nn.leaky_relu(layer(y), LEAK), 0.0)
            if i == 0:
                y, real = pool_2d(y, real, (2, 4), maximum=True)
            y = dropout(y, self.config.dropout, key=layer_key)
        y = jax.nn.leaky_relu(self.norm(self.dense(y.reshape(*y.shape[:2], -1))), LEAK)
        return fold_windows(self.lstm(y, real), x.shape[1], windows=windows, stride=2)
