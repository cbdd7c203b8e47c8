"""The context network without layers, for networks that read the features of a frontend."""

import jax
import jax.numpy as jnp
from flax import nnx

from sersl.config.schema import EncoderConfig
from sersl.core.errors import UserError
from sersl.models.layers import shard_rows


class Unchanged(nnx.Module):
    """Hands its input on as the output of one layer, so that the pooling reads the frontend."""

    causal = False

    def __init__(self, config: EncoderConfig, *, key: jax.Array):
        """Makes no parameters; `key` is what all context networks take.

        Raises:
          UserError: settings of layers, which do not exist.
        """
        del key
        if config.num_layers != 1 or config.remat != "none" or config.scan_layers:
            raise UserError(
                "encoder.kind 'features' has no layers: set encoder.num_layers to 1, encoder.remat "
                "to 'none' and encoder.scan_layers to False"
            )
        if config.positions != "none":
            raise UserError(
                f"encoder.kind 'features' has no positions: set encoder.positions to 'none', not "
                f"{config.positions!r}"
            )
        self.dtype = config.dtype

    def __call__(
        self, x: jax.Array, valid: jax.Array, *, key: jax.Array | None = None
    ) -> jax.Array:
        """Maps frames [B, T, D] with real ones bool [B, T] to [2, B, T, D], twice the frames."""
        x = jnp.where(valid[..., None], shard_rows(x.astype(self.dtype)), 0)
        return jnp.stack([x, x])
