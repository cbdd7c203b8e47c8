"""sersl.json: what a released model is, with SHA-256 sums of it, of the weights and of the configs.

Every field has one type and a range; unknown fields are refused. Folders of sersl.json's first
version have no sums: they still open, with a note.
"""

import hashlib
import json
import logging
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

from sersl.config.adaptation import AdaptationConfig
from sersl.config.conversation import ConversationConfig
from sersl.config.fusion import FusionConfig
from sersl.config.load import from_mapping, to_dict
from sersl.config.schema import (
    EncoderConfig,
    FrontendConfig,
    HeadsConfig,
    PoolingConfig,
)
from sersl.core.digests import file_digest
from sersl.core.errors import UserError
from sersl.core.fields import Fields
from sersl.core.files import read_json, write_json
from sersl.core.lengths import SAMPLE_RATE
from sersl.core.version import __version__
from sersl.corpora.labels import DIMENSIONS, check_dimension
from sersl.finetuning.fusion.workdir_views import views_of
from sersl.release.architecture import OTHER_FIELDS, Architecture
from sersl.release.average_speeds import read_speeds
from sersl.release.file_names import ABOUT, CARD, CONFIG, PREPROCESSOR, WEIGHTS
from sersl.release.huggingface.tensor_names import Layout
from sersl.release.int8_weights import WEIGHT_FORMS
from sersl.release.label_facts import LabelFacts, read_facts
from sersl.release.layout import config_json

SCHEMA = 2
SCALE = {"low": 0.0, "high": 1.0}  # of the dimensions, whatever the corpus used
REMEDY = "copy or export the model again"
MOST_UTTERANCES = 10**10
_SUMS = "sha256"
_POOLS_WINDOW = "pools_window"  # of imported Whispers with heads; other models have no such field
_SUMMED = (CONFIG, PREPROCESSOR, WEIGHTS, ABOUT)
_REQUIRED = (
    *("schema", "sersl", "name", "licence", "categories", "dimensions", "scale", "sample_rate"),
    *("frontend", "encoder", "pooling", "heads", "layout"),
    *("results", "corpora", "init_from", "imported", "versions"),
)
_OPTIONAL = ("view", "labels", "adaptation", _POOLS_WINDOW, "weights", "notes", *OTHER_FIELDS)
# Sizes that config.json repeats for other readers.
_REPEATED = (
    *("id2label", "hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size"),
    *("d_model", "encoder_layers", "encoder_attention_heads", "encoder_ffn_dim", "num_mel_bins"),
    *("conv_dim", "feat_extract_norm", "conv_bias", "do_stable_layer_norm", "problem_type"),
    *("num_conv_pos_embeddings", "num_conv_pos_embedding_groups", "conv_pos_kernel_size"),
)
_log = logging.getLogger(__name__)
C = TypeVar("C")


def describe(architecture: Architecture, *, name: str, licence: str) -> dict[str, Any]:
    """Writes the fields of sersl.json that every model has, released or imported.

    Args:
      architecture: of the model.
      name: of the model.
      licence: of the model; "" when it is not decided.

    Returns:
      The first part of sersl.json, JSON-able.
    """
    return {
        "schema": SCHEMA,
        "sersl": __version__,
        "name": name,
        "licence": licence,
        "categories": list(architecture.categories),
        "dimensions": list(architecture.dimensions),
        "scale": SCALE,
        "sample_rate": SAMPLE_RATE,
        "frontend": to_dict(architecture.frontend),
        "encoder": to_dict(architecture.encoder),
        "pooling": None if architecture.pooling is None else to_dict(architecture.pooling),
        "heads": None if architecture.heads is None else to_dict(architecture.heads),
        **({"adaptation": to_dict(added)} if (added := architecture.adaptation) else {}),
        **({_POOLS_WINDOW: True} if architecture.pools_window else {}),
        **architecture.other_fields(),
    }


def write_about(folder: Path, about: Mapping[str, Any]) -> None:
    """Writes sersl.json into a folder whose other files are complete, with the sums of all.

    The sums of the card and of graphs are for `sersl export --check`; loading a model does not
    compare them.

    Args:
      folder: of the model.
      about: all other fields.
    """
    content = {**about, "schema": SCHEMA}
    content.pop(_SUMS, None)
    sums = {name: file_digest(folder / name) for name in _files(folder)}
    sums[ABOUT] = _own_sum(content, sums)
    write_json(folder / ABOUT, {**content, _SUMS: sums})


