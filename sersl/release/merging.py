"""Adapters of a fine-tuned model in its release: merged into the weights, and as files of PEFT."""

import dataclasses
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from sersl.config.adaptation import AdaptationConfig
from sersl.core.files import write_json
from sersl.models.adapters import ADAPTER, WITH_PARTS
from sersl.release.architecture import Architecture, flatten, unflatten
from sersl.release.file_names import PEFT_FOLDER
from sersl.release.huggingface.json_files import class_name, family_of
from sersl.release.huggingface.tensor_names import Layout, places
from sersl.release.layout import check_inside
from sersl.release.tensors import write_safetensors

PEFT_CONFIG, PEFT_WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
# Prefix of the names of a base model's modules in PEFT.
_PREFIX = "base_model.model."


@dataclasses.dataclass(frozen=True, kw_only=True)
class Updates:
    """Low-rank updates of an encoder's linear maps.

    Attributes:
      config: rank and alpha.
      base: `init_from` of the run, the weights they change.
      maps: flat name of a kernel, e.g. "encoder.context.layers.0.attention.query.kernel", to its
        (A [I, r], B [r, O]).
    """

    config: AdaptationConfig
    base: str
    maps: dict[str, tuple[np.ndarray, np.ndarray]]


def remaining(config: AdaptationConfig) -> AdaptationConfig | None:
    """Returns the adaptation that a released network is built with; None if weights are enough."""
    return config if config.method in WITH_PARTS and config.method != "lora" else None


def merge(
    params: Mapping[Any, Any], config: AdaptationConfig, *, base: str
) -> tuple[dict[Any, Any], Updates | None]:
    """Adds low-rank updates to the kernels they change.

    Args:
      params: of a model, nested dict of arrays.
      config: of the run.
      base: `init_from` of the run.

    Returns:
      (parameters without updates, the updates), or the same parameters and None for other methods.
    """
    if config.method != "lora":
        return dict(params), None
    flat = {name: np.asarray(value) for name, value in flatten(params).items()}
    ending = f".{ADAPTER}.down.kernel"
    maps = {}
    for name in [name for name in flat if name.endswith(ending)]:
        owner = name.removesuffix(ending)
        down, up = flat.pop(name), flat.pop(f"{owner}.{ADAPTER}.up.kernel")
        product = down.astype(np.float64) @ up.astype(np.float64)
        kernel = flat[f"{owner}.kernel"]
        flat[f"{owner}.kernel"] = (kernel + config.alpha / config.rank * product).astype(np.float32)
        maps[f"{owner}.kernel"] = (down, up)
    return unflatten(flat), Updates(config=config, base=base, maps=maps)


def write_peft(folder: Path, updates: Updates, architecture: Architecture) -> bool:
    """Writes low-rank updates as PEFT reads them, into `folder`/adapter.

    `PeftModel.from_pretrained(base, folder)` applies them to the encoder that the run started from.

    Args:
      folder: of the model.
      updates: of `merge`.
      architecture: of the model.

    Returns:
      Whether they were written: not where no family of transformers computes the encoder.
    """
    family = family_of(architecture.frontend, architecture.encoder)
    if family is None:
        return False
    layout = Layout(model_type=family, prefix="encoder." if family == "whisper" else "")
    where = places(
        dict.fromkeys(updates.maps, ()), layout, architecture.frontend, architecture.encoder
    )
    arrays: dict[str, np.ndarray] = {}
    modules = []
    for name, (down, up) in updates.maps.items():
        module = where[name].names[0].removesuffix(".weight")
        modules.append(module)
        # PyTorch's linear maps hold [outputs, inputs].
        arrays[f"{_PREFIX}{module}.lora_A.weight"] = np.ascontiguousarray(down.T)
        arrays[f"{_PREFIX}{module}.lora_B.weight"] = np.ascontiguousarray(up.T)
    own = folder / PEFT_FOLDER
    own.mkdir()
    write_json(own / PEFT_CONFIG, _peft_config(updates, family, sorted(modules)))
    names = sorted(arrays)
    write_safetensors(
        own / PEFT_WEIGHTS,
        {name: arrays[name].shape for name in names},
        ((name, arrays[name]) for name in names),
    )
    return True


def copy_peft(source: Path, folder: Path) -> None:
    """Copies what `write_peft` wrote into another model folder, if there is something.

    Raises:
      UserError: a file is a link out of the source.
    """
    if (source / PEFT_FOLDER).is_dir():
        (folder / PEFT_FOLDER).mkdir()
        for name in (PEFT_CONFIG, PEFT_WEIGHTS):
            check_inside(source, source / PEFT_FOLDER / name)
            shutil.copyfile(source / PEFT_FOLDER / name, folder / PEFT_FOLDER / name)


def _peft_config(updates: Updates, family: str, modules: list[str]) -> dict[str, Any]:
    """Makes adapter_config.json: the fields of `peft.LoraConfig` that decide the computation."""
    library = family.replace("-", "_")
    return {
        "auto_mapping": {
            "base_model_class": class_name(family, classified=False),
            "parent_library": f"transformers.models.{library}.modeling_{library}",
        },
        "base_model_name_or_path": updates.base,
        "bias": "none",
        "fan_in_fan_out": False,
        "inference_mode": True,
        "lora_alpha": updates.config.alpha,
        "lora_dropout": 0.0,
        "modules_to_save": None,
        "peft_type": "LORA",
        "r": updates.config.rank,
        "target_modules": modules,
        "task_type": None,
        "use_dora": False,
        "use_rslora": False,
    }
