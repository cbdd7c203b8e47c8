"""The folder of a released model.

config.json               sizes and category names, under the keys of transformers
preprocessor_config.json  rate and normalization of the audio
model.safetensors         parameters; see below, and `sersl.release.int8_weights`
sersl.json                heads, names and their order, scale, scores, data fingerprints, checksums
README.md                 model card
onnx/                     the same model as a graph, if it was asked for
adapter/                  low-rank updates that the weights contain, as files of PEFT

If a family of transformers computes the model, the tensors have the names of that family, so that
`transformers.AutoModel` loads the folder; parameters that transformers has no place for have names
that begin with "sersl.". Any other model has flat names such as
encoder.context.layers.0.mlp_in.kernel.
"""

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from sersl.config.fusion import ViewConfig
from sersl.config.load import to_dict
from sersl.config.schema import FinetuneConfig, PretrainConfig
from sersl.core.errors import UserError
from sersl.core.fields import Fields
from sersl.core.files import read_json, write_json
from sersl.core.unfinished import restore
from sersl.core.version import versions
from sersl.models.transformer import unstack_layers
from sersl.release import card
from sersl.release.about import (
    REMEDY,
    describe,
    label_facts,
    read_about,
    write_about,
)
from sersl.release.architecture import Architecture, check_tensors, flatten, unflatten
from sersl.release.average_speeds import AVERAGE_SPEEDS, read_speeds
from sersl.release.file_names import ABOUT, CARD, CONFIG, FILES, PREPROCESSOR, WEIGHTS
from sersl.release.huggingface.tensor_names import (
    Place,
    places,
    stored_shapes,
    to_parameter,
    to_stored,
)
from sersl.release.int8_weights import unpacked
from sersl.release.label_facts import LabelFacts
from sersl.release.layout import (
    check_is_model,
    config_json,
    layout_for,
    preprocessor_json,
    whole_model,
)
from sersl.release.merging import merge, remaining, write_peft
from sersl.release.tensors import open_safetensors, write_safetensors

Finish = Callable[[Path], None]


@dataclass(frozen=True, kw_only=True)
class ReleasedModel:
    """A released model in host memory.

    Attributes:
      folder: where it was read.
      architecture: to build the network.
      params: nested dict of float32 arrays, list positions as ints; {"encoder": ...} for an encoder
        alone.
      about: content of sersl.json.
    """

    folder: Path
    architecture: Architecture
    params: dict[str, Any]
    about: dict[str, Any]

    @property
    def labels(self) -> LabelFacts:
        """What its labels mean beside their names."""
        return label_facts(self._fields, self.architecture.categories)

    @property
    def average_speeds(self) -> tuple[float, ...]:
        """Speeds of the copies that its answers are averaged over; () for plain recordings."""
        return read_speeds(self._fields)

    @property
    def _fields(self) -> Fields:
        return Fields(self.about, where=str(self.folder / ABOUT), remedy=REMEDY)


