"""Writes records and index as they come, a shard and a group of rows at a time.

TFDS's own writer gathers all records to sort them by key: in memory up to 1000 MiB, beyond that
in temporary files that it writes with TensorFlow, which is not there. Our records come in their
order already.
"""

import os
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import tensorflow_datasets as tfds
from array_record.python.array_record_module import ArrayRecordWriter

from sersl.corpora.index import INDEX_SCHEMA

SHARD_BYTES = 512 << 20  # of records per file, about; between 64 MiB and 1 GiB in TFDS's own
_ROWS_PER_GROUP = 16_384
# Random access to each record. FLAC does not shrink further (2 % in all): packing it again took
# six times as long to write and a quarter longer to read.
_OPTIONS = "group_size:1,uncompressed"


class ShardWriter:
    """Writes the records of one split into as many files as they need."""

    def __init__(self, template: tfds.core.ShardedFileTemplate, *, shard_bytes: int):
        self._template = template
        self._shard_bytes = shard_bytes
        self._writer = None
        self._in_shard = 0
        self._num_bytes = 0
        self._lengths = []
        self._files = []

    def add(self, record: bytes) -> None:
        """Writes one record."""
        if self._writer is None or self._in_shard >= self._shard_bytes:
            self._close()
            # The file's name holds the number of files, which is known at the end.
            file = os.fspath(self._template.data_dir / f"shard-{len(self._files):05d}.partial")
            self._writer = ArrayRecordWriter(file, _OPTIONS)
            self._files.append(file)
            self._lengths.append(0)
            self._in_shard = 0
        self._writer.write(record)
        self._lengths[-1] += 1
        self._in_shard += len(record)
        self._num_bytes += len(record)

    def finish(self) -> tfds.core.SplitInfo:
        """Closes and names the files.

        Returns:
          What TFDS must know of the split.
        """
        self._close()
        paths = self._template.sharded_filepaths(len(self._files))
        for file, path in zip(self._files, paths, strict=True):
            os.rename(file, path)
        return tfds.core.SplitInfo(
            name=self._template.split,
            shard_lengths=self._lengths,
            num_bytes=self._num_bytes,
            filename_template=self._template,
        )

    def _close(self) -> None:
        if self._writer is not None:
            self._writer.close()
        self._writer = None


class IndexWriter:
    """Writes the index beside the records."""

    def __init__(self, path: str | Path):
        self._writer = pq.ParquetWriter(path, INDEX_SCHEMA)
        self._rows = []

    def add(self, row: dict) -> None:
        """Adds one row; keys as in `INDEX_SCHEMA`."""
        self._rows.append(row)
        if len(self._rows) >= _ROWS_PER_GROUP:
            self._flush()

    def close(self) -> None:
        """Writes what is left."""
        self._flush()
        self._writer.close()

    def _flush(self) -> None:
        if self._rows:
            self._writer.write_table(pa.Table.from_pylist(self._rows, schema=INDEX_SCHEMA))
        self._rows = []
