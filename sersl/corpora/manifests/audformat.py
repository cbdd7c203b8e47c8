"""audformat databases (audEERING): db.yaml and its tables, read without the audformat package."""

import csv
import math
import re
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import yaml

from sersl.core.errors import UserError
from sersl.corpora.labels import DIMENSIONS
from sersl.corpora.manifests.tables import Row, open_text, parquet_errors, plain

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
_TIME = re.compile(r"(?:(\d+) days? )?(\d+):(\d\d):(\d\d(?:\.\d+)?)")


def read_audformat(folder: Path) -> Iterator[Row]:
    """Reads all tables of a database and joins what they say of each file or segment.

    A column whose scheme is emotion, arousal, dominance or valence but whose name is another is
    one rater's; the rater is the column's `rater_id`, or its name.

    Args:
      folder: with db.yaml and db.<table>.csv or .parquet.

    Yields:
      Rows in the order of first appearance. A file that has segments is not a row itself; what
      is said of it is said of its segments.

    Raises:
      UserError: a broken header, a missing table, or two tables that say different things.
    """
    header = read_header(folder)
    found: dict[tuple, dict] = {}
    for name, table in header["tables"].items():
        _join_table(folder, header, name, table, found)
    segmented = {file for file, start, end in found if (start, end) != (None, None)}
    scale = _scale(header)
    languages = [_language(code) for code in header["languages"]]
    for (file, start, end), said in found.items():
        whole = (start, end) == (None, None)
        if whole and file in segmented:
            continue
        row = (found.get((file, None, None), {}) | said) if not whole else dict(said)
        row = {"path": file} | _speaker(header, row, folder) | scale
        if len(languages) == 1 and "language" not in row:
            row["language"] = languages[0]
        if not whole:
            row |= {"start": start, "end": end}
        place = "" if whole else f" from {start or 0:g} s"
        yield f"{folder.name} {file}{place}", row


def read_header(folder: Path) -> dict:
    """Reads db.yaml.

    Args:
      folder: of the database.

    Returns:
      The header, with all of the parts that are read here.

    Raises:
      UserError: not YAML, or without tables.
    """
    path = folder / "db.yaml"
    try:
        with open_text(path) as file:
            header = yaml.safe_load(file)
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # ValueError: an impossible date
        text = " ".join(str(error).split())
        raise UserError(f"{path} is not YAML: {text}") from error
    if not isinstance(header, dict) or not header.get("tables"):
        raise UserError(f"{path} has no tables, so it lists no audio")
    read = {}
    for part, kind in _PARTS.items():
        read[part] = header.get(part) or kind()
        if not isinstance(read[part], kind):
            raise UserError(f"{path}: {part} is not a {'list' if kind is list else 'mapping'}")
    for part in ("schemes", "splits", "tables"):
        read[part] = {str(name): _mapping(item, path, part) for name, item in read[part].items()}
    for table in read["tables"].values():
        columns = _mapping(table.get("columns"), path, "columns")
        table["columns"] = {str(n): _mapping(c, path, "columns") for n, c in columns.items()}
    return read


_PARTS = {"schemes": dict, "splits": dict, "languages": list, "tables": dict}


def _mapping(item, path: Path, part: str) -> dict:
    if item is not None and not isinstance(item, dict):
        raise UserError(f"{path}: {item!r} in {part} is not a mapping")
    return item or {}


def audformat_files(folder: Path) -> list[Path]:
    """Names the header and the tables of a database."""
    return [folder / "db.yaml", *sorted((*folder.glob("db.*.csv"), *folder.glob("db.*.parquet")))]


def _join_table(folder: Path, header: dict, name: str, table: dict, found: dict) -> None:
    """Adds what one table says to `found`: (file, start, end) -> row."""
    columns = table["columns"]
    fold = _fold(header, table)
    for where, values in _values(folder, name):
        if "file" not in values:
            raise UserError(f"{where}: there is no column 'file'; columns are {', '.join(values)}")
        start = _seconds(values.pop("start", None), where)
        end = _seconds(values.pop("end", None), where)
        if start == 0 and end is None:  # a whole file, in a segmented table
            start = None
        row = found.setdefault((str(values.pop("file")), start, end), {})
        said = dict(fold)
        for column, value in values.items():
            if value in ("", None):
                continue
            kind = _kind(columns.get(column, {}).get("scheme_id"), column)
            if kind in _RATED and column.split(".")[0].split("-")[0] != kind:
                rater = str(columns[column].get("rater_id") or column)
                row.setdefault("annotators", {}).setdefault(rater, {})[kind] = value
            else:
                said[kind if kind not in said else column] = value
        for key, value in said.items():
            if key in row and row[key] != value:
                raise UserError(
                    f"{where}: {key} is {value!r} here and {row[key]!r} in another table; remove "
                    "one of the two tables from db.yaml"
                )
        row |= said