def write_model(
    folder: str | Path,
    *,
    params: Mapping[Any, Any],
    config: FinetuneConfig,
    categories: Sequence[str],
    dimensions: Sequence[str],
    results: Mapping[str, Any] | None,
    corpora: Sequence[Mapping[str, Any]],
    origin: Sequence[Mapping[str, Any]] = (),
    licence: str = "",
    labels: LabelFacts | None = None,
    views: Sequence[ViewConfig] = (),
    finish: Finish | None = None,
) -> Path:
    """Writes an emotion predictor, whole or not at all.

    Args:
      folder: to write; a released model that is there is replaced when the new one is complete.
      params: of an `EmotionModel`, nested dict of arrays; layers may be stacked.
      config: of the run.
      categories: names in the order of the logits.
      dimensions: names in the order of the outputs.
      results: content of `results.json`, or None if the run was not scored.
      corpora: {"corpus", "version", "fingerprint", "licence", ...} of the training data.
      origin: data behind its starting weights, annotators and teachers, see
        `sersl.runs.provenance.gather_origin`.
      licence: of the model; "" if it is not decided.
      labels: what they mean beside their names; None where names are all.
      views: further views, of `fusion.views`.
      finish: called with the complete folder before it takes its place, e.g. to add a graph.

    Raises:
      UserError: the parameters do not fit the config, or the folder holds something else.
    """
    params, updates = merge(params, config.adaptation, base=config.init_from)
    architecture = Architecture(
        frontend=config.frontend,
        encoder=config.encoder,
        pooling=config.pooling,
        heads=config.heads,
        categories=tuple(categories),
        dimensions=tuple(dimensions),
        multi=labels is not None and labels.multi,
        adaptation=remaining(config.adaptation),
        fusion=config.fusion if views else None,
        views=tuple(views),
        conversation=None if config.conversation.kind == "none" else config.conversation,
    )
    trained_on = {"corpora": corpora, "origin": origin}
    about = _about(
        architecture, config=config, results=results, trained_on=trained_on, licence=licence
    )
    facts: dict[str, Any] = {"labels": {} if labels is None else labels.to_json()}
    facts[AVERAGE_SPEEDS] = list(config.views.averaged)
    about |= {name: value for name, value in facts.items() if value}

    def complete(partial: Path) -> None:
        if updates is not None:
            write_peft(partial, updates, architecture)
        if finish is not None:
            finish(partial)

    # What only training needs is not released: speakers and texts of the training data.
    kept = {name: part for name, part in params.items() if name != "training_heads"}
    return _write(Path(folder), architecture, kept, about, complete)


def write_encoder(
    folder: str | Path,
    *,
    params: Mapping[Any, Any],
    config: PretrainConfig,
    corpora: Sequence[Mapping[str, Any]],
    origin: Sequence[Mapping[str, Any]] = (),
    licence: str = "",
    finish: Finish | None = None,
) -> Path:
    """Writes a pretrained encoder without heads, to fine-tune or to embed with.

    Args:
      folder: as `write_model`.
      params: {"encoder": parameters of a `SpeechEncoder`, ...}; other entries are left out, as only
        pretraining needs them.
      config: of the run.
      corpora: as `write_model`.
      origin: as `write_model`.
      licence: as `write_model`.
      finish: as `write_model`.

    Raises:
      UserError: as `write_model`.
    """
    architecture = Architecture(frontend=config.frontend, encoder=config.encoder)
    trained_on = {"corpora": corpora, "origin": origin}
    about = _about(
        architecture, config=config, results=None, trained_on=trained_on, licence=licence
    )
    return _write(Path(folder), architecture, {"encoder": params["encoder"]}, about, finish)


def read_model(folder: str | Path, *, verify_weights: bool = True) -> ReleasedModel:
    """Reads and checks a released model.

    Args:
      folder: that `sersl export` or `sersl import` wrote.
      verify_weights: compare the weights with their checksum; False saves time with very large
        models.

    Raises:
      UserError: a file, field or tensor is missing, left over, damaged, or of another shape.
    """
    folder = Path(folder)
    restore(folder)
    check_is_model(folder)
    for name in FILES:
        # The card is for people.
        if name != CARD and not (folder / name).is_file():
            raise UserError(f"model folder {folder} has no {name}: {REMEDY}")
    about, architecture, layout = read_about(folder, verify_weights=verify_weights)
    path = folder / WEIGHTS
    stored = open_safetensors(path)
    stored = unpacked(stored) if about.get("weights") == "int8" else stored
    shapes = architecture.shapes_of(len(stored), where=str(folder / ABOUT))
    where = places(shapes, layout, architecture.frontend, architecture.encoder)
    wanted: dict[str, tuple[int, ...]] = {}
    for name, shape in shapes.items():
        wanted |= stored_shapes(where[name], shape)
    check_tensors(stored, wanted, where=str(path))
    flat = {}
    for name in shapes:
        arrays = [stored[tensor].read() for tensor in where[name].names]
        for tensor, array in zip(where[name].names, arrays, strict=True):
            _check_finite(array, f"{path}: tensor {tensor!r}")
        flat[name] = to_parameter(where[name], *arrays)
    return ReleasedModel(
        folder=folder, architecture=architecture, params=unflatten(flat), about=about
    )


