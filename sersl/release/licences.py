"""Licences of models: what a release needs, and what the terms of the training data allow."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from sersl.core.bounded import read_bounded
from sersl.core.errors import UserError
from sersl.release.file_names import CARD

# Names that the Hugging Face Hub takes in the `license` field of a card.
_PERMISSIVE = ("apache-2.0", "mit", "bsd-3-clause", "cc-by-4.0", "cc-by-sa-4.0", "cc0-1.0")
_HUB_LICENCES = (
    *_PERMISSIVE,
    *("cc-by-nc-4.0", "cc-by-nc-sa-4.0", "cc-by-nc-nd-4.0", "cc-by-nd-4.0", "gpl-3.0", "odbl"),
)
_SPELLINGS = {"cc0": "cc0-1.0", "odbl-1.0": "odbl"}
# In the terms of a corpus: no commercial use.
_RESTRICTED = re.compile(r"\bNC\b|non-?commercial|research|\bsigned\b", re.IGNORECASE)
_MOST_CARD = 1 << 20  # bytes


def hub_licence(licence: str) -> str:
    """Gives the Hub's name of a licence; "other" for one that it does not list."""
    name = licence.strip().lower().replace(" ", "-")
    name = _SPELLINGS.get(name, name)
    return name if name in _HUB_LICENCES else "other"


def restricted(corpora: Sequence[Mapping[str, Any]]) -> list[str]:
    """Lists the corpora whose terms allow no commercial use, as "NAME (LICENCE)", each once.

    Args:
      corpora: {"corpus", "licence", ...} of each.

    Returns:
      Sorted texts.
    """
    return sorted(
        {
            _text(corpus)
            for corpus in corpora
            if _RESTRICTED.search(corpus.get("licence") or "") is not None
        }
    )


def check_release(licence: str, corpora: Sequence[Mapping[str, Any]]) -> None:
    """Checks that a model may be released under a licence.

    Args:
      licence: of the model; "" if none was given.
      corpora: that it, its starting weights, annotators and teachers were trained on.

    Raises:
      UserError: there is none, or it allows the commercial use that a corpus forbids.
    """
    forbidding = restricted(corpora)
    if not licence.strip():
        known = sorted({_text(corpus) for corpus in corpora})
        data = f"; its training data are {', '.join(known)}" if known else ""
        because = (
            ", some of which allow no commercial use, so choose a non-commercial licence"
            if forbidding
            else ""
        )
        raise UserError(
            f"a released model needs a licence{data}{because}: give --licence NAME, such as "
            f"{'CC-BY-NC-SA-4.0' if forbidding else 'Apache-2.0 or CC-BY-4.0'}"
        )
    if forbidding and hub_licence(licence) in _PERMISSIVE:
        raise UserError(
            f"--licence {licence} allows commercial use, and the training data do not: "
            f"{', '.join(forbidding)}; give a non-commercial licence, such as CC-BY-NC-SA-4.0"
        )


def stated_licence(folder: Path) -> str:
    """Reads the licence in the header of a model card.

    Args:
      folder: of a Hugging Face model.

    Returns:
      Its name; "" where there is no card, or it states none.
    """
    path = folder / CARD
    if not path.is_file() or path.stat().st_size > _MOST_CARD:
        return ""
    text = read_bounded(path, most=_MOST_CARD).decode("utf-8-sig", "replace")
    found = re.match(r"---\r?\n(.*?)\r?\n---", text, re.DOTALL)
    try:
        header = yaml.safe_load(found[1]) if found else None
    except (yaml.YAMLError, ValueError, RecursionError):
        return ""  # a damaged header; the card is for people
    if not isinstance(header, dict):
        return ""
    for key in ("license_name", "license"):
        if isinstance(header.get(key), str):
            return header[key]
    return ""


def _text(corpus: Mapping[str, Any]) -> str:
    return f"{corpus['corpus']} ({corpus.get('licence') or 'licence not stated'})"


def known_corpora(about: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    """Lists what a model was trained on, and what that was made from."""
    return [*about["corpora"], *about["origin"]]
