"""The speech encoder: frontend, masking, positions and context network; what pretraining trains.

There is one path from a waveform to hidden states: `SpeechEncoder.encode`. Fine-tuning, prediction
and frozen teachers use it through `SpeechEncoder.__call__`; pretraining and its EMA teacher use it
through `sersl.pretraining.student`.
"""

from dataclasses import dataclass
from typing import NamedTuple, Protocol

import jax
import jax.numpy as jnp
from flax import nnx

from sersl.config.schema import AugmentConfig, EncoderConfig, FrontendConfig
from sersl.core import lengths
from sersl.core.errors import UserError, unknown_name
from sersl.models.acoustic.descriptor_frontend import DescriptorFrontend
from sersl.models.acoustic.functionals_frontend import FunctionalsFrontend
from sersl.models.acoustic.mfcc_frontend import MfccFrontend
from sersl.models.acoustic.unchanged import Unchanged
from sersl.models.frontend import (
    Frontend,
    LogMelFrontend,
    augment_features,
    augment_waveform,
    time_mask,
)
from sersl.models.layers import LayerNorm, dropout, fit_frames, shard_rows, truncated_normal
from sersl.models.masked_conv import MaskedConvolution
from sersl.models.positions import ADDED, POSITIONS
from sersl.models.present import on_present
from sersl.models.recurrent import Recurrent
from sersl.models.residual_conv import ResidualConvolution
from sersl.models.transformer import Transformer
from sersl.models.waveform import WaveformFrontend
from sersl.models.whisper import WhisperFrontend


class ContextNetwork(Protocol):
    """Contextualises frames."""

    def __call__(
        self, x: jax.Array, valid: jax.Array, *, key: jax.Array | None = None
    ) -> jax.Array:
        """Maps frames [B, T, D] with valid bool [B, T] to hidden states [L + 1, B, T, D]."""
        ...


# Each is made as `Frontend(config, width=, dtype=, key=)`.
FRONTENDS: dict[str, type[LogMelFrontend] | type[WaveformFrontend] | type[WhisperFrontend]] = {
    "log_mel": LogMelFrontend,
    "mfcc": MfccFrontend,
    "descriptors": DescriptorFrontend,
    "functionals": FunctionalsFrontend,
    "waveform": WaveformFrontend,
    "whisper": WhisperFrontend,
}
# Each is made as `Network(config, key=)`.
CONTEXT: dict[
    str, type[Transformer | Recurrent | MaskedConvolution | ResidualConvolution | Unchanged]
] = {
    "transformer": Transformer,
    "gru": Recurrent,
    "masked_conv": MaskedConvolution,
    "convolution": ResidualConvolution,
    "features": Unchanged,
}
# Kinds in which no frame depends on a later one.
CAUSAL = tuple(kind for kind, network in CONTEXT.items() if network.causal)
# Settings that are off by default and that the other kinds do not have.
_DROPOUTS = ("attention_dropout", "activation_dropout", "layer_drop")
_OF_TRANSFORMER = ("relative_bias", "side_layers", *_DROPOUTS)


class EncoderOutput(NamedTuple):
    """Outputs of an encoder for a batch.

    Attributes:
      features: float32 [B, T, F], normalised, neither masked nor augmented, 0 at padding.
      hidden_states: [L + 1, B, T, D] in the encoder's dtype. Index 0 is the input of the first
        layer, after masking, positions and dropout; i is the output of layer i; L is that of the
        last one, after the final LayerNorm if there is one. With a side branch its outputs follow,
        and L is `EncoderConfig.last_layer`. Finite but undefined at padding.
      valid: bool [B, T], real frames.
    """

    features: jax.Array
    hidden_states: jax.Array
    valid: jax.Array