def read_about(
    folder: Path, *, verify_weights: bool = True
) -> tuple[dict[str, Any], Architecture, Layout | None]:
    """Reads and checks sersl.json, and compares the files of the folder with its sums.

    Args:
      folder: of the model.
      verify_weights: False skips the sum of the weights.

    Returns:
      (content of sersl.json, architecture, layout of the weights).

    Raises:
      UserError: a field or a file is missing, damaged, or of an unknown version.
    """
    where = str(folder / ABOUT)
    about = read_json(folder / ABOUT, what="description of a model", remedy=REMEDY)
    fields = Fields(about, where=where, remedy=REMEDY)
    version = fields.integer("schema", at_least=0, at_most=10**6)
    if version not in (1, SCHEMA):
        raise UserError(
            f"{where} has schema {version}, this sersl {__version__} reads 1 and {SCHEMA}: install "
            "the sersl that wrote it"
        )
    if version == SCHEMA:
        fields.check_names((*_REQUIRED, "origin", _SUMS), _OPTIONAL)
        _check_sums(folder, about, fields.texts(_SUMS), verify_weights=verify_weights)
    else:
        fields.check_names(_REQUIRED, ("origin", "view"))
        if not set(fields.names("dimensions")) <= set(DIMENSIONS):  # of that version
            raise fields.wrong("dimensions", f"names of {', '.join(DIMENSIONS)}")
        about["origin"] = about.get("origin", [])
    _check_texts(fields)
    architecture = _architecture(fields, where)
    layout = _part(Layout, fields, "layout", where)
    if version != SCHEMA:
        _check_repeated(folder, architecture, layout, imported=fields.has("imported"))
        _log.warning(
            "%s was written by an earlier version and has no checksums, so damage to its weights "
            "may not be found: write it again with `sersl export --workdir %s --output DIR`",
            folder,
            folder,
        )
    return about, architecture, layout


def with_card(about: Mapping[str, Any], card: bytes) -> bytes:
    """Writes the content of sersl.json for a folder whose card is another."""
    content = {name: value for name, value in about.items() if name != _SUMS}
    sums = {**about[_SUMS], CARD: hashlib.sha256(card).hexdigest()}
    sums[ABOUT] = _own_sum(content, sums)
    return (json.dumps({**content, _SUMS: sums}, indent=1, allow_nan=False) + "\n").encode()


def warn_of_changed_card(folder: Path, about: Mapping[str, Any]) -> None:
    """Warns where the model card is missing, or is not the one that was written.

    Args:
      folder: of the model.
      about: content of its sersl.json.
    """
    path, wanted = folder / CARD, about.get(_SUMS, {}).get(CARD)
    if not path.is_file():
        _log.warning("%s has no %s: it is written anew from %s", folder, CARD, ABOUT)
    elif wanted is not None and file_digest(path) != wanted:
        _log.warning("%s was changed after the model was written: it is copied as it is", path)


