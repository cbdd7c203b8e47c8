"""Import of a Hugging Face folder: strict, one tensor at a time, whole or not at all.

The imported folder keeps the tensors of the source under their own names, bit by bit, so that it
still loads in transformers; sersl.json describes how sersl reads them.
"""

import dataclasses
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from sersl.config.schema import HeadsConfig, PoolingConfig
from sersl.core.errors import UserError
from sersl.core.fields import Fields
from sersl.core.files import read_json
from sersl.corpora.labels import DIMENSIONS, check_dimension
from sersl.eval.results import versions
from sersl.release import card
from sersl.release.about import describe
from sersl.release.architecture import Architecture
from sersl.release.folder import write_files
from sersl.release.huggingface.json_files import PREFIXES, class_name
from sersl.release.huggingface.settings import complete, settings
from sersl.release.huggingface.tensor_names import (
    OWN_PREFIX,
    WEIGHT_NORMS,
    Layout,
    places,
    stored_shapes,
)
from sersl.release.label_facts import LabelFacts
from sersl.release.layout import ABOUT, CONFIG, PREPROCESSOR, check_destination, whole_model
from sersl.release.licences import stated_licence
from sersl.release.tensors import StoredTensor, as_float32, open_weights

# Parts of published models outside of encoder and classification head: quantizer and projections of
# pretraining, output of recognition, decoder of Whisper, heads per frame or speaker.
_LEFT_OUT = re.compile(
    r"(quantizer|project_hid|project_q|lm_head|proj_out|(model\.)?decoder|final_proj|tdnn"
    r"|objective|projector|classifier|layer_weights|label_embs_concat)(\..*)?"
)
_MASK = "masked_spec_embed"
# The one parameter that a source may lack: only pretraining uses it.
_MASK_PARAMETER = "encoder.mask_embedding"


@dataclass(frozen=True)
class ImportReport:
    """Which tensors and parameters were imported.

    Attributes:
      architecture: of the model.
      used: names of the source's tensors that were imported.
      unused: names of those that were left out, as they are not part of the model.
      converted: names of those that were not float32.
      initial: parameters that the source does not have.
      num_parameters: scalars in the written file.
    """

    architecture: Architecture
    used: tuple[str, ...]
    unused: tuple[str, ...]
    converted: tuple[str, ...]
    initial: tuple[str, ...]
    num_parameters: int


def import_folder(
    source: str | Path,
    output: str | Path,
    *,
    licence: str = "",
    exact_window: bool = False,
    source_name: str = "",
) -> ImportReport:
    """Imports a Hugging Face speech model.

    Args:
      source: folder with config.json, preprocessor_config.json and weights.
      output: folder to write; a released model that is there is replaced.
      licence: of the model, for its card; "" takes the one that the card of the source states.
      exact_window: keep the window of 30 s of a Whisper encoder without heads, which otherwise runs
        on the frames of the audio alone. With heads it keeps the window, which they learned with.
      source_name: for the card; "" is the name of the folder.

    Returns:
      The report.

    Raises:
      UserError: a file is missing or damaged, the family is not supported, a tensor is missing,
        left over or of another shape; nothing is written then.
    """
    source, output = Path(source), Path(output)
    check_destination(output)
    config, preprocessor = _configs(source)
    where = str(source / "config.json")
    known = complete(config, where=where)
    fields = Fields(config, where=where, remedy="copy the file again")
    frontend, encoder = settings(known, preprocessor, where=where)
    tensors = open_weights(source)
    layout = _layout(known["model_type"], fields, tensors)
    architecture = dataclasses.replace(
        Architecture(frontend=frontend, encoder=encoder), **_heads(fields, known, layout)
    )
    if frontend.kind == "whisper" and architecture.heads is None and not exact_window:
        architecture = dataclasses.replace(
            architecture, frontend=dataclasses.replace(frontend, window_seconds=0.0)
        )
    shapes = architecture.shapes_of(len(tensors), where=where)
    where_to = places(shapes, layout, frontend, encoder)
    wanted: dict[str, tuple[int, ...]] = {}
    initial = []
    for name in sorted(shapes):
        stored = stored_shapes(where_to[name], shapes[name])
        wanted |= stored
        initial += [name for tensor in stored if tensor.startswith(OWN_PREFIX)]
    if set(initial) - {_MASK_PARAMETER}:
        raise ValueError(f"tensor_names has no place for {initial}")
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
    about = _about(
        source_name or source.resolve().name,
        architecture,
        layout,
        report,
        licence or stated_licence(source),
    )
    if layout.head != "dense":  # of which transformers has no class
        classified = layout.head == "projector"
        config["architectures"] = [class_name(layout.model_type, classified=classified)]
    with whole_model(output) as partial:
        write_files(
            partial,
            config=config,
            preprocessor=preprocessor,
            shapes=wanted,
            arrays=_arrays(wanted, tensors),
            about=about,
            readme=card.render(about, name=output.name, num_parameters=report.num_parameters),
        )
    return report