@dataclass(frozen=True, kw_only=True)
class EncoderInput:
    """Features, and what to change about them on their way through the encoder.

    T is the number of frames of the batch. `features` have the frontend's own number of frames W,
    which differs from T for frontends with a window of their own; `encode` fits the rest to it.

    Attributes:
      features: [B, W, F], as `Frontend.features` returns them, perhaps altered.
      valid: bool [B, T], frames that the context network attends to.
      masked: bool [B, T], frames to replace by the mask embedding; None: none.
      added: [B, T, D], added to the projected features; None: nothing.
      hidden_channels: bool [B, D], channels to zero in all frames; None: none.
      tokens: [P, D], put in front of the frames of every row, without positions; None: none.
      most_valid: the largest number of valid frames of a row, if less than T. The context network
        then runs on that many frames, unless it needs the positions of all. None: T.
    """

    features: jax.Array
    valid: jax.Array
    masked: jax.Array | None = None
    added: jax.Array | None = None
    hidden_channels: jax.Array | None = None
    tokens: jax.Array | None = None
    most_valid: int | None = None


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
          frontend: settings of the frontend.
          encoder: settings of the context network.
          key: PRNG key of the initial weights.
          augment: augmentation of the input in every call with a key; None: none.

        Raises:
          UserError: an unknown name or sizes that do not divide.
        """
        _check(frontend, encoder, augment)
        keys = jax.random.split(key, 4)
        self.config = encoder
        self.augment = augment
        self.frontend: Frontend = FRONTENDS[frontend.kind](
            frontend, width=encoder.width, dtype=encoder.dtype, key=keys[0]
        )
        # It replaces outputs of the frontend's LayerNorm, so it has about their length.
        self.mask_embedding = nnx.Param(
            truncated_normal(keys[1], (encoder.width,), std=1.0), axes=("embed",)
        )
        if encoder.positions in ADDED:
            self.positions = ADDED[encoder.positions](encoder, key=keys[3])
        if encoder.norm == "post":
            self.norm = LayerNorm(encoder.width, dtype=encoder.dtype)
        self.context: ContextNetwork = CONTEXT[encoder.kind](encoder, key=keys[2])

    def __call__(
        self,
        waveform: jax.Array,
        valid: jax.Array,
        *,
        masked: jax.Array | None = None,
        key: jax.Array | None = None,
    ) -> EncoderOutput:
        """Encodes a batch; padding never changes the outputs of real frames.

        Args:
          waveform: [B, N] in [-1, 1], 16 kHz.
          valid: bool [B, N], real samples, which come first.
          masked: bool [B, T], frames to replace by the mask embedding; None: none.
          key: PRNG key of dropout and augmentation; None: neither.

        Returns:
          EncoderOutput with T = num_frames(N).
        """
        num_frames = lengths.num_frames(waveform.shape[1])
        if key is not None and self.augment is not None:
            waveform = augment_waveform(waveform, self.augment, key=_Keys.of(key).waveform)
        features, frame_valid = self.frontend.features(waveform, valid)
        given = EncoderInput(
            features=features, valid=fit_frames(frame_valid, num_frames, axis=1), masked=masked
        )
        if key is not None and self.augment is not None:
            given = self._augmented(given, self.augment, _Keys.of(key))
        hidden_states, _ = self.encode(given, key=key)
        return EncoderOutput(fit_frames(features, num_frames, axis=1), hidden_states, given.valid)

    def encode(
        self, given: EncoderInput, *, key: jax.Array | None = None
    ) -> tuple[jax.Array, jax.Array]:
        """Runs everything behind `Frontend.features`.

        Args:
          given: features and what to change about them.
          key: PRNG key of the call; None: no dropout.

        Returns:
          (hidden_states [L + 1, B, T, D], see `EncoderOutput`; the same of the tokens,
          [L + 1, B, P, D], P = 0 without any).
        """
        num_own, num_frames = given.features.shape[1], given.valid.shape[1]

        def own(x):
            return None if x is None else fit_frames(x, num_own, axis=1)

        x = self.frontend.project(given.features)
        if given.added is not None:
            x = x + fit_frames(given.added, num_own, axis=1).astype(x.dtype)
        hidden_states = self.contextualize(
            x,
            fit_frames(given.valid, num_own, axis=1),
            masked=own(given.masked),
            hidden_channels=given.hidden_channels,
            tokens=given.tokens,
            most_valid=given.most_valid,
            key=key,
        )
        num_tokens = 0 if given.tokens is None else len(given.tokens)
        token_states = hidden_states[:, :, :num_tokens]
        if num_tokens:
            hidden_states = hidden_states[:, :, num_tokens:]
        return fit_frames(hidden_states, num_frames, axis=2), token_states

    def contextualize(
        self,
        x: jax.Array,
        frame_valid: jax.Array,
        *,
        masked: jax.Array | None = None,
        hidden_channels: jax.Array | None = None,
        tokens: jax.Array | None = None,
        most_valid: int | None = None,
        key: jax.Array | None = None,
    ) -> jax.Array:
        """Masks frames, adds positions and runs the context network.

        Args:
          x: [B, T, D], projected features.
          frame_valid: bool [B, T], frames to attend to.
          masked: bool [B, T]; this and the rest as in `EncoderInput`.
          hidden_channels: bool [B, D].
          tokens: [P, D].
          most_valid: frames of a row.
          key: PRNG key of the whole call, as `__call__` takes it; None: no dropout.

        Returns:
          hidden_states [L + 1, B, P + T, D], those of the tokens first.
        """
        keys = None if key is None else _Keys.of(key)
        x = dropout(x, self.frontend.config.dropout, key=keys and keys.projection)
        if masked is not None:
            x = jnp.where(masked[..., None], self.mask_embedding[...].astype(x.dtype), x)
        if hidden_channels is not None:
            x = jnp.where(hidden_channels[:, None], 0.0, x)
        if self.frontend.attends_padding:
            frame_valid = jnp.ones_like(frame_valid)
        if self.config.positions in ADDED:
            x = shard_rows(self.positions(x, frame_valid))
        if self.config.norm == "post":
            x = self.norm(x)
        num_tokens = 0 if tokens is None else len(tokens)
        if tokens is not None:
            in_front = jnp.broadcast_to(tokens.astype(x.dtype), (len(x), *tokens.shape))
            x = jnp.concatenate([in_front, x], axis=1)
            frame_valid = jnp.pad(frame_valid, ((0, 0), (num_tokens, 0)), constant_values=True)
        x = dropout(x, self.config.dropout, key=keys and keys.dropout)
        context_key = keys and keys.context
        needs_positions = self.config.positions == "rotary" or self.config.relative_bias
        if most_valid is None or needs_positions:
            return self.context(x, frame_valid, key=context_key)
        return on_present(
            self.context, x, frame_valid, most=most_valid + num_tokens, key=context_key
        )

    def _augmented(
        self, given: EncoderInput, augment: AugmentConfig, keys: "_Keys"
    ) -> EncoderInput:
        """Masks time, bands and channels of the input of fine-tuning."""
        features, masked, hidden_channels = given.features, given.masked, None
        if self.frontend.has_mels:
            num_mels = self.frontend.config.num_mels
            features = augment_features(features, augment, num_mels=num_mels, key=keys.features)
        elif augment.time_mask_fraction:
            hidden = time_mask(
                (given.valid.shape[0], given.valid.shape[1]),
                fraction=augment.time_mask_fraction,
                span=augment.time_mask_span,
                key=keys.features,
            )
            masked = hidden if masked is None else masked | hidden
        if augment.channel_mask_fraction:
            hidden_channels = time_mask(
                (features.shape[0], self.config.width),
                fraction=augment.channel_mask_fraction,
                span=augment.channel_mask_span,
                key=keys.channels,
            )
        return EncoderInput(
            features=features, valid=given.valid, masked=masked, hidden_channels=hidden_channels
        )


class _Keys(NamedTuple):
    """The keys of one call, by purpose."""

    waveform: jax.Array
    features: jax.Array
    dropout: jax.Array
    context: jax.Array
    projection: jax.Array
    channels: jax.Array

    @classmethod
    def of(cls, key: jax.Array) -> "_Keys":
        return cls(*jax.random.split(key, len(cls._fields)))


def _check(frontend: FrontendConfig, encoder: EncoderConfig, augment: AugmentConfig | None) -> None:
    for setting, name, known in (
        ("frontend.kind", frontend.kind, FRONTENDS),
        ("encoder.kind", encoder.kind, CONTEXT),
        ("encoder.positions", encoder.positions, POSITIONS),
    ):
        if name not in known:
            raise unknown_name(setting, name, known)
    if not frontend.projection and not issubclass(FRONTENDS[frontend.kind], LogMelFrontend):
        raise UserError(
            f"frontend.kind={frontend.kind!r} always projects its features: set "
            "frontend.projection to True"
        )
    masks_bands = augment is not None and augment.band_mask_width
    if masks_bands and not FRONTENDS[frontend.kind].has_mels:
        raise UserError(
            f"augment.band_mask_width masks mel filters, and frontend.kind={frontend.kind} has "
            "none: set it to 0, or augment.channel_mask_fraction instead"
        )
    if not encoder.final_norm and (encoder.kind, encoder.norm) != ("transformer", "pre"):
        raise UserError("encoder.final_norm=False needs a pre-norm Transformer: leave it out")
    if encoder.kind != "transformer":
        for name in _OF_TRANSFORMER:
            if getattr(encoder, name):
                raise UserError(
                    f"encoder.{name} is a setting of encoder.kind 'transformer' that "
                    f"{encoder.kind!r} does not have: leave it out"
                )
