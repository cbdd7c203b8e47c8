"""Settings of encoders and frontends by size, for config files."""

import dataclasses

from ml_collections import ConfigDict

from sersl.config.schema import EncoderConfig, FrontendConfig
from sersl.core.errors import UserError, unknown_name

ENCODERS = {
    "nano": EncoderConfig(num_layers=2, width=32, num_heads=2, mlp_width=64),  # tests
    # CPU, minutes, from scratch: residual convolutions on 25 frames per second of log-mel features
    # and descriptors
    "light": EncoderConfig(
        kind="convolution",
        num_layers=2,
        width=64,
        kernel_frames=5,
        frame_stride=2,
        positions="none",
    ),
    "tiny": EncoderConfig(num_layers=4, width=128, num_heads=4, mlp_width=512),  # CPU, minutes
    # The layers of larger presets are scanned, so that compile time does not grow with depth.
    "small": EncoderConfig(  # GPU, hours
        num_layers=8, width=384, num_heads=6, mlp_width=1536, scan_layers=True
    ),
    # 94, 315 and 963 million parameters with the conv stack: wav2vec 2.0 BASE and LARGE
    # (2006.11477, sec. 4.2), and HuBERT X-LARGE (2106.07447, table 1)
    "base": EncoderConfig(num_layers=12, width=768, num_heads=12, mlp_width=3072, scan_layers=True),
    "large": EncoderConfig(
        num_layers=24, width=1024, num_heads=16, mlp_width=4096, scan_layers=True
    ),
    "xlarge": EncoderConfig(
        num_layers=48, width=1280, num_heads=16, mlp_width=5120, scan_layers=True
    ),
}
# Channels of the conv stack; 512 in every published model.
CONV_WIDTHS = {"nano": 32, "tiny": 64, "small": 256, "base": 512, "large": 512, "xlarge": 512}
POST_NORM = ("nano", "tiny", "small", "base")  # deeper ones are pre-norm ("stable layer norm")
KINDS = ("log_mel", "waveform")
# Of presets that have no form with another frontend.
OWN_FRONTEND = {"light": FrontendConfig(kind="descriptors", num_mels=20)}


def encoder_preset(name: str, *, frontend: str = "log_mel") -> ConfigDict:
    """Returns the encoder settings of a preset, which a config may change further.

    Args:
      name: a key of ENCODERS.
      frontend: log_mel for pre-norm with rotary positions, waveform for wav2vec 2.0 of that size.

    Returns:
      All settings of `EncoderConfig`.

    Raises:
      UserError: unknown preset or frontend.
    """
    _check(name, frontend)
    encoder = ENCODERS[name]
    if frontend == "waveform":
        norm = "post" if name in POST_NORM else "pre"
        encoder = dataclasses.replace(encoder, norm=norm, positions="convolution")
    return ConfigDict(dataclasses.asdict(encoder))


def frontend_preset(name: str, *, frontend: str = "log_mel") -> ConfigDict:
    """Returns the frontend settings of a preset, which a config may change further.

    Args:
      name: a key of ENCODERS.
      frontend: log_mel, with descriptors beside it for light, or waveform for wav2vec 2.0 of that
        size.

    Returns:
      All settings of `FrontendConfig`.

    Raises:
      UserError: unknown preset or frontend.
    """
    _check(name, frontend)
    config = OWN_FRONTEND.get(name, FrontendConfig())
    if frontend == "waveform":
        deep = name not in POST_NORM
        config = FrontendConfig(
            kind="waveform",
            conv_width=CONV_WIDTHS[name],
            conv_norm="layer" if deep else "group",
            conv_bias=deep,
            normalize="utterance" if deep else "fixed",
            gradient_scale=1.0 if deep else 0.1,  # 2006.11477, sec. 4.2 (BASE only)
        )
    return ConfigDict(dataclasses.asdict(config))


def _check(name: str, frontend: str) -> None:
    if name not in ENCODERS:
        raise unknown_name("preset", name, ENCODERS)
    if frontend not in KINDS:
        raise unknown_name("frontend", frontend, KINDS)
    if frontend == "waveform" and name in OWN_FRONTEND:
        raise UserError(
            f"preset {name} has its own frontend and no form with the waveform as input: leave "
            "_waveform out, or take another preset"
        )
