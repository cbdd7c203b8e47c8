"""The speech encoder: frontend, masking, positions and context network; what pretraining trains."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx

from sersl.config.schema import AugmentConfig, EncoderConfig, FrontendConfig
from sersl.core import lengths
from sersl.core.errors import UserError, unknown_name
from sersl.models.frontend import LogMelFrontend, augment_features, augment_waveform, time_mask
from sersl.models.layers import LayerNorm, dropout, shard_rows, truncated_normal
from sersl.models.masked_conv import MaskedConvolution
from sersl.models.positions import ADDED, POSITIONS
from sersl.models.present import on_present
from sersl.models.recurrent import Recurrent
from sersl.models.transformer import Transformer
from sersl.models.waveform import WaveformFrontend
from sersl.models.whisper import WhisperFrontend

# Each is made as `Frontend(config, width=, dtype=, key=)` and has `features`, `project`,
# `num_features`, `hears_padding` (whether frames at padding are used) and `has_mels` (whether the
# features are bands of `num_mels` mel filters, which SpecAugment can mask).
FRONTENDS = {"log_mel": LogMelFrontend, "waveform": WaveformFrontend, "whisper": WhisperFrontend}
# Context networks: each is made as `Network(config, key=key)`, called as
# `network(x, valid, key=key)` with x [B, T, D] and valid bool [B, T], and returns [L + 1, B, T, D].
# `causal` tells whether no frame depends on a later one.
CONTEXT = {"transformer": Transformer, "gru": Recurrent, "masked_conv": MaskedConvolution}
CAUSAL = tuple(kind for kind, network in CONTEXT.items() if network.causal)
# Settings that are off by default and that the other kinds would leave unread.
_OF_TRANSFORMER = ("relative_bias", "attention_dropout", "activation_dropout", "layer_drop")


class EncoderOutput(NamedTuple):
    """What an encoder says of a batch.

    Attributes:
      features: float32 [B, T, F], normalised, neither masked nor augmented, 0 at padding.
      hidden_states: [L + 1, B, T, D] in the encoder's dtype. Index 0 is the input of the first
        layer, after masking, positions and dropout; i the output of layer i; L that of the last
        one, pre-norm after the final LayerNorm. Frames that are not valid hold finite numbers
        without meaning.
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
        if encoder.positions not in POSITIONS:
            raise unknown_name("encoder.positions", encoder.positions, POSITIONS)
        if (
            augment is not None
            and augment.band_mask_width
            and not FRONTENDS[frontend.kind].has_mels
        ):
            raise UserError(
                "augment.band_mask_width hides mel filters, and frontend.kind="
                f"{frontend.kind} has none: set it to 0, or augment.channel_mask_fraction instead"
            )
        if encoder.kind != "transformer":
            for name in _OF_TRANSFORMER:
                if getattr(encoder, name):
                    raise UserError(
                        f"encoder.{name} is a setting of encoder.kind 'transformer' that "
                        f"{encoder.kind!r} does not have: leave it out"
                    )
        keys = jax.random.split(key, 4)
        self.config = encoder
        self.augment = augment
        self.frontend = FRONTENDS[frontend.kind](
            frontend, width=encoder.width, dtype=encoder.dtype, key=keys[0]
        )
        # Takes the place of outputs of the frontend's LayerNorm, so it is about as long.
        self.mask_embedding = nnx.Param(
            truncated_normal(keys[1], (encoder.width,), std=1.0), axes=("embed",)
        )
        if encoder.positions in ADDED:
            self.positions = ADDED[encoder.positions](encoder, key=keys[3])
        if encoder.norm == "post":
            self.norm = LayerNorm(encoder.width, dtype=encoder.dtype)
        self.context = CONTEXT[encoder.kind](encoder, key=keys[2])

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
        augment = None if key is None else self.augment
        if augment is not None:
            waveform = augment_waveform(waveform, augment, key=keys.waveform)
        features, frame_valid = self.frontend.features(waveform, valid)
        seen, hidden_channels = features, None
        if masked is not None:
            masked = fit_frames(masked, frame_valid.shape[1], axis=1)
        if augment is not None and self.frontend.has_mels:
            num_mels = self.frontend.config.num_mels
            seen = augment_features(features, augment, num_mels=num_mels, key=keys.features)
        elif augment is not None and augment.time_mask_fraction:
            hidden = time_mask(
                frame_valid.shape,
                fraction=augment.time_mask_fraction,
                span=augment.time_mask_span,
                key=keys.features,
            )
            masked = hidden if masked is None else masked | hidden
        if augment is not None and augment.channel_mask_fraction:
            hidden_channels = time_mask(
                (len(waveform), self.config.width),
                fraction=augment.channel_mask_fraction,
                span=augment.channel_mask_span,
                key=keys.channels,
            )
        x = self.frontend.project(seen)
        hidden_states = self.contextualize(
            x, frame_valid, masked=masked, hidden_channels=hidden_channels, key=key
        )
        num_frames = lengths.num_frames(waveform.shape[1])
        return EncoderOutput(
            fit_frames(features, num_frames, axis=1),
            fit_frames(hidden_states, num_frames, axis=2),
            fit_frames(frame_valid, num_frames, axis=1),
        )

    def contextualize(
        self,
        x: jax.Array,
        frame_valid: jax.Array,
        *,
        masked: jax.Array | None = None,
        hidden_channels: jax.Array | None = None,
        tokens: jax.Array | None = None,
        most_present: int | None = None,
        key: jax.Array | None = None,
    ) -> jax.Array:
        """Hides frames, adds positions and runs the context network.

        Args:
          x: [B, T, D], projected features.
          frame_valid: bool [B, T], True = real.
          masked: bool [B, T], frames to replace by the mask embedding; None: none.
          hidden_channels: bool [B, D], channels to zero in all frames; None: none.
          tokens: [P, D], put in front of the frames of every row, without positions of their own;
            None: none.
          most_present: frames of a row that are real at most, where fewer than T; the context
            network then runs on so many, unless it needs the positions of all. None: T.
          key: PRNG key of the whole call, as `__call__` takes it; None: no dropout.

        Returns:
          hidden_states [L + 1, B, P + T, D], as in `EncoderOutput`; first those of the tokens.
        """
        keys = _Keys.of(key)
        x = dropout(x, self.frontend.config.dropout, key=keys.projection)
        if masked is not None:
            x = jnp.where(masked[..., None], self.mask_embedding[...].astype(x.dtype), x)
        if hidden_channels is not None:
            x = jnp.where(hidden_channels[:, None], 0.0, x)
        if self.frontend.hears_padding:
            frame_valid = jnp.ones_like(frame_valid)
        if self.config.positions in ADDED:
            x = shard_rows(self.positions(x, frame_valid))
        if self.config.norm == "post":
            x = self.norm(x)
        if tokens is not None:
            rows, num_tokens = len(x), len(tokens)
            in_front = jnp.broadcast_to(tokens.astype(x.dtype), (rows, *tokens.shape))
            x = jnp.concatenate([in_front, x], axis=1)
            frame_valid = jnp.pad(frame_valid, ((0, 0), (num_tokens, 0)), constant_values=True)
        x = dropout(x, self.config.dropout, key=keys.dropout)
        knows_positions = self.config.positions == "rotary" or self.config.relative_bias
        if most_present is None or knows_positions:
            return self.context(x, frame_valid, key=keys.context)
        most = most_present + (0 if tokens is None else num_tokens)
        return on_present(self.context, x, frame_valid, most=most, key=keys.context)


def fit_frames(x: jax.Array, num_frames: int, *, axis: int) -> jax.Array:
    """Cuts frames or pads them with zeros: a frontend with a window of its own has its own number.

    Args:
      x: [..., T, ...], of any dtype.
      num_frames: wanted.
      axis: of the frames.

    Returns:
      The array with so many frames.
    """
    missing = num_frames - x.shape[axis]
    if missing <= 0:
        return jax.lax.slice_in_dim(x, 0, num_frames, axis=axis)
    return jnp.pad(x, [(0, missing if i == axis else 0) for i in range(x.ndim)])


class _Keys(NamedTuple):
    """The keys of one call, by purpose."""

    waveform: jax.Array | None
    features: jax.Array | None
    dropout: jax.Array | None
    context: jax.Array | None
    projection: jax.Array | None
    channels: jax.Array | None

    @classmethod
    def of(cls, key: jax.Array | None) -> "_Keys":
        num_keys = len(cls._fields)
        return cls(*(None,) * num_keys) if key is None else cls(*jax.random.split(key, num_keys))