def _own_sum(content: Mapping[str, Any], sums: Mapping[str, str]) -> str:
    """Sums up all other fields, and the other sums."""
    others = {name: value for name, value in sums.items() if name != ABOUT}
    text = json.dumps({**content, _SUMS: others}, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def _check_sums(
    folder: Path, about: Mapping[str, Any], sums: Mapping[str, str], *, verify_weights: bool
) -> None:
    where = f"{folder / ABOUT}, {_SUMS!r}"
    Fields(sums, where=where, remedy=REMEDY).check_names(_SUMMED, optional=sums)
    for name in reversed(_SUMMED):  # sersl.json first
        if name == WEIGHTS and not verify_weights:
            continue
        fault = _difference(folder, name, about, sums)
        if fault:
            raise UserError(f"{folder / name} {fault}: {REMEDY}")


def compare_with_sums(folder: Path) -> Iterator[tuple[str, str, bool]]:
    """Compares every file of a model with its sum.

    Args:
      folder: of the model.

    Yields:
      For each file: its name; a clause about what is wrong, or ""; and whether that changes no
      answer.

    Raises:
      UserError: sersl.json cannot be read, or has no sums.
    """
    about = read_json(folder / ABOUT, what="description of a model", remedy=REMEDY)
    if _SUMS not in about:
        raise UserError(
            f"{folder / ABOUT} has no checksums, because an earlier version wrote it: write the "
            f"model again with `sersl export --workdir {folder} --output DIR`"
        )
    sums = Fields(about, where=str(folder / ABOUT), remedy=REMEDY).texts(_SUMS)
    fault = _difference(folder, ABOUT, about, sums)
    yield ABOUT, fault, False
    if fault:
        return  # the other sums in it may be wrong
    for name in sorted(sums.keys() - {ABOUT}):
        fault = _difference(folder, name, about, sums)
        yield name, fault, name == CARD and (folder / name).is_file()
    # Earlier versions wrote no sum of the card.
    for name in sorted(set(_files(folder)) - sums.keys() - {CARD}):
        yield name, "was added after the model was written", True


def _difference(folder: Path, name: str, about: Mapping[str, Any], sums: Mapping[str, str]) -> str:
    """Compares one file with its sum: a clause, "" where they agree."""
    if name == ABOUT:
        content = {key: value for key, value in about.items() if key != _SUMS}
        found = _own_sum(content, sums)
    else:
        path = folder / name
        if ".." in Path(name).parts or Path(name).is_absolute():
            return "is not the name of a file of the folder"
        if not path.is_file():
            return "is not a file" if path.exists() else "is missing"
        try:
            found = file_digest(path)
        except OSError as error:
            return f"cannot be read ({error.strerror or error})"
    if found == sums.get(name):
        return ""
    return "is damaged or was changed after the model was written (its SHA-256 differs)"


def _files(folder: Path) -> list[str]:
    names = (path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    return sorted(name for name in names if name != ABOUT)


def _check_texts(fields: Fields) -> None:
    """Checks the fields that describe the model without deciding what it computes."""
    for name in ("sersl", "name", "licence", "init_from"):
        fields.text(name)
    fields.texts("versions")
    fields.integer("sample_rate", at_least=SAMPLE_RATE, at_most=SAMPLE_RATE)
    if fields.numbers("scale") != SCALE:
        raise fields.wrong("scale", f"{SCALE}")
    for name in ("view", "notes"):
        if fields.has(name):
            fields.text(name)
    read_speeds(fields)
    if fields.has("weights") and fields.text("weights") not in WEIGHT_FORMS:
        raise fields.wrong("weights", f"one of {', '.join(WEIGHT_FORMS)}")
    if fields.has("results"):
        fields.group("results")
    for name in ("corpora", "origin"):
        for i, corpus in enumerate(fields.groups(name)):
            _check_corpus(Fields(corpus, where=f"{name}[{i}] of sersl.json", remedy=REMEDY))
    if fields.has("imported"):
        fields.inside("imported").text("source")


def _check_corpus(fields: Fields) -> None:
    for name in ("corpus", "version", "fingerprint"):
        fields.text(name)
    for name in ("licence", "by"):
        if fields.has(name):
            fields.text(name)
    for name in ("num_utterances", "num_speakers"):
        if fields.has(name):
            fields.integer(name, at_least=0, at_most=MOST_UTTERANCES)
    if fields.has("labels_used"):
        fields.flag("labels_used")


def _architecture(fields: Fields, where: str) -> Architecture:
    categories, dimensions = fields.names("categories"), fields.names("dimensions")
    for name in dimensions:
        check_dimension(name, where)
    frontend = _part(FrontendConfig, fields, "frontend", where)
    encoder = _part(EncoderConfig, fields, "encoder", where)
    pooling = _part(PoolingConfig, fields, "pooling", where)
    heads = _part(HeadsConfig, fields, "heads", where)
    if frontend is None or encoder is None:
        raise fields.wrong("encoder" if encoder is None else "frontend", "an object")
    if (pooling is None) != (heads is None):
        raise fields.wrong("pooling", "an object exactly where 'heads' is one")
    if (heads is None) != (not categories and not dimensions):
        raise fields.wrong("heads", "an object exactly where there are categories or dimensions")
    return Architecture(
        frontend=frontend,
        encoder=encoder,
        pooling=pooling,
        heads=heads,
        categories=categories,
        dimensions=dimensions,
        multi=label_facts(fields, categories).multi,
        adaptation=_part(AdaptationConfig, fields, "adaptation", where),
        pools_window=fields.has(_POOLS_WINDOW) and fields.flag(_POOLS_WINDOW),
        fusion=_part(FusionConfig, fields, "fusion", where),
        views=views_of(fields) if fields.has("views") else (),
        conversation=_part(ConversationConfig, fields, "conversation", where),
    )


def label_facts(fields: Fields, categories: tuple[str, ...]) -> LabelFacts:
    """Reads what the labels mean; models with plain labels, and older ones, have no such field."""
    has_field = fields.has("labels")
    return read_facts(fields.inside("labels"), categories) if has_field else LabelFacts()


def _part(cls: type[C], fields: Fields, name: str, where: str) -> C | None:
    if not fields.has(name):
        return None
    try:
        return from_mapping(cls, fields.group(name), f"{name}.")
    except UserError as error:
        raise UserError(f"{where}: {error}; {REMEDY}") from error


def _check_repeated(
    folder: Path, architecture: Architecture, layout: Layout | None, *, imported: bool
) -> None:
    """Compares sersl.json without sums with what config.json repeats of it."""
    if imported:  # keeps the config.json of its source, whose labels may have other names
        return
    config = read_json(folder / CONFIG, what="config of a model", remedy=REMEDY)
    expected = config_json(architecture, layout)
    for name in _REPEATED:
        if name in config and name in expected and config[name] != expected[name]:
            raise UserError(
                f"{folder / CONFIG} and {ABOUT} disagree about {name!r}, so one of them is damaged "
                f"or was changed: {REMEDY}"
            )
