"""audformat databases (audEERING): db.yaml and its tables, read without the audformat package."""

import math
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from sersl.core.errors import UserError
from sersl.corpora.labels import DIMENSIONS
from sersl.corpora.tables.delimited import read_table
from sersl.corpora.tables.parquet import read_parquet
from sersl.corpora.tables.text import read_text
from sersl.corpora.tables.values import Row, clean

# Scheme -> our column. audformat's conventions (docs/data-conventions.rst); "emotion.categories"
# and "emotion-acted" are variants of "emotion".
_KINDS = {
    "emotion": "emotion",
    "speaker": "speaker",
    "gender": "gender",
    "sex": "gender",
    "language": "language",
    "session": "session",
    "intensity": "intensity",
    "text": "text",
    "transcription": "text",
    **{name: name for name in DIMENSIONS},
}
_RATED = ("emotion", *DIMENSIONS)
# ISO 639-3, as audformat has it, to the two letters of the index; others stay as they are.
_LANGUAGES = {
    "ara": "ar",
    "ben": "bn",
    "cmn": "zh",
    "dan": "da",
    "deu": "de",
    "ell": "el",
    "eng": "en",
    "est": "et",
    "fas": "fa",
    "fra": "fr",
    "hin": "hi",
    "ita": "it",
    "jpn": "ja",
    "kor": "ko",
    "nld": "nl",
    "pol": "pl",
    "por": "pt",
    "rus": "ru",
    "spa": "es",
    "swe": "sv",
    "tur": "tr",
    "urd": "ur",
    "zho": "zh",
}
_PARTS: dict[str, type] = {"schemes": dict, "splits": dict, "languages": list, "tables": dict}

# File, start and end of a segment in seconds; None and None: the whole file.
_Segment = tuple[str, float | None, float | None]


def read_audformat(folder: Path) -> Iterator[Row]:
    """Reads all tables of a database and joins the values of each file or segment.

    A column whose scheme is emotion, arousal, dominance or valence but whose name is another is
    one rater's; the rater is the column's `rater_id`, or its name.

    Args:
      folder: with db.yaml and db.<table>.csv or .parquet.

    Yields:
      Rows in the order of first appearance. A file that has segments is not a row itself; its
      values are given to its segments.

    Raises:
      UserError: a broken header, a missing table, or two tables with different values.
    """
    header = read_header(folder)
    found: dict[_Segment, dict[str, Any]] = {}
    for name, table in header["tables"].items():
        _join_table(folder, header, name, table, found)
    segmented = {file for file, start, end in found if (start, end) != (None, None)}
    scale = _scale(header)
    speakers = _read_speakers(header, folder)
    languages = [_language(code) for code in header["languages"]]
    for (file, start, end), values in found.items():
        whole = (start, end) == (None, None)
        if whole and file in segmented:
            continue
        row = values if whole else found.get((file, None, None), {}) | values
        row = {"path": file} | speakers.get(str(row.get("speaker", "")), {}) | row | scale
        if len(languages) == 1 and "language" not in row:
            row["language"] = languages[0]
        if not whole:
            row |= {"start": "" if start is None else start, "end": "" if end is None else end}
        place = "" if whole else f" from {start or 0:g} s"
        yield Row(f"{folder.name} {file}{place}", row)


def read_header(folder: Path) -> dict[str, Any]:
    """Reads db.yaml; all parts that are used are in the result.

    Raises:
      UserError: not YAML, or without tables.
    """
    path = folder / "db.yaml"
    try:
        header = yaml.safe_load(read_text(path))
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # ValueError: an impossible date
        text = " ".join(str(error).split())
        raise UserError(f"{path} is not YAML: {text}") from error
    if not isinstance(header, dict) or not header.get("tables"):
        raise UserError(f"{path} has no tables, so it lists no audio")
    read: dict[str, Any] = {}
    for part, kind in _PARTS.items():
        read[part] = header.get(part) or kind()
        if not isinstance(read[part], kind):
            raise UserError(f"{path}: {part} is not a {'list' if kind is list else 'mapping'}")
    read["license"] = " ".join(str(header.get("license") or "").split())
    for part in ("schemes", "splits", "tables"):
        read[part] = {str(name): _mapping(item, path, part) for name, item in read[part].items()}
    for table in read["tables"].values():
        columns = _mapping(table.get("columns"), path, "columns")
        table["columns"] = {str(n): _mapping(c, path, "columns") for n, c in columns.items()}
    return read


def audformat_files(folder: Path) -> list[Path]:
    """Lists the header and the tables of a database."""
    return [folder / "db.yaml", *sorted((*folder.glob("db.*.csv"), *folder.glob("db.*.parquet")))]


