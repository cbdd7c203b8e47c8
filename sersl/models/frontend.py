"""Frontends map a waveform to frames at 50 Hz: their interface, and log-mel features."""

from collections.abc import Callable
from typing import Protocol

import jax
import jax.numpy as jnp
from flax import nnx

from sersl.audio.features import WINDOWS_PER_FRAME, log_mel
from sersl.config.schema import AugmentConfig, FrontendConfig
from sersl.core import lengths
from sersl.core.errors import UserError
from sersl.models.layers import LayerNorm, Linear

# Mean and population standard deviation of log mel power over all filters and real frames:
# averages of RAVDESS (every 8th file: -9.8 and 4.3) and LibriSpeech (-5.5 and 4.2).
FIXED_MEAN, FIXED_STD = -7.6, 4.7
# Added in quadrature to the standard deviation of a band of an utterance; speech has 2.5 to 5.
MIN_STD = 0.1


class Frontend(Protocol):
    """Maps a waveform to features at 50 Hz, and features to the width of the encoder.

    Attributes:
      config: its settings.
      attends_padding: whether the context network attends to padding, as Whisper's does.
      has_mels: whether features are bands of `num_mels` mel filters, which SpecAugment can mask.
    """

    config: FrontendConfig
    attends_padding: bool
    has_mels: bool

    @staticmethod
    def count_features(config: FrontendConfig) -> int:
        """Returns the number of features F of a frame."""
        ...

    def features(self, waveform: jax.Array, valid: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Computes features; padding never changes those of real frames.

        Args:
          waveform: [B, N] in [-1, 1], 16 kHz.
          valid: bool [B, N], real samples, which come first.

        Returns:
          (float32 [B, T, F], bool [B, T], real frames). T is num_frames(N), or the frames of the
          frontend's own window.
        """
        ...

    def project(self, features: jax.Array) -> jax.Array:
        """Maps features [B, T, F] to the encoder's width [B, T, D]."""
        ...


class LogMelFrontend(nnx.Module):
    """Log-mel features, then a linear map to the encoder's width with LayerNorm.

    The norm follows the map: before it, the norm would remove the level of each frame, which
    carries arousal.
    """

    attends_padding = False
    has_mels = True

    def __init__(self, config: FrontendConfig, *, width: int, dtype: str, key: jax.Array):
        """Makes the projection, if `config.projection`.

        Raises:
          UserError: without a projection, another width than the number of features.
        """
        self.config = config
        self.dtype = dtype
        num_features = self.count_features(config)
        if not config.projection:
            if width != num_features:
                raise UserError(
                    f"without frontend.projection a frame has {num_features} features, and "
                    f"encoder.width={width}: set encoder.width to {num_features}"
                )
            return
        # Features have unit variance; 1 / sqrt(inputs) keeps it (LeCun et al. 1998).
        self.projection = Linear(
            num_features,
            width,
            axes=("mel", "embed"),
            key=key,
            dtype=dtype,
            std=num_features**-0.5,
        )
        self.norm = LayerNorm(width, dtype=dtype)

    @staticmethod
    def count_features(config: FrontendConfig) -> int:
        """Returns the number of features of a frame: two windows of `num_mels` filters."""
        return WINDOWS_PER_FRAME * config.num_mels

    def features(self, waveform: jax.Array, valid: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Computes normalised features.

        Args:
          waveform: [B, N], 16 kHz.
          valid: bool [B, N], real samples, which come first.

        Returns:
          (float32 [B, T, F], 0 at padding; bool [B, T], the frames whose 400 samples are real).
        """
        waveform = jnp.where(valid, waveform, 0.0)
        features = log_mel(waveform, num_mels=self.config.num_mels)
        frame_valid = valid_frames(valid)
        normalized = NORMALIZATIONS[self.config.normalize](features, frame_valid)
        return jnp.where(frame_valid[..., None], normalized, 0.0), frame_valid

    def project(self, features: jax.Array) -> jax.Array:
        """Maps features [B, T, F] to the encoder's width [B, T, D]."""
        if not self.config.projection:
            return features.astype(self.dtype)
        return self.norm(self.projection(features))


def valid_frames(valid: jax.Array) -> jax.Array:
    """Marks the frames whose samples are all real: bool [B, N] samples to bool [B, T]."""
    num_real = lengths.num_frames(valid.sum(1, dtype=jnp.int32))
    return jnp.arange(lengths.num_frames(valid.shape[1])) < num_real[:, None]


def _fixed(features: jax.Array, valid: jax.Array) -> jax.Array:
    """One affine map for all audio: keeps loudness and channel."""
    return (features - FIXED_MEAN) / FIXED_STD


def _utterance(features: jax.Array, valid: jax.Array) -> jax.Array:
    """Zero mean and unit population standard deviation per band over the real frames of a row."""
    weights = valid[..., None].astype(jnp.float32)
    num_real = jnp.maximum(weights.sum(1, keepdims=True), 1.0)
    centred = features - (features * weights).sum(1, keepdims=True) / num_real
    variance = (jnp.square(centred) * weights).sum(1, keepdims=True) / num_real
    return centred / jnp.sqrt(variance + MIN_STD**2)


NORMALIZATIONS: dict[str, Callable[[jax.Array, jax.Array], jax.Array]] = {
    "fixed": _fixed,
    "utterance": _utterance,
}


def augment_waveform(waveform: jax.Array, config: AugmentConfig, *, key: jax.Array) -> jax.Array:
    """Scales each row by a gain drawn uniformly in dB from [-gain_db, gain_db].

    Args:
      waveform: [B, N].
      config: `gain_db` is read; 0 changes nothing.
      key: PRNG key.

    Returns:
      [B, N].
    """
    if config.gain_db == 0.0:
        return waveform
    shape = (waveform.shape[0], 1)
    gain = jax.random.uniform(key, shape, minval=-config.gain_db, maxval=config.gain_db)
    return waveform * 10.0 ** (gain / 20.0)


def augment_features(
    features: jax.Array, config: AugmentConfig, *, num_mels: int, key: jax.Array
) -> jax.Array:
    """Sets spans of frames and one band of filters to 0, the mean (SpecAugment).

    Args:
      features: [B, T, F], normalised.
      config: `time_mask_*` and `band_mask_width` are read; 0 changes nothing.
      num_mels: number of filters of each window.
      key: PRNG key.

    Returns:
      Like features.

    Source: SpecAugment (1904.08779), sec. 2; differs: spans have one length and may overlap,
    starting at every frame with the probability that hides `time_mask_fraction` on average.
    """
    time_key, band_key = jax.random.split(key)
    if config.time_mask_fraction > 0.0:
        hidden = time_mask(
            (features.shape[0], features.shape[1]),
            fraction=config.time_mask_fraction,
            span=config.time_mask_span,
            key=time_key,
        )
        features = jnp.where(hidden[..., None], 0.0, features)
    if config.band_mask_width > 0:
        hidden = band_mask(
            features.shape[0], num_mels=num_mels, width=config.band_mask_width, key=band_key
        )
        # The same filters in both windows of a frame, which come before all other features.
        hidden = jnp.tile(hidden, (1, WINDOWS_PER_FRAME))
        hidden = jnp.pad(hidden, ((0, 0), (0, features.shape[-1] - hidden.shape[1])))
        features = jnp.where(hidden[:, None, :], 0.0, features)
    return features


def time_mask(shape: tuple[int, int], *, fraction: float, span: int, key: jax.Array) -> jax.Array:
    """Draws spans to mask; spans may overlap.

    Args:
      shape: (B, T).
      fraction: mean fraction of all T to mask, in [0, 1).
      span: length of a span.
      key: PRNG key.

    Returns:
      bool [B, T], True = masked.
    """
    # A position is masked unless none of the last `span` starts one: 1 - (1 - p)^span = fraction.
    probability = 1.0 - (1.0 - fraction) ** (1.0 / span)
    starts = jax.random.bernoulli(key, probability, (shape[0], shape[1] + span - 1))
    count = jnp.cumsum(jnp.pad(starts, ((0, 0), (1, 0))), axis=1)
    return count[:, span:] > count[:, :-span]


def band_mask(num_rows: int, *, num_mels: int, width: int, key: jax.Array) -> jax.Array:
    """Draws one band of neighbouring mel filters per row to mask.

    Args:
      num_rows: rows of the batch.
      num_mels: number of filters.
      width: the widest band in filters; widths are uniform in 0..width.
      key: PRNG key.

    Returns:
      bool [num_rows, num_mels], True = masked.
    """
    width_key, start_key = jax.random.split(key)
    widths = jax.random.randint(width_key, (num_rows, 1), 0, min(width, num_mels) + 1)
    starts = jax.random.randint(start_key, (num_rows, 1), 0, num_mels - widths + 1)
    filters = jnp.arange(num_mels)
    return (filters >= starts) & (filters < starts + widths)
