"""The whole predictor: encoder, pooling, and heads for categories and dimensions."""

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx

from sersl.config.schema import (
    AugmentConfig,
    EncoderConfig,
    FrontendConfig,
    HeadsConfig,
    PoolingConfig,
)
from sersl.core.errors import unknown_name
from sersl.models.encoder import SpeechEncoder
from sersl.models.frontend import valid_frames
from sersl.models.layers import Linear, dropout, standardize
from sersl.models.pooling.pooling import Pooling

# Between the layers of a head, by kind; None: there is one layer only.
ACTIVATIONS: dict[str, Callable[[jax.Array], jax.Array] | None] = {
    "gelu": functools.partial(jax.nn.gelu, approximate=False),
    "tanh": jnp.tanh,
    "linear": None,
}


class EmotionOutput(NamedTuple):
    """Outputs of a model for a batch, all float32.

    Attributes:
      category: [B, C] logits; C = 0 for a model without categories.
      dimensions: [B, D], in 0..1 where `heads.bounded`, in the order of the model's dimensions.
      embedding: [B, E], the pooled vector, input of the heads.
      frames: [B, T, C] logits of the same head for the second around each frame; 0 at padding;
        T = 0 where the pooling gives no vector per frame.
    """

    category: jax.Array
    dimensions: jax.Array
    embedding: jax.Array
    frames: jax.Array


def probabilities(logits: jax.Array, *, multi: bool) -> jax.Array:
    """Turns logits [..., C] into probabilities: of one category, or of each where several apply."""
    return jax.nn.sigmoid(logits) if multi else jax.nn.softmax(logits, axis=-1)


class Head(nnx.Module):
    """Maps a pooled vector to scores, with dropout before each layer.

    "gelu" standardises the vector and has a hidden layer, "tanh" has a hidden layer (as RoBERTa's
    head, and audEERING's for dimensions), "linear" is the output layer alone.
    """

    def __init__(self, num_inputs: int, num_outputs: int, config: HeadsConfig, *, key: jax.Array):
        """Makes the head, with output weights of `heads.output_deviation`."""
        if config.kind not in ACTIVATIONS:
            raise unknown_name("heads.kind", config.kind, ACTIVATIONS)
        self.config = config
        keys = jax.random.split(key)
        width, axis = num_inputs, None
        if ACTIVATIONS[config.kind] is not None:
            self.hidden = Linear(num_inputs, config.hidden, axes=(None, "mlp"), key=keys[0])
            width, axis = config.hidden, "mlp"
        self.output = Linear(
            width,
            num_outputs,
            axes=(axis, "classes"),
            key=keys[1],
            std=config.output_deviation,
        )

    def __call__(self, x: jax.Array, *, key: jax.Array | None = None) -> jax.Array:
        """Computes [..., num_outputs] from [..., E]; without a key there is no dropout."""
        keys = (None, None) if key is None else jax.random.split(key)
        if self.config.kind == "gelu":
            x = standardize(x)
        x = dropout(x, self.config.dropout, key=keys[0])
        activation = ACTIVATIONS[self.config.kind]
        if activation is None:
            return self.output(x)
        return self.output(dropout(activation(self.hidden(x)), self.config.dropout, key=keys[1]))


class EmotionModel(nnx.Module):
    """Waveform to categories, dimensions and an embedding; padding never changes an output.

    Parameters are under `encoder/`, `pooling/`, `category/` and `dimensions/`, the last two only
    where there is something to predict.
    """

    def __init__(
        self,
        frontend: FrontendConfig,
        encoder: EncoderConfig,
        pooling: PoolingConfig,
        heads: HeadsConfig,
        *,
        num_categories: int,
        num_dimensions: int,
        key: jax.Array,
        augment: AugmentConfig | None = None,
    ):
        """Makes the model.

        Args:
          frontend: waveform to frames.
          encoder: sizes of the Transformer.
          pooling: frames to a vector.
          heads: kind, hidden width and dropout.
          num_categories: C; 0 for none.
          num_dimensions: D; 0 for none.
          key: PRNG key of the initial weights.
          augment: changes to the input of calls with a key; None: none.

        Raises:
          UserError: an unknown name or sizes that do not divide.
        """
        keys = jax.random.split(key, 4)
        self.num_categories = num_categories
        self.num_dimensions = num_dimensions
        self.encoder = SpeechEncoder(frontend, encoder, key=keys[0], augment=augment)
        self.pooling = Pooling(encoder.num_layers, encoder.width, pooling, key=keys[1])
        if num_categories:
            self.category = Head(self.pooling.num_outputs, num_categories, heads, key=keys[2])
        if num_dimensions:
            self.dimensions = Head(self.pooling.num_outputs, num_dimensions, heads, key=keys[3])

    def __call__(
        self, waveform: jax.Array, valid: jax.Array, *, key: jax.Array | None = None
    ) -> EmotionOutput:
        """Predicts for a batch.

        Args:
          waveform: [B, N] in [-1, 1], 16 kHz.
          valid: bool [B, N], True = real; padding is at the end.
          key: PRNG key of dropout and augmentation; None: neither.

        Returns:
          Outputs; for a row without real frames they are finite and meaningless.
        """
        encoder_key = None if key is None else jax.random.split(key, 3)[0]
        encoded = self.encoder(waveform, valid, key=encoder_key)
        embedding, local = self.pooling(encoded.hidden_states, encoded.valid)
        category, dimensions = self._predict(embedding, key)
        frames = jnp.zeros((len(embedding), 0, self.num_categories))
        if self.num_categories and local is not None:
            frames = jnp.where(encoded.valid[..., None], self.category(local), 0.0)
        return EmotionOutput(category, dimensions, embedding, frames)

    def outputs(self, waveform: jax.Array, valid: jax.Array) -> jax.Array:
        """Computes what the heads need of the encoder, [B, L, F, D], see `Pooling.outputs`.

        Args:
          waveform: [B, N] in [-1, 1], 16 kHz.
          valid: bool [B, N], True = real, first.
        """
        encoded = self.encoder(waveform, valid)
        return self.pooling.outputs(encoded.hidden_states, encoded.valid)

    def from_outputs(
        self, outputs: jax.Array, valid: jax.Array, *, key: jax.Array | None = None
    ) -> EmotionOutput:
        """Predicts from kept outputs of the encoder, which does not run.

        Args:
          outputs: [B, L, F, D], as `outputs` gave them.
          valid: bool [B, N], True = real sample, first.
          key: PRNG key, as in a call.

        Returns:
          EmotionOutput without frames, [B, 0, C].
        """
        embedding = self.pooling.of_outputs(outputs, valid_frames(valid))
        category, dimensions = self._predict(embedding, key)
        frames = jnp.zeros((len(embedding), 0, self.num_categories))
        return EmotionOutput(category, dimensions, embedding, frames)

    def _predict(self, embedding: jax.Array, key: jax.Array | None) -> tuple[jax.Array, jax.Array]:
        """Maps [B, E] to (category [B, C], dimensions [B, 3 or 0])."""
        keys = (None,) * 3 if key is None else jax.random.split(key, 3)
        category = dimensions = jnp.zeros((len(embedding), 0))
        if self.num_categories:
            category = self.category(embedding, key=keys[1])
        if self.num_dimensions:
            dimensions = self.dimensions(embedding, key=keys[2])
            if self.dimensions.config.bounded:
                dimensions = jax.nn.sigmoid(dimensions)
        return category, dimensions
