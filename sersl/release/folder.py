"""The folder of a released model: named tensors, configs, and what stands behind them.

config.json               sizes and category names, in the keys Hugging Face readers look for
preprocessor_config.json  what audio must look like
model.safetensors         parameters; see below
sersl.json                heads, names and their order, scale, scores, data fingerprints, versions
README.md                 model card
onnx/                     the same model as a graph, where it was asked for

A model that a family of transformers computes has that family's tensor names, so that
`transformers.AutoModel` loads the folder; what transformers has no place for lies behind "sersl."
in the same file. Any other model has flat names such as encoder.context.layers.0.mlp_in.kernel.
"""

import dataclasses
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sersl.config.load import from_mapping, to_dict
from sersl.config.schema import (
    EncoderConfig,
    FinetuneConfig,
    FrontendConfig,
    HeadsConfig,
    PoolingConfig,
    PretrainConfig,
)
from sersl.core.errors import UserError
from sersl.core.lengths import SAMPLE_RATE
from sersl.core.version import __version__
from sersl.eval.results import versions
from sersl.models.transformer import unstack_layers
from sersl.release import card
from sersl.release.architecture import Architecture, check_tensors, flatten, unflatten
from sersl.release.huggingface.tensor_names import (
    Layout,
    places,
    stored_shapes,
    to_parameter,
    to_stored,
)
from sersl.release.layout import config_json, layout_for, preprocessor_json
from sersl.release.staging import FILES, staged, write_json
from sersl.release.tensors import open_safetensors, read_json, write_safetensors

SCHEMA = 1
SCALE = {"low": 0.0, "high": 1.0}  # of arousal, dominance and valence, whatever the corpus used


@dataclass(frozen=True, kw_only=True)
class ReleasedModel:
    """A released model in host memory.

    Attributes:
      folder: where it was read.
      architecture: to build the network.
      params: nested dict of float32 arrays as the network wants them, list positions as ints;
        {"encoder": ...} for an encoder alone.
      about: content of sersl.json.
    """

    folder: Path
    architecture: Architecture
    params: dict
    about: dict


def write_model(
    folder: str | Path,
    *,
    params: Mapping,
    config: FinetuneConfig,
    categories: Sequence[str],
    dimensions: Sequence[str],
    results: Mapping | None,
    corpora: Sequence[Mapping],
    origin: Sequence[Mapping] = (),
    licence: str = "",
) -> Path:
    """Writes an emotion predictor, whole or not at all.

    Args:
      folder: to make; a released model that is there is replaced.
      params: of an `EmotionModel`, nested dict of arrays; layers may be stacked.
      config: of the run.
      categories: names in the order of the logits.
      dimensions: names in the order of the outputs.
      results: content of `results.json`, or None when it was not scored.
      corpora: {"corpus", "version", "fingerprint", "licence", ...} of the training data.
      origin: what else it has heard or knows labels of, see `sersl.runs.origin.gather_origin`.
      licence: of the model; "" when it is not decided.

    Returns:
      The folder.

    Raises:
      UserError: the parameters do not fit the config, or the folder holds something else.
    """
    architecture = Architecture(
        frontend=config.frontend,
        encoder=config.encoder,
        pooling=config.pooling,
        heads=config.heads,
        categories=tuple(categories),
        dimensions=tuple(dimensions),
    )
    heard = {"corpora": corpora, "origin": origin}
    about = _about(architecture, config=config, results=results, heard=heard, licence=licence)
    return _write(Path(folder), architecture, params, about)


def write_encoder(
    folder: str | Path,
    *,
    params: Mapping,
    config: PretrainConfig,
    corpora: Sequence[Mapping],
    origin: Sequence[Mapping] = (),
    licence: str = "",
) -> Path:
    """Writes a pretrained encoder without heads, to start from or to embed with.

    Args:
      folder: to make; a released model that is there is replaced.
      params: {"encoder": parameters of a `SpeechEncoder`, ...}; other subtrees are only for
        pretraining and stay behind.
      config: of the run.
      corpora: as `write_model`.
      origin: as `write_model`.
      licence: of the model; "" when it is not decided.

    Returns:
      The folder.

    Raises:
      UserError: as `write_model`.
    """
    architecture = Architecture(frontend=config.frontend, encoder=config.encoder)
    heard = {"corpora": corpora, "origin": origin}
    about = _about(architecture, config=config, results=None, heard=heard, licence=licence)
    return _write(Path(folder), architecture, {"encoder": params["encoder"]}, about)


