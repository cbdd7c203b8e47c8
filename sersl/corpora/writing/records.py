"""The fields of records, and writers of records and of the index, file by file.

TFDS's own writer sorts all records by key: in memory up to 1000 MiB, beyond that in temporary files
that it writes with TensorFlow, which is not installed. Our records are in order already.
"""

import functools
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import tensorflow_datasets as tfds
from array_record.python.array_record_module import ArrayRecordWriter
from tensorflow_datasets.core.example_serializer import ExampleSerializer
from tensorflow_datasets.proto import tf_example_pb2

from sersl.core.digests import file_digest
from sersl.core.files import writing
from sersl.corpora.index import INDEX_SCHEMA

SHARD_BYTES = 512 << 20  # of records per file, about; between 64 MiB and 1 GiB in TFDS's own
_ROWS_PER_GROUP = 16_384
# Random access to each record. FLAC hardly shrinks further (2 % in all), and compressing it again
# took six times as long to write and a quarter longer to read.
RECORD_OPTIONS = "group_size:1,uncompressed"


@functools.cache
def record_features() -> tfds.features.FeaturesDict:
    """Lists the fields of a record: the columns of the index, and the audio."""
    # TFDS stores every float as 32 bits; the index has all 64.
    connectors = {
        pa.string(): tfds.features.Text,
        pa.float64(): lambda: tfds.features.Scalar(np.float32),
        pa.int64(): lambda: tfds.features.Scalar(np.int64),
    }
    features = {column.name: connectors[column.type]() for column in INDEX_SCHEMA}
    features["audio"] = tfds.features.Text(doc="bytes of a 16 kHz mono 16-bit FLAC file")
    return tfds.features.FeaturesDict(features)


@functools.cache
def _serializer() -> ExampleSerializer:
    return ExampleSerializer(record_features().get_serialized_info())


def serialize(example: Mapping[str, Any]) -> bytes:
    """Serializes a record, to the same bytes in every process.

    Args:
      example: row of the index and "audio".

    Returns:
      `tf.train.Example` as TFDS reads it. TFDS itself leaves the order of the features to
      protobuf, where it differs between processes.
    """
    # TFDS annotates it as a mapping.
    packed = cast(
        tf_example_pb2.Example,
        _serializer().get_tf_example(record_features().encode_example(example)),
    )
    return packed.SerializeToString(deterministic=True)


class ShardWriter:
    """Writes the records of one split into as many files as they need.

    Attributes:
      digests: {name of a file: SHA-256}, once it is finished.
    """

    def __init__(self, template: tfds.core.ShardedFileTemplate, *, shard_bytes: int):
        self.digests: dict[str, str] = {}
        self._template = template
        self._folder = Path(template.data_dir)
        self._shard_bytes = shard_bytes
        self._writer: ArrayRecordWriter | None = None
        self._in_shard = 0
        self._num_bytes = 0
        self._lengths: list[int] = []
        self._files: list[Path] = []
        self._hashes: list[str] = []

    def add(self, record: bytes) -> None:
        """Writes one record."""
        if self._writer is None or self._in_shard >= self._shard_bytes:
            self._close()
            # The file's name holds the number of files, which is known at the end.
            file = self._folder / f"shard-{len(self._files):05d}.partial"
            with writing("records", self._folder):
                self._writer = ArrayRecordWriter(os.fspath(file), RECORD_OPTIONS)
            self._files.append(file)
            self._lengths.append(0)
            self._in_shard = 0
        with writing("records", self._folder):
            self._writer.write(record)
        self._lengths[-1] += 1
        self._in_shard += len(record)
        self._num_bytes += len(record)

    def finish(self) -> tfds.core.SplitInfo:
        """Closes and names the files, and gives what TFDS stores about the split."""
        self._close()
        paths = self._template.sharded_filepaths(len(self._files))
        for file, path, digest in zip(self._files, paths, self._hashes, strict=True):
            os.rename(file, path)
            self.digests[Path(path).name] = digest
        return tfds.core.SplitInfo(
            name=self._template.split,
            shard_lengths=self._lengths,
            num_bytes=self._num_bytes,
            filename_template=self._template,
        )

    def _close(self) -> None:
        if self._writer is not None:
            with writing("records", self._folder):
                self._writer.close()
                # Still in the memory of the system: cheaper now than at the end.
                self._hashes.append(file_digest(self._files[-1]))
        self._writer = None


class IndexWriter:
    """Writes the index beside the records."""

    def __init__(self, path: str | Path):
        self._folder = Path(path).parent
        with writing("the index", self._folder):
            self._writer = pq.ParquetWriter(path, INDEX_SCHEMA)
        self._rows: list[Mapping] = []

    def add(self, row: Mapping) -> None:
        """Adds one row; keys as in `INDEX_SCHEMA`."""
        self._rows.append(row)
        if len(self._rows) >= _ROWS_PER_GROUP:
            self._flush()

    def close(self) -> None:
        """Writes what is left."""
        self._flush()
        with writing("the index", self._folder):
            self._writer.close()

    def _flush(self) -> None:
        if self._rows:
            table = pa.Table.from_pylist(self._rows, schema=INDEX_SCHEMA)
            with writing("the index", self._folder):
                self._writer.write_table(table)
        self._rows = []
