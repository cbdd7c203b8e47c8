"""The JSON files in which a run says what it was made from, checked against their digests."""

import hashlib
import json
from pathlib import Path
from typing import Any, NamedTuple

from sersl.core.errors import UserError
from sersl.corpora.labels import DIMENSIONS

STARTS = "starts.jsonl"  # one line per start of the run, with the digests of the files below
CHECKED = ("config.json", "corpora.json", "origin.json", "folds.json", "protocol.json")
_REMEDY = "restore it from a copy, or run the command of the run again"


class Trained(NamedTuple):
    """What a run was trained on, and what it predicts.

    Attributes:
      corpora: {"corpus", "version", "fingerprint", "num_utterances", "num_speakers", "licence"} of
        each.
      categories: names in the order of the logits; () of pretraining.
      dimensions: names in the order of the outputs; None where an earlier version did not say,
        which predicted all three or, with labels.dimensions false, none.
    """

    corpora: list[dict[str, Any]]
    categories: tuple[str, ...]
    dimensions: tuple[str, ...] | None


def digests(workdir: Path) -> dict[str, str]:
    """Gives the SHA-256 of each file of `CHECKED` that is there."""
    return {
        name: hashlib.sha256((workdir / name).read_bytes()).hexdigest()
        for name in CHECKED
        if (workdir / name).is_file()
    }


def check_files(workdir: Path, *, only: str = "") -> None:
    """Compares the files of a run with the digests that its last start wrote down.

    Args:
      workdir: of the run; earlier versions wrote no digests, so there is nothing to compare.
      only: name of one file to compare; "": all of them.

    Raises:
      UserError: a file is missing or has changed, or `starts.jsonl` cannot be read.
    """
    found = digests(workdir)
    for name, wanted in _recorded(workdir / STARTS).items():
        if only not in ("", name):
            continue
        if name not in found:
            raise UserError(f"{workdir / name} is missing: {_REMEDY}")
        if found[name] != wanted:
            raise UserError(f"{workdir / name} has changed since the run wrote it: {_REMEDY}")


def read_trained(workdir: Path) -> Trained:
    """Reads corpora.json: of pretraining a list, of fine-tuning an object.

    Raises:
      UserError: the file is missing or damaged.
    """
    path = workdir / "corpora.json"
    content = read_json(path)
    try:
        whole = {"corpora": content, "categories": ()} if isinstance(content, list) else content
        # A corpus without a stated licence has none, and reports say so.
        corpora = [{"licence": "", **corpus} for corpus in whole["corpora"]]
        for corpus in corpora:
            corpus["corpus"], corpus["fingerprint"]
        dimensions = whole.get("dimensions")
        if not set(dimensions or ()) <= set(DIMENSIONS):
            raise KeyError(f"one of {', '.join(DIMENSIONS)}")
        return Trained(
            corpora,
            tuple(whole["categories"]),
            None if dimensions is None else tuple(dimensions),
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{path} is damaged ({error} is missing): {_REMEDY}") from error


def read_json(path: Path) -> Any:
    """Reads a JSON file of a workdir.

    Raises:
      UserError: it is missing or not JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{path} cannot be read ({error}): {_REMEDY}") from error


def _recorded(path: Path) -> dict[str, str]:
    """Reads the digests of the last start; {} where none were written."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read ({error}): {_REMEDY}") from error
    starts = []
    for line in lines:
        try:
            starts.append(dict(json.loads(line)))
        except (ValueError, TypeError, RecursionError):
            continue  # a start that was killed while it wrote
    if lines and not starts:
        raise UserError(f"{path} is damaged: {_REMEDY}")
    files = [start["files"] for start in starts if isinstance(start.get("files"), dict)]
    return files[-1] if files else {}
