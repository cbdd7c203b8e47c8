"""Folds as a file: the utterances of every side by id, with a checksum over all of it."""

import collections
import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sersl.core.errors import UserError
from sersl.core.fields import Fields
from sersl.core.files import check_name, read_json, write_json
from sersl.corpora.index import CorpusIndex
from sersl.corpora.protocols.division import Division, Fold, Request

_SIDES = ("train", "validation", "test")
_SCHEMA = 1
_LISTED = 3  # ids in a sentence
_RESERVED = "final"  # the folder of the model that trains on all speakers
_REMEDY = "take the original, or make the folds again"
_KEYS = ("schema", "protocol", "corpora", "folds", "sha256")
_CORPUS_KEYS = ("corpus", "version", "fingerprint", "num_utterances")
_FOLD_KEYS = ("fold", "warnings", *_SIDES)


def write_protocol(
    path: str | Path, name: str, folds: Sequence[Fold], indexes: Sequence[CorpusIndex]
) -> str:
    """Writes folds to a file that `protocol.name='file'` reads.

    Args:
      path: JSON file to write.
      name: of the protocol that made the folds.
      folds: to write.
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
    write_json(path, content | {"sha256": checksum})
    return checksum


def from_file(request: Request) -> list[Division]:
    """Takes folds from the file that `protocol.file` names, validation included.

    Raises:
      UserError: no file, one that was edited or is not a protocol, a fold whose name cannot be
        that of a folder, an utterance that the corpora do not have, or one that is on two sides.
    """
    if not request.file:
        raise UserError("protocol 'file' needs protocol.file, as sersl finetune writes it")
    path = Path(request.file)
    content = _read(path)
    row_of = {name: row for row, name in enumerate(_ids(request.indexes))}
    note = f"folds of {path.name} (protocol {content['protocol']}, {content['sha256'][:16]})"
    prepared = {index.corpus: index.fingerprint for index in request.indexes}
    warnings = [
        f"corpus {corpus['corpus']} was prepared anew since {path.name} was written: its contents "
        "differ, so scores may not compare"
        for corpus in content["corpora"]
        if corpus["corpus"] in prepared and prepared[corpus["corpus"]] != corpus["fingerprint"]
    ]
    divisions = []
    for fold in content["folds"]:
        rows: dict[str, np.ndarray] = {}
        listed: list[str] = []
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
            (twice, _), *_ = collections.Counter(listed).most_common(1)
            raise UserError(f"{path}: {twice!r} is twice in fold {fold['fold']!r}; leave one")
        divisions.append(
            Division(
                fold["fold"],
                rows["test"],
                train=rows["train"],
                validation=rows["validation"],
                notes=(note,),
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


def _checksum(content: dict[str, Any]) -> str:
    text = json.dumps(content, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def _read(path: Path) -> dict[str, Any]:
    """Reads a protocol file with every key and type checked."""
    if not path.exists():
        raise UserError(f"there is no protocol file {str(path)!r}; check protocol.file")
    content = read_json(path, what="protocol file", remedy=_REMEDY)
    fields = Fields(content, where=str(path), remedy=_REMEDY)
    fields.check_names(_KEYS)
    fields.integer("schema", at_least=_SCHEMA, at_most=_SCHEMA)
    fields.text("protocol")
    fields.text("sha256")
    for corpus in fields.groups("corpora"):
        about = Fields(corpus, where=f"{path}, corpora", remedy=_REMEDY)
        about.check_names(_CORPUS_KEYS)
        about.text("corpus")
        about.text("fingerprint")
    for fold in fields.groups("folds"):
        sides = Fields(fold, where=f"{path}, folds", remedy=_REMEDY)
        sides.check_names(_FOLD_KEYS)
        name = check_name(sides.text("fold"), what=f"{path}: fold")
        if name == _RESERVED:
            raise UserError(f"{path}: fold {name!r} has the name of the final model: rename it")
        sides.lines("warnings")
        for side in _SIDES:
            sides.names(side)
    own = {key: value for key, value in content.items() if key != "sha256"}
    if _checksum(own) != content["sha256"]:
        raise UserError(
            f"{path} was edited since it was written: its checksum is not that of its contents; "
            f"{_REMEDY}"
        )
    return content
