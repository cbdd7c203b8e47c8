"""Frontend of mel-frequency cepstral coefficients."""

import jax
import jax.numpy as jnp
import numpy as np

from sersl.audio.features import WINDOWS_PER_FRAME, log_mel
from sersl.config.schema import FrontendConfig
from sersl.core.errors import UserError
from sersl.models.frontend import NORMALIZATIONS, LogMelFrontend, valid_frames


class MfccFrontend(LogMelFrontend):
    """The first coefficients of the discrete cosine transform of log-mel features.

    `frontend.normalize` fixed standardizes the log-mel features by constants, utterance each
    coefficient over the utterance. The transform is orthonormal (DCT-II), without liftering.
    """

    has_mels = False

    def __init__(self, config: FrontendConfig, *, width: int, dtype: str, key: jax.Array):
        """Makes the projection.

        Raises:
          UserError: more coefficients than filters.
        """
        if config.num_coefficients > config.num_mels:
            raise UserError(
                f"frontend.num_coefficients={config.num_coefficients} is above frontend.num_mels="
                f"{config.num_mels}: lower it to at most {config.num_mels}"
            )
        super().__init__(config, width=width, dtype=dtype, key=key)

    @staticmethod
    def count_features(config: FrontendConfig) -> int:
        """Returns the number of features of a frame: two windows of coefficients."""
        return WINDOWS_PER_FRAME * config.num_coefficients

    def features(self, waveform: jax.Array, valid: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Computes normalised coefficients [B, T, F], see `LogMelFrontend.features`."""
        mels = log_mel(jnp.where(valid, waveform, 0.0), num_mels=self.config.num_mels)
        frame_valid = valid_frames(valid)
        fixed = self.config.normalize == "fixed"
        if fixed:
            mels = NORMALIZATIONS["fixed"](mels, frame_valid)
        basis = cosines(self.config.num_mels, self.config.num_coefficients)
        windows = mels.reshape(*mels.shape[:2], WINDOWS_PER_FRAME, -1)
        found = jnp.matmul(windows, basis, precision=jax.lax.Precision.HIGHEST)
        found = found.reshape(*mels.shape[:2], -1)
        if not fixed:
            found = NORMALIZATIONS[self.config.normalize](found, frame_valid)
        return jnp.where(frame_valid[..., None], found, 0.0), frame_valid


def cosines(num_mels: int, num_coefficients: int) -> np.ndarray:
    """Returns the first columns of the orthonormal DCT-II: float32 [num_mels, num_coefficients]."""
    angles = np.pi * (np.arange(num_mels)[:, None] + 0.5) * np.arange(num_coefficients) / num_mels
    scale = np.where(np.arange(num_coefficients) == 0, 1.0, np.sqrt(2.0)) / np.sqrt(num_mels)
    return (np.cos(angles) * scale).astype(np.float32)
