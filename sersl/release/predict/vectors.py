"""Embeddings on disk: a part that grows, and the NPZ, Parquet or NPY files that are made of it.

The part is a row of records, each a line of JSON and the vectors that it announces.
"""

import json
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
import pyarrow
import pyarrow.parquet

from sersl.core.display import json_line
from sersl.core.errors import UserError
from sersl.core.files import parse_json, whole_folder
from sersl.release.predict.embedding import Embedding
from sersl.release.predict.outputs import file_name

FORMATS = (".npz", ".parquet", "")
INDEX = "files.jsonl"  # of a folder of shards
_BLOCK = 16 << 20  # bytes
_SHARD_BYTES = 1 << 30  # of one .npy file
_MOST_LINE = 1 << 20


@dataclass
class _File:
    """One source in the part: its name, vectors and error."""

    name: str
    rows: int
    error: str


def record(part: Embedding, vectors: np.ndarray) -> bytes:
    """Writes one record with vectors [...], or of frames [T, ...]."""
    vectors = np.ascontiguousarray(vectors, np.float32)
    shape = list(vectors.shape)
    head = {"file": file_name(part.source), "shape": shape, "error": part.error, "last": part.last}
    return (json_line(head) + "\n").encode() + (vectors.tobytes() if vectors.size else b"")


class Vectors:
    """The part as it is when it is complete."""

    def __init__(self, part: Path, *, frames: bool):
        """Reads the heads of all records.

        Args:
          part: of records.
          frames: whether the vectors of a file are its frames.

        Raises:
          UserError: no file has an embedding.
        """
        self._part, self._frames = part, frames
        self.files: list[_File] = []
        self.shape: tuple[int, ...] = ()
        is_new = True
        for head, _ in self._records(skip=True):
            if is_new:
                self.files.append(_File(head["file"], 0, ""))
            shape = tuple(head["shape"])
            if any(shape):
                rows = shape[0] if frames else 1
                self.files[-1].rows += rows
                self.shape = shape[1:] if frames else shape
            self.files[-1].error = head["error"]
            is_new = head["last"]
        self.kept = [file for file in self.files if not file.error]
        self.left_out = [file for file in self.files if file.error]
        if not self.kept:
            cause = self.left_out[0].error
            raise UserError(f"none of {len(self.files)} files has an embedding ({cause})")

    @property
    def num_rows(self) -> int:
        """Vectors of all files together."""
        return sum(file.rows for file in self.kept)

    def blocks(self) -> Iterator[np.ndarray]:
        """Reads the vectors of all kept files, [n, ...] float32 each."""
        kept = iter(self.files)
        file, is_new = _File("", 0, ""), True
        for head, content in self._records(skip=False):
            if is_new:
                file = next(kept)
            is_new = head["last"]
            if content and not file.error:
                yield np.frombuffer(content, np.float32).reshape(-1, *self.shape)

    def _records(self, *, skip: bool) -> Iterator[tuple[dict[str, Any], bytes]]:
        with open(self._part, "rb") as file:
            while line := file.readline(_MOST_LINE):
                head = parse_json(line)
                shape = head["shape"]
                size = 4 * int(np.prod(shape)) if any(shape) else 0
                content = b""
                if skip:
                    file.seek(size, 1)
                else:
                    content = file.read(size)
                yield head, content


def to_npz(part: Path, target: Path, *, frames: bool, layers: Sequence[int]) -> Vectors:
    """Writes what `sersl.cli.embed` describes, one block of vectors at a time."""
    vectors = Vectors(part, frames=frames)
    arrays: dict[str, np.ndarray] = {
        "files": np.array([file.name for file in vectors.kept]),
        "skipped": np.array([file.name for file in vectors.left_out], dtype=str),
        "causes": np.array([file.error for file in vectors.left_out], dtype=str),
        "layers": np.array(layers, np.int64),
    }
    if frames:
        arrays["num_frames"] = np.array([file.rows for file in vectors.kept], np.int64)
    with zipfile.ZipFile(target, "w", allowZip64=True) as archive:
        for name, array in arrays.items():
            with archive.open(f"{name}.npy", "w") as file:
                np.lib.format.write_array(file, array, allow_pickle=False)
        with archive.open("embeddings.npy", "w", force_zip64=True) as file:
            _write_header(file, (vectors.num_rows, *vectors.shape))
            for block in vectors.blocks():
                file.write(block.tobytes())
    return vectors


