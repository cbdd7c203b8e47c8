"""Checks prepared data: every file against its digest, or every record against the index."""

import contextlib
import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa
import safetensors.numpy
from array_record.python.array_record_data_source import ArrayRecordDataSource
from google.protobuf.message import DecodeError
from safetensors import SafetensorError
from tensorflow_datasets.proto import tf_example_pb2

from sersl.audio.flac import decode_flac, to_pcm16
from sersl.core.digests import find_faults, has_digests
from sersl.core.errors import UserError, first_line
from sersl.core.files import find_paths
from sersl.core.lengths import num_frames
from sersl.corpora.index import (
    INDEX_FILE,
    INDEX_SCHEMA,
    SUMMARY_FILE,
    CorpusIndex,
    check_prepared,
    prepare_command,
    read_summary,
)
from sersl.corpora.remote import is_records
from sersl.corpora.sidecar import KINDS, RECORDS_FILE, read_sidecar
from sersl.data.codes import CODES_DTYPE

_MOST_FAULTS = 20  # of the records of one folder
_DAMAGE = (UserError, DecodeError, SafetensorError, RuntimeError, ValueError, IndexError, KeyError)

Progress = Callable[[int], None]


@dataclass
class Inspection:
    """What a check of one version of a corpus found.

    Attributes:
      name: "corpus version".
      num_utterances: of the index; 0 where it cannot be read.
      has_digests: whether its files were compared with digests.
      beside: sidecars and codes that were checked, as "sidecars/signal".
      faults: a clause for each, with what to do.
    """

    name: str
    num_utterances: int = 0
    has_digests: bool = False
    beside: list[str] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)


def prepared_folders(data_dir: str | Path) -> list[Path]:
    """Lists the folders `data_dir/<corpus>/<version>` that hold prepared data, whole or not."""
    marks = (SUMMARY_FILE, INDEX_FILE, "dataset_info.json", "digests.json")
    folders = find_paths(data_dir, "[!.]*/[!.]*")
    return [folder for folder in folders if any((folder / mark).exists() for mark in marks)]


def inspect(folder: Path, *, progress: Progress | None = None) -> Inspection:
    """Checks all files of one version of a corpus, its sidecars and its codes.

    With digests, the bytes of every file are compared. Without, as in data of older versions, every
    record is decoded and compared with its row of the index.

    Args:
      folder: one of `prepared_folders`.
      progress: called with the number of bytes that were read since the last call.

    Returns:
      What was found.
    """
    found = Inspection(f"{folder.parent.name} {folder.name}", has_digests=has_digests(folder))
    faults = _compare_files(folder, progress)
    index = None
    with _collected(faults):
        check_prepared(folder, folder.parents[1])
        index = _open(folder)
        found.num_utterances = len(index)
    if index is not None and not found.has_digests:
        faults += _first(_compare_records(index, progress))
    remedy = f"run `{prepare_command(folder, folder.parents[1])}`"
    found.faults = [fault if remedy in fault else f"{fault}: {remedy}" for fault in faults]
    for kind in KINDS:
        for beside in find_paths(folder / kind, "[!.]*"):
            if beside.is_dir():
                name = f"{kind}/{beside.name}"
                found.beside.append(name)
                remedy = f"run `{_command(kind, beside)}`"
                faults = _inspect_beside(kind, beside, index, progress)
                found.faults += [f"{name}: {fault}: {remedy}" for fault in faults]
    return found


def _compare_files(folder: Path, progress: Progress | None) -> list[str]:
    if not has_digests(folder):
        return []
    return list(find_faults(folder, progress=progress or (lambda count: None)))


@contextlib.contextmanager
def _collected(faults: list[str]) -> Iterator[None]:
    """Adds an error to the faults, unless the digests have found it already."""
    known = bool(faults)
    try:
        yield
    except UserError as error:
        if not known:
            faults.append(str(error))


def _command(kind: str, folder: Path) -> str:
    corpus, data_dir = folder.parents[2].name, folder.parents[3]
    given = f"--corpus {corpus} --data_dir {data_dir}"
    if kind == "codes":
        return f"sersl cluster {given} --output .../{folder.name}"
    return f"sersl annotate {given} --annotator {folder.name}"


