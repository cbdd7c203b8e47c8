"""A user's own list of audio, as CSV or JSONL, as a corpus.

Columns, of which only `path` is needed (any case, any order; paths are relative to the manifest):
`path`, `start`, `end` (seconds), `channel` (from 0), `utterance_id`, `speaker`, `gender`,
`language`, `session`, `text`, `emotion` or `category`, `intensity` (0..1), `arousal`, `dominance`,
`valence` (0..1, or on the scale that `scale_low` and `scale_high` give), `fold`. All other columns
are kept in `extra`.
"""

import csv
import hashlib
import json
import math
import os
import re
from collections.abc import Iterator
from pathlib import Path

from sersl.core.errors import UserError
from sersl.corpora.builder import Builder
from sersl.corpora.labels import DIMENSIONS, canonical, to_unit
from sersl.corpora.listing import listing_fingerprint, printable
from sersl.corpora.utterance import About, Utterance

COLUMNS = (
    *("path", "start", "end", "channel", "utterance_id", "speaker", "gender", "language"),
    *("session", "text", "emotion", "category", "intensity", *DIMENSIONS),
    *("scale_low", "scale_high", "fold"),
)
_GENDERS = {"f": "female", "female": "female", "w": "female", "m": "male", "male": "male", "": ""}
# Strengths in words, as corpora have them, evenly over 0..1.
_STRENGTHS = {"low": 0.0, "normal": 0.0, "medium": 0.5, "high": 1.0, "strong": 1.0}
_NAME = re.compile(r"[a-z][a-z0-9_]*")  # what TFDS allows in the names of record files


class ManifestBuilder(Builder, skip_registration=True):
    """The utterances of one manifest file; `name` is given per instance."""

    name = "manifest"

    def __init__(self, *, data_dir: str | Path, manifest: str | Path, name: str = ""):
        self.manifest = Path(manifest)
        if not self.manifest.is_file():
            raise UserError(f"there is no manifest {str(manifest)!r}; check --manifest")
        self.name = corpus_name(self.manifest, name)
        self.about = About(
            description=f"Utterances listed in {self.manifest.name}.",
            citation="",
            licence="as the owner of the audio says",
            homepage="",
            folder="one row per utterance, with a path",
        )
        super().__init__(data_dir=data_dir)

    def listing(self) -> Iterator[Utterance]:
        """Lists the rows in the order of the file.

        Yields:
          Utterances.

        Raises:
          UserError: a column or value that cannot be; the sentence has the line number.
        """
        lines = {}
        for line, row in read_rows(self.manifest):
            item = parse_row(row, self.manifest.parent, f"{self.manifest.name} line {line}")
            if item.utterance_id in lines:
                raise UserError(
                    f"{self.manifest.name} line {line}: utterance_id {item.utterance_id!r} is "
                    f"already on line {lines[item.utterance_id]}; give each row its own"
                )
            lines[item.utterance_id] = line
            yield item

    def source_fingerprint(self) -> str:
        """Sums up the manifest and the names and sizes of the files it lists."""
        digest = hashlib.sha256(self.manifest.read_bytes())
        files = sorted({row["path"] for _, row in read_rows(self.manifest)}, key=os.fsencode)
        digest.update(listing_fingerprint(self.manifest.parent, files).encode())
        return digest.hexdigest()


def corpus_name(manifest: Path, name: str = "") -> str:
    """Names the corpus that a manifest makes.

    Args:
      manifest: the file.
      name: given by the user; "" takes the file's name.

    Returns:
      A name of lower-case letters, digits and underscores; a file's name is converted to it.

    Raises:
      UserError: the given name has other characters, or nothing is left of the file's name.
    """
    chosen = name or re.sub(r"[^a-z0-9]+", "_", manifest.stem.lower()).strip("_")
    if not _NAME.fullmatch(chosen):
        raise UserError(
            f"corpus name {chosen!r} must start with a letter and have only lower-case letters, "
            "digits and underscores; give another with --name"
        )
    return chosen


def read_rows(manifest: Path) -> Iterator[tuple[int, dict]]:
    """Reads a CSV (comma, semicolon or tab) or JSONL file.

    Args:
      manifest: the file, UTF-8 with or without a byte-order mark, any line ends.

    Yields:
      (line number, row); every value a str, or for JSONL what the line has; lower-case keys.

    Raises:
      UserError: not UTF-8, no `path` column or value, a broken line.
    """
    read = _read_jsonl if manifest.suffix.lower() in (".jsonl", ".json") else _read_csv
    try:
        with manifest.open(encoding="utf-8-sig", newline="") as file:
            for line, row in read(file, manifest.name):
                if not isinstance(row["path"], str) or not row["path"]:
                    raise UserError(f"{manifest.name} line {line}: path is empty; give a file")
                yield line, row
    except UnicodeDecodeError as error:
        raise UserError(f"{manifest.name} is not UTF-8 text; save it as UTF-8") from error


def _read_csv(file, name: str) -> Iterator[tuple[int, dict]]:
    header = file.readline()
    separator = max(",;\t", key=header.count)
    columns = next(csv.reader([header], delimiter=separator), [])
    columns = [column.strip().lower() for column in columns]
    if "path" not in columns:
        raise UserError(
            f"{name} line 1: there is no column 'path'; columns are {', '.join(columns) or 'none'}"
        )
    twice = [column for column in columns if columns.count(column) > 1]
    if twice:
        raise UserError(f"{name} line 1: column {twice[0]!r} occurs twice; rename one")
    reader = csv.reader(file, delimiter=separator, strict=True)
    try:
        for values in reader:
            line = reader.line_num + 1
            if not any(value.strip() for value in values):
                continue
            if len(values) != len(columns):
                raise UserError(
                    f"{name} line {line}: {len(values)} values for {len(columns)} columns; quote "
                    f"values that contain {separator!r}"
                )
            row = dict(zip(columns, (value.strip() for value in values), strict=True))
            if separator == ";":  # spreadsheets that write semicolons write decimal commas
                numbers = _NUMBERS.intersection(row)
                row |= {column: row[column].replace(",", ".") for column in numbers}
            yield line, row
    except csv.Error as error:
        raise UserError(f"{name} line {reader.line_num + 1}: {error}; check the quotes") from error