def _configs(source: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    if not source.is_dir():
        raise UserError(f"source {source} does not exist: give a folder of a Hugging Face model")
    if (source / ABOUT).is_file():
        raise UserError(f"{source} is a model of sersl already: use it as it is, without import")
    found = []
    for name, use in (
        (CONFIG, "describes the model"),
        (PREPROCESSOR, "describes the audio that the model takes"),
    ):
        if not (source / name).is_file():
            raise UserError(f"{source} has no {name}, which {use}: download it too")
        found.append(read_json(source / name, what=f"it {use}", remedy="download it again"))
    return found[0], found[1]


def _layout(family: str, config: Fields, tensors: Mapping[str, StoredTensor]) -> Layout:
    """Finds the names that the source gives to its tensors."""
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
    names = config.names("architectures") if config.has("architectures") else ()
    architecture = names[0] if names else ""
    head = ""
    if "classifier.dense.weight" in tensors:
        head = "dense"
        if config.has("pooling_mode") and config.text("pooling_mode") != "mean":
            raise config.wrong("pooling_mode", "'mean', the only one that sersl has")
    elif architecture.endswith(("ForSequenceClassification", "ForAudioClassification")):
        head = "projector"
    return Layout(
        model_type=family,
        prefix=prefix,
        weight_norm=spelling,
        mask_embedding=prefix + _MASK in tensors,
        head=head,
        output=_output(config, head),
    )


def _output(config: Fields, head: str) -> str:
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


def _heads(config: Fields, known: Mapping[str, Any], layout: Layout) -> dict[str, Any]:
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


def _compare(
    wanted: Mapping[str, tuple[int, ...]], tensors: Mapping[str, StoredTensor], source: Path
) -> list[str]:
    """Checks names and shapes; returns the tensors that are not part of the model."""
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


def _arrays(
    wanted: Mapping[str, tuple[int, ...]], tensors: Mapping[str, StoredTensor]
) -> Iterator[tuple[str, np.ndarray]]:
    for name, shape in wanted.items():
        if name.startswith(OWN_PREFIX):
            yield name, np.zeros(shape, np.float32)
        else:
            yield name, as_float32(name, tensors[name])


def _about(
    source: str, architecture: Architecture, layout: Layout, report: ImportReport, licence: str
) -> dict[str, Any]:
    facts = LabelFacts()
    if architecture.multi:  # transformers has no thresholds of its own
        facts = LabelFacts(multi=True, thresholds=dict.fromkeys(architecture.categories, 0.5))
    labels = facts.to_json()
    return {
        **describe(architecture, name=source, licence=licence),
        **({"labels": labels} if labels else {}),
        "layout": dataclasses.asdict(layout),
        "results": None,
        "corpora": [],
        "origin": [],
        "init_from": "",
        "imported": {
            "source": source,
            "unused": list(report.unused),
            "converted": list(report.converted),
            "initial": list(report.initial),
        },
        "versions": versions(),
    }
