"""The files of a released model: their names, their configs, and the folder that holds them."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sersl.core.errors import UserError
from sersl.core.files import check_writable, whole_folder
from sersl.core.lengths import HOP, SAMPLE_RATE, WINDOW
from sersl.models.heads.category_heads import CATEGORY_HEADS
from sersl.models.heads.dimension_head import DIMENSION_HEADS
from sersl.models.heads.head import Head
from sersl.release.architecture import Architecture
from sersl.release.file_names import (
    ABOUT,
    CONFIG,
    FILES,
    ONNX_FOLDER,
    PEFT_FOLDER,
    STABLEHLO_FOLDER,
    TRITON_FOLDER,
)
from sersl.release.huggingface import json_files
from sersl.release.huggingface.tensor_names import Layout


def check_destination(folder: Path) -> None:
    """Checks, before any work, that a model can be written here.

    Raises:
      UserError: the folder holds something else, or cannot be written.
    """
    try:
        _refuse_to_lose(folder)
    except OSError as error:
        raise UserError(
            f"--output {str(folder)[:200]} cannot be used ({error.strerror}): give another folder"
        ) from error
    check_writable(folder.absolute().parent, option="--output")


@contextlib.contextmanager
def whole_model(folder: Path) -> Iterator[Path]:
    """Gives an empty folder for a model, which takes the place of `folder` on success.

    Args:
      folder: of the model; a released model that is there stays until the new one is complete.

    Yields:
      An empty folder on the same file system.

    Raises:
      UserError: the folder holds something else, or cannot be written.
      OSError: a file of another folder cannot be read.
    """
    partial = None
    try:
        _refuse_to_lose(folder)
        with whole_folder(folder) as partial:
            yield partial
    except OSError as error:
        if partial is not None and error.filename is not None:
            inside = (partial, folder, folder.absolute(), folder.resolve())
            if not any(Path(os.fsdecode(error.filename)).is_relative_to(one) for one in inside):
                raise
        raise UserError(
            f"model folder {folder} cannot be written ({error.strerror or error}): make room, "
            "change its permissions, or give another --output"
        ) from error


def _refuse_to_lose(folder: Path) -> None:
    if not os.path.lexists(folder):
        return
    if not folder.is_dir():
        raise UserError(f"{folder} is not a folder: give a folder for the model")
    names = sorted(path.name for path in folder.iterdir())
    if names and ABOUT not in names:
        raise UserError(
            f"folder {folder} is not empty and does not hold a sersl model: give another folder, "
            "so that nothing is lost"
        )
    own = (*FILES, ONNX_FOLDER, TRITON_FOLDER, STABLEHLO_FOLDER, PEFT_FOLDER)
    foreign = [name for name in names if name not in own]
    if foreign:
        raise UserError(
            f"folder {folder} also holds {foreign[0]!r}, which is not part of a model: move it "
            "away or give another folder"
        )


def check_is_model(folder: Path) -> None:
    """Checks that a folder holds a model; else UserError names the command that makes one."""
    if not folder.is_dir():
        raise UserError(f"model folder {folder} does not exist: give one that `sersl export` wrote")
    if (folder / ABOUT).is_file():
        return
    if any((folder / name).is_dir() for name in ("checkpoints", "folds")):
        raise UserError(
            f"{folder} is the workdir of a run, not a model folder: export it first, with `sersl "
            f"export --workdir {folder} --output DIR`, and give that DIR"
        )
    if (folder / CONFIG).is_file():
        raise UserError(
            f"{folder} has no {ABOUT}: import it first, if it comes from Hugging Face, with `sersl "
            f"import --source {folder} --output DIR`; otherwise copy or export the model again"
        )


def check_inside(folder: Path, path: Path) -> None:
    """Refuses a file that is a link out of its folder, except into the cache of Hugging Face."""
    if not path.is_symlink():
        return
    real, inside = (Path(os.path.realpath(one)) for one in (path, folder))  # also of loops
    allowed = [inside]
    if inside.parent.name == "snapshots":  # of the cache of huggingface_hub
        allowed.append(inside.parents[1] / "blobs")
    if not any(real.is_relative_to(place) for place in allowed):
        raise UserError(
            f"{path} is a link to {real}, outside of the model folder: replace it with the file "
            "itself"
        )


def layout_for(architecture: Architecture) -> Layout | None:
    """Chooses the names of the tensors of a model in its file.

    Args:
      architecture: of the model.

    Returns:
      The layout of the family of transformers that computes the same, with its classification head
      if that computes the same too; None if there is no such family.
    """
    family = json_files.family_of(architecture.frontend, architecture.encoder)
    if family is None or architecture.adaptation is not None:
        return None
    output = _expressible_output(architecture)
    prefix = json_files.PREFIXES[family] if output else ""
    return Layout(
        model_type=family,
        prefix="encoder." if family == "whisper" else prefix,
        mask_embedding=family != "whisper",
        head="projector" if output else "",
        output=output,
    )


def _expressible_output(architecture: Architecture) -> str:
    """Names the output that the classification head of transformers can compute, or ""."""
    if architecture.conversation is not None:
        return ""
    pooling, heads = architecture.pooling, architecture.heads
    if heads is None or pooling is None or heads.kind != "linear":
        return ""
    if pooling.kind != "mean" or not pooling.projection or architecture.fusion is not None:
        return ""
    if pooling.layers == "weighted" and pooling.standardize_layers:
        return ""
    if architecture.categories:
        return "category" if CATEGORY_HEADS[heads.category_loss] is Head else ""
    if heads.bounded or DIMENSION_HEADS[heads.dimensions_loss]:
        return ""
    return "dimensions"


def config_json(architecture: Architecture, layout: Layout | None) -> dict[str, Any]:
    """Makes config.json: sizes and category names, under the keys of transformers."""
    encoder, pooling = architecture.encoder, architecture.pooling
    if layout is None:
        sizes: dict[str, Any] = {
            "model_type": "sersl",
            "architectures": ["SpeechEncoder" if architecture.heads is None else "EmotionModel"],
            "hidden_size": encoder.width,
            "num_hidden_layers": encoder.num_layers,
            "num_attention_heads": encoder.num_heads,
            "intermediate_size": encoder.mlp_width,
            "hidden_act": "gelu",
            "dtype": "float32",
        }
    else:
        sizes = json_files.config_json(
            layout,
            architecture.frontend,
            encoder,
            weighted=pooling is not None and pooling.layers == "weighted",
            width=0 if pooling is None else pooling.projection,
        )
    regression = layout is not None and layout.output == "dimensions"
    labels = architecture.dimensions if regression else architecture.categories
    if not labels:
        return sizes
    return {
        **sizes,
        **_problem_type(architecture, regression=regression),
        "id2label": {str(i): name for i, name in enumerate(labels)},
        "label2id": {name: i for i, name in enumerate(labels)},
    }


def _problem_type(architecture: Architecture, *, regression: bool) -> dict[str, str]:
    """Names what the outputs are, where they are not one category."""
    if regression:
        return {"problem_type": "regression"}
    return {"problem_type": "multi_label_classification"} if architecture.multi else {}


def preprocessor_json(architecture: Architecture, layout: Layout | None) -> dict[str, Any]:
    """Makes preprocessor_config.json: rate and normalization of the audio."""
    if layout is not None:
        return json_files.preprocessor_json(architecture.frontend, architecture.encoder)
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
        "num_mel_bins": architecture.frontend.num_mels,
    }
