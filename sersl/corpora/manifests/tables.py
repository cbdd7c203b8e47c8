"""The plain tables that sersl reads: CSV, JSON lines and Parquet, one row per utterance."""

import contextlib
import csv
import datetime
import json
import math
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from sersl.core.errors import UserError
from sersl.corpora.labels import DIMENSIONS

# A row and where it stands, e.g. ("own.csv line 2", {"path": "a.wav", "emotion": "sad"}).
Row = tuple[str, dict]
# What other projects call the column `path`; the first of them that is there counts.
PATH_COLUMNS = ("path", "file", "filename", "file_name", "wav", "audio_filepath", "audio_path")
_NUMBERS = {"start", "end", "intensity", *DIMENSIONS, "scale_low", "scale_high"}


def read_csv(manifest: Path) -> Iterator[Row]:
    """Reads a CSV file: comma, semicolon or tab; any line ends; with or without a BOM.

    Args:
      manifest: the file, UTF-8.

    Yields:
      Rows of str; column names in lower case.

    Raises:
      UserError: not UTF-8, no column with a path, a column twice, or a broken line.
    """
    name = manifest.name
    with open_text(manifest) as file:
        header = file.readline()
        separator = max(",;\t", key=header.count)
        columns = next(csv.reader([header], delimiter=separator), [])
        columns = [column.strip().lower() for column in columns]
        _check_columns(columns, f"{name} line 1")
        reader = csv.reader(file, delimiter=separator, strict=True)
        try:
            for values in reader:
                where = f"{name} line {reader.line_num + 1}"
                if not any(value.strip() for value in values):
                    continue
                if len(values) != len(columns):
                    raise UserError(
                        f"{where}: {len(values)} values for {len(columns)} columns; quote values "
                        f"that contain {separator!r}"
                    )
                row = dict(zip(columns, (value.strip() for value in values), strict=True))
                if separator == ";":  # spreadsheets that write semicolons write decimal commas
                    numbers = _NUMBERS.intersection(row)
                    row |= {column: row[column].replace(",", ".") for column in numbers}
                yield where, with_path(row)
        except csv.Error as error:
            raise UserError(
                f"{name} line {reader.line_num + 1}: {error}; check the quotes"
            ) from error


def read_jsonl(manifest: Path) -> Iterator[Row]:
    """Reads a file with one JSON object per line.

    Args:
      manifest: the file, UTF-8.

    Yields:
      Rows with the values of the line; names in lower case.

    Raises:
      UserError: not UTF-8, a line that is not a JSON object, or no name with a path.
    """
    for where, row in read_objects(manifest):
        row = {key.strip().lower(): value for key, value in row.items()}
        if not set(PATH_COLUMNS) & set(row):
            raise UserError(f"{where}: there is no key 'path'; keys are {', '.join(row) or 'none'}")
        yield where, with_path(row)


def read_parquet(manifest: Path) -> Iterator[Row]:
    """Reads a Parquet file.

    Args:
      manifest: the file.

    Yields:
      Rows with Python values; dates and times as text; column names in lower case.

    Raises:
      UserError: no Parquet file, no column with a path, or a column of bytes.
    """
    with parquet_errors(manifest), pq.ParquetFile(manifest) as file:
        # Written by pandas, an index may be there without a name of its own.
        names = [name for name in file.schema_arrow.names if not name.startswith("__index_level_")]
        columns = [name.strip().lower() for name in names]
        _check_columns(columns, manifest.name)
        number = 0
        for batch in file.iter_batches(columns=names):
            for values in batch.to_pylist():
                number += 1
                where = f"{manifest.name} row {number}"
                row = {
                    column: plain(values[name], f"{where}: column {name!r}")
                    for column, name in zip(columns, names, strict=True)
                }
                yield where, with_path(row)


def read_objects(manifest: Path) -> Iterator[Row]:
    """Reads JSON lines without asking for any key.

    Args:
      manifest: the file, UTF-8; empty lines are passed over.

    Yields:
      (where, object).

    Raises:
      UserError: not UTF-8, or a line that is not a JSON object.
    """
    with open_text(manifest) as file:
        for line, text in enumerate(file, start=1):
            if not text.strip():
                continue
            where = f"{manifest.name} line {line}"
            try:
                row = json.loads(text)
            except json.JSONDecodeError as error:
                raise UserError(f"{where}: not JSON ({error.msg})") from error
            if not isinstance(row, dict):
                raise UserError(f"{where}: not a JSON object with keys such as 'path'")
            yield where, row


def read_json(file: Path) -> object:
    """Reads a whole JSON file.

    Args:
      file: the file, UTF-8.

    Returns:
      Its contents.

    Raises:
      UserError: not UTF-8 or not JSON.
    """
    with open_text(file) as text:
        try:
            return json.load(text)
        except json.JSONDecodeError as error:
            raise UserError(f"{file.name} line {error.lineno}: not JSON ({error.msg})") from error


class open_text:  # noqa: N801  (used as a function: `with open_text(path) as file`)
    """Opens UTF-8 text, with or without a byte-order mark, and says so where it is not UTF-8."""

    def __init__(self, path: Path):
        self._path = path

    def __enter__(self):
        self._file = self._path.open(encoding="utf-8-sig", newline="")
        return self._file

    def __exit__(self, kind, error, _):
        self._file.close()
        if isinstance(error, UnicodeDecodeError):
            raise UserError(f"{self._path.name} is not UTF-8 text; save it as UTF-8") from error


@contextlib.contextmanager
def parquet_errors(file: Path) -> Iterator[None]:
    """Says in one sentence what is wrong with a Parquet file.

    Args:
      file: that is read inside.

    Raises:
      UserError: instead of what Arrow raises.
    """
    try:
        yield
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        text = " ".join(str(error).split())
        raise UserError(f"{file.name} cannot be read as Parquet: {text}") from error


def with_path(row: dict) -> dict:
    """Calls the path `path` and, where there is no other label, `label` `emotion`.

    Args:
      row: with one of `PATH_COLUMNS` at least.

    Returns:
      The row.
    """
    if "path" not in row:
        found = next(column for column in PATH_COLUMNS if column in row)
        row = {"path": row[found]} | {key: value for key, value in row.items() if key != found}
    if "label" in row and not {"emotion", "category"} & set(row):
        row = {("emotion" if key == "label" else key): value for key, value in row.items()}
    return row


def plain(value, where: str):
    """Makes a value what JSON can hold.

    Args:
      value: as Parquet gives it.
      where: for the sentence.

    Returns:
      None, bool, int, float, str, or a list or dict of them; NaN becomes None.

    Raises:
      UserError: bytes, which a manifest has no place for.
    """
    if isinstance(value, float) and math.isnan(value):
        return None
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, datetime.timedelta):
        return value.total_seconds()
    if isinstance(value, list):
        return [plain(item, where) for item in value]
    if isinstance(value, dict):
        return {str(key): plain(item, where) for key, item in value.items()}
    if isinstance(value, bytes):
        raise UserError(f"{where} holds bytes: write audio to files, and name them in 'path'")
    return str(value)


def _check_columns(columns: list[str], where: str) -> None:
    if not set(PATH_COLUMNS) & set(columns):
        raise UserError(
            f"{where}: there is no column 'path'; columns are {', '.join(columns) or 'none'}: "
            "call the one that names the files 'path'"
        )
    twice = [column for column in columns if columns.count(column) > 1]
    if twice:
        raise UserError(f"{where}: column {twice[0]!r} occurs twice; rename one")
