"""CSV files and their kin: commas, semicolons, tabs or bars between values."""

import csv
from collections.abc import Iterable, Iterator
from pathlib import Path

from sersl.core.errors import UserError
from sersl.corpora.tables.text import read_lines
from sersl.corpora.tables.values import Row, is_missing, nearest

csv.field_size_limit(1 << 24)  # transcripts longer than the default 128 KiB do occur
_SEPARATORS = ",;\t|"


def read_table(
    path: Path,
    *,
    columns: Iterable[str] = (),
    quotes: bool = True,
    label: str = "",
) -> Iterator[Row]:
    """Reads a table of text row by row; the separator is found in the first line.

    Args:
      path: see `read_lines` for its encoding; blank lines are passed over.
      columns: that must be there.
      quotes: whether values may be quoted; False takes quotation marks as text.
      label: what to call the file in messages; "" for its name.

    Yields:
      Rows of str; a value that is missing in any of the usual spellings is "".

    Raises:
      UserError: a column is missing or occurs twice, or a row has another number of values.
    """
    label = label or path.name
    lines = enumerate(read_lines(path), start=1)
    names, number, separator = _header(lines, quotes=quotes)
    place = f"{label} line {number}"
    _check_columns(names, columns, place)
    reader = csv.reader(
        (text.replace("\r", " ") + "\n" for _, text in lines),
        delimiter=separator,
        quoting=csv.QUOTE_MINIMAL if quotes else csv.QUOTE_NONE,
        strict=True,
    )
    where = f"{label} line {number + 1}"
    try:
        for values in reader:
            values = ["" if is_missing(value) else value.strip() for value in values]
            if any(values):
                if len(values) < len(names) or any(values[len(names) :]):
                    # Spreadsheets fill short rows up to the longest, with empty values.
                    raise UserError(
                        f"{where}: {len(values)} values for {len(names)} columns; quote values "
                        f"that contain {separator!r}"
                    )
                row = dict(zip(names, values, strict=False))
                yield Row(where, row, decimal_comma=separator != ",", header=place)
            where = f"{label} line {number + 1 + reader.line_num}"
    except csv.Error as error:
        raise UserError(f"{where}: {error}; check the quotes") from error


def _header(lines: Iterator[tuple[int, str]], *, quotes: bool) -> tuple[list[str], int, str]:
    """Reads the names of the columns: (names, line, separator)."""
    given = ""
    for number, text in lines:
        if not text.strip():
            continue
        if not given and text.casefold().startswith("sep=") and len(text) == 5:  # Excel's own
            given = text[4]
            continue
        outside = "".join(text.split('"')[::2]) if quotes else text
        separator = given or max(_SEPARATORS, key=outside.count)
        (names,) = csv.reader(
            [text.replace("\r", " ")],
            delimiter=separator,
            quoting=csv.QUOTE_MINIMAL if quotes else csv.QUOTE_NONE,
        )
        return [name.strip() for name in names], number, separator
    return [], 1, ","


def _check_columns(names: list[str], columns: Iterable[str], place: str) -> None:
    for column in columns:
        if column not in names:
            near = nearest(column, names)
            hint = f"; is it {near!r}?" if near else ""
            raise UserError(
                f"{place}: there is no column {column!r}; columns are "
                f"{', '.join(filter(None, names)) or 'none'}{hint}"
            )
    twice = next((name for name in names if name and names.count(name) > 1), "")
    if twice:
        raise UserError(f"{place}: column {twice!r} occurs twice; rename one")
