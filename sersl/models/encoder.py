"""The speech encoder: frontend, masking and Transformer; what pretraining trains."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx

from sersl.config.schema import AugmentConfig, EncoderConfig, FrontendConfig
from sersl.core.errors import unknown_name
from sersl.models.frontend import FRONTENDS, augment_features, augment_waveform
from sersl.models.layers import dropout, truncated_normal
from sersl.models.transformer import Transformer


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
    """Waveform to hidden states of all layers, at 50 frames a second."""

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
          encoder: sizes of the Transformer, and how it computes.
          key: PRNG key of the initial weights.
          augment: changes to the input in every call that has a key; None: none.

        Raises:
          UserError: an unknown name or sizes that do not divide.
        """
        if frontend.kind not in FRONTENDS:
            raise unknown_name("frontend.kind", frontend.kind, FRONTENDS)
        frontend_key, mask_key, transformer_key = jax.random.split(key, 3)
        self.config = encoder
        self.augment = augment
        self.frontend = FRONTENDS[frontend.kind](
            frontend, width=encoder.width, dtype=encoder.dtype, key=frontend_key
        )
        # Takes the place of outputs of the frontend's LayerNorm, so it is about as long.
        self.mask_embedding = nnx.Param(
            truncated_normal(mask_key, (encoder.width,), std=1.0), axes=("embed",)
        )
        self.transformer = Transformer(encoder, key=transformer_key)

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
        keys = (None,) * 4 if key is None else jax.random.split(key, 4)
        augmented = self.augment is not None and key is not None
        if augmented:
            waveform = augment_waveform(waveform, self.augment, key=keys[0])
        features, frame_valid = self.frontend.features(waveform, valid)
        seen = features
        if augmented:
            seen = augment_features(
                features, self.augment, num_mels=self.frontend.config.num_mels, key=keys[1]
            )
        x = self.frontend.project(seen)
        if masked is not None:
            x = jnp.where(masked[..., None], self.mask_embedding[...].astype(x.dtype), x)
        x = dropout(x, self.config.dropout, key=keys[2])
        hidden_states = self.transformer(x, frame_valid, key=keys[3])
        return EncoderOutput(features, hidden_states, frame_valid)
