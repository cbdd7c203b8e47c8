"""Reads the label files of corpora: text tables with known columns, and ratings on a scale."""

import csv
import gzip
import math
from collections.abc import Iterable, Iterator
from pathlib import Path

from sersl.core.errors import UserError
from sersl.corpora.labels import DIMENSIONS, to_unit

csv.field_size_limit(1 << 24)  # transcripts longer than the default 128 KiB do occur


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
