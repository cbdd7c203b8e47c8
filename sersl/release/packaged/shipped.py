"""The model that is part of the package, and what is said about a model when it is loaded."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sersl.core.errors import UserError
from sersl.release.file_names import ABOUT, CARD

NAME = "acted-small"
SHIPPED = Path(__file__).with_name(NAME)
EMBEDDED = "synthetic"  # name of the embedded corpus
_LANGUAGES = "acted English and Polish, and English read books"
_log = logging.getLogger(__name__)
_announced: list[bool] = []  # once in a process


def shipped_model() -> Path:
    """Finds the folder of the model that is part of the package.

    Raises:
      UserError: the installation lacks it.
    """
    if not (SHIPPED / ABOUT).is_file():
        raise UserError(
            f"this installation of sersl lacks its model ({SHIPPED}): install sersl again, or give "
            "a model folder (--model DIR)"
        )
    return SHIPPED


def path_of(model: str | None) -> Path:
    """Gives the path that `--model` names; without one, that of the model in the package."""
    return SHIPPED if model is None else Path(model)


def announce(about: Mapping[str, Any]) -> None:
    """Names the shipped model, its licence and its card; once in a process.

    Args:
      about: content of its sersl.json.
    """
    if not _announced:
        _announced.append(True)
        _log.warning(
            "model %s, part of sersl, learned from %s; %s, no commercial use; its card: %s",
            NAME,
            _LANGUAGES,
            about["licence"],
            SHIPPED / CARD,
        )


def from_embedded_corpus(about: Mapping[str, Any]) -> bool:
    """Tells whether a model was trained on nothing but the embedded corpus.

    Args:
      about: content of its sersl.json.
    """
    names = [corpus["corpus"] for corpus in about["corpora"]]
    return bool(names) and all(name == EMBEDDED for name in names)


def warn_of_embedded_corpus(about: Mapping[str, Any]) -> None:
    """Warns where a model knows the embedded corpus alone.

    Args:
      about: content of its sersl.json.
    """
    if from_embedded_corpus(about):
        _log.warning(
            "this model was trained on the embedded synthetic corpus alone, to show how sersl "
            "works: its answers mean nothing for real speech"
        )
