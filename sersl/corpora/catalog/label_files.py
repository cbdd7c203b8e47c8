"""Reads the label files of corpora: text tables with known columns, and ratings on a scale."""

import csv
import gzip
import json
import math
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TextIO

from sersl.core.errors import UserError
from sersl.corpora.labels import DIMENSIONS, to_unit

csv.field_size_limit(1 << 24)  # transcripts longer than the default 128 KiB do occur
_CHUNK = 1 << 20  # characters of JSON read at once
_BETWEEN = re.compile(r"[\s,]*")  # objects of an array


def read_table(
    path: Path, *, columns: Iterable[str], separator: str = ",", quotes: bool = True
) -> Iterator[dict[str, str]]:
    """Reads a label file row by row.

    Args:
      path: UTF-8 text, with or without byte-order mark; compressed where it ends in `.gz`.
      columns: that must be there; spaces around names and values do not count.
      separator: between values.
      quotes: whether values may be quoted; False takes quotation marks as text.

    Yields:
      Value by column.

    Raises:
      UserError: a column is missing, a row has another number of values, or it is not UTF-8.
    """
    opener = gzip.open if path.suffix == ".gz" else open
    quoting = csv.QUOTE_MINIMAL if quotes else csv.QUOTE_NONE
    try:
        with opener(path, "rt", encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, delimiter=separator, quoting=quoting)
            header = [name.strip() for name in next(reader, [])]
            missing = [column for column in columns if column not in header]
            if missing:
                raise UserError(
                    f"label file {path} has no column {missing[0]!r}, only "
                    f"{', '.join(header) or 'none'}: take the file of the corpus itself"
                )
            for values in reader:
                if not any(values):
                    continue
                if len(values) != len(header):
                    raise UserError(
                        f"label file {path} line {reader.line_num}: {len(values)} values for "
                        f"{len(header)} columns: take the file of the corpus itself"
                    )
                yield dict(zip(header, (value.strip() for value in values), strict=True))
    except UnicodeDecodeError as error:
        raise UserError(f"label file {path} is not UTF-8 text: save it as UTF-8") from error


def read_array(path: Path, key: str) -> Iterator[dict]:
    """Reads the objects of one array of a JSON file, one at a time.

    Args:
      path: UTF-8 JSON whose outermost object has the array.
      key: of the array, anywhere before its objects.

    Yields:
      The objects.

    Raises:
      UserError: there is no such array, or the file is damaged or cut off.
    """
    damaged = f"{path} is damaged or cut off: take the file of the release"
    decoder, number = json.JSONDecoder(), 0
    try:
        with path.open(encoding="utf-8-sig") as file:
            buffer = _after(file, re.compile(rf'"{key}"\s*:\s*\['))
            if buffer is None:
                raise UserError(f"{path} has no {key!r}: take the file of the release")
            position = 0
            while True:
                position = _BETWEEN.match(buffer, position).end()
                if buffer.startswith("]", position):
                    return
                try:
                    item, end = decoder.raw_decode(buffer, position)
                except ValueError as error:  # the object goes on in what is not read yet
                    more = file.read(max(_CHUNK, len(buffer)))
                    if not more:
                        raise UserError(f"{damaged} (after {number} of {key!r})") from error
                    buffer, position = buffer[position:] + more, 0
                    continue
                if not isinstance(item, dict):
                    raise UserError(f"{damaged} ({key!r} holds something else than objects)")
                yield item
                position, number = end, number + 1
    except UnicodeDecodeError as error:
        raise UserError(damaged) from error


def _after(file: TextIO, pattern: re.Pattern) -> str | None:
    """Reads up to a pattern and gives what was read beyond it; None: it is not there."""
    buffer = ""
    while True:
        more = file.read(_CHUNK)
        if not more:
            return None
        buffer += more
        match = pattern.search(buffer)
        if match:
            return buffer[match.end() :]


def missing_tables(folder: Path, files: Iterable[str]) -> list[str]:
    """Names the label files that are not in a corpus's folder.

    Args:
      folder: of the corpus.
      files: paths relative to it.

    Returns:
      Those of `files` that are not there.
    """
    return [file for file in files if not (folder / file).is_file()]


def scaled(low: float, high: float, **ratings: float) -> dict:
    """Maps ratings to 0..1, for `Utterance` fields.

    Args:
      low: lowest rating of the corpus's scale.
      high: highest.
      **ratings: by dimension; NaN: not rated.

    Returns:
      The dimensions in 0..1 and the scale. A rating outside of the scale is none: NaN.
    """
    values = {name: ratings.get(name, math.nan) for name in DIMENSIONS}
    values = {k: v if low <= v <= high else math.nan for k, v in values.items()}
    if all(math.isnan(value) for value in values.values()):
        return {}
    units = {name: to_unit(value, low, high) for name, value in values.items()}
    return units | {"scale_low": low, "scale_high": high}


def off_scale(low: float, high: float, **ratings: float) -> dict[str, float]:
    """Finds ratings that a scale does not have, to keep them beside the others.

    Args:
      low: lowest rating of the scale.
      high: highest.
      **ratings: by dimension; NaN: not rated.

    Returns:
      The ratings outside of the scale.
    """
    return {name: value for name, value in ratings.items() if value < low or value > high}
