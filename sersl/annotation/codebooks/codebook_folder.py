"""The folder of a code book: centroids in codebook.safetensors, their origin in codebook.json.

The code book, and the codes made with it, have the name of the folder.
"""

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy
from safetensors import SafetensorError

from sersl.core.bounded import read_bounded
from sersl.core.digests import check_digests, has_digests, write_digests
from sersl.core.errors import UserError
from sersl.core.files import (
    check_name,
    check_writable,
    read_json,
    whole_folder,
    write_json,
    writing,
)

CODEBOOK_SCHEMA = 1
_WEIGHTS, _SUMMARY = "codebook.safetensors", "codebook.json"
_ABOUT = {"identity": dict, "num_frames": int, "iterations": int, "inertia": int | float}


@dataclass(frozen=True)
class CodeBook:
    """Centroids and their origin.

    Attributes:
      name: of the folder, and of the codes.
      centroids: float32 [K, D].
      about: content of codebook.json.
    """

    name: str
    centroids: np.ndarray
    about: Mapping[str, Any]


def read_codebook(folder: str | Path) -> CodeBook | None:
    """Reads a code book.

    Args:
      folder: of the code book.

    Returns:
      The code book; None if the folder holds none.

    Raises:
      UserError: it is damaged.
    """
    folder = Path(folder)
    if not os.path.lexists(folder / _SUMMARY) and not has_digests(folder):
        return None
    what, remedy = "code book", "delete the folder and fit it again"
    check_digests(folder, what=what, remedy=remedy)
    about = read_json(folder / _SUMMARY, what=what, remedy=remedy)
    try:
        if not (folder / _WEIGHTS).is_file():
            raise ValueError("it is not a file")
        centroids = safetensors.numpy.load(read_bounded(folder / _WEIGHTS))["centroids"]
    except (OSError, ValueError, KeyError, SafetensorError) as error:
        raise UserError(f"{folder / _WEIGHTS} is damaged ({error}): {remedy}") from error
    if about.get("schema") != CODEBOOK_SCHEMA:
        raise UserError(f"the code book {folder} is of another layout: fit it again elsewhere")
    if (
        centroids.ndim != 2
        or len(centroids) != about.get("num_codes")
        or centroids_fingerprint(centroids) != about.get("fingerprint")
        or any(not isinstance(about.get(key), kind) for key, kind in _ABOUT.items())
    ):
        raise UserError(f"the code book {folder} is damaged: {remedy}")
    return CodeBook(folder.name, centroids, about)


def check_output(folder: str | Path) -> None:
    """Checks, before any work, that a code book can be written.

    Args:
      folder: of the code book.

    Raises:
      UserError: its name cannot be that of codes, it holds something else or cannot be written.
    """
    folder = Path(folder)
    check_name(folder.name, what="code book")
    if os.path.lexists(folder) and not (folder.is_dir() and _is_free(folder)):
        raise UserError(f"{folder} exists and is not a code book: give --output another folder")
    check_writable(folder.parent, option="--output")


def _is_free(folder: Path) -> bool:
    return os.path.lexists(folder / _SUMMARY) or has_digests(folder) or not os.listdir(folder)


def centroids_fingerprint(centroids: np.ndarray) -> str:
    """Names centroids float32 [K, D] by their bytes: 16 hexadecimal digits."""
    return hashlib.sha256(centroids.tobytes()).hexdigest()[:16]


def write_codebook(folder: Path, book: CodeBook) -> None:
    """Writes a code book, whole or not at all.

    Args:
      folder: to make.
      book: its contents.

    Raises:
      UserError: it cannot be written.
    """
    with writing("the code book", folder.parent), whole_folder(folder) as partial:
        weights = safetensors.numpy.save({"centroids": book.centroids})
        (partial / _WEIGHTS).write_bytes(weights)
        write_json(partial / _SUMMARY, book.about)
        write_digests(partial)
