"""Lists as plain text: fairseq's tsv and Kaldi's data folder."""

import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from sersl.core.errors import UserError
from sersl.corpora.manifests.json_lists import side_of
from sersl.corpora.tables.text import read_lines
from sersl.corpora.tables.values import Row, clean

_SPACE = re.compile(r"[ \t]+")  # str.split would also split at U+2028, U+0085 and others


def read_fairseq(manifest: Path) -> Iterator[Row]:
    """Reads fairseq's tsv: the root, then a path and a number of samples per line.

    Beside it, with the same stem and a line for each path: `.emo` with a label, alone or after
    the utterance (emotion2vec), `.wrd` or `.ltr` with the text.

    Raises:
      UserError: a broken line, or another number of labels than of paths.
    """
    root, *lines = list(read_lines(manifest)) or [""]
    entries = [(number, line) for number, line in enumerate(lines, start=2) if line.strip()]
    labels = _beside(manifest, ".emo", len(entries))
    words = _beside(manifest, ".wrd", len(entries))
    letters = _beside(manifest, ".ltr", len(entries)) if words is None else None
    fold = side_of(manifest)
    for position, (number, line) in enumerate(entries):
        where = f"{manifest.name} line {number}"
        path, *rest = line.split("\t")
        if len(rest) != 1 or not (rest[0].strip().isascii() and rest[0].strip().isdigit()):
            raise UserError(f"{where}: not a path, a tab and a number of samples")
        row: dict[str, Any] = {
            "path": os.path.join(root.strip(), path),
            "utterance_id": os.path.splitext(path)[0],
            "listed_samples": int(rest[0][:18]),
        }
        if labels is not None:
            row["emotion"] = _label(labels[position], path, where)
        if words is not None:
            row["text"] = words[position]
        if letters is not None:  # "H E L L O | Y O U |"
            row["text"] = letters[position].replace(" ", "").replace("|", " ")
        yield _row(where, row | fold)


def fairseq_files(manifest: Path) -> list[Path]:
    """Lists the tsv and its label files that exist."""
    beside = (manifest.with_suffix(ending) for ending in (".emo", ".wrd", ".ltr"))
    return [manifest, *(file for file in beside if file.is_file())]


def read_kaldi(folder: Path) -> Iterator[Row]:
    """Reads a Kaldi data folder: wav.scp, and if there, segments, utt2spk, text and others.

    Relative paths in wav.scp start from the folder itself. Rows are in the order of segments or,
    without it, of wav.scp.

    Raises:
      UserError: a pipe instead of a file, a broken line, an id twice, a segment of a recording
        that wav.scp does not have, or a label of an unknown utterance.
    """
    recordings = _pairs(folder / "wav.scp")
    for recording, (where, path) in recordings.items():
        if path.rstrip().endswith("|"):
            raise UserError(
                f"{where}: {recording!r} is a command, not a file: run it once and write its "
                "output to a file"
            )
    names = [name for name in _KALDI_TABLES if (folder / name).is_file()]
    tables = {_KALDI_TABLES[name]: _pairs(folder / name) for name in names}
    if len(tables) < len(names):
        raise UserError(f"{folder} has emotions in two of {', '.join(names)}; leave one")
    genders = _pairs(folder / "spk2gender") if (folder / "spk2gender").is_file() else {}
    rows = dict(_kaldi_segments(folder, recordings))
    for table in tables.values():
        for utterance_id, (where, _) in table.items():
            if utterance_id not in rows:
                raise UserError(
                    f"{where}: {utterance_id!r} is not an utterance of this folder; repair it "
                    "with Kaldi's utils/fix_data_dir.sh, or remove the line"
                )
    for utterance_id, (where, row) in rows.items():
        row["utterance_id"] = utterance_id
        for column, table in tables.items():
            if utterance_id in table:
                row[column] = table[utterance_id][1]
        if row.get("speaker") in genders:
            row["gender"] = genders[row["speaker"]][1]
        yield _row(where, row)


# The first three are Kaldi's own; ESPnet and FunASR recipes use these names for emotions and
# languages.
_KALDI_TABLES = {
    "utt2spk": "speaker",
    "text": "text",
    "utt2lang": "language",
    "utt2emo": "emotion",
    "utt2emotion": "emotion",
    "emotion": "emotion",
}


def kaldi_files(folder: Path) -> list[Path]:
    """Lists the files of a Kaldi folder that are read."""
    names = ("wav.scp", "segments", "spk2gender", *_KALDI_TABLES)
    return [folder / name for name in names if (folder / name).is_file()]


def _row(where: str, values: Mapping[str, Any]) -> Row:
    return Row(where, {key: clean(value, where) for key, value in values.items()})


def _kaldi_segments(
    folder: Path, recordings: Mapping[str, tuple[str, str]]
) -> Iterator[tuple[str, tuple[str, dict[str, str]]]]:
    if not (folder / "segments").is_file():
        for utterance_id, (where, path) in recordings.items():
            yield utterance_id, (where, {"path": path})
        return
    for utterance_id, (where, value) in _pairs(folder / "segments").items():
        parts = _SPACE.split(value)
        if len(parts) != 3:
            raise UserError(f"{where}: not an utterance, a recording, a start and an end")
        recording, start, end = parts
        if recording not in recordings:
            raise UserError(f"{where}: recording {recording!r} is not in wav.scp")
        row = {"path": recordings[recording][1], "start": start}
        if end != "-1":  # to the end of the recording
            row["end"] = end
        yield utterance_id, (where, row)


def _pairs(file: Path) -> dict[str, tuple[str, str]]:
    """Reads lines of a key and a value: key -> (where, value)."""
    pairs: dict[str, tuple[str, str]] = {}
    for number, line in enumerate(read_lines(file), start=1):
        if not line.strip():
            continue
        where = f"{file.name} line {number}"
        key, *value = _SPACE.split(line.strip(" \t"), maxsplit=1)
        if key in pairs:
            raise UserError(f"{where}: {key!r} is already in {pairs[key][0]}")
        pairs[key] = (where, value[0] if value else "")
    return pairs


def _beside(manifest: Path, ending: str, count: int) -> list[str] | None:
    """Reads a file with a line for each path; a line may be empty, more at the end are not."""
    file = manifest.with_suffix(ending)
    if not file.is_file():
        return None
    lines = list(read_lines(file))
    while len(lines) > count and not lines[-1].strip():
        del lines[-1]
    if len(lines) != count:
        raise UserError(
            f"{file.name} has {len(lines)} lines and {manifest.name} {count} paths: line n of one "
            "belongs to path n of the other"
        )
    return lines


def _label(line: str, path: str, where: str) -> str:
    if not line.strip():
        return ""
    *before, label = _SPACE.split(line.strip(" \t"))
    stem = os.path.splitext(os.path.basename(path))[0]
    if before and before[0] not in (stem, os.path.splitext(path)[0], path):
        raise UserError(f"{where}: the label's line is of {before[0]!r}, the path is {path!r}")
    return label
