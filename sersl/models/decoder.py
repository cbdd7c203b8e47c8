"""The convolutional decoder of data2vec 2.0, which predicts frames that the encoder did not see."""

import jax
import jax.numpy as jnp
from flax import nnx

from sersl.audio.features import on_own_rows
from sersl.core.errors import UserError
from sersl.models.layers import Linear, dropout, standardize, truncated_normal

INPUT_DROPOUT = 0.1  # fairseq, D2vDecoderConfig.input_dropout
MASK_NOISE = 0.01  # standard deviation of the input at masked frames (fairseq, mask_noise_std)


class DecoderLayer(nnx.Module):
    """A grouped convolution over frames, a norm without parameters, and GELU."""

    def __init__(self, num_inputs: int, width: int, *, kernel: int, groups: int, key: jax.Array):
        """Makes the layer.

        Args:
          num_inputs: width of the input.
          width: width of the output.
          kernel: number of taps, odd.
          groups: number of groups; it divides both widths.
          key: PRNG key of the initial weights.
        """
        self.groups = groups
        std = (kernel * num_inputs // groups) ** -0.5
        self.kernel = nnx.Param(
            truncated_normal(key, (kernel, num_inputs // groups, width), std=std),
            axes=(None, None, "mlp"),
        )
        self.bias = nnx.Param(jnp.zeros(width, jnp.float32), axes=("mlp",))

    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps [B, T, num_inputs] to float32 [B, T, width]."""
        y = on_own_rows(self._convolve, x, self.kernel[...].astype(x.dtype))
        return jax.nn.gelu(standardize(y + self.bias[...].astype(x.dtype)), approximate=False)

    def _convolve(self, x, kernel):
        return jax.lax.conv_general_dilated(
            x,
            kernel,
            window_strides=(1,),
            padding="SAME",
            dimension_numbers=("NWC", "WIO", "NWC"),
            feature_group_count=self.groups,
        )


class Decoder(nnx.Module):
    """Layers of grouped convolutions with residual connections, and a linear map back.

    Source: data2vec 2.0 (2212.07525), sec. 3.2; fairseq's Decoder1d.
    """

    def __init__(
        self,
        num_inputs: int,
        *,
        width: int,
        num_layers: int,
        kernel: int,
        groups: int,
        key: jax.Array,
    ):
        """Makes the decoder.

        Args:
          num_inputs: width of the encoder, and of the output.
          width: width of the layers.
          num_layers: number of layers, 1 or more.
          kernel: number of taps of a layer, odd.
          groups: groups of the convolutions.
          key: PRNG key of the initial weights.

        Raises:
          UserError: widths that are not multiples of the groups, or an even kernel.
        """
        if num_inputs % groups or width % groups:
            raise UserError(
                f"objectives.distill.decoder_groups={groups} does not divide encoder.width="
                f"{num_inputs} and objectives.distill.decoder_width={width}: make both a multiple"
            )
        if kernel % 2 == 0:
            raise UserError(
                f"objectives.distill.decoder_kernel={kernel} is even: set it to an odd number, so "
                "that it has a centre"
            )
        keys = jax.random.split(key, num_layers + 1)
        widths = [num_inputs] + [width] * num_layers
        self.layers = nnx.List(
            [
                DecoderLayer(a, b, kernel=kernel, groups=groups, key=k)
                for a, b, k in zip(widths[:-1], widths[1:], keys[1:], strict=True)
            ]
        )
        self.output = Linear(width, num_inputs, axes=("mlp", "embed"), key=keys[0])

    def __call__(
        self, x: jax.Array, *, valid: jax.Array, masked: jax.Array, key: jax.Array
    ) -> jax.Array:
        """Predicts every frame from those that the encoder saw.

        Args:
          x: [B, T, D], the encoder's output.
          valid: bool [B, T], real frames.
          masked: bool [B, T], frames that the encoder did not see; noise replaces them.
          key: PRNG key of noise and dropout.

        Returns:
          float32 [B, T, D].
        """
        keys = jax.random.split(key)
        x = dropout(x.astype(jnp.float32), INPUT_DROPOUT, key=keys[0])
        noise = MASK_NOISE * jax.random.normal(keys[1], x.shape, jnp.float32)
        x = jnp.where(masked[..., None], noise, x)
        for layer in self.layers:
            # Padding is zero before every convolution, as beyond the ends of the row.
            y = layer(jnp.where(valid[..., None], x, 0.0))
            x = y + x if y.shape == x.shape else y
        return self.output(x)