def to_parquet(part: Path, target: Path, *, frames: bool, layers: Sequence[int]) -> Vectors:
    """Writes a row per vector: `file`, `frame`, `embedding`, a flat list, and `error`."""
    vectors = Vectors(part, frames=frames)
    width = int(np.prod(vectors.shape))
    schema = pyarrow.schema(
        [
            ("file", pyarrow.string()),
            ("frame", pyarrow.int64()),
            ("embedding", pyarrow.list_(pyarrow.float32(), width)),
            ("error", pyarrow.string()),
        ],
        metadata={"shape": json.dumps(vectors.shape), "layers": json.dumps(list(layers))},
    )
    names = [_text(file.name) for file in vectors.kept for _ in range(file.rows)]
    counts = [np.arange(file.rows) for file in vectors.kept]
    numbers = np.concatenate(counts)
    at = 0
    with pyarrow.parquet.ParquetWriter(target, schema) as writer:
        for block in _grouped(vectors.blocks()):
            stop = at + len(block)
            flat = pyarrow.array(block.reshape(-1))
            columns = [
                pyarrow.array(names[at:stop], pyarrow.string()),
                pyarrow.array(numbers[at:stop] if frames else [None] * len(block), pyarrow.int64()),
                pyarrow.FixedSizeListArray.from_arrays(flat, width),
                pyarrow.nulls(len(block), pyarrow.string()),
            ]
            writer.write_table(pyarrow.Table.from_arrays(columns, schema=schema))
            at = stop
        left = vectors.left_out
        rows = [{"file": _text(file.name), "error": file.error} for file in left]
        if rows:
            writer.write_table(pyarrow.Table.from_pylist(rows, schema))
    return vectors


def to_shards(part: Path, folder: Path, *, frames: bool, layers: Sequence[int]) -> Vectors:
    """Writes a folder of `embeddings-00000.npy`... of up to 1 GiB, and `files.jsonl`.

    Each line of `files.jsonl` has `file`, and `first` and `rows`, its vectors counted over all
    shards, with the numbers of their `layers`, or `error`.
    """
    vectors = Vectors(part, frames=frames)
    per_shard = max(1, _SHARD_BYTES // (4 * int(np.prod(vectors.shape))))
    with whole_folder(folder) as partial:
        shard: IO[bytes] | None = None
        number = left = 0
        missing = vectors.num_rows
        for block in vectors.blocks():
            while len(block):
                if not left:
                    left = min(per_shard, missing)
                    missing -= left
                    if shard is not None:
                        shard.close()
                    shard = open(partial / f"embeddings-{number:05d}.npy", "wb")  # noqa: SIM115
                    _write_header(shard, (left, *vectors.shape))
                    number += 1
                assert shard is not None
                shard.write(block[:left].tobytes())
                taken = min(left, len(block))
                block, left = block[taken:], left - taken
        if shard is not None:
            shard.close()
        first = 0
        with open(partial / INDEX, "w", encoding="utf-8") as lines:
            for file in vectors.files:
                line: dict[str, Any] = {"file": file.name}
                place = {"first": first, "rows": file.rows, "layers": list(layers)}
                line |= {"error": file.error} if file.error else place
                lines.write(json_line(line) + "\n")
                first += 0 if file.error else file.rows
    return vectors


def _grouped(blocks: Iterator[np.ndarray]) -> Iterator[np.ndarray]:
    """Joins blocks [n, ...] of any n to some megabytes each."""
    held: list[np.ndarray] = []
    for block in blocks:
        held.append(block)
        if sum(one.nbytes for one in held) >= _BLOCK:
            yield np.concatenate(held)
            held = []
    if held:
        yield np.concatenate(held)


def _write_header(file: IO[bytes], shape: tuple[int, ...]) -> None:
    header = {"descr": "<f4", "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(file, header)


def _text(name: str) -> str:
    """Escapes what UTF-8 cannot hold."""
    return name.encode("utf-8", "backslashreplace").decode()
