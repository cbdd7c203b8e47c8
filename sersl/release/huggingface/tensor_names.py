"""Names and layouts of every parameter in a Hugging Face file.

PyTorch stores a linear map as [outputs, inputs] and a convolution as [outputs, inputs, taps], sersl
in the reverse order; the kernel of the positional convolution is stored as a direction and a length
per tap (weight norm). Nothing else differs, so a file can be written back bit by bit.
"""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from sersl.config.schema import EncoderConfig, FrontendConfig
from sersl.core.errors import unknown_name
from sersl.core.lengths import CONVOLUTIONS

FAMILIES = ("wav2vec2", "hubert", "wavlm", "data2vec-audio", "whisper")
# Before every tensor that transformers has no place for.
OWN_PREFIX = "sersl."
# How the kernel of the positional convolution is stored: as PyTorch 1 did, 2 does, or as it is.
WEIGHT_NORMS = {
    "pair": ("weight_g", "weight_v"),
    "parametrizations": ("parametrizations.weight.original0", "parametrizations.weight.original1"),
    "folded": ("weight",),
}
_LAYER = {
    "attention_norm": "layer_norm",
    "mlp_norm": "final_layer_norm",
    "mlp_in": "feed_forward.intermediate_dense",
    "mlp_out": "feed_forward.output_dense",
    "attention.query": "attention.q_proj",
    "attention.key": "attention.k_proj",
    "attention.value": "attention.v_proj",
    "attention.output": "attention.out_proj",
}
_WHISPER_LAYER = {
    "attention_norm": "self_attn_layer_norm",
    "mlp_norm": "final_layer_norm",
    "mlp_in": "fc1",
    "mlp_out": "fc2",
    "attention.query": "self_attn.q_proj",
    "attention.key": "self_attn.k_proj",
    "attention.value": "self_attn.v_proj",
    "attention.output": "self_attn.out_proj",
}


@dataclass(frozen=True)
class Place:
    """How one parameter is stored in a file.

    Attributes:
      names: of its tensors: one, or length and direction of a weight norm.
      form: of `FORMS`.
    """

    names: tuple[str, ...]
    form: str = "same"


@dataclass(frozen=True, kw_only=True)
class Layout:
    """Names of the tensors of a Hugging Face file that the settings of a model leave open.

    Attributes:
      model_type: of config.json; one of `FAMILIES`.
      prefix: before the names of the encoder, e.g. "wav2vec2." or "".
      weight_norm: of `WEIGHT_NORMS`.
      mask_embedding: whether there is a `masked_spec_embed`.
      head: "projector" (sequence classification of transformers), "dense" (the layout of
        audEERING's models), or "" if transformers has no place for the heads.
      output: what that head predicts: "category" or "dimensions".
    """

    model_type: str
    prefix: str = ""
    weight_norm: str = "parametrizations"
    mask_embedding: bool = True
    head: str = ""
    output: str = ""

    def __post_init__(self) -> None:
        """Raises UserError for an unknown name."""
        for name, value, known in (
            ("model_type", self.model_type, FAMILIES),
            ("weight_norm", self.weight_norm, WEIGHT_NORMS),
            ("head", self.head, ("projector", "dense", "")),
            ("output", self.output, ("category", "dimensions", "")),
        ):
            if value not in known:
                raise unknown_name(f"layout.{name}", value, known)


def places(
    shapes: dict[str, tuple[int, ...]],
    layout: Layout | None,
    frontend: FrontendConfig,
    encoder: EncoderConfig,
) -> dict[str, Place]:
    """Finds the place of every parameter of a model.

    Args:
      shapes: of the parameters by flat name, e.g. "encoder.mask_embedding".
      layout: of the file; None: all under their own names.
      frontend: of the model.
      encoder: of the model.

    Returns:
      {name: place}, in the order of `shapes`. A parameter that the layout has no place for is
      stored under its own name after "sersl.".
    """
    if layout is None:
        return {name: Place((name,)) for name in shapes}
    known = _encoder_places(layout, frontend, encoder) | _head_places(layout)
    return {name: known.get(name, Place((OWN_PREFIX + name,))) for name in shapes}