def _open(folder: Path) -> CorpusIndex:
    summary = read_summary(folder)
    index = CorpusIndex(
        corpus=summary["corpus"],
        version=summary["version"],
        folder=folder,
        fingerprint=summary["fingerprint"],
        num_utterances=summary["num_utterances"],
    )
    for name in INDEX_SCHEMA.names:
        index.column(name)
    return index


def _first(faults: Iterator[str]) -> list[str]:
    """Keeps the first faults, and a note that there are more."""
    kept: list[str] = []
    for fault in faults:
        if len(kept) == _MOST_FAULTS:
            return [*kept, "and more records"]
        kept.append(fault)
    return kept


def _records_of(files: list[Path], total: int) -> Iterator[tuple[int, bytes | None, str]]:
    """Yields the number, the bytes and the error of each record, and an error for their count."""
    number = 0
    for file in files:
        try:
            source = ArrayRecordDataSource(str(file))
            count = len(source)
        except _DAMAGE as error:
            yield -1, None, f"{file.name} cannot be read ({first_line(error)})"
            return
        for i in range(count):
            try:
                yield number, source[i], ""
            except _DAMAGE as error:
                yield number, None, f"record {number} cannot be read ({first_line(error)})"
            number += 1
    if number != total:
        yield -1, None, f"{number} records, and the index has {total} rows"


def _compare_records(index: CorpusIndex, progress: Progress | None) -> Iterator[str]:
    files = sorted(path for path in index.folder.iterdir() if is_records(path.name))
    for row, content, fault in _records_of(files, len(index)):
        if content is None:
            yield fault
        elif row < len(index):
            try:
                fault = _difference(index, row, content)
            except _DAMAGE as error:
                fault = f"cannot be read ({first_line(error)})"
            if fault:
                yield f"record {row}, utterance {index.column('utterance_id')[row]!r}: {fault}"
            if progress is not None:
                progress(len(content))


def _difference(index: CorpusIndex, row: int, content: bytes) -> str:
    """Compares one record with its row of the index; "" where they agree."""
    features = tf_example_pb2.Example.FromString(content).features.feature
    for column in INDEX_SCHEMA:
        stored, expected = features[column.name], index.column(column.name)[row]
        if column.type == pa.string():
            same = list(stored.bytes_list.value) == [str(expected).encode()]
        elif column.type == pa.int64():
            same = list(stored.int64_list.value) == [int(expected)]
        else:  # records hold 32 bits of a number
            values = np.asarray(stored.float_list.value, np.float32)
            same = np.array_equal(values, np.array([expected], np.float32), equal_nan=True)
        if not same:
            return f"its {column.name} differs from that of the index"
    samples = to_pcm16(decode_flac(features["audio"].bytes_list.value[0]))
    if len(samples) != index.column("num_samples")[row]:
        return f"it has {len(samples)} samples, another number than the index"
    wanted = index.column("sha256")[row]
    if wanted and hashlib.sha256(samples.astype("<i2").tobytes()).hexdigest() != wanted:
        return "its audio differs from that which was prepared"
    return ""


def _inspect_beside(
    kind: str, folder: Path, index: CorpusIndex | None, progress: Progress | None
) -> list[str]:
    """Checks a sidecar or codes."""
    faults = _compare_files(folder, progress)
    summary = None
    with _collected(faults):
        summary = read_sidecar(folder, what=folder.name, remedy="make it again")
    if summary is None or index is None:
        return faults
    if summary.get("corpus_fingerprint") != index.fingerprint:
        return [*faults, "it was made for other records"]
    if not has_digests(folder):
        faults += _first(_compare_frames(kind, folder, index, progress))
    return faults


def _compare_frames(
    kind: str, folder: Path, index: CorpusIndex, progress: Progress | None
) -> Iterator[str]:
    expected = num_frames(index.column("num_samples"))
    for row, content, fault in _records_of([folder / RECORDS_FILE], len(index)):
        if content is None:
            yield fault
        elif row < len(index):
            try:
                frames = _count_frames(kind, content)
            except _DAMAGE as error:
                yield f"record {row} cannot be read ({first_line(error)})"
            else:
                if frames != expected[row]:
                    yield f"record {row} has {frames} frames, and the audio {expected[row]}"
            if progress is not None:
                progress(len(content))


def _count_frames(kind: str, content: bytes) -> int:
    if kind == "codes":
        return len(np.frombuffer(content, CODES_DTYPE))
    return len(safetensors.numpy.load(content)["intensity"])
