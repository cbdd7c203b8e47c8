"""Frontend of log-mel features and acoustic descriptors: pitch, harmonicity, loudness, spectrum."""

import jax
import jax.numpy as jnp
import numpy as np

from sersl.audio.features import WINDOWS_PER_FRAME, on_own_rows
from sersl.config.schema import FrontendConfig
from sersl.models.descriptors import NAMES, describe
from sersl.models.frontend import LogMelFrontend

# Centre and scale of each descriptor, (value - centre) / scale: mean and standard deviation over
# the frames of RAVDESS, and over its voiced frames but for the descriptors of `_OF_ALL_FRAMES`.
STANDARD = {
    "f0": (34.4, 7.26),
    "voicing": (0.422, 0.403),
    "hnr": (10.9, 6.85),
    "level": (-65.7, 26.1),
    "loudness": (3.06, 5.79),
    "flux": (0.494, 0.265),
    "alpha_ratio": (10.6, 9.59),
    "hammarberg": (20.6, 10.6),
    "slope_0_500": (49.3, 41.5),
    "slope_500_1500": (-13.5, 12.7),
    "centroid": (0.935, 1.17),
    "h1_h2": (2.16, 13.3),
    "mfcc1": (21.5, 17.5),
    "mfcc2": (-1.96, 21.0),
    "mfcc3": (5.35, 21.1),
    "mfcc4": (-11.0, 24.3),
}
_OF_ALL_FRAMES = ("voicing", "level", "loudness", "flux")
_CENTRES, _SCALES = np.array([STANDARD[name] for name in NAMES], np.float32).T
_OF_VOICED = np.array([name not in _OF_ALL_FRAMES for name in NAMES])


class DescriptorFrontend(LogMelFrontend):
    """Log-mel features beside the descriptors of `sersl.models.descriptors` and voicing.

    A small network trained on an hour of speech does not learn to find the pitch in a spectrogram;
    here it does not have to. `frontend.normalize` is that of the log-mel features.
    """

    @staticmethod
    def count_features(config: FrontendConfig) -> int:
        """Returns the number of features: two windows of filters, descriptors, voiced or not."""
        return WINDOWS_PER_FRAME * config.num_mels + len(NAMES) + 1

    def features(self, waveform: jax.Array, valid: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Computes normalised features.

        Args:
          waveform: [B, N], 16 kHz.
          valid: bool [B, N], real samples, which come first.

        Returns:
          (float32 [B, T, F], 0 at padding; bool [B, T], the frames whose 400 samples are real).
        """
        mels, frame_valid = super().features(waveform, valid)
        described = standard_descriptors(jax.lax.stop_gradient(waveform), valid)
        return jnp.concatenate([mels, described], axis=-1), frame_valid


def standard_descriptors(waveform: jax.Array, valid: jax.Array) -> jax.Array:
    """Computes descriptors of about zero mean and unit variance, and which frames are voiced.

    Pitch, voice quality and spectral shape are those of voiced frames. Other frames have their mean
    over the voiced frames of the utterance, so that a mean over all frames is that over the voiced
    ones, as in eGeMAPS; the log-mel features keep the spectrum of the others.

    Args:
      waveform: [B, N] in [-1, 1], 16 kHz.
      valid: bool [B, N], real samples, which come first.

    Returns:
      float32 [B, T, 17] in the order of `NAMES`, then 1 where voiced; 0 at padding. Without a
      voiced frame, the descriptors of voiced frames are 0.
    """
    num_samples = valid.sum(1, dtype=jnp.int32)
    found = on_own_rows(lambda rows: describe(*rows), (waveform, num_samples))
    values = (found.values - _CENTRES) / _SCALES
    voiced = found.voiced[..., None]
    num_voiced = jnp.maximum(voiced.sum(1, keepdims=True), 1)
    mean = jnp.where(voiced, values, 0.0).sum(1, keepdims=True) / num_voiced
    values = jnp.where(_OF_VOICED & ~voiced, mean, values)
    values = jnp.concatenate([values, voiced.astype(jnp.float32)], axis=-1)
    return jnp.where(found.valid[..., None], values, 0.0)
