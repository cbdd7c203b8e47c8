"""The folder of a released model: named tensors, configs, and what stands behind them.

config.json               sizes and category names, in the keys Hugging Face readers look for
preprocessor_config.json  what audio must look like
model.safetensors         parameters, flat names such as encoder.context.layers.0.mlp_in.kernel
sersl.json                heads, names and their order, scale, scores, data fingerprints, versions
README.md                 model card
"""

import dataclasses
import json
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from sersl import __version__
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
from sersl.core.lengths import HOP, SAMPLE_RATE, WINDOW
from sersl.eval.results import versions
from sersl.models.transformer import unstack_layers
from sersl.release import card
from sersl.release.architecture import Architecture, check_tensors, flatten, unflatten

SCHEMA = 1
FILES = ("config.json", "preprocessor_config.json", "model.safetensors", "sersl.json", "README.md")
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
    about = _about(architecture, config=config, results=results, corpora=corpora, licence=licence)
    return _write(Path(folder), architecture, params, about)


def write_encoder(
    folder: str | Path,
    *,
    params: Mapping,
    config: PretrainConfig,
    corpora: Sequence[Mapping],
    licence: str = "",
) -> Path:
    """Writes a pretrained encoder without heads, to start from or to embed with.

    Args:
      folder: to make; a released model that is there is replaced.
      params: {"encoder": parameters of a `SpeechEncoder`, ...}; other subtrees are only for
        pretraining and stay behind.
      config: of the run.
      corpora: as `write_model`.
      licence: of the model; "" when it is not decided.

    Returns:
      The folder.

    Raises:
      UserError: as `write_model`.
    """
    architecture = Architecture(frontend=config.frontend, encoder=config.encoder)
    about = _about(architecture, config=config, results=None, corpora=corpora, licence=licence)
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
    about = _read_json(folder / "sersl.json")
    architecture = _architecture(folder, about)
    flat = _read_tensors(folder / "model.safetensors")
    check_tensors(flat, architecture.shapes(), where=str(folder / "model.safetensors"))
    return ReleasedModel(
        folder=folder, architecture=architecture, params=unflatten(flat), about=about
    )


def _write(folder: Path, architecture: Architecture, params: Mapping, about: dict) -> Path:
    # Layers always lie apart in the file, however they were trained.
    encoder = dataclasses.replace(architecture.encoder, scan_layers=False)
    architecture = dataclasses.replace(architecture, encoder=encoder)
    flat = {name: np.asarray(value) for name, value in flatten(unstack_layers(params)).items()}
    check_tensors(flat, architecture.shapes(), where="the trained model")
    about = {**about, "encoder": to_dict(encoder)}
    _refuse_to_lose(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    staging = folder.with_name(f".{folder.name}.{os.getpid()}")
    shutil.rmtree(staging, ignore_errors=True)
    staging.mkdir()
    try:
        contents = {
            "config.json": _config_json(architecture),
            "preprocessor_config.json": _preprocessor_json(architecture.frontend),
            "sersl.json": about,
        }
        for name, content in contents.items():
            text = json.dumps(content, indent=1, allow_nan=False, ensure_ascii=False) + "\n"
            (staging / name).write_text(text, encoding="utf-8")
        contiguous = {name: np.ascontiguousarray(value) for name, value in sorted(flat.items())}
        save_file(contiguous, staging / "model.safetensors", metadata={"format": "pt"})
        num_parameters = sum(value.size for value in flat.values())
        text = card.render(about, name=folder.name, num_parameters=num_parameters)
        (staging / "README.md").write_text(text, encoding="utf-8")
        if folder.exists():
            shutil.rmtree(folder)
        staging.rename(folder)
    except OSError as error:
        raise UserError(
            f"model folder {folder} cannot be written: {error.strerror or error}; make room or "
            "give another --output"
        ) from error
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return folder


def _refuse_to_lose(folder: Path) -> None:
    if folder.is_file():
        raise UserError(f"{folder} is a file: give a folder for the model")
    if folder.is_dir() and any(folder.iterdir()):
        if not (folder / "sersl.json").is_file():
            raise UserError(
                f"folder {folder} is not empty and holds no sersl model: give another folder, so "
                "that nothing is lost"
            )
        foreign = sorted({path.name for path in folder.iterdir()} - {*FILES, "onnx"})
        if foreign:
            raise UserError(
                f"folder {folder} also holds {foreign[0]!r}, which is no part of a model: move it "
                "away or give another folder"
            )


def _about(architecture: Architecture, *, config, results, corpora, licence) -> dict:
    kept = ("protocol", "metrics", "confidence", "baseline", "mean_over_folds", "corpus", "seed")
    return {
        "schema": SCHEMA,
        "sersl": __version__,
        "name": config.name,
        "licence": licence,
        "categories": list(architecture.categories),
        "dimensions": list(architecture.dimensions),
        "scale": SCALE,
        "sample_rate": SAMPLE_RATE,
        "frontend": to_dict(architecture.frontend),
        "encoder": to_dict(architecture.encoder),
        "pooling": None if architecture.pooling is None else to_dict(architecture.pooling),
        "heads": None if architecture.heads is None else to_dict(architecture.heads),
        "results": None if results is None else {key: results[key] for key in kept},
        "corpora": [dict(corpus) for corpus in corpora],
        "init_from": config.init_from,
        "versions": versions(),
    }


def _config_json(architecture: Architecture) -> dict:
    encoder = architecture.encoder
    names = dict(enumerate(architecture.categories))
    return {
        "model_type": "sersl",
        "architectures": ["SpeechEncoder" if architecture.heads is None else "EmotionModel"],
        "hidden_size": encoder.width,
        "num_hidden_layers": encoder.num_layers,
        "num_attention_heads": encoder.num_heads,
        "intermediate_size": encoder.mlp_width,
        "hidden_act": "gelu",
        "id2label": {str(i): name for i, name in names.items()},
        "label2id": {name: i for i, name in names.items()},
        "dtype": "float32",
    }


def _preprocessor_json(frontend: FrontendConfig) -> dict:
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
        "num_mel_bins": frontend.num_mels,
    }


def _architecture(folder: Path, about: Mapping) -> Architecture:
    where = folder / "sersl.json"
    for key in ("schema", "frontend", "encoder", "pooling", "heads", "categories", "dimensions"):
        if key not in about:
            raise UserError(f"{where} has no {key!r}: export the model again")
    if about["schema"] != SCHEMA:
        raise UserError(
            f"{where} has schema {about['schema']}, this sersl {__version__} reads {SCHEMA}: "
            f"install the sersl that wrote it"
        )

    def part(cls, key):
        return None if about[key] is None else from_mapping(cls, about[key], f"{where}: {key}.")

    return Architecture(
        frontend=part(FrontendConfig, "frontend"),
        encoder=part(EncoderConfig, "encoder"),
        pooling=part(PoolingConfig, "pooling"),
        heads=part(HeadsConfig, "heads"),
        categories=tuple(about["categories"]),
        dimensions=tuple(about["dimensions"]),
    )


def _read_json(path: Path) -> dict:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read: {error}; copy the model again") from error
    if not isinstance(content, dict):
        raise UserError(f"{path} holds no JSON object: copy the model again")
    return content


def _read_tensors(path: Path) -> dict[str, np.ndarray]:
    try:
        return load_file(path)
    except (SafetensorError, OSError, KeyError) as error:
        raise UserError(
            f"{path} is damaged or truncated ({error}): copy the model again"
        ) from error
