"""Import of a Hugging Face folder: strict, one tensor at a time, whole or not at all.

The imported folder keeps the tensors of the source under their own names, bit by bit, so that it
still loads in transformers; `sersl.json` says how this project reads them.
"""

import dataclasses
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sersl.config.schema import HeadsConfig, PoolingConfig
from sersl.core.errors import UserError
from sersl.corpora.labels import DIMENSIONS
from sersl.eval.results import versions
from sersl.release import card
from sersl.release.architecture import Architecture
from sersl.release.folder import about_model
from sersl.release.huggingface.json_files import PREFIXES, class_name
from sersl.release.huggingface.settings import complete, settings
from sersl.release.huggingface.tensor_names import (
    OWN_PREFIX,
    WEIGHT_NORMS,
    Layout,
    places,
    stored_shapes,
)
from sersl.release.staging import staged, write_json
from sersl.release.tensors import (
    StoredTensor,
    as_float32,
    open_weights,
    read_json,
    write_safetensors,
)

# Parts of published models that are no part of an encoder or a classification head: quantiser and
# projections of pretraining, output of recognition, decoder of Whisper, heads per frame or speaker.
_LEFT_OUT = re.compile(
    r"(quantizer|project_hid|project_q|lm_head|proj_out|(model\.)?decoder|final_proj|tdnn"
    r"|objective|projector|classifier|layer_weights|label_embs_concat)(\..*)?"
)
_MASK = "masked_spec_embed"
# The one parameter that a source may lack: only pretraining uses it, and learns it.
_MASK_PARAMETER = "encoder.mask_embedding"


@dataclass(frozen=True)
class ImportReport:
    """What became of every tensor and every parameter.

    Attributes:
      architecture: of the model.
      used: names of the source's tensors that were taken over.
      unused: names of those that were left behind, as no part of the model.
      converted: names of those that were not float32.
      initial: parameters that the source has no numbers for.
      num_parameters: scalars in the written file.
    """

    architecture: Architecture
    used: tuple[str, ...]
    unused: tuple[str, ...]
    converted: tuple[str, ...]
    initial: tuple[str, ...]
    num_parameters: int


def import_folder(source: str | Path, output: str | Path, *, licence: str = "") -> ImportReport:
    """Imports a Hugging Face speech model.

    Args:
      source: folder with config.json, preprocessor_config.json and weights.
      output: folder to make; a released model that is there is replaced.
      licence: of the model, for its card; "" when it is not known.

    Returns:
      What became of every tensor and every parameter.

    Raises:
      UserError: a file is missing or damaged, the family is not supported, a tensor is missing,
        left over or of another shape; nothing is written then.
    """
    source, output = Path(source), Path(output)
    config, preprocessor = _configs(source)
    where = str(source / "config.json")
    known = complete(config, where=where)
    frontend, encoder = settings(known, preprocessor, where=where)
    tensors = open_weights(source)
    layout = _layout(known["model_type"], config, tensors, source)
    architecture = Architecture(
        frontend=frontend, encoder=encoder, **_heads(config, known, layout, where)
    )
    shapes = architecture.shapes()
    where_to = places(shapes, layout, frontend, encoder)
    wanted: dict[str, tuple[int, ...]] = {}
    initial = []
    for name in sorted(shapes):
        stored = stored_shapes(where_to[name], shapes[name])
        wanted |= stored
        initial += [name for tensor in stored if tensor.startswith(OWN_PREFIX)]
    if set(initial) - {_MASK_PARAMETER}:
        raise ValueError(f"no place is known for {initial}")  # a gap of huggingface_names
    unused = _compare(wanted, tensors, source)
    used = [name for name in wanted if name in tensors]
    report = ImportReport(
        architecture=architecture,
        used=tuple(used),
        unused=tuple(unused),
        converted=tuple(name for name in used if tensors[name].dtype != np.float32),
        initial=tuple(initial),
        num_parameters=sum(int(np.prod(shape)) for shape in shapes.values()),
    )
    about = _about(source, architecture, layout, report, licence)
    with staged(output) as staging:
        classified = layout.head == "projector"
        kept = {**config, "architectures": [class_name(layout.model_type, classified=classified)]}
        if layout.head == "dense":  # no class of transformers, so its own name is as good as any
            kept = config
        write_json(staging / "config.json", kept)
        write_json(staging / "preprocessor_config.json", preprocessor)
        write_json(staging / "sersl.json", about)
        write_safetensors(staging / "model.safetensors", wanted, _arrays(wanted, tensors))
        text = card.render(about, name=output.name, num_parameters=report.num_parameters)
        (staging / "README.md").write_text(text, encoding="utf-8")
    return report


