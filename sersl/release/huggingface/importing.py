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

from sersl.core.errors import UserError
from sersl.core.fields import Fields
from sersl.core.files import read_json
from sersl.core.version import versions
from sersl.release import card
from sersl.release.about import describe
from sersl.release.architecture import Architecture
from sersl.release.file_names import ABOUT, CONFIG, PREPROCESSOR
from sersl.release.folder import write_files
from sersl.release.huggingface.cutting import cut_after, without_table
from sersl.release.huggingface.download_sums import check_downloads
from sersl.release.huggingface.json_files import PREFIXES, class_name
from sersl.release.huggingface.settings import complete, settings
from sersl.release.huggingface.source_heads import heads_of, output_of
from sersl.release.huggingface.tensor_names import (
    OWN_PREFIX,
    WEIGHT_NORMS,
    Layout,
    Place,
    places,
    stored_shapes,
    to_parameter,
)
from sersl.release.label_facts import LabelFacts
from sersl.release.layout import check_destination, config_json, preprocessor_json, whole_model
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
_TABLE = "encoder.positions.table"


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
    layers: int | None = None,
) -> ImportReport:
    """Imports a Hugging Face speech model.

    Args:
      source: folder with config.json, preprocessor_config.json and weights.
      output: folder to write; a released model that is there is replaced.
      licence: of the model, for its card; "" takes the one that the card of the source states.
      exact_window: keep the window of 30 s of a Whisper encoder without heads, which otherwise runs
        on the frames of the audio alone. With heads it keeps the window, which they learned with.
      source_name: for the card; "" is the name of the folder.
      layers: to keep of the encoder, see `cut_after`; the heads are then left out. None: all.

    Returns:
      The report.

    Raises:
      UserError: a file is missing or damaged, the family is not supported, a tensor is missing,
        left over or of another shape; nothing is written then.
    """
    source, output = Path(source), Path(output)
    check_destination(output)
    config, preprocessor = _configs(source)
    check_downloads(source)
    where = str(source / "config.json")
    known = complete(config, where=where)
    fields = Fields(config, where=where, remedy="copy the file again")
    frontend, encoder = settings(known, preprocessor, where=where)
    tensors = open_weights(source)
    layout = _layout(known["model_type"], fields, tensors)
    architecture = dataclasses.replace(
        Architecture(frontend=frontend, encoder=encoder), **heads_of(fields, known, layout)
    )
    shapes = architecture.shapes_of(len(tensors), where=where)
    where_to = places(shapes, layout, frontend, encoder)
    wanted, initial = _wanted(shapes, where_to)
    unused = _compare(wanted, tensors, source)
    whole = encoder.num_layers
    if layers is not None:
        architecture = cut_after(architecture, layers, where=str(source))
        table = where_to.get(_TABLE)
        architecture = without_table(
            architecture, None if table is None else tensors[table.names[0]].read()
        )
        layout = dataclasses.replace(layout, head="", output="")
        shapes = architecture.shapes()
        where_to = {name: where_to[name] for name in shapes}
        of_all, (wanted, initial) = wanted, _wanted(shapes, where_to)
        unused = sorted({*unused, *(of_all.keys() & tensors.keys()) - wanted.keys()})
    if frontend.kind == "whisper" and architecture.heads is None and not exact_window:
        architecture = dataclasses.replace(
            architecture, frontend=dataclasses.replace(frontend, window_seconds=0.0)
        )
    used = [name for name in wanted if name in tensors]
    report = ImportReport(
        architecture=architecture,
        used=tuple(used),
        unused=tuple(unused),
        converted=tuple(name for name in used if tensors[name].dtype != np.float32),
        initial=tuple(initial),
        num_parameters=sum(int(np.prod(shape)) for shape in shapes.values()),
    )
    arrays = _arrays(wanted, tensors)
    # Where transformers would add a final LayerNorm, it must not take the file for its own.
    own_names = not architecture.encoder.final_norm
    about = _about(
        source_name or source.resolve().name,
        architecture,
        None if own_names else layout,
        report,
        licence or stated_licence(source),
    )
    if layers is not None:
        about["imported"] |= {"layers": layers, "layers_of_source": whole}
    if own_names:
        config, preprocessor = (
            make(architecture, None) for make in (config_json, preprocessor_json)
        )
        arrays = _parameters(where_to, dict(arrays))
        wanted = {name: shapes[name] for name in where_to}
    elif layout.head != "dense":  # of which transformers has no class
        classified = layout.head == "projector"
        config["architectures"] = [class_name(layout.model_type, classified=classified)]
        if layers is not None:
            config["num_hidden_layers"] = layers
    with whole_model(output) as partial:
        write_files(
            partial,
            config=config,
            preprocessor=preprocessor,
            shapes=wanted,
            arrays=arrays,
            about=about,
            readme=card.render(about, name=output.name, num_parameters=report.num_parameters),
        )
    return report


def _wanted(
    shapes: Mapping[str, tuple[int, ...]], where_to: Mapping[str, Place]
) -> tuple[dict[str, tuple[int, ...]], list[str]]:
    """Lists {stored name: shape} of parameters, and the parameters that a source may lack."""
    wanted: dict[str, tuple[int, ...]] = {}
    initial = []
    for name in sorted(shapes):
        stored = stored_shapes(where_to[name], shapes[name])
        wanted |= stored
        initial += [name for tensor in stored if tensor.startswith(OWN_PREFIX)]
    if set(initial) - {_MASK_PARAMETER}:
        raise ValueError(f"tensor_names has no place for {initial}")
    return wanted, initial


def _parameters(
    where_to: Mapping[str, Place], stored: Mapping[str, np.ndarray]
) -> Iterator[tuple[str, np.ndarray]]:
    for name, place in where_to.items():
        yield name, to_parameter(place, *(stored[tensor] for tensor in place.names))


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
        output=output_of(config, head),
    )


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
    source: str,
    architecture: Architecture,
    layout: Layout | None,
    report: ImportReport,
    licence: str,
) -> dict[str, Any]:
    facts = LabelFacts()
    if architecture.multi:  # transformers has no thresholds of its own
        facts = LabelFacts(multi=True, thresholds=dict.fromkeys(architecture.categories, 0.5))
    labels = facts.to_json()
    return {
        **describe(architecture, name=source, licence=licence),
        **({"labels": labels} if labels else {}),
        "layout": None if layout is None else dataclasses.asdict(layout),
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
