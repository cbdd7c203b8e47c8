"""The JSON files of a workdir, checked when they are read.

Files that say what a run was made from are compared with the digests of its last start;
`results.json` has a digest of itself and of the predictions that it scores.
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from sersl.core.bounded import MOST_TABLE_BYTES, read_bounded
from sersl.core.errors import UserError
from sersl.core.fields import Fields
from sersl.core.files import check_name, parse_json, parse_value, write_json
from sersl.corpora.labels import check_dimension

STARTS = "starts.jsonl"  # one line per start of the run, with the digests of the files below
CHECKED = ("config.json", "corpora.json", "origin.json", "folds.json", "protocol.json")
RESULTS, PREDICTIONS = "results.json", "predictions.csv"
SCHEMA = 1  # of results.json
_REMEDY = "restore it from a copy, or run the command of the run again"
_SCORE_AGAIN = "remove it and run `sersl evaluate --workdir` to score the predictions again"
_MOST_UTTERANCES = 10**12


class Trained(NamedTuple):
    """What a run was trained on, and what it predicts.

    Attributes:
      corpora: {"corpus", "version", "fingerprint", "num_utterances", "num_speakers", "licence"} of
        each.
      categories: names in the order of the logits; () of pretraining.
      dimensions: names in the order of the outputs; None if an earlier version wrote the file,
        which predicted all three or, with labels.dimensions false, none.
      protocol_sha256: checksum of protocol.json; "" of pretraining.
      labels: {"multi", "scales", "classes", "raw"}: what the labels mean beside their names; {} of
        pretraining and of earlier versions.
      parameters: {"trained", "total"}, numbers of parameters; {} of pretraining and of earlier
        versions.
    """

    corpora: list[dict[str, Any]]
    categories: tuple[str, ...]
    dimensions: tuple[str, ...] | None
    protocol_sha256: str
    labels: dict[str, Any]
    parameters: dict[str, int]


def digests(workdir: Path) -> dict[str, str]:
    """Computes the SHA-256 of each file of `CHECKED` that exists."""
    return {
        name: _sha256(read_bounded(workdir / name))
        for name in CHECKED
        if (workdir / name).is_file()
    }


def check_files(workdir: Path, *, only: str = "", remedy: str = _REMEDY) -> None:
    """Compares the files of a run with the digests of its last start.

    Args:
      workdir: of the run; earlier versions wrote no digests, so nothing is compared.
      only: name of one file to compare; "": all of them.
      remedy: what to do about a file that has changed.

    Raises:
      UserError: a file is missing or has changed, or `starts.jsonl` cannot be read.
    """
    found = digests(workdir)
    for name, wanted in _recorded(workdir / STARTS).items():
        if only not in ("", name):
            continue
        if name not in found:
            raise UserError(f"{workdir / name} is missing: {remedy}")
        if found[name] != wanted:
            raise UserError(f"{workdir / name} has changed since the run wrote it: {remedy}")


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
        for name in dimensions or ():
            check_dimension(name, "dimensions")
        return Trained(
            corpora,
            tuple(whole["categories"]),
            None if dimensions is None else tuple(dimensions),
            str(whole.get("protocol_sha256", "")),
            dict(whole.get("labels", {})),
            {name: int(number) for name, number in dict(whole.get("parameters", {})).items()},
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{path} is damaged ({error} is missing): {_REMEDY}") from error


def read_folds(workdir: Path) -> list[dict[str, Any]]:
    """Reads folds.json: names, speakers, sizes and checks of all folds.

    Raises:
      UserError: the file is missing or damaged, or the name of a fold cannot be that of a folder.
    """
    path = workdir / "folds.json"
    folds = read_json(path)
    if not isinstance(folds, list) or not all(isinstance(fold, dict) for fold in folds):
        raise UserError(f"{path} must be a list of objects: {_REMEDY}")
    for number, fold in enumerate(folds):
        _check_fold(Fields(fold, where=f"{path}, fold {number + 1}", remedy=_REMEDY))
    return folds


def write_results(workdir: Path, content: Mapping[str, Any]) -> dict[str, Any]:
    """Writes results.json with a digest of itself and of predictions.csv.

    Args:
      workdir: that has the predictions.
      content: see `sersl.eval.results.score`.

    Returns:
      What was written.
    """
    digest = _sha256(read_bounded(workdir / PREDICTIONS, most=MOST_TABLE_BYTES))
    whole = sealed({**content, "predictions_sha256": digest})
    write_json(workdir / RESULTS, whole)
    return whole


def sealed(content: Mapping[str, Any]) -> dict[str, Any]:
    """Adds the digest of a results.json to its content."""
    return {**content, "sha256": _digest(content)}


def read_results(workdir: Path) -> dict[str, Any]:
    """Reads results.json.

    Raises:
      UserError: the file is missing or damaged.
    """
    path = workdir / RESULTS
    content = read_json(path, remedy=_SCORE_AGAIN)
    if not isinstance(content, dict):
        raise UserError(f"{path} must be an object: {_SCORE_AGAIN}")
    fields = Fields(content, where=str(path), remedy=_SCORE_AGAIN)
    fields.integer("schema", at_least=SCHEMA, at_most=SCHEMA)
    for name in ("metrics", "confidence", "baseline", "mean_over_folds"):
        fields.group(name)
    fields.names("categories")
    fields.texts("versions")
    fields.inside("protocol").text("name")
    for corpus in fields.inside("corpus").groups("corpora"):
        Fields(corpus, where=f"{path}, 'corpora'", remedy=_SCORE_AGAIN).text("fingerprint")
    for fold in fields.groups("folds"):
        own = Fields(fold, where=f"{path}, 'folds'", remedy=_SCORE_AGAIN)
        _check_fold(own)
        own.group("metrics")
    # Earlier versions wrote no digest.
    if "sha256" in content and content["sha256"] != _digest(content):
        raise UserError(f"{path} has changed since it was written: {_SCORE_AGAIN}")
    return content


def check_predictions(workdir: Path) -> None:
    """Compares predictions.csv with the digest in results.json, if there is one.

    Raises:
      UserError: the predictions have changed since they were scored, or results.json is damaged.
    """
    if not (workdir / RESULTS).is_file():
        return
    wanted = read_results(workdir).get("predictions_sha256")
    path = workdir / PREDICTIONS
    if wanted is None or not path.is_file():
        return
    if _sha256(read_bounded(path, most=MOST_TABLE_BYTES)) != wanted:
        raise UserError(
            f"{path} has changed since it was scored: rerun `sersl finetune`, which writes it "
            f"again, or remove {workdir / RESULTS} to score it as it is"
        )


def read_json(path: Path, *, remedy: str = _REMEDY) -> Any:
    """Reads a JSON file of a workdir strictly.

    Args:
      path: of the file.
      remedy: what to do about a damaged one.

    Raises:
      UserError: it is missing or damaged.
    """
    try:
        return parse_value(read_bounded(path))
    except OSError as error:
        reason = error.strerror or str(error)
    except ValueError as error:
        reason = str(error)
    raise UserError(f"{path} cannot be read ({reason}): {remedy}")


def _check_fold(fold: Fields) -> None:
    check_name(fold.text("fold"), what="fold")
    for name in ("num_train", "num_test"):
        fold.integer(name, at_least=0, at_most=_MOST_UTTERANCES)
    for name in ("test_speakers", "validation_speakers"):
        fold.lines(name)
    checks = fold.inside("checks")
    if checks.has("warnings"):
        checks.lines("warnings")


def _digest(content: Mapping[str, Any]) -> str:
    """Computes the SHA-256 of JSON without its own digest."""
    own = {name: value for name, value in content.items() if name != "sha256"}
    return _sha256(json.dumps(own, sort_keys=True, allow_nan=False).encode())


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _recorded(path: Path) -> dict[str, str]:
    """Reads the digests of the last start; {} if an earlier version wrote none."""
    try:
        lines = read_bounded(path).decode().splitlines() if path.is_file() else []
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read ({error}): {_REMEDY}") from error
    starts = []
    for line in lines:
        try:
            starts.append(parse_json(line))
        except ValueError:
            continue  # a start that was killed while it wrote the line
    if lines and not starts:
        raise UserError(f"{path} is damaged: {_REMEDY}")
    files = [start["files"] for start in starts if isinstance(start.get("files"), dict)]
    return files[-1] if files else {}
