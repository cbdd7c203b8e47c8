"""What the files of a released model look like: of a family of transformers, or our own."""

from sersl.core.lengths import HOP, SAMPLE_RATE, WINDOW
from sersl.release.architecture import Architecture
from sersl.release.huggingface import json_files
from sersl.release.huggingface.tensor_names import Layout


def layout_for(architecture: Architecture) -> Layout | None:
    """Chooses what the tensors of a model are called in its file.

    Args:
      architecture: of the model.

    Returns:
      The layout of the family of transformers that computes the same, with its classification head
      where that computes the same too; None where there is no such family.
    """
    family = json_files.family_of(architecture.frontend, architecture.encoder)
    if family is None:
        return None
    output = _expressible_output(architecture)
    prefix = json_files.PREFIXES[family] if output else ""
    return Layout(
        model_type=family,
        prefix="encoder." if family == "whisper" else prefix,
        mask_embedding=family != "whisper",
        head="projector" if output else "",
        output=output,
    )


def _expressible_output(architecture: Architecture) -> str:
    """Names the output that the classification head of transformers can compute, or ""."""
    pooling, heads = architecture.pooling, architecture.heads
    if heads is None or heads.kind != "linear" or pooling.kind != "mean" or not pooling.projection:
        return ""
    if pooling.layers == "weighted" and pooling.standardize_layers:
        return ""
    if architecture.categories:
        return "category"
    return "" if heads.bounded else "dimensions"


def config_json(architecture: Architecture, layout: Layout | None) -> dict:
    """Writes config.json: sizes and category names, in the keys that Hugging Face readers look for.

    Args:
      architecture: of the model.
      layout: of its file.

    Returns:
      Content of the file.
    """
    encoder, pooling = architecture.encoder, architecture.pooling
    if layout is None:
        sizes = {
            "model_type": "sersl",
            "architectures": ["SpeechEncoder" if architecture.heads is None else "EmotionModel"],
            "hidden_size": encoder.width,
            "num_hidden_layers": encoder.num_layers,
            "num_attention_heads": encoder.num_heads,
            "intermediate_size": encoder.mlp_width,
            "hidden_act": "gelu",
            "dtype": "float32",
        }
    else:
        sizes = json_files.config_json(
            layout,
            architecture.frontend,
            encoder,
            weighted=pooling is not None and pooling.layers == "weighted",
            width=0 if pooling is None else pooling.projection,
        )
    regression = layout is not None and layout.output == "dimensions"
    labels = architecture.dimensions if regression else architecture.categories
    if not labels:
        return sizes
    return {
        **sizes,
        **({"problem_type": "regression"} if regression else {}),
        "id2label": {str(i): name for i, name in enumerate(labels)},
        "label2id": {name: i for i, name in enumerate(labels)},
    }


def preprocessor_json(architecture: Architecture, layout: Layout | None) -> dict:
    """Writes preprocessor_config.json: what audio must look like.

    Args:
      architecture: of the model.
      layout: of its file.

    Returns:
      Content of the file.
    """
    if layout is not None:
        return json_files.preprocessor_json(architecture.frontend)
    return {
        "feature_extractor_type": "SerslFeatureExtractor",
        "sampling_rate": SAMPLE_RATE,
        "feature_size": 1,
        "padding_side": "right",
        "padding_value": 0.0,
        "do_normalize": False,
        "return_attention_mask": True,
        "hop_length": HOP,
        "win_length": WINDOW,
        "num_mel_bins": architecture.frontend.num_mels,
    }
