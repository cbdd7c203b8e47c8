"""The folder of a fitted annotator: annotator.json says what it is, annotator.safetensors knows it.

The folder's name is the annotator's name, and that of the sidecars it makes.
"""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load, save

from sersl.core.errors import UserError
from sersl.core.files import whole_folder, write_json

SCHEMA = 1
ABOUT_FILE, TENSORS_FILE = "annotator.json", "annotator.safetensors"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")


@dataclass(frozen=True)
class Fitted:
    """A fitted annotator in host memory.

    Attributes:
      folder: where it lies.
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
        """Gives the annotator's name."""
        return self.folder.name


def check_name(folder: Path, reserved: tuple[str, ...]) -> None:
    """Checks that a folder can be called after an annotator.

    Args:
      folder: of the annotator.
      reserved: names that are taken.

    Raises:
      UserError: it has a taken name, or one with other than letters, digits, "_", "." and "-".
    """
    if folder.name in reserved or not _NAME.fullmatch(folder.name):
        raise UserError(
            f"a fitted annotator cannot be called {folder.name!r}, as the last part of its folder "
            f"says: take letters, digits, '_', '.' or '-', and none of {', '.join(reserved)}"
        )


def write_annotator(folder: Path, about: Mapping, tensors: Mapping[str, np.ndarray]) -> None:
    """Writes a fitted annotator, whole or not at all.

    Args:
      folder: to make; an annotator that is there is replaced.
      about: JSON-able; "kind" and "algorithm" (its version) are what readers look at.
      tensors: {name: array}.

    Raises:
      UserError: the folder holds something else, or cannot be written.
    """
    if folder.exists() and not (folder / ABOUT_FILE).is_file():
        raise UserError(f"{folder} is there and no annotator: give --output another folder")
    try:
        with whole_folder(folder) as partial:
            (partial / TENSORS_FILE).write_bytes(save(dict(tensors)))
            write_json(partial / ABOUT_FILE, {"schema": SCHEMA, **about})
    except OSError as error:
        raise UserError(
            f"{folder} cannot be written ({error}): make room or mend its permissions"
        ) from error


def is_annotator(folder: str | Path) -> bool:
    """Says whether a folder holds a fitted annotator."""
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
    try:
        words = (folder / ABOUT_FILE).read_bytes()
        numbers = (folder / TENSORS_FILE).read_bytes()
        about, tensors = json.loads(words), load(numbers)
        schema = about["schema"]
    except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
        raise UserError(
            f"{folder} is no annotator that can be read ({error}): fit one with "
            f"`sersl annotate --fit ... --output {folder}`"
        ) from error
    if schema != SCHEMA:
        raise UserError(
            f"{folder / ABOUT_FILE} has schema {schema}, this version reads {SCHEMA}: fit it again"
        )
    digest = hashlib.sha256(words + b"\0" + numbers).hexdigest()[:16]
    return Fitted(folder.resolve(), about, tensors, digest)
