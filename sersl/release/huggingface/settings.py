"""From config.json and preprocessor_config.json to the settings of frontend and encoder.

A file of transformers omits settings that have the default of its class, so these defaults are
repeated here, as they are in transformers 5 (a test compares them).
"""

from collections.abc import Mapping
from typing import Any

from sersl.config.load import from_mapping
from sersl.config.schema import EncoderConfig, FrontendConfig
from sersl.core.errors import UserError, unknown_name
from sersl.core.lengths import CONVOLUTIONS, FRAME_RATE, SAMPLE_RATE
from sersl.models.layers import EPSILON

_WAV2VEC2: dict[str, Any] = {
    "hidden_size": 768,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "intermediate_size": 3072,
    "hidden_act": "gelu",
    "hidden_dropout": 0.1,
    "activation_dropout": 0.1,
    "attention_dropout": 0.1,
    "feat_proj_dropout": 0.0,
    "layerdrop": 0.1,
    "layer_norm_eps": 1e-5,
    "feat_extract_norm": "group",
    "feat_extract_activation": "gelu",
    "conv_dim": (512,) * len(CONVOLUTIONS),
    "conv_kernel": tuple(kernel for kernel, _ in CONVOLUTIONS),
    "conv_stride": tuple(stride for _, stride in CONVOLUTIONS),
    "conv_bias": False,
    "num_conv_pos_embeddings": 128,
    "num_conv_pos_embedding_groups": 16,
    "do_stable_layer_norm": False,
    "mask_time_prob": 0.05,
    "mask_feature_prob": 0.0,
    "use_weighted_layer_sum": False,
    "classifier_proj_size": 256,
    "add_adapter": False,
}
DEFAULTS: dict[str, dict[str, Any]] = {
    "wav2vec2": _WAV2VEC2 | {"adapter_attn_dim": None},
    "hubert": {k: v for k, v in _WAV2VEC2.items() if k != "add_adapter"}
    | {"feat_proj_layer_norm": True, "conv_pos_batch_norm": False},
    "wavlm": _WAV2VEC2 | {"num_buckets": 320, "max_bucket_distance": 800},
    "data2vec-audio": {
        k: v for k, v in _WAV2VEC2.items() if k not in ("feat_extract_norm", "do_stable_layer_norm")
    }
    | {"conv_pos_kernel_size": 19, "num_conv_pos_embeddings": 5},
    "whisper": {
        "d_model": 384,
        "encoder_layers": 4,
        "encoder_attention_heads": 6,
        "encoder_ffn_dim": 1536,
        "num_mel_bins": 80,
        "max_source_positions": 1500,
        "activation_function": "gelu",
        "dropout": 0.0,
        "attention_dropout": 0.0,
        "activation_dropout": 0.0,
        "encoder_layerdrop": 0.0,
        "use_weighted_layer_sum": False,
        "classifier_proj_size": 256,
    },
}
# Settings of which sersl implements one value only.
_ONLY: dict[str, Any] = {
    "hidden_act": "gelu",
    "activation_function": "gelu",
    "feat_extract_activation": "gelu",
    "layer_norm_eps": EPSILON,
    "add_adapter": False,
    "adapter_attn_dim": None,
    "conv_pos_batch_norm": False,
    "conv_kernel": DEFAULTS["wav2vec2"]["conv_kernel"],
    "conv_stride": DEFAULTS["wav2vec2"]["conv_stride"],
}


def complete(config: Mapping[str, Any], *, where: str) -> dict[str, Any]:
    """Adds the defaults of its family to a config.json.

    Args:
      config: content of the file.
      where: the file, for messages.

    Returns:
      The settings that are read, each with a value of its type.

    Raises:
      UserError: another family, a value of another type, or one that sersl does not implement.
    """
    if "model_type" not in config:
        raise UserError(f"{where} has no 'model_type': give the config.json of a speech model")
    family = config["model_type"]
    if not isinstance(family, str) or family not in DEFAULTS:
        raise unknown_name(f"family of models in {where}", f"{family!s:.80}", DEFAULTS)
    found = {}
    for key, default in DEFAULTS[family].items():
        value = config.get(key, default)
        value = tuple(value) if isinstance(value, list) else value
        if key in _ONLY and value != _ONLY[key]:
            raise UserError(
                f"{where}: {key}={value!r:.80} is not supported, only {_ONLY[key]!r}: use another "
                "model"
            )
        if not _is_like(value, default):
            raise UserError(
                f"{where} cannot be used: {key}={value!r:.80} is not of the type of {default!r}: "
                "copy the file again"
            )
        found[key] = value
    widths = found.get("conv_dim")
    if widths is not None and (len(widths) != len(CONVOLUTIONS) or len({*widths}) != 1):
        raise UserError(
            f"{where}: conv_dim={widths!r:.80} is not supported, only {len(CONVOLUTIONS)} layers "
            "of the same width: use another model"
        )
    return {"model_type": family, **found}


