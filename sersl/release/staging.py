"""A model folder is written beside its place and put there whole, or not at all."""

import contextlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path

from sersl.core.errors import UserError

FILES = ("config.json", "preprocessor_config.json", "model.safetensors", "sersl.json", "README.md")
ONNX_FOLDER = "onnx"


@contextlib.contextmanager
def staged(folder: Path) -> Iterator[Path]:
    """Makes a folder to write into, which takes the place of `folder` when all went well.

    Args:
      folder: of the model; a released model that is there is replaced.

    Yields:
      An empty folder on the same file system.

    Raises:
      UserError: the folder holds something else, or cannot be written.
    """
    _refuse_to_lose(folder)
    staging = folder.with_name(f".{folder.name}.{os.getpid()}")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(staging, ignore_errors=True)
        staging.mkdir()
        yield staging
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


def write_json(path: Path, content: Mapping) -> None:
    """Writes a JSON object for people to read.

    Args:
      path: of the file.
      content: of strings, finite numbers, lists and mappings.
    """
    text = json.dumps(content, indent=1, allow_nan=False, ensure_ascii=False) + "\n"
    path.write_text(text, encoding="utf-8")


def _refuse_to_lose(folder: Path) -> None:
    if folder.is_file():
        raise UserError(f"{folder} is a file: give a folder for the model")
    if folder.is_dir() and any(folder.iterdir()):
        if not (folder / "sersl.json").is_file():
            raise UserError(
                f"folder {folder} is not empty and holds no sersl model: give another folder, so "
                "that nothing is lost"
            )
        foreign = sorted({path.name for path in folder.iterdir()} - {*FILES, ONNX_FOLDER})
        if foreign:
            raise UserError(
                f"folder {folder} also holds {foreign[0]!r}, which is no part of a model: move it "
                "away or give another folder"
            )