def stored_shapes(place: Place, shape: tuple[int, ...]) -> dict[str, tuple[int, ...]]:
    """Gives the shapes of the tensors that a parameter of this shape is stored as.

    Args:
      place: of the parameter.
      shape: of the parameter.

    Returns:
      {name: shape}.
    """
    return dict(zip(place.names, FORMS[place.form].shapes(shape), strict=True))


def to_stored(place: Place, array: np.ndarray) -> dict[str, np.ndarray]:
    """Turns a parameter into the tensors it is stored as.

    Args:
      place: of the parameter.
      array: float32, of the parameter's shape.

    Returns:
      {name: float32 array}.
    """
    return dict(zip(place.names, FORMS[place.form].store(array), strict=True))


def to_parameter(place: Place, *stored: np.ndarray) -> np.ndarray:
    """Turns stored tensors into the parameter.

    Args:
      place: of the parameter.
      *stored: float32, in the order of the place's names, of the shapes of `stored_shapes`.

    Returns:
      A float32 array.
    """
    return FORMS[place.form].load(*stored)


def fold_weight_norm(length: np.ndarray, direction: np.ndarray) -> np.ndarray:
    """Multiplies length and direction of every tap.

    Args:
      length: float32 [1, 1, K].
      direction: float32 [outputs, inputs, K].

    Returns:
      Float32 [outputs, inputs, K]: length * direction / ||direction||, the norm over outputs and
      inputs, computed in float64. The direction itself, bit by bit, where its norm is the length
      already, as in every file that was written from a folded kernel.

    Source: Salimans and Kingma 2016 (1602.07868), eq. 2; dim=2 as in wav2vec 2.0.
    """
    norm = np.sqrt(np.square(direction, dtype=np.float64).sum((0, 1), keepdims=True))
    same = norm.astype(np.float32) == length
    scale = np.where(same, 1.0, length / np.where(norm > 0, norm, 1.0))
    return (direction * scale).astype(np.float32)