_NUMBERS = {"start", "end", "intensity", *DIMENSIONS, "scale_low", "scale_high"}


def _read_jsonl(file, name: str) -> Iterator[tuple[int, dict]]:
    for line, text in enumerate(file, start=1):
        if not text.strip():
            continue
        try:
            row = json.loads(text)
        except json.JSONDecodeError as error:
            raise UserError(f"{name} line {line}: not JSON ({error.msg})") from error
        if not isinstance(row, dict):
            raise UserError(f"{name} line {line}: not a JSON object with keys such as 'path'")
        row = {key.strip().lower(): value for key, value in row.items()}
        if "path" not in row:
            raise UserError(f"{name} line {line}: there is no key 'path'")
        yield line, row


def parse_row(row: dict, folder: Path, where: str) -> Utterance:
    """Turns one row into an utterance.

    Args:
      row: as `read_rows` gives it.
      folder: that paths are relative to.
      where: file and line, for sentences.

    Returns:
      The utterance.

    Raises:
      UserError: a value that is not what its column takes, or times that cannot be.
    """
    start, end = (_number(row, column, where) for column in ("start", "end"))
    if start < 0 or end < 0 or end <= start or (math.isnan(start) and end == 0):
        raise UserError(
            f"{where}: segment from {start:g} to {end:g} s is impossible; start is at least 0 and "
            "end is after it"
        )
    raw = _text(row, "emotion") or _text(row, "category")
    if _text(row, "category") not in ("", raw):
        raise UserError(f"{where}: emotion and category differ; keep one of the two columns")
    try:
        category = canonical(raw)
    except UserError as error:
        raise UserError(f"{where}: {error}; leave it empty for none") from error
    path = row["path"]
    channel = _number(row, "channel", where)
    if channel < 0 or (channel != channel // 1 and not math.isnan(channel)):
        raise UserError(f"{where}: channel {channel:g} is not a whole number from 0")
    low, high = (_number(row, column, where) for column in ("scale_low", "scale_high"))
    return Utterance(
        utterance_id=_text(row, "utterance_id") or _make_id(path, start, end, channel),
        source=folder / path,
        path=printable(path),
        start=None if math.isnan(start) else start,
        end=None if math.isnan(end) else end,
        channel=None if math.isnan(channel) else int(channel),
        speaker=_text(row, "speaker"),
        gender=_gender(row, where),
        language=_text(row, "language"),
        session=_text(row, "session"),
        text=_text(row, "text"),
        category=category,
        category_raw=raw,
        intensity=_intensity(row, where),
        **_dimensions(row, low, high, where),
        fold=_text(row, "fold"),
        extra={k: v for k, v in row.items() if k not in COLUMNS and v not in ("", None)},
    )


def _text(row: dict, column: str) -> str:
    if column not in row or row[column] is None:
        return ""
    return str(row[column])


def _number(row: dict, column: str, where: str) -> float:
    text = _text(row, column)
    if not text or text.lower() == "nan":
        return math.nan
    try:
        value = float(text)
    except ValueError as error:
        raise UserError(f"{where}: {column} {text!r} is not a number") from error
    if math.isinf(value):
        raise UserError(f"{where}: {column} {text!r} is not finite")
    return value


def _gender(row: dict, where: str) -> str:
    text = _text(row, "gender").lower()
    if text in _GENDERS:
        return _GENDERS[text]
    if text in ("other", "unknown", "nonbinary", "nan"):
        return "" if text in ("unknown", "nan") else text
    raise UserError(f"{where}: gender {text!r} is not female, male, other or empty")


def _intensity(row: dict, where: str) -> float:
    text = _text(row, "intensity").lower()
    if text in _STRENGTHS:
        return _STRENGTHS[text]
    value = _number(row, "intensity", where)
    if value < 0 or value > 1:
        raise UserError(f"{where}: intensity {value:g} is outside of 0 to 1; rescale it")
    return value


def _dimensions(row: dict, low: float, high: float, where: str) -> dict[str, float]:
    if math.isnan(low) != math.isnan(high):
        raise UserError(f"{where}: scale_low and scale_high are given together or not at all")
    if high <= low:
        raise UserError(f"{where}: scale_high {high:g} is not above scale_low {low:g}")
    if math.isnan(low):
        low, high = 0.0, 1.0
    values = {}
    for name in DIMENSIONS:
        value = _number(row, name, where)
        if value < low or value > high:
            raise UserError(
                f"{where}: {name} {value:g} is outside of {low:g} to {high:g}; give the corpus's "
                "scale in columns scale_low and scale_high"
            )
        values[name] = to_unit(value, low, high)
    rated = not all(math.isnan(value) for value in values.values())
    scale = (low, high) if rated else (math.nan, math.nan)
    return values | {"scale_low": scale[0], "scale_high": scale[1]}


def _make_id(path: str, start: float, end: float, channel: float) -> str:
    name = os.path.splitext(printable(path))[0]
    if not (math.isnan(start) and math.isnan(end)):
        first = "" if math.isnan(start) else f"{start:.3f}"
        last = "" if math.isnan(end) else f"{end:.3f}"
        name += f"#{first}-{last}"
    return name if math.isnan(channel) else f"{name}#channel{channel:g}"
