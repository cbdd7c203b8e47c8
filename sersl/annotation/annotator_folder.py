"""The folder of a fitted annotator: settings in annotator.json, weights in annotator.safetensors.

The folder's name is the annotator's name, and that of the sidecars it makes.
"""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load, save

from sersl.core.bounded import read_bounded
from sersl.core.digests import check_digests, has_digests, write_digests
from sersl.core.errors import UserError
from sersl.core.files import check_writable, read_json, whole_folder, write_json, writing

SCHEMA = 1
ABOUT_FILE, TENSORS_FILE = "annotator.json", "annotator.safetensors"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")


@dataclass(frozen=True)
class Fitted:
    """A fitted annotator in host memory.

    Attributes:
      folder: that it was read from.
      about: content of annotator.json: "schema", "kind", "algorithm", "config", "categories",
        "trained_on"...
      tensors: {name: array}.
      fingerprint: of both files, 16 hexadecimal digits.
    """

    folder: Path
    about: dict
    tensors: dict[str, np.ndarray]
    fingerprint: str

    @property
    def name(self) -> str:
        """Name of the annotator: the folder's."""
        return self.folder.name


def check_output(folder: Path, reserved: tuple[str, ...]) -> None:
    """Checks, before an annotator is fitted, that its folder can be written.

    Args:
      folder: of the annotator.
      reserved: names that are taken.

    Raises:
      UserError: it has a taken name, one with other than letters, digits, "_", "." and "-", holds
        something else, or cannot be written.
    """
    if folder.name in reserved or not _NAME.fullmatch(folder.name):
        raise UserError(
            f"a fitted annotator cannot be called {folder.name!r}, the last part of its folder: "
            f"use letters, digits, '_', '.' or '-', and none of {', '.join(reserved)}"
        )
    if folder.exists() and not (folder / ABOUT_FILE).is_file():
        raise UserError(f"{folder} exists and is not an annotator: give --output another folder")
    check_writable(folder.parent, option="--output")


def write_annotator(folder: Path, about: Mapping, tensors: Mapping[str, np.ndarray]) -> None:
    """Writes a fitted annotator, whole or not at all; an older one is replaced.

    Args:
      folder: to make.
      about: JSON-able; readers look at "kind" and "algorithm" (its version).
      tensors: {name: array}, each of any shape.

    Raises:
      UserError: the folder cannot be written.
    """
    with writing("the annotator", folder.parent), whole_folder(folder) as partial:
        (partial / TENSORS_FILE).write_bytes(save(dict(tensors)))
        write_json(partial / ABOUT_FILE, {"schema": SCHEMA, **about})
        write_digests(partial)


def is_annotator(folder: str | Path) -> bool:
    """Tells whether a folder holds a fitted annotator."""
    return (Path(folder) / ABOUT_FILE).is_file()


def read_annotator(folder: str | Path) -> Fitted:
    """Reads a fitted annotator.

    Args:
      folder: that `sersl annotate --fit` wrote.

    Returns:
      The annotator.

    Raises:
      UserError: it is missing, damaged, or of another version.
    """
    folder = Path(folder)
    remedy = f"fit one with `sersl annotate --fit ... --output {folder}`"
    if not is_annotator(folder) and not has_digests(folder):
        raise UserError(f"{folder} is not an annotator: {remedy}")
    check_digests(folder, what="annotator", remedy=remedy)
    about = read_json(folder / ABOUT_FILE, what="annotator", remedy=remedy)
    try:
        if not (folder / TENSORS_FILE).is_file():
            raise ValueError("it is not a file")
        numbers = read_bounded(folder / TENSORS_FILE)
        tensors = load(numbers)
    except (OSError, ValueError, SafetensorError) as error:
        raise UserError(
            f"{folder / TENSORS_FILE} (annotator) cannot be read: {error}; {remedy}"
        ) from error
    schema = about.get("schema")
    if schema != SCHEMA:
        raise UserError(
            f"{folder / ABOUT_FILE} has schema {schema}, this version reads {SCHEMA}: fit it again"
        )
    words = read_bounded(folder / ABOUT_FILE)
    digest = hashlib.sha256(words + b"\0" + numbers).hexdigest()[:16]
    return Fitted(folder.resolve(), about, tensors, digest)
