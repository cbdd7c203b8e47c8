"""One small encoder of every family, by frontend, norm and kind of positions."""

import dataclasses

import jax
import numpy as np

from sersl.config.schema import EncoderConfig, FrontendConfig
from sersl.models.encoder import SpeechEncoder
from tests.models.small import ENCODER, compiled

CONVOLUTION = {"positions": "convolution", "position_kernel": 8, "position_groups": 4}
STACK = {
    "positions": "convolution_stack",
    "position_kernel": 5,
    "position_groups": 4,
    "position_layers": 3,
}
GATED = {"relative_bias": True, "relative_buckets": 16, "relative_distance": 30}
# (settings of the frontend, settings of the encoder)
FAMILIES = {
    "log_mel": ({}, {}),
    "log_mel_post": ({}, {"norm": "post", "positions": "sinusoidal"}),
    "wav2vec2_post": ({"kind": "waveform"}, {"norm": "post", **CONVOLUTION}),
    "wav2vec2_pre": (
        {"kind": "waveform", "conv_norm": "layer", "conv_bias": True, "normalize": "utterance"},
        CONVOLUTION,
    ),
    "hubert_post": ({"kind": "waveform", "feature_norm": False}, {"norm": "post", **CONVOLUTION}),
    "wavlm_post": ({"kind": "waveform"}, {"norm": "post", **CONVOLUTION, **GATED}),
    "wavlm_pre": (
        {"kind": "waveform", "conv_norm": "layer", "normalize": "utterance"},
        CONVOLUTION | GATED,
    ),
    "data2vec": ({"kind": "waveform", "conv_norm": "layer"}, {"norm": "post", **STACK}),
    "whisper": (
        {"kind": "whisper", "window_seconds": 1.6},
        {"positions": "learned", "max_frames": 80, "key_bias": False},
    ),
    "whisper_without_window": (
        {"kind": "whisper", "window_seconds": 0.0},
        {"positions": "learned", "max_frames": 80, "key_bias": False},
    ),
}


def settings(family, **changes) -> tuple[FrontendConfig, EncoderConfig]:
    """Gives the settings of a family, those of its encoder with changes."""
    frontend, encoder = FAMILIES[family]
    return (
        FrontendConfig(**{"conv_width": 12, "num_mels": 20} | frontend),
        dataclasses.replace(ENCODER, **encoder | changes),
    )


def encoder(family, *, augment=None, frontend_changes=None, **changes) -> SpeechEncoder:
    """Builds an encoder of a family."""
    frontend, config = settings(family, **changes)
    frontend = dataclasses.replace(frontend, **frontend_changes or {})
    return SpeechEncoder(frontend, config, key=jax.random.key(1), augment=augment)


def moved(params):
    """Adds noise to every parameter, so that no bias is zero and no scale is one."""
    rng = np.random.default_rng(0)
    return jax.tree.map(lambda x: x + 0.1 * rng.normal(size=x.shape).astype(np.float32), params)


def built(family, **changes):
    """Gives (noisy parameters, compiled call) of an encoder of a family."""
    params, run = compiled(encoder(family, **changes))
    return moved(params), run
