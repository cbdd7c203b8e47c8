"""The speech encoder: frontend, masking and Transformer; what pretraining trains."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx

from sersl.config.schema import AugmentConfig, EncoderConfig, FrontendConfig
from sersl.core.errors import unknown_name
from sersl.models.frontend import FRONTENDS, augment_features, augment_waveform
from sersl.models.layers import dropout, truncated_normal
from sersl.models.masked_conv import MaskedConvolution
from sersl.models.recurrent import Recurrent
from sersl.models.transformer import Transformer

# Context networks: each is made as `Network(config, key=key)`, called as
# `network(x, valid, key=key)` with x [B, T, D], valid bool [B, T], and gives [L + 1, B, T, D].
CONTEXT = {"transformer": Transformer, "gru": Recurrent, "masked_conv": MaskedConvolution}


class EncoderOutput(NamedTuple):
    """What an encoder says of a batch.

    Attributes:
      features: float32 [B, T, F], normalised, neither masked nor augmented, 0 at padding.
      hidden_states: [L + 1, B, T, D] in the encoder's dtype. Index 0 is the input of the first
        layer after masking and dropout, i the output of layer i, L that of the last layer after
        the final LayerNorm. Frames that are not valid hold finite numbers without meaning.
      valid: bool [B, T], True = real.
    """

    features: jax.Array
    hidden_states: jax.Array
    valid: jax.Array


class SpeechEncoder(nnx.Module):
    """Waveform to hidden states of all layers, at 50 frames a second.

    A call runs `frontend.features`, `frontend.project` and `contextualize`, which objectives with a
    forward pass of their own may call apart.
    """

    def __init__(
        self,
        frontend: FrontendConfig,
        encoder: EncoderConfig,
        *,
        key: jax.Array,
        augment: AugmentConfig | None = None,
    ):
        """Makes the encoder.

        Args:
          frontend: waveform to frames.
          encoder: kind and sizes of the context network, and how it computes.
          key: PRNG key of the initial weights.
          augment: changes to the input in every call that has a key; None: none.

        Raises:
          UserError: an unknown name or sizes that do not divide.
        """
        if frontend.kind not in FRONTENDS:
            raise unknown_name("frontend.kind", frontend.kind, FRONTENDS)
        if encoder.kind not in CONTEXT:
            raise unknown_name("encoder.kind", encoder.kind, CONTEXT)
        frontend_key, mask_key, context_key = jax.random.split(key, 3)
        self.config = encoder
        self.augment = augment
        self.frontend = FRONTENDS[frontend.kind](
            frontend, width=encoder.width, dtype=encoder.dtype, key=frontend_key
        )
        # Takes the place of outputs of the frontend's LayerNorm, so it is about as long.
        self.mask_embedding = nnx.Param(
            truncated_normal(mask_key, (encoder.width,), std=1.0), axes=("embed",)
        )
        self.context = CONTEXT[encoder.kind](encoder, key=context_key)

    def __call__(
        self,
        waveform: jax.Array,
        valid: jax.Array,
        *,
        masked: jax.Array | None = None,
        key: jax.Array | None = None,
    ) -> EncoderOutput:
        """Encodes a batch; what stands where audio is not valid never changes real frames.

        Args:
          waveform: [B, N] in [-1, 1], 16 kHz.
          valid: bool [B, N], True = real, first.
          masked: bool [B, T], frames to hide from the Transformer; None: none.
          key: PRNG key of dropout and augmentation; None: neither.

        Returns:
          EncoderOutput with T = num_frames(N).
        """
        keys = _Keys.of(key)
        augmented = self.augment is not None and key is not None
        if augmented:
            waveform = augment_waveform(waveform, self.augment, key=keys.waveform)
        features, frame_valid = self.frontend.features(waveform, valid)
        seen = features
        if augmented:
            seen = augment_features(
                features, self.augment, num_mels=self.frontend.config.num_mels, key=keys.features
            )
        x = self.frontend.project(seen)
        hidden_states = self.contextualize(x, frame_valid, masked=masked, key=key)
        return EncoderOutput(features, hidden_states, frame_valid)

    def contextualize(
        self,
        x: jax.Array,
        frame_valid: jax.Array,
        *,
        masked: jax.Array | None = None,
        key: jax.Array | None = None,
    ) -> jax.Array:
        """Hides frames and runs the context network.

        Args:
          x: [B, T, D], projected features.
          frame_valid: bool [B, T], True = real.
          masked: bool [B, T], frames to replace by the mask embedding; None: none.
          key: PRNG key of the whole call, as `__call__` takes it; None: no dropout.

        Returns:
          hidden_states [L + 1, B, T, D], as in `EncoderOutput`.
        """
        keys = _Keys.of(key)
        if masked is not None:
            x = jnp.where(masked[..., None], self.mask_embedding[...].astype(x.dtype), x)
        x = dropout(x, self.config.dropout, key=keys.dropout)
        return self.context(x, frame_valid, key=keys.context)


class _Keys(NamedTuple):
    """The keys of one call, by purpose."""

    waveform: jax.Array | None
    features: jax.Array | None
    dropout: jax.Array | None
    context: jax.Array | None

    @classmethod
    def of(cls, key: jax.Array | None) -> "_Keys":
        return cls(*(None,) * 4) if key is None else cls(*jax.random.split(key, 4))
