"""Parquet files as rows."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from sersl.core.errors import UserError
from sersl.corpora.tables.text import check_file
from sersl.corpora.tables.values import Row, clean


def read_parquet(path: Path, *, label: str = "") -> Iterator[Row]:
    """Reads a Parquet file.

    Args:
      path: of the file.
      label: what to call the file in messages; "" for its name.

    Yields:
      Rows with Python values; durations in seconds, other dates and times as text.

    Raises:
      UserError: not a Parquet file, a column twice, or a column of bytes.
    """
    label = label or path.name
    check_file(path)
    with _one_sentence(label), pq.ParquetFile(path) as file:
        names = file.schema_arrow.names
        shown = [name.strip() for name in names]
        twice = next((name for name in shown if name and shown.count(name) > 1), "")
        if twice:
            raise UserError(f"{label}: column {twice!r} occurs twice; rename one")
        number = 0
        for batch in file.iter_batches():
            for values in _in_seconds(batch).to_pylist():
                number += 1
                where = f"{label} row {number}"
                yield Row(
                    where,
                    {
                        column: clean(values[name], f"{where}: column {name!r}")
                        for column, name in zip(shown, names, strict=True)
                    },
                )


def _in_seconds(batch: pa.RecordBatch) -> pa.RecordBatch:
    """Makes durations numbers and times text: Python's own have no nanoseconds."""
    columns = []
    for column in batch.columns:
        if pa.types.is_duration(column.type):
            whole = column.cast(pa.duration("ns")).cast(pa.int64())
            column = pc.divide(whole.cast(pa.float64()), 1e9)
        elif pa.types.is_timestamp(column.type):
            column = column.cast(pa.string())
        columns.append(column)
    return pa.RecordBatch.from_arrays(columns, names=batch.schema.names)


@contextlib.contextmanager
def _one_sentence(label: str) -> Iterator[None]:
    """Says in one sentence what is wrong with a Parquet file, instead of what Arrow raises."""
    try:
        yield
    except (pa.ArrowException, OSError, UnicodeDecodeError, OverflowError) as error:
        text = " ".join(str(error).split())
        raise UserError(f"{label} cannot be read as Parquet: {text}") from error