def _configs(source: Path) -> tuple[dict, dict]:
    if not source.is_dir():
        raise UserError(f"source {source} does not exist: give a folder of a Hugging Face model")
    if (source / "sersl.json").is_file():
        raise UserError(f"{source} is a model of sersl already: use it as it is, without import")
    for name, use in (
        ("config.json", "says what the model is"),
        ("preprocessor_config.json", "says how the model wants to hear audio"),
    ):
        if not (source / name).is_file():
            raise UserError(f"{source} has no {name}, which {use}: download it too")
    return read_json(source / "config.json"), read_json(source / "preprocessor_config.json")


def _layout(family: str, config: Mapping, tensors: Mapping, source: Path) -> Layout:
    """Finds out what the source calls its tensors."""
    if family == "whisper":
        prefix = "model.encoder." if "model.encoder.conv1.weight" in tensors else "encoder."
    else:
        named = any(name.startswith(f"{PREFIXES[family]}encoder.") for name in tensors)
        prefix = PREFIXES[family] if named else ""
    stem = f"{prefix}encoder.pos_conv_embed.conv."
    spelling = "parametrizations"
    for name, (last, *_) in WEIGHT_NORMS.items():
        if stem + last in tensors:
            spelling = name
    architecture = str((config.get("architectures") or [""])[0])
    head = ""
    if "classifier.dense.weight" in tensors:
        head = "dense"
        if config.get("pooling_mode", "mean") != "mean":
            raise UserError(
                f"{source / 'config.json'}: pooling_mode={config['pooling_mode']!r} is not "
                "supported, only 'mean': take another model"
            )
    elif architecture.endswith(("ForSequenceClassification", "ForAudioClassification")):
        head = "projector"
    return Layout(
        model_type=family,
        prefix=prefix,
        weight_norm=spelling,
        mask_embedding=prefix + _MASK in tensors,
        head=head,
        output=_output(config, head, source),
    )


def _output(config: Mapping, head: str, source: Path) -> str:
    if not head:
        return ""
    labels = _labels(config, str(source / "config.json"))
    if sorted(name.lower() for name in labels) == sorted(DIMENSIONS):
        return "dimensions"
    if config.get("problem_type") == "regression":
        raise UserError(
            f"{source / 'config.json'}: a regression of {', '.join(labels)} is not supported, only "
            f"of {', '.join(DIMENSIONS)}: name them in id2label"
        )
    return "category"


def _labels(config: Mapping, where: str) -> tuple[str, ...]:
    labels = config.get("id2label", {"0": "LABEL_0", "1": "LABEL_1"})  # as transformers has it
    try:
        by_number = {int(number): str(name) for number, name in labels.items()}
        names = tuple(by_number[i] for i in range(len(by_number)))
    except (AttributeError, KeyError, ValueError) as error:
        raise UserError(f"{where}: id2label does not number the labels from 0") from error
    if len(set(names)) < len(names):
        raise UserError(f"{where}: id2label has two labels of the same name: give each its own")
    return names


def _heads(config: Mapping, known: Mapping, layout: Layout, where: str) -> dict:
    if not layout.head:
        return {}
    labels = _labels(config, where)
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
    predicted = {"dimensions": tuple(name.lower() for name in labels)}
    if layout.output == "category":
        predicted = {"categories": labels}
    return {"pooling": pooling, "heads": heads, **predicted}


def _compare(wanted: Mapping, tensors: Mapping[str, StoredTensor], source: Path) -> list[str]:
    """Checks names and shapes; returns the tensors that are no part of the model."""
    for name, shape in wanted.items():
        if name.startswith(OWN_PREFIX):
            continue
        if name not in tensors:
            raise UserError(
                f"{source} lacks tensor {name!r}, which a model of its config.json has: copy it "
                "again, all its files"
            )
        found = tensors[name].shape
        if found != shape:
            raise UserError(
                f"{tensors[name].file}: tensor {name!r} has shape {list(found)}, the sizes in "
                f"config.json make it {list(shape)}: copy both from the same model"
            )
    unused = sorted(tensors.keys() - wanted.keys())
    for name in unused:
        if not _LEFT_OUT.fullmatch(name):
            raise UserError(
                f"{tensors[name].file} has tensor {name!r}, which no model of its config.json has: "
                "the config belongs to another model, or the model is of an unsupported kind"
            )
    return unused


def _arrays(wanted: Mapping, tensors: Mapping) -> Iterator[tuple[str, np.ndarray]]:
    for name, shape in wanted.items():
        if name.startswith(OWN_PREFIX):
            yield name, np.zeros(shape, np.float32)
        else:
            yield name, as_float32(name, tensors[name])


def _about(source, architecture, layout, report, licence) -> dict:
    return {
        **about_model(architecture, name=source.resolve().name, licence=licence),
        "layout": dataclasses.asdict(layout),
        "results": None,
        "corpora": [],
        "origin": [],
        "init_from": "",
        "imported": {
            "source": source.resolve().name,
            "unused": list(report.unused),
            "converted": list(report.converted),
            "initial": list(report.initial),
        },
        "versions": versions(),
    }
