"""The masked convolution network of NPC: the output of a frame depends on its surroundings only."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from sersl.config.schema import EncoderConfig
from sersl.core.errors import UserError
from sersl.models.layers import LayerNorm, Linear, dropout, shard_rows, truncated_normal

BLOCK_KERNEL = 3  # frames that a block's convolution sees (NPC, sec. 2.2)


class Convolution(nnx.Module):
    """A convolution over frames with zero padding, optionally with a masked centre."""

    def __init__(self, config: EncoderConfig, *, kernel: int, blind: int = 0, key: jax.Array):
        """Makes the layer.

        Args:
          config: `width` is read.
          kernel: number of taps, odd.
          blind: number of taps around the centre that are masked, odd; 0: none.
          key: PRNG key of the initial weights.
        """
        distance = np.abs(np.arange(kernel) - kernel // 2)
        # Static, not a parameter: masked taps stay masked.
        self.seen = tuple(bool(far) for far in distance > (blind - 1) // 2) if blind else None
        num_seen = kernel if self.seen is None else sum(self.seen)
        std = (config.width * num_seen) ** -0.5
        self.kernel = nnx.Param(
            truncated_normal(key, (kernel, config.width, config.width), std=std),
            axes=(None, "embed", "mlp"),
        )
        self.bias = nnx.Param(jnp.zeros(config.width, jnp.float32), axes=(None,))

    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps [B, T, D], 0 at padding, to [B, T, D]."""
        kernel = self.kernel[...].astype(x.dtype)
        if self.seen is not None:
            kernel = jnp.where(jnp.array(self.seen)[:, None, None], kernel, 0)
        y = jax.lax.conv_general_dilated(
            x, kernel, window_strides=(1,), padding="SAME", dimension_numbers=("NWC", "WIO", "NWC")
        )
        return y + self.bias[...].astype(x.dtype)


class Block(nnx.Module):
    """Convolution, norm, ReLU, linear map, norm, dropout, optional residual connection, ReLU."""

    def __init__(self, config: EncoderConfig, *, residual: bool, key: jax.Array):
        """Makes one block; with `residual` its input is added to its output."""
        self.config, self.residual = config, residual
        keys = jax.random.split(key)
        width, dtype = config.width, config.dtype
        self.convolution = Convolution(config, kernel=BLOCK_KERNEL, key=keys[0])
        self.first_norm = LayerNorm(width, dtype=dtype)
        self.linear = Linear(width, width, axes=("embed", "mlp"), key=keys[1], dtype=dtype)
        self.second_norm = LayerNorm(width, dtype=dtype)

    def __call__(self, x: jax.Array, *, key: jax.Array | None) -> jax.Array:
        """Maps [B, T, D], 0 at padding, to [B, T, D]; no dropout if `key` is None."""
        y = jax.nn.relu(self.first_norm(self.convolution(x)))
        y = dropout(self.second_norm(self.linear(y)), self.config.dropout, key=key)
        return jax.nn.relu(x + y if self.residual else y)


class MaskedConvolution(nnx.Module):
    """Blocks of convolutions, and the sum of a centre-masked convolution of each block.

    The receptive field of block i is i frames to each side, so its masked convolution leaves out
    `hidden_frames` + 2 i frames: none of the `hidden_frames` around a frame reaches its output.

    Source: NPC (2011.00406), sec. 2.2. Differs: LayerNorm for BatchNorm, so that outputs depend
    neither on padding nor on the batch.
    """

    causal = False

    def __init__(self, config: EncoderConfig, *, key: jax.Array):
        """Makes the blocks.

        Raises:
          UserError: sizes that mask all taps of a convolution, or a setting that only the
            Transformer has.
        """
        if config.remat != "none" or config.scan_layers:
            raise UserError(
                "encoder.kind 'masked_conv' has neither encoder.remat nor encoder.scan_layers: "
                "leave them at 'none' and False"
            )
        kernel, hidden = config.kernel_frames, config.hidden_frames
        widest = hidden + (BLOCK_KERNEL - 1) * config.num_layers
        if kernel % 2 == 0 or hidden % 2 == 0:
            raise UserError(
                f"encoder.kernel_frames={kernel} and encoder.hidden_frames={hidden} must both be "
                "odd, so that they have a centre"
            )
        if kernel <= widest:
            raise UserError(
                f"encoder.kernel_frames={kernel} is not above {widest}, the frames that the last "
                f"of {config.num_layers} layers masks: raise it, or lower encoder.num_layers or "
                "encoder.hidden_frames"
            )
        self.config = config
        keys = jax.random.split(key, (2, config.num_layers))
        # As published the first block, whose input is features, has no residual connection.
        self.layers = nnx.List(
            [Block(config, residual=i > 0, key=k) for i, k in enumerate(keys[0])]
        )
        self.blind = nnx.List(
            [
                Convolution(
                    config, kernel=kernel, blind=hidden + (BLOCK_KERNEL - 1) * (i + 1), key=k
                )
                for i, k in enumerate(keys[1])
            ]
        )

    def __call__(
        self, x: jax.Array, valid: jax.Array, *, key: jax.Array | None = None
    ) -> jax.Array:
        """Contextualises frames [B, T, D], with real ones bool [B, T], by their surroundings.

        Returns:
          hidden_states [L + 1, B, T, D] in the config's dtype: the input, the output of each block
          but the last, then the sum over all blocks of tanh of their masked convolutions.
        """
        real = valid[..., None]
        x = jnp.where(real, shard_rows(x.astype(self.config.dtype)), 0)
        keys = None if key is None else jax.random.split(key, len(self.layers))
        hidden_states, predictions = [x], []
        for number, (block, blind) in enumerate(zip(self.layers, self.blind, strict=True)):
            block_key = None if keys is None else keys[number]
            x = jnp.where(real, shard_rows(block(x, key=block_key)), 0)
            predictions.append(jnp.tanh(blind(x)))
            hidden_states.append(x)
        return jnp.stack([*hidden_states[:-1], functools.reduce(jnp.add, predictions)])