def read_model(folder: str | Path) -> ReleasedModel:
    """Reads and checks a released model.

    Args:
      folder: that `write_model` or `write_encoder` made.

    Returns:
      The model.

    Raises:
      UserError: a file or tensor is missing, left over, truncated or of another shape.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise UserError(f"model folder {folder} does not exist: give one that `sersl export` wrote")
    for name in FILES[:-1]:  # the card is for people
        if not (folder / name).is_file():
            raise UserError(f"model folder {folder} has no {name}: export or copy the model again")
    about = read_json(folder / "sersl.json")
    architecture, layout = _architecture(folder, about)
    path = folder / "model.safetensors"
    stored = open_safetensors(path)
    shapes = architecture.shapes()
    where = places(shapes, layout, architecture.frontend, architecture.encoder)
    wanted = {}
    for name, shape in shapes.items():
        wanted |= stored_shapes(where[name], shape)
    check_tensors(stored, wanted, where=str(path))
    flat = {}
    for name in shapes:
        arrays = [stored[tensor].read() for tensor in where[name].names]
        for tensor, array in zip(where[name].names, arrays, strict=True):
            if not np.isfinite(array).all():
                raise UserError(f"{path}: tensor {tensor!r} has values that are NaN or infinite")
        flat[name] = to_parameter(where[name], *arrays)
    about = {"origin": [], **about}  # of which earlier versions do not say anything
    return ReleasedModel(
        folder=folder, architecture=architecture, params=unflatten(flat), about=about
    )


def copy_model(source: str | Path, folder: str | Path) -> Path:
    """Writes a released or imported model again, each tensor bit by bit.

    Args:
      source: a model folder.
      folder: to make; a released model that is there is replaced.

    Returns:
      The folder.

    Raises:
      UserError: the source is damaged, or the folder holds something else.
    """
    source, folder = Path(source), Path(folder)
    if source.resolve() == folder.resolve():
        raise UserError(f"{folder} cannot be exported onto itself: give another --output")
    read_model(source)  # only what can be read is passed on
    with staged(folder) as staging:
        for name in FILES:
            if (source / name).is_file():
                shutil.copyfile(source / name, staging / name)
    return folder


def _write(folder: Path, architecture: Architecture, params: Mapping, about: dict) -> Path:
    # Layers always lie apart in the file, however they were trained.
    encoder = dataclasses.replace(architecture.encoder, scan_layers=False)
    architecture = dataclasses.replace(architecture, encoder=encoder)
    flat = {name: np.asarray(value) for name, value in flatten(unstack_layers(params)).items()}
    shapes = architecture.shapes()
    check_tensors(flat, shapes, where="the trained model")
    for name, array in flat.items():
        if not np.isfinite(array).all():
            raise UserError(f"the trained model: {name!r} has values that are NaN or infinite")
    layout = layout_for(architecture)
    where = places(shapes, layout, architecture.frontend, encoder)
    wanted = {}
    for name in sorted(shapes):
        wanted |= stored_shapes(where[name], shapes[name])
    arrays = (
        pair for name in sorted(shapes) for pair in to_stored(where[name], flat[name]).items()
    )
    about = {
        **about,
        "encoder": to_dict(encoder),
        "layout": None if layout is None else dataclasses.asdict(layout),
    }
    with staged(folder) as staging:
        write_json(staging / "config.json", config_json(architecture, layout))
        write_json(staging / "preprocessor_config.json", preprocessor_json(architecture, layout))
        write_json(staging / "sersl.json", about)
        write_safetensors(staging / "model.safetensors", wanted, arrays)
        num_parameters = sum(value.size for value in flat.values())
        text = card.render(about, name=folder.name, num_parameters=num_parameters)
        (staging / "README.md").write_text(text, encoding="utf-8")
    return folder


def about_model(architecture: Architecture, *, name: str, licence: str) -> dict:
    """Says in the words of sersl.json what every model has, wherever it comes from.

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
    }


def _about(architecture: Architecture, *, config, results, heard, licence) -> dict:
    kept = ("protocol", "metrics", "confidence", "baseline", "mean_over_folds", "corpus", "seed")
    return {
        **about_model(architecture, name=config.name, licence=licence),
        "results": None if results is None else {key: results[key] for key in kept},
        **{key: [dict(corpus) for corpus in corpora] for key, corpora in heard.items()},
        "init_from": config.init_from,
        "imported": None,
        "versions": versions(),
    }


def _architecture(folder: Path, about: Mapping) -> tuple[Architecture, Layout | None]:
    where = folder / "sersl.json"
    needed = ("frontend", "encoder", "pooling", "heads", "categories", "dimensions")
    for key in ("schema", *needed, "layout", "imported"):
        if key not in about:
            raise UserError(f"{where} has no {key!r}: export the model again")
    if about["schema"] != SCHEMA:
        raise UserError(
            f"{where} has schema {about['schema']}, this sersl {__version__} reads {SCHEMA}: "
            f"install the sersl that wrote it"
        )

    def part(cls, key):
        return None if about[key] is None else from_mapping(cls, about[key], f"{where}: {key}.")

    architecture = Architecture(
        frontend=part(FrontendConfig, "frontend"),
        encoder=part(EncoderConfig, "encoder"),
        pooling=part(PoolingConfig, "pooling"),
        heads=part(HeadsConfig, "heads"),
        categories=tuple(about["categories"]),
        dimensions=tuple(about["dimensions"]),
    )
    return architecture, part(Layout, "layout")
