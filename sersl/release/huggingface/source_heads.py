"""The heads of a Hugging Face model: what they predict, and their settings."""

from collections.abc import Mapping
from typing import Any

from sersl.config.schema import HeadsConfig, PoolingConfig
from sersl.core.fields import Fields
from sersl.corpora.labels import DIMENSIONS, check_dimension
from sersl.release.huggingface.tensor_names import Layout


def output_of(config: Fields, head: str) -> str:
    """Names what a head of a source predicts: "category" or "dimensions"; "" without a head."""
    if not head:
        return ""
    labels = _labels(config)
    if sorted(name.lower() for name in labels) == sorted(DIMENSIONS):
        return "dimensions"
    if config.has("problem_type") and config.text("problem_type") == "regression":
        for name in labels:
            check_dimension(name.lower(), "id2label of config.json")
        return "dimensions"
    return "category"


def _labels(config: Fields) -> tuple[str, ...]:
    if not config.has("id2label"):
        return ("LABEL_0", "LABEL_1")  # the default of transformers
    labels = config.texts("id2label")
    names = tuple(labels.get(str(i), "") for i in range(len(labels)))
    if not all(names):
        raise config.wrong("id2label", "an object of names numbered from 0")
    if len(set(names)) < len(names):
        raise config.wrong("id2label", "an object of different names")
    return names


def heads_of(config: Fields, known: Mapping[str, Any], layout: Layout) -> dict[str, Any]:
    """Gives the fields of `Architecture` that describe the heads of a source; {} without any.

    Args:
      config: the fields of config.json.
      known: from `complete`.
      layout: of the tensors.
    """
    if not layout.head:
        return {}
    labels = _labels(config)
    weighted = layout.head == "projector" and known["use_weighted_layer_sum"]
    pooling = PoolingConfig(
        kind="mean",
        layers="weighted" if weighted else "last",
        standardize_layers=False,
        projection=known["classifier_proj_size"] if layout.head == "projector" else 0,
    )
    if layout.head == "projector":
        heads = HeadsConfig(kind="linear", bounded=False)
    else:
        heads = HeadsConfig(kind="tanh", bounded=False, hidden=known["hidden_size"])
    predicted: dict[str, Any] = {"dimensions": tuple(name.lower() for name in labels)}
    if layout.output == "category":
        kind = config.text("problem_type") if config.has("problem_type") else ""
        multi = kind == "multi_label_classification"
        predicted = {"categories": labels, "multi": multi}
    pools_window = layout.model_type == "whisper"  # as transformers, whose mean has the silence
    return {"pooling": pooling, "heads": heads, "pools_window": pools_window, **predicted}