def _split_weight_norm(kernel: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    direction = np.ascontiguousarray(kernel.transpose(2, 1, 0))
    norm = np.sqrt(np.square(direction, dtype=np.float64).sum((0, 1), keepdims=True))
    return norm.astype(np.float32), direction


@dataclass(frozen=True)
class _Form:
    """How a parameter is stored.

    Attributes:
      shapes: from the shape of the parameter to those of the tensors.
      store: from the parameter to the tensors.
      load: from the tensors to the parameter.
    """

    shapes: Callable[[tuple[int, ...]], tuple[tuple[int, ...], ...]]
    store: Callable[[np.ndarray], tuple[np.ndarray, ...]]
    load: Callable[..., np.ndarray]


FORMS = {
    "same": _Form(lambda s: (s,), lambda x: (x,), lambda x: x),
    "linear": _Form(lambda s: (s[::-1],), lambda x: (x.T,), lambda x: x.T),
    "convolution": _Form(
        lambda s: (s[::-1],),
        lambda x: (x.transpose(2, 1, 0),),
        lambda x: x.transpose(2, 1, 0),
    ),
    "weight_norm": _Form(
        lambda s: ((1, 1, s[0]), s[::-1]),
        _split_weight_norm,
        lambda g, v: fold_weight_norm(g, v).transpose(2, 1, 0),
    ),
    "per_head": _Form(
        lambda s: ((1, s[0], 1, 1),), lambda x: (x.reshape(1, -1, 1, 1),), lambda x: x.reshape(-1)
    ),
}


def _linear(name: str, stored: str) -> dict[str, Place]:
    return {
        f"{name}.kernel": Place((f"{stored}.weight",), "linear"),
        f"{name}.bias": Place((f"{stored}.bias",)),
    }


def _norm(name: str, stored: str) -> dict[str, Place]:
    return {
        f"{name}.scale": Place((f"{stored}.weight",)),
        f"{name}.bias": Place((f"{stored}.bias",)),
    }


def _convolution(name: str, stored: str) -> dict[str, Place]:
    return {
        f"{name}.kernel": Place((f"{stored}.weight",), "convolution"),
        f"{name}.bias": Place((f"{stored}.bias",)),
    }


def _encoder_places(
    layout: Layout, frontend: FrontendConfig, encoder: EncoderConfig
) -> dict[str, Place]:
    if frontend.kind == "whisper":
        found = _whisper_places(encoder)
    else:
        found = _waveform_places(layout, frontend, encoder)
    return {
        f"encoder.{name}": dataclasses.replace(
            place, names=tuple(layout.prefix + stored for stored in place.names)
        )
        for name, place in found.items()
    }


def _whisper_places(encoder: EncoderConfig) -> dict[str, Place]:
    found = _convolution("frontend.conv1", "conv1") | _convolution("frontend.conv2", "conv2")
    found["positions.table"] = Place(("embed_positions.weight",))
    for i in range(encoder.num_layers):
        found |= _layer_places(i, _WHISPER_LAYER, "")
    return found | _norm("context.norm", "layer_norm")


def _waveform_places(
    layout: Layout, frontend: FrontendConfig, encoder: EncoderConfig
) -> dict[str, Place]:
    found: dict[str, Place] = {}
    if layout.mask_embedding:
        found["mask_embedding"] = Place(("masked_spec_embed",))
    for i in range(len(CONVOLUTIONS)):
        name, stored = f"frontend.convolutions.{i}", f"feature_extractor.conv_layers.{i}"
        found |= _convolution(name, f"{stored}.conv")
        found |= _norm(f"{name}.norm", f"{stored}.layer_norm")
    found |= _norm("frontend.feature_norm", "feature_projection.layer_norm")
    found |= _linear("frontend.projection", "feature_projection.projection")
    if encoder.positions == "convolution_stack":
        for i in range(encoder.position_layers):
            stored = f"encoder.pos_conv_embed.layers.{i}.conv"
            found |= _convolution(f"positions.convolutions.{i}", stored)
    else:
        stored = "encoder.pos_conv_embed.conv"
        names = tuple(f"{stored}.{name}" for name in WEIGHT_NORMS[layout.weight_norm])
        form = "convolution" if layout.weight_norm == "folded" else "weight_norm"
        found["positions.kernel"] = Place(names, form)
        found["positions.bias"] = Place((f"{stored}.bias",))
    found |= _norm("norm" if encoder.norm == "post" else "context.norm", "encoder.layer_norm")
    for i in range(encoder.num_layers):
        found |= _layer_places(i, _LAYER, "encoder.")
        if encoder.relative_bias:
            stored = f"encoder.layers.{i}.attention"
            name = f"context.layers.{i}.attention"
            found |= _linear(f"{name}.gate", f"{stored}.gru_rel_pos_linear")
            found[f"{name}.gate_scale"] = Place((f"{stored}.gru_rel_pos_const",), "per_head")
    if encoder.relative_bias:
        stored = "encoder.layers.0.attention.rel_attn_embed.weight"
        found["context.relative_bias.table"] = Place((stored,))
    return found


def _layer_places(i: int, names: dict[str, str], before: str) -> dict[str, Place]:
    found: dict[str, Place] = {}
    for name, stored in names.items():
        name, stored = f"context.layers.{i}.{name}", f"{before}layers.{i}.{stored}"
        if name.endswith("_norm"):
            found |= _norm(name, stored)
        else:
            found |= _linear(name, stored)
    return found


def _head_places(layout: Layout) -> dict[str, Place]:
    if layout.head == "projector":
        return {
            "pooling.layer_weights": Place(("layer_weights",)),
            **_linear("pooling.projection", "projector"),
            **_linear(f"{layout.output}.output", "classifier"),
        }
    if layout.head == "dense":
        return {
            **_linear(f"{layout.output}.hidden", "classifier.dense"),
            **_linear(f"{layout.output}.output", "classifier.out_proj"),
        }
    return {}
