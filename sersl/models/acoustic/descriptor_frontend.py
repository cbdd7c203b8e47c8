"""Frontend of log-mel features and acoustic descriptors: pitch, harmonicity, loudness, spectrum."""

import jax
import jax.numpy as jnp
import numpy as np

from sersl.audio.features import WINDOWS_PER_FRAME, on_own_rows
from sersl.config.schema import FrontendConfig
from sersl.models.acoustic.descriptors import NAMES, describe
from sersl.models.frontend import LogMelFrontend

# Centre and scale of each descriptor, (value - centre) / scale: mean and standard deviation over
# the frames of RAVDESS (those of f0, hnr and h1_h2 over voiced frames).
STANDARD = {
    "f0": (34.4, 7.26),
    "voicing": (0.422, 0.403),
    "hnr": (10.9, 6.85),
    "level": (-65.7, 26.1),
    "loudness": (3.06, 5.79),
    "flux": (0.494, 0.265),
    "alpha_ratio": (4.42, 10.1),
    "hammarberg": (15.4, 12.6),
    "slope_0_500": (12.3, 47.8),
    "slope_500_1500": (-7.13, 10.9),
    "centroid": (1.62, 1.49),
    "h1_h2": (2.16, 13.3),
    "mfcc1": (8.99, 17.6),
    "mfcc2": (0.861, 15.5),
    "mfcc3": (4.3, 15.2),
    "mfcc4": (-2.48, 18.8),
}
_OF_VOICED = ("f0", "hnr", "h1_h2")  # undefined in other frames, where they are set to 0, the mean
_CENTRES, _SCALES = np.array([STANDARD[name] for name in NAMES], np.float32).T
_VOICED_ONLY = np.array([name in _OF_VOICED for name in NAMES])


class DescriptorFrontend(LogMelFrontend):
    """Log-mel features beside the descriptors of `sersl.models.acoustic.descriptors` and voicing.

    A small network trained on an hour of speech does not learn to find the pitch in a spectrogram;
    here it does not have to. `frontend.normalize` is that of the log-mel features.
    """

    @staticmethod
    def count_features(config: FrontendConfig) -> int:
        """Returns the number of features: two windows of filters, descriptors, voiced or not."""
        return WINDOWS_PER_FRAME * config.num_mels + len(NAMES) + 1

    def features(self, waveform: jax.Array, valid: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Computes normalised features [B, T, F], see `LogMelFrontend.features`."""
        mels, frame_valid = super().features(waveform, valid)
        described = standard_descriptors(jax.lax.stop_gradient(waveform), valid)
        return jnp.concatenate([mels, described], axis=-1), frame_valid


def standard_descriptors(waveform: jax.Array, valid: jax.Array) -> jax.Array:
    """Computes descriptors of about zero mean and unit variance, and voicing.

    Args:
      waveform: [B, N] in [-1, 1], 16 kHz.
      valid: bool [B, N], real samples, which come first.

    Returns:
      float32 [B, T, 17] in the order of `NAMES`, then 1 where voiced; 0 at padding.
    """
    num_samples = valid.sum(1, dtype=jnp.int32)
    found = on_own_rows(lambda rows: describe(*rows), (waveform, num_samples))
    values = (found.values - _CENTRES) / _SCALES
    values = jnp.where(_VOICED_ONLY & ~found.voiced[..., None], 0.0, values)
    values = jnp.concatenate([values, found.voiced[..., None].astype(jnp.float32)], axis=-1)
    return jnp.where(found.valid[..., None], values, 0.0)