def _kind(scheme: str | None, column: str) -> str:
    """Finds the column of ours that a scheme stands for; its own name where there is none."""
    for name in (scheme or "", column):
        base = re.split(r"[.-]", str(name))[0].lower()
        # "emotion.confidence" is another thing than "emotion.categories"
        if base in _KINDS and not re.search(r"confidence|agreement|votes|duration", str(name)):
            return _KINDS[base]
    return column


def _fold(header: dict, table: dict) -> dict:
    split = table.get("split_id")
    if split is None:
        return {}
    described = header["splits"].get(str(split), {})
    return {"fold": str(described.get("type", split))}


def _values(folder: Path, name: str) -> Iterator[Row]:
    for file in (folder / f"db.{name}.csv", folder / f"db.{name}.parquet"):
        if file.is_file():
            yield from _csv(file) if file.suffix == ".csv" else _parquet(file)
            return
    raise UserError(
        f"{folder}: there is no db.{name}.csv or db.{name}.parquet, a table that db.yaml names"
    )


def _csv(file: Path) -> Iterator[Row]:
    with open_text(file) as text:
        reader = csv.reader(text)
        columns = next(reader, [])
        for values in reader:
            where = f"{file.name} line {reader.line_num}"
            if len(values) != len(columns):
                raise UserError(f"{where}: {len(values)} values for {len(columns)} columns")
            yield where, dict(zip(columns, values, strict=True))


def _parquet(file: Path) -> Iterator[Row]:
    with parquet_errors(file):
        table = pq.read_table(file)
    for position, field in enumerate(table.schema):
        if pa.types.is_duration(field.type):  # Python's own durations have no nanoseconds
            whole = table.column(position).cast(pa.duration("ns")).cast(pa.int64())
            seconds = pc.divide(whole.cast(pa.float64()), 1e9)
            table = table.set_column(position, field.name, seconds)
    for number, row in enumerate(table.to_pylist(), start=1):
        where = f"{file.name} row {number}"
        yield where, {key: plain(value, f"{where}: {key}") for key, value in row.items()}


def _seconds(value, where: str) -> float | None:
    """Reads "0 days 00:00:02.5", "00:00:02.5" or seconds; None for none ("NaT")."""
    if value is None or value in ("", "NaT"):
        return None
    match = _TIME.fullmatch(str(value))
    if match:
        days, hours, minutes, seconds = (float(part or 0) for part in match.groups())
        return ((days * 24 + hours) * 60 + minutes) * 60 + seconds
    try:
        return float(value)
    except ValueError as error:
        raise UserError(f"{where}: {value!r} is not a time such as '0 days 00:00:02.5'") from error


def _scale(header: dict) -> dict:
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


def _speaker(header: dict, row: dict, folder: Path) -> dict:
    """Adds what the header, or a table it names, says of the row's speaker."""
    labels = header["schemes"].get("speaker", {}).get("labels")
    if "speaker" not in row:
        return row
    if isinstance(labels, str):  # the name of a table of speakers, by its first column
        people = {}
        for _, values in _values(folder, labels):
            first, *_ = values.values()
            people[str(first)] = dict(list(values.items())[1:])
        labels = people
    if not isinstance(labels, dict):
        return row
    known = {str(key): value for key, value in labels.items()}.get(str(row["speaker"]))
    about = known if isinstance(known, dict) else {}
    added = {_kind(None, str(key)): value for key, value in about.items() if value is not None}
    if "language" in added:
        added["language"] = _language(added["language"])
    return {key: plain(value, "db.yaml") for key, value in added.items()} | row


def _language(code) -> str:
    return _LANGUAGES.get(str(code), str(code))