def _is_like(value: object, default: object) -> bool:
    """Tells whether a value has the type of a default; an integer may stand for a float."""
    if isinstance(default, tuple):
        return isinstance(value, tuple) and all(_is_like(item, default[0]) for item in value)
    if isinstance(default, float):
        return type(value) in (int, float)
    return type(value) is type(default)


def settings(
    config: Mapping[str, Any], preprocessor: Mapping[str, Any], *, where: str
) -> tuple[FrontendConfig, EncoderConfig]:
    """Translates a Hugging Face model into settings.

    Args:
      config: from `complete`.
      preprocessor: content of preprocessor_config.json.
      where: config.json, for messages.

    Returns:
      (frontend, encoder).

    Raises:
      UserError: a value of the wrong type or out of range, sizes that disagree, or another rate.
    """
    rate = preprocessor.get("sampling_rate", SAMPLE_RATE)
    if rate != SAMPLE_RATE:
        raise UserError(
            f"{where}: the model takes audio of {rate!r:.40} Hz, sersl has {SAMPLE_RATE} Hz: use "
            "another model"
        )
    normalize = preprocessor.get("do_normalize", True)
    if not isinstance(normalize, bool):
        raise UserError(
            f"{where}: do_normalize={normalize!r:.40} in preprocessor_config.json is neither true "
            "nor false: copy the file again"
        )
    if config["model_type"] == "whisper":
        of_frontend, of_encoder = _whisper(config)
    else:
        of_frontend, of_encoder = _waveform(config, normalize)
    try:
        frontend = from_mapping(FrontendConfig, of_frontend, "frontend.")
        encoder = from_mapping(EncoderConfig, of_encoder, "encoder.")
    except UserError as error:
        raise UserError(f"{where} cannot be used: {error}") from error
    if encoder.width % encoder.num_heads:
        raise UserError(
            f"{where}: a width of {encoder.width} cannot be divided by {encoder.num_heads} heads "
            "of attention, so its sizes disagree: copy the file again"
        )
    if encoder.width % encoder.position_groups:
        raise UserError(
            f"{where}: a width of {encoder.width} cannot be divided by {encoder.position_groups} "
            "groups (num_conv_pos_embedding_groups), so its sizes disagree: copy the file again"
        )
    return frontend, encoder


def _waveform(config: Mapping[str, Any], normalize: bool) -> tuple[dict[str, Any], dict[str, Any]]:
    family = config["model_type"]
    stacked = family == "data2vec-audio"
    pre = config.get("do_stable_layer_norm", False)
    frontend = {
        "kind": "waveform",
        "normalize": "utterance" if normalize else "fixed",
        "conv_width": config["conv_dim"][0],
        "conv_norm": "layer" if stacked else config["feat_extract_norm"],
        "conv_bias": config["conv_bias"],
        "feature_norm": config.get("feat_proj_layer_norm", True),
        "dropout": config["feat_proj_dropout"],
    }
    encoder = {
        "norm": "pre" if pre else "post",
        "positions": "convolution_stack" if stacked else "convolution",
        "position_kernel": config["conv_pos_kernel_size" if stacked else "num_conv_pos_embeddings"],
        "position_groups": config["num_conv_pos_embedding_groups"],
        "relative_bias": family == "wavlm",
        "num_layers": config["num_hidden_layers"],
        "width": config["hidden_size"],
        "num_heads": config["num_attention_heads"],
        "mlp_width": config["intermediate_size"],
        "dropout": config["hidden_dropout"],
        "attention_dropout": config["attention_dropout"],
        "activation_dropout": config["activation_dropout"],
        "layer_drop": config["layerdrop"],
    }
    if stacked:
        encoder["position_layers"] = config["num_conv_pos_embeddings"]
    if family == "wavlm":
        encoder["relative_buckets"] = config["num_buckets"]
        encoder["relative_distance"] = config["max_bucket_distance"]
    return frontend, encoder


def _whisper(config: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    frontend = {
        "kind": "whisper",
        "num_mels": config["num_mel_bins"],
        "window_seconds": config["max_source_positions"] / FRAME_RATE,
    }
    encoder = {
        "norm": "pre",
        "positions": "learned",
        "max_frames": config["max_source_positions"],
        "key_bias": False,
        "num_layers": config["encoder_layers"],
        "width": config["d_model"],
        "num_heads": config["encoder_attention_heads"],
        "mlp_width": config["encoder_ffn_dim"],
        "dropout": config["dropout"],
        "attention_dropout": config["attention_dropout"],
        "activation_dropout": config["activation_dropout"],
        "layer_drop": config["encoder_layerdrop"],
    }
    return frontend, encoder
