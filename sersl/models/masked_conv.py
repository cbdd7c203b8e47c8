"""Masked convolution network: each frame seen through its surroundings only, as in NPC."""

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from sersl.config.schema import EncoderConfig
from sersl.core.errors import UserError
from sersl.models.layers import LayerNorm, Linear, dropout, shard_rows, truncated_normal

BLOCK_KERNEL = 3  # frames that a block's convolution sees (NPC, sec. 2.2)


class Convolution(nnx.Module):
    """A convolution over frames with zeros around, optionally blind to its centre."""

    def __init__(self, config: EncoderConfig, *, kernel: int, blind: int = 0, key: jax.Array):
        """Makes the layer.

        Args:
          config: width and dtype.
          kernel: frames seen, odd.
          blind: frames around the centre whose weights are 0, odd; 0: none.
          key: PRNG key of the initial weights.
        """
        self.config = config
        distance = np.abs(np.arange(kernel) - kernel // 2)
        # Not a parameter: what is blind stays so.
        self.seen = tuple(bool(far) for far in distance > (blind - 1) // 2) if blind else None
        num_seen = sum(self.seen) if blind else kernel
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
    """Convolution, norm, ReLU, linear map, norm, dropout, perhaps plus the input, then ReLU."""

    def __init__(self, config: EncoderConfig, *, residual: bool, key: jax.Array):
        """Makes one block.

        Args:
          config: width, dropout and dtype.
          residual: whether the input is added.
          key: PRNG key of the initial weights.
        """
        self.config, self.residual = config, residual
        keys = jax.random.split(key)
        width, dtype = config.width, config.dtype
        self.convolution = Convolution(config, kernel=BLOCK_KERNEL, key=keys[0])
        self.first_norm = LayerNorm(width, dtype=dtype)
        self.linear = Linear(width, width, axes=("embed", "mlp"), key=keys[1], dtype=dtype)
        self.second_norm = LayerNorm(width, dtype=dtype)

    def __call__(self, x: jax.Array, *, key: jax.Array | None) -> jax.Array:
        """Maps [B, T, D], 0 at padding, to [B, T, D].

        Args:
          x: [B, T, D].
          key: PRNG key of dropout; None: none.

        Returns:
          [B, T, D].
        """
        y = jax.nn.relu(self.first_norm(self.convolution(x)))
        y = dropout(self.second_norm(self.linear(y)), self.config.dropout, key=key)
        return jax.nn.relu(x + y if self.residual else y)


class MaskedConvolution(nnx.Module):
    """Blocks of convolutions, and of each block a convolution that is blind to the centre, summed.

    Block i has seen i frames to each side, so its blind convolution leaves out `hidden_frames` +
    2 i frames: none of the `hidden_frames` around a frame ever reaches its output.

    Source: NPC (2011.00406), sec. 2.2. Differs: LayerNorm for BatchNorm, which no padding and no
    batch can change.
    """

    causal = False

    def __init__(self, config: EncoderConfig, *, key: jax.Array):
        """Makes the blocks.

        Raises:
          UserError: sizes that leave a convolution nothing to see, or settings of the Transformer
            that this network does not have.
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
                f"of {config.num_layers} layers hides: raise it, or lower encoder.num_layers or "
                "encoder.hidden_frames"
            )
        self.config = config
        keys = jax.random.split(key, (2, config.num_layers))
        # The first block's input is features in the published network: nothing to add.
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
        """Contextualises frames by what is around them.

        Args:
          x: [B, T, D].
          valid: bool [B, T].
          key: PRNG key of dropout; None: none.

        Returns:
          hidden_states [L + 1, B, T, D] in the config's dtype: the input, the output of each block
          but the last, and in place of the last block's the sum over blocks of tanh of their blind
          convolutions.
        """
        real = valid[..., None]
        x = jnp.where(real, shard_rows(x.astype(self.config.dtype)), 0)
        keys = [None] * len(self.layers)
        if key is not None:
            keys = jax.random.split(key, len(self.layers))
        hidden_states, total = [x], 0
        for block, blind, block_key in zip(self.layers, self.blind, keys, strict=True):
            x = jnp.where(real, shard_rows(block(x, key=block_key)), 0)
            total = total + jnp.tanh(blind(x))
            hidden_states.append(x)
        return jnp.stack([*hidden_states[:-1], total])
