"""Folds as a file: which utterance is on which side, by id, with a checksum over all of it."""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from sersl.core.errors import UserError
from sersl.corpora.index import CorpusIndex
from sersl.corpora.manifests.tables import read_json
from sersl.corpora.protocols.division import Division, Request

_SIDES = ("train", "validation", "test")
_SCHEMA = 1
_LISTED = 3  # ids in a sentence


def write_protocol(path: str | Path, name: str, folds, indexes: Sequence[CorpusIndex]) -> str:
    """Writes folds to a file that `protocol.name='file'` reads.

    Args:
      path: JSON file to write.
      name: of the protocol that made the folds.
      folds: `sersl.corpora.protocols.protocol.Fold`s.
      indexes: of the corpora, in the order that the folds' rows count in.

    Returns:
      The checksum: 64 hexadecimal digits.
    """
    ids = _ids(indexes)
    content = {
        "schema": _SCHEMA,
        "protocol": name,
        "corpora": [
            {
                "corpus": index.corpus,
                "version": index.version,
                "fingerprint": index.fingerprint,
                "num_utterances": index.num_utterances,
            }
            for index in indexes
        ],
        "folds": [
            {
                "fold": fold.name,
                "warnings": list(fold.checks["warnings"]),
                **{side: [ids[row] for row in getattr(fold, side).tolist()] for side in _SIDES},
            }
            for fold in folds
        ],
    }
    checksum = _checksum(content)
    Path(path).write_text(
        json.dumps(content | {"sha256": checksum}, indent=1, ensure_ascii=False) + "\n",
        encoding="utf-8",
    )
    return checksum


def read_checksum(path: str | Path) -> str:
    """Reads the checksum of a protocol file, after checking it.

    Args:
      path: the file.

    Returns:
      64 hexadecimal digits.

    Raises:
      UserError: as `from_file`.
    """
    return _read(Path(path))["sha256"]


def from_file(request: Request) -> list[Division]:
    """Takes folds from the file that `protocol.file` names.

    Args:
      request: with `file`.

    Returns:
      The folds, validation included.

    Raises:
      UserError: no file, one that was edited or is no protocol, an utterance that the corpora do
        not have, or one that is on two sides.
    """
    if not request.file:
        raise UserError("protocol 'file' needs protocol.file, as sersl finetune writes it")
    path = Path(request.file)
    content = _read(path)
    row_of = {name: row for row, name in enumerate(_ids(request.indexes))}
    notes = [f"folds of {path.name} (protocol {content['protocol']}, {content['sha256'][:16]})"]
    prepared = {index.corpus: index.fingerprint for index in request.indexes}
    warnings = [
        f"corpus {corpus['corpus']} was prepared anew since {path.name} was written: its contents "
        "differ, so scores may not compare"
        for corpus in content["corpora"]
        if corpus["corpus"] in prepared and prepared[corpus["corpus"]] != corpus["fingerprint"]
    ]
    divisions = []
    for fold in content["folds"]:
        rows, listed = {}, []
        for side in _SIDES:
            unknown = [name for name in fold[side] if name not in row_of]
            if unknown:
                raise UserError(
                    f"{path}: {len(unknown)} utterances of fold {fold['fold']!r} are not in "
                    f"{', '.join(prepared)}, e.g. {', '.join(unknown[:_LISTED])}; prepare the "
                    "corpora that the file names"
                )
            rows[side] = np.array(sorted(row_of[name] for name in fold[side]), np.int64)
            listed += fold[side]
        if len(set(listed)) < len(listed):
            twice = next(name for name in listed if listed.count(name) > 1)
            raise UserError(f"{path}: {twice!r} is twice in fold {fold['fold']!r}; leave one")
        unlisted = len(request) - len(listed)
        left_out = [f"{unlisted} utterances are on no side"] if unlisted else []
        divisions.append(
            Division(
                fold["fold"],
                rows["test"],
                train=rows["train"],
                validation=rows["validation"],
                notes=(*notes, *left_out),
                warnings=(*warnings, *fold["warnings"]),
            )
        )
    return divisions


def _ids(indexes: Sequence[CorpusIndex]) -> list[str]:
    """Names every row `corpus/utterance_id`; names of corpora have no slash."""
    return [
        f"{index.corpus}/{name}"
        for index in indexes
        for name in index.column("utterance_id").tolist()
    ]


def _checksum(content: dict) -> str:
    text = json.dumps(content, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def _read(path: Path) -> dict:
    if not path.is_file():
        raise UserError(f"there is no protocol file {str(path)!r}; check protocol.file")
    content = read_json(path)
    keys = {"schema", "protocol", "corpora", "folds", "sha256"}
    if not isinstance(content, dict) or set(content) != keys or content["schema"] != _SCHEMA:
        raise UserError(
            f"{path} is no protocol file of schema {_SCHEMA}: it needs {', '.join(sorted(keys))}"
        )
    own = {key: value for key, value in content.items() if key != "sha256"}
    if _checksum(own) != content["sha256"]:
        raise UserError(
            f"{path} was edited since it was written: its checksum is not that of its contents; "
            "take the original, or make the folds anew"
        )
    return content
