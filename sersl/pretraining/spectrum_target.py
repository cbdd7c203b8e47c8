"""The log-mel spectrum as a target, with any frontend of the student."""

import jax
import jax.numpy as jnp

from sersl.audio.features import WINDOWS_PER_FRAME, log_mel
from sersl.config.schema import PretrainConfig
from sersl.models.frontend import FIXED_MEAN, FIXED_STD
from sersl.pretraining.terms.term import View


def spectrum(view: View, config: PretrainConfig) -> jax.Array:
    """Returns the normalised log-mel features of the clean audio.

    They are those of a log-mel frontend. With other frontends, whose features are learned and could
    become trivial to predict, they are computed from the waveform.

    Returns:
      float32 [B, T, F], 0 at padding, without gradient.
    """
    if config.frontend.kind == "log_mel":
        return jax.lax.stop_gradient(view.student.features)
    waveform = jnp.where(view.batch["valid"], view.batch["waveform"], 0.0)
    features = log_mel(waveform, num_mels=config.frontend.num_mels)
    return jnp.where(view.valid[..., None], (features - FIXED_MEAN) / FIXED_STD, 0.0)


def num_spectrum_features(config: PretrainConfig) -> int:
    """Returns the number of features F of `spectrum`."""
    return WINDOWS_PER_FRAME * config.frontend.num_mels