def _mapping(item: Any, path: Path, part: str) -> dict[Any, Any]:
    if item is not None and not isinstance(item, dict):
        raise UserError(f"{path}: {item!r} in {part} is not a mapping")
    return item or {}


def _join_table(
    folder: Path,
    header: Mapping[str, Any],
    name: str,
    table: Mapping[str, Any],
    found: dict[_Segment, dict[str, Any]],
) -> None:
    """Adds the values of one table to `found`."""
    columns = table["columns"]
    fold = _fold(header, table)
    for line in _rows(folder, name):
        if "file" not in line:
            raise UserError(
                f"{line.where}: there is no column 'file'; columns are {', '.join(line.values)}"
            )
        start, end = (_or_none(line.seconds(column)) for column in ("start", "end"))
        if start == 0 and end is None:  # a whole file, in a segmented table
            start = None
        row = found.setdefault((line.text("file"), start, end), {})
        given = dict(fold)
        for column in line.values:
            if column in ("file", "start", "end") or not line.has(column):
                continue
            value = line.values[column]
            kind = _kind(columns.get(column, {}).get("scheme_id"), column)
            if kind in _RATED and column.split(".")[0].split("-")[0] != kind:
                rater = str(columns.get(column, {}).get("rater_id") or column)
                row.setdefault("annotators", {}).setdefault(rater, {})[kind] = value
            else:
                given[kind if kind not in given else column] = value
        for key, value in given.items():
            if key in row and row[key] != value:
                raise UserError(
                    f"{line.where}: {key} is {value!r} here and {row[key]!r} in another table; "
                    "remove one of the two tables from db.yaml"
                )
        row |= given


def _kind(scheme: Any, column: str) -> str:
    """Finds our name of a scheme's column; the column's own name where we have none."""
    for name in (str(scheme or ""), column):
        base = re.split(r"[.-]", name)[0].lower()
        # "emotion.confidence" is another thing than "emotion.categories"
        if base in _KINDS and not re.search(r"confidence|agreement|votes|duration", name):
            return _KINDS[base]
    return column


def _fold(header: Mapping[str, Any], table: Mapping[str, Any]) -> dict[str, Any]:
    split = table.get("split_id")
    if split is None:
        return {}
    described = header["splits"].get(str(split), {})
    return {"fold": str(described.get("type", split))}


def _rows(folder: Path, name: str) -> Iterator[Row]:
    if "/" in name or name in (".", ".."):
        raise UserError(f"{folder / 'db.yaml'}: {name!r} cannot be the name of a table")
    if (folder / f"db.{name}.csv").is_file():
        return read_table(folder / f"db.{name}.csv")
    if (folder / f"db.{name}.parquet").is_file():
        return read_parquet(folder / f"db.{name}.parquet")
    raise UserError(
        f"{folder}: there is no db.{name}.csv or db.{name}.parquet, a table that db.yaml names"
    )


def _or_none(value: float) -> float | None:
    return None if math.isnan(value) else value


def _scale(header: Mapping[str, Any]) -> dict[str, float]:
    """Finds the one scale of all dimensions in the schemes that give a minimum and a maximum."""
    scales = {}
    for name, scheme in header["schemes"].items():
        if _kind(name, "") in DIMENSIONS and {"minimum", "maximum"} <= set(scheme):
            limits = (scheme["minimum"], scheme["maximum"])
            if not all(isinstance(limit, int | float) for limit in limits):
                raise UserError(f"db.yaml: minimum or maximum of {name} is not a number")
            scales[name] = (float(limits[0]), float(limits[1]))
    if len(set(scales.values())) > 1:
        raise UserError(f"db.yaml: {', '.join(scales)} have different scales; give them one")
    for low, high in scales.values():
        if math.isfinite(low) and math.isfinite(high):
            return {"scale_low": low, "scale_high": high}
    return {}


def _read_speakers(header: Mapping[str, Any], folder: Path) -> dict[str, dict[str, Any]]:
    """Reads what the header, or a table it names, has on each speaker: speaker -> columns."""
    labels = header["schemes"].get("speaker", {}).get("labels")
    if isinstance(labels, str):  # the name of a table of speakers, by its first column
        people = {}
        for row in _rows(folder, labels):
            first, *columns = row.values
            people[row.text(first)] = {column: row.values[column] for column in columns}
        labels = people
    if not isinstance(labels, dict):
        return {}
    known: dict[str, dict[str, Any]] = {}
    for speaker, about in labels.items():
        values = about.items() if isinstance(about, dict) else ()
        added = {_kind(None, str(key)): clean(value, "db.yaml") for key, value in values}
        added = {key: value for key, value in added.items() if value != ""}
        if "language" in added:
            added["language"] = _language(added["language"])
        known[str(speaker)] = added
    return known


def _language(code: Any) -> str:
    return _LANGUAGES.get(str(code), str(code))
