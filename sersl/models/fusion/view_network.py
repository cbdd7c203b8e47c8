"""The network of one further view: an encoder, or none for a table, and its pooling."""

import jax
import jax.numpy as jnp
from flax import nnx

from sersl.config.fusion import ViewConfig
from sersl.models.encoder import SpeechEncoder
from sersl.models.fusion.view_parts import Part, ViewInput, Widths
from sersl.models.pooling.pooling import Pooling


class ViewNetwork(nnx.Module):
    """Gives the vector and the frames of one view; its encoder has no dropout and never trains."""

    def __init__(self, config: ViewConfig, *, key: jax.Array):
        """Makes the encoder, where the view has one, and the pooling.

        Raises:
          UserError: settings of the pooling that do not go together.
        """
        keys = jax.random.split(key)
        self.config = config
        last, width = 0, config.width
        if config.kind == "encoder":
            self.encoder = SpeechEncoder(config.frontend, config.encoder, key=keys[0])
            last, width = config.encoder.last_layer, config.encoder.width
        self.pooling = Pooling(last, width, config.pooling, key=keys[1])
        self.widths = Widths(self.pooling.num_outputs, width)

    def input(self, waveform: jax.Array, valid: jax.Array) -> ViewInput:
        """Computes what the fusion needs of the encoder.

        Args:
          waveform: [B, N] in [-1, 1], 16 kHz.
          valid: bool [B, N], real samples, which come first.
        """
        encoded = self.encoder(waveform, valid)
        outputs = self.pooling.outputs(encoded.hidden_states, encoded.valid)
        if not self.pooling.count_vectors:
            return ViewInput(outputs, encoded.valid)
        shape = (len(waveform), self.pooling.count_vectors)
        return ViewInput(outputs, jnp.broadcast_to(encoded.valid.any(1)[:, None], shape))

    def missing(self, rows: int) -> ViewInput:
        """Makes the input of B rows of a table that lack this view."""
        shape = (rows, 1, self.config.num_vectors)
        return ViewInput(jnp.zeros((*shape, self.config.width)), jnp.zeros((rows, shape[2]), bool))

    def part(self, given: ViewInput, *, frames: bool, key: jax.Array | None = None) -> Part:
        """Pools the view.

        Args:
          given: kept, or from `input`.
          frames: whether the fusion reads frames.
          key: PRNG key of the dropout of a network over the frames; None: none.
        """
        present = given.valid.any(1)
        outputs = jnp.where(given.valid[:, None, :, None], given.outputs, 0).astype(jnp.float32)
        states = self.pooling.mix(jnp.moveaxis(outputs, 1, 0)) if frames else None
        vector = self.pooling.of_outputs(outputs, given.valid, key=key)
        everything = jnp.ones_like(present)
        return Part(vector, states, given.valid, present).only(everything)