def finish_model(folder: Path, finish: Finish | None) -> None:
    """Adds what was asked for to a complete folder, with its checksums.

    Args:
      folder: of the model.
      finish: see `write_model`; or None.
    """
    if finish is not None:
        finish(folder)
        write_about(folder, read_json(folder / ABOUT, what="description", remedy=REMEDY))


def _write(
    folder: Path,
    architecture: Architecture,
    params: Mapping[Any, Any],
    about: dict[str, Any],
    finish: Finish | None,
) -> Path:
    # Layers are stored apart, however they were trained.
    encoder = dataclasses.replace(architecture.encoder, scan_layers=False)
    architecture = dataclasses.replace(architecture, encoder=encoder)
    flat = {
        name: np.asarray(value) for name, value in flatten(unstack_layers(dict(params))).items()
    }
    shapes = architecture.shapes()
    check_tensors(flat, shapes, where="the trained model")
    for name, array in flat.items():
        _check_finite(array, f"the trained model: {name!r}")
    layout = layout_for(architecture)
    where = places(shapes, layout, architecture.frontend, encoder)
    wanted: dict[str, tuple[int, ...]] = {}
    for name in sorted(shapes):
        wanted |= stored_shapes(where[name], shapes[name])
    about = {
        **about,
        "encoder": to_dict(encoder),
        "layout": None if layout is None else dataclasses.asdict(layout),
    }
    num_parameters = sum(value.size for value in flat.values())
    with whole_model(folder) as partial:
        write_files(
            partial,
            config=config_json(architecture, layout),
            preprocessor=preprocessor_json(architecture, layout),
            shapes=wanted,
            arrays=_stored(where, flat),
            about=about,
            readme=card.render(about, name=folder.name, num_parameters=num_parameters),
        )
        finish_model(partial, finish)
    return folder


def write_files(
    folder: Path,
    *,
    config: Mapping[str, Any],
    preprocessor: Mapping[str, Any],
    shapes: Mapping[str, tuple[int, ...]],
    arrays: Iterator[tuple[str, np.ndarray]],
    about: Mapping[str, Any],
    readme: str,
) -> None:
    """Writes the files of a model into an empty folder.

    Args:
      folder: to fill.
      config: content of config.json.
      preprocessor: content of preprocessor_config.json.
      shapes: {name: shape} of the tensors.
      arrays: (name, float32 array) in the order of `shapes`.
      about: content of sersl.json without checksums.
      readme: the model card.
    """
    write_json(folder / CONFIG, config)
    write_json(folder / PREPROCESSOR, preprocessor)
    write_safetensors(folder / WEIGHTS, shapes, arrays)
    (folder / CARD).write_text(readme, encoding="utf-8")
    write_about(folder, about)


def _stored(
    where: Mapping[str, Place], flat: Mapping[str, np.ndarray]
) -> Iterator[tuple[str, np.ndarray]]:
    for name in sorted(where):
        yield from to_stored(where[name], flat[name]).items()


def _about(
    architecture: Architecture,
    *,
    config: FinetuneConfig | PretrainConfig,
    results: Mapping[str, Any] | None,
    trained_on: Mapping[str, Sequence[Mapping[str, Any]]],
    licence: str,
) -> dict[str, Any]:
    kept = ("protocol", "metrics", "confidence", "baseline", "mean_over_folds", "corpus", "seed")
    return {
        **describe(architecture, name=config.name, licence=licence),
        "results": None if results is None else {key: results[key] for key in kept},
        **{key: [dict(corpus) for corpus in corpora] for key, corpora in trained_on.items()},
        "init_from": config.init_from,
        "view": config.labels.view if isinstance(config, FinetuneConfig) else None,
        "imported": None,
        "versions": versions(),
    }


def _check_finite(array: np.ndarray, name: str) -> None:
    if not np.isfinite(array).all():
        raise UserError(f"{name} has values that are NaN or infinite: {REMEDY}")
