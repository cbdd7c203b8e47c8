"""From the settings of frontend and encoder to config.json and preprocessor_config.json."""

from sersl.config.schema import EncoderConfig, FrontendConfig
from sersl.core.lengths import CONVOLUTIONS, FRAME_RATE, SAMPLE_RATE
from sersl.models.layers import EPSILON
from sersl.release.huggingface.settings import DEFAULTS
from sersl.release.huggingface.tensor_names import Layout

# Name before the encoder's tensors, and of the classes, per family.
PREFIXES = {
    "wav2vec2": "wav2vec2.",
    "hubert": "hubert.",
    "wavlm": "wavlm.",
    "data2vec-audio": "data2vec_audio.",
    "whisper": "model.",
}
_CLASSES = {
    "wav2vec2": ("Wav2Vec2Model", "Wav2Vec2ForSequenceClassification"),
    "hubert": ("HubertModel", "HubertForSequenceClassification"),
    "wavlm": ("WavLMModel", "WavLMForSequenceClassification"),
    "data2vec-audio": ("Data2VecAudioModel", "Data2VecAudioForSequenceClassification"),
    "whisper": ("WhisperModel", "WhisperForAudioClassification"),
}


def family_of(frontend: FrontendConfig, encoder: EncoderConfig) -> str | None:
    """Finds the family of transformers that computes what these settings do.

    Args:
      frontend: of the model.
      encoder: of the model.

    Returns:
      A `model_type`, or None where transformers has no such model.
    """
    if encoder.kind != "transformer" or not encoder.final_norm:
        return None
    if frontend.kind == "whisper":
        whisper = (encoder.norm, encoder.positions, encoder.key_bias, encoder.relative_bias)
        return "whisper" if whisper == ("pre", "learned", False, False) else None
    if frontend.kind != "waveform" or not encoder.key_bias:
        return None
    if encoder.positions == "convolution_stack":
        same = encoder.norm == "post" and frontend.conv_norm == "layer" and frontend.feature_norm
        return "data2vec-audio" if same and not encoder.relative_bias else None
    if encoder.positions != "convolution":
        return None
    if not frontend.feature_norm:
        return None if encoder.relative_bias else "hubert"
    return "wavlm" if encoder.relative_bias else "wav2vec2"


def class_name(family: str, *, classified: bool) -> str:
    """Names the class of transformers that loads a file.

    Args:
      family: a `model_type`.
      classified: whether the file has its classification head.

    Returns:
      The name for `architectures` in config.json.
    """
    return _CLASSES[family][classified]


def config_json(
    layout: Layout, frontend: FrontendConfig, encoder: EncoderConfig, *, weighted: bool, width: int
) -> dict:
    """Writes the config.json that transformers reads; undoes `settings`.

    Args:
      layout: of the file.
      frontend: of the model.
      encoder: of the model.
      weighted: whether the head reads a weighted sum of layers.
      width: of the head's projector; 0 without one.

    Returns:
      Content of the file, without labels.
    """
    family = layout.model_type
    common = {
        "model_type": family,
        "architectures": [class_name(family, classified=layout.head == "projector")],
        "dtype": "float32",
        "use_weighted_layer_sum": weighted,
        "classifier_proj_size": width or DEFAULTS[family]["classifier_proj_size"],
        "attention_dropout": encoder.attention_dropout,
        "activation_dropout": encoder.activation_dropout,
    }
    if family == "whisper":
        return common | {
            "d_model": encoder.width,
            "encoder_layers": encoder.num_layers,
            "encoder_attention_heads": encoder.num_heads,
            "encoder_ffn_dim": encoder.mlp_width,
            "num_hidden_layers": encoder.num_layers,
            "num_mel_bins": frontend.num_mels,
            "max_source_positions": encoder.max_frames,
            "activation_function": "gelu",
            "dropout": encoder.dropout,
            "encoder_layerdrop": encoder.layer_drop,
            # The file has no decoder; transformers takes one without layers.
            "decoder_layers": 0,
            "decoder_attention_heads": encoder.num_heads,
        }
    stacked = family == "data2vec-audio"
    content = common | {
        "hidden_size": encoder.width,
        "num_hidden_layers": encoder.num_layers,
        "num_attention_heads": encoder.num_heads,
        "intermediate_size": encoder.mlp_width,
        "hidden_act": "gelu",
        "hidden_dropout": encoder.dropout,
        "feat_proj_dropout": frontend.dropout,
        "layerdrop": encoder.layer_drop,
        "layer_norm_eps": EPSILON,
        "feat_extract_norm": frontend.conv_norm,
        "feat_extract_activation": "gelu",
        "conv_dim": [frontend.conv_width] * len(CONVOLUTIONS),
        "conv_kernel": [kernel for kernel, _ in CONVOLUTIONS],
        "conv_stride": [stride for _, stride in CONVOLUTIONS],
        "conv_bias": frontend.conv_bias,
        "num_conv_pos_embeddings": encoder.position_layers if stacked else encoder.position_kernel,
        "num_conv_pos_embedding_groups": encoder.position_groups,
        "do_stable_layer_norm": encoder.norm == "pre",
    }
    if stacked:
        content["conv_pos_kernel_size"] = encoder.position_kernel
    if family == "hubert":
        content["feat_proj_layer_norm"] = frontend.feature_norm
    if family == "wavlm":
        content["num_buckets"] = encoder.relative_buckets
        content["max_bucket_distance"] = encoder.relative_distance
    return content


def preprocessor_json(frontend: FrontendConfig, encoder: EncoderConfig) -> dict:
    """Writes the preprocessor_config.json that transformers reads.

    Args:
      frontend: of kind "waveform" or "whisper".
      encoder: of the model.

    Returns:
      Content of the file.
    """
    common = {"sampling_rate": SAMPLE_RATE, "padding_side": "right", "padding_value": 0.0}
    if frontend.kind == "whisper":
        return common | {
            "feature_extractor_type": "WhisperFeatureExtractor",
            "feature_size": frontend.num_mels,
            "hop_length": 160,
            "n_fft": 400,
            # transformers pads to all of the positions.
            "chunk_length": round(encoder.max_frames / FRAME_RATE),
            "return_attention_mask": False,
        }
    return common | {
        "feature_extractor_type": "Wav2Vec2FeatureExtractor",
        "feature_size": 1,
        "do_normalize": frontend.normalize == "utterance",
        # A model with group norm was trained without a mask, with zeros for padding.
        "return_attention_mask": frontend.conv_norm == "layer",
    }
