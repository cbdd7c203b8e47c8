"""Runs an annotator over a prepared corpus: frame intensity and prosody of every utterance.

The sidecar lies beside the records, `<corpus>/<version>/sidecars/<annotator>/`: one ArrayRecord
whose record i belongs to row i of the index, and `sidecar.json`, which says what it was made from.
`data.sources.CorpusSource` reads it.
"""

import contextlib
import hashlib
import itertools
import json
import multiprocessing
import os
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import safetensors.numpy
from array_record.python.array_record_module import ArrayRecordWriter

from sersl.audio.prosody import PROSODY_NAMES, PROSODY_VERSION, pitch, prosody
from sersl.core.errors import UserError, unknown_name
from sersl.core.lengths import num_frames
from sersl.corpora.index import CorpusIndex, load_index
from sersl.data.sources import CorpusSource
from sersl.knowledge import signal

SIDECAR_SCHEMA = 1  # layout that `data.sources` reads
RECORDS_FILE = "sidecar-00000-of-00001.array_record"
SUMMARY_FILE = "sidecar.json"
_ROWS_PER_TASK = 32  # utterances that travel between processes at once, about 100 KiB

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Annotator:
    """A source of frame intensity.

    Attributes:
      intensity: ([N] float32 at 16 kHz, track=what `audio.prosody.pitch` gives for it) ->
        [T] float32 in 0..1, NaN where it has no opinion.
      version: of the algorithm.
      settings: whatever else its answer depends on.
    """

    intensity: Callable[..., np.ndarray]
    version: int
    settings: dict


ANNOTATORS = {
    "signal": Annotator(
        intensity=signal.signal_intensity,
        version=signal.SIGNAL_VERSION,
        settings={
            "band_hz": [signal.LOW_HZ, signal.HIGH_HZ],
            "range_db": [signal.SILENT_DB, signal.LOUD_DB],
            "noise": [signal.NOISE_QUANTILE, signal.MAX_NOISE_DB],
            "voicing_share": signal.VOICING_SHARE,
        },
    ),
}


def annotate_corpus(
    annotator: str,
    corpus: str,
    *,
    data_dir: str | Path,
    processes: int = 1,
    progress: Progress | None = None,
) -> Path:
    """Writes the sidecar of a corpus, unless one made from the same records in the same way exists.

    The folder appears whole or not at all; an older one is replaced at the end.

    Args:
      annotator: a name in `ANNOTATORS`.
      corpus: name of a prepared corpus.
      data_dir: where `sersl prepare` wrote.
      processes: worker processes; 1 works in this one.
      progress: called with (utterances done, all utterances).

    Returns:
      The sidecar's folder.

    Raises:
      UserError: unknown annotator or corpus, a damaged record, or no room to write.
    """
    _check_annotator(annotator)
    source = CorpusSource(data_dir, corpus)
    folder = sidecar_folder(source.index, annotator)
    if find_sidecar(annotator, source.index) is not None:
        return folder
    if processes < 1:
        raise UserError(f"annotating takes at least 1 process, not {processes}")
    # Named by process, so that two runs at once do not write into one another's file.
    partial = folder.with_name(f".{annotator}-{os.getpid()}.partial")
    try:
        with _writing(folder):
            partial.mkdir(parents=True)
            writer = ArrayRecordWriter(str(partial / RECORDS_FILE), "group_size:1")
        for row, record in enumerate(_records(source, annotator, processes)):
            with _writing(folder):
                writer.write(record)
            if progress is not None:
                progress(row + 1, len(source.index))
        with _writing(folder):
            writer.close()
            summary = json.dumps(_summary(annotator, source.index), indent=1)
            (partial / SUMMARY_FILE).write_text(summary + "\n", encoding="utf-8")
            if folder.exists():
                shutil.rmtree(folder)
            partial.rename(folder)
    except BrokenProcessPool as error:
        raise UserError(
            f"a process annotating corpus {corpus!r} was ended from outside, perhaps for want of "
            "memory: run again with fewer --processes"
        ) from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return folder


def sidecar_folder(index: CorpusIndex, annotator: str) -> Path:
    """Gives the folder of an annotator's sidecar, there or not.

    Args:
      index: of the corpus.
      annotator: its name.

    Returns:
      A folder beside the corpus's records.
    """
    return index.folder / "sidecars" / annotator


def find_sidecar(annotator: str, index: CorpusIndex) -> dict | None:
    """Finds a sidecar that is complete and what this version would write.

    Args:
      annotator: a name in `ANNOTATORS`.
      index: of the corpus.

    Returns:
      Its summary, or None.
    """
    folder = sidecar_folder(index, annotator)
    try:
        summary = json.loads((folder / SUMMARY_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    whole = (folder / RECORDS_FILE).is_file() and summary == _summary(annotator, index)
    return summary if whole else None


def load_sidecar_info(annotator: str, corpus: str, *, data_dir: str | Path) -> dict:
    """Reads the summary of a sidecar and checks that it is what this version would write.

    Args:
      annotator: a name in `ANNOTATORS`.
      corpus: name of a prepared corpus.
      data_dir: where `sersl prepare` wrote.

    Returns:
      The content of sidecar.json: "fingerprint", "num_utterances", "num_frames"...

    Raises:
      UserError: there is none, or it was made from other records or by another annotator.
    """
    _check_annotator(annotator)
    index = load_index(data_dir, corpus)
    file = sidecar_folder(index, annotator) / SUMMARY_FILE
    command = f"sersl annotate --annotator {annotator} --corpus {corpus} --data_dir {data_dir}"
    if not file.is_file() or not file.with_name(RECORDS_FILE).is_file():
        raise UserError(
            f"no {annotator!r} sidecar for corpus {corpus!r} in {data_dir}: run `{command}`"
        )
    try:
        summary = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(f"{file} is damaged ({error}): run `{command}` again") from error
    for key, value in _summary(annotator, index).items():
        if key not in summary or summary[key] != value:
            raise UserError(
                f"the {annotator!r} sidecar of corpus {corpus!r} in {data_dir} is out of date "
                f"({key} differs): run `{command}` again"
            )
    return summary


def annotator_fingerprint(annotator: str) -> str:
    """Names an annotator's algorithm and settings, prosody included: 16 hexadecimal digits."""
    entry = ANNOTATORS[annotator]
    content = [annotator, entry.version, entry.settings, PROSODY_VERSION, SIDECAR_SCHEMA]
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]


def annotate_waveform(annotator: str, waveform: np.ndarray) -> dict[str, np.ndarray]:
    """Annotates one utterance.

    Args:
      annotator: a name in `ANNOTATORS`.
      waveform: [N] float32 at 16 kHz.

    Returns:
      "intensity": [T] float16 in 0..1, NaN none; "prosody": [T, 6] float16, NaN none.

    Raises:
      ValueError: the annotator gave other than num_frames(N) values in 0..1.
    """
    frames = num_frames(len(waveform))
    track = pitch(waveform)
    intensity = ANNOTATORS[annotator].intensity(waveform, track=track)
    if intensity.shape != (frames,):
        raise ValueError(f"annotator {annotator!r} gave {intensity.shape}, not ({frames},)")
    if not ((intensity >= 0) & (intensity <= 1) | np.isnan(intensity)).all():
        raise ValueError(f"annotator {annotator!r} gave intensities outside 0..1")
    values = prosody(waveform, track=track)
    if values.shape != (frames, len(PROSODY_NAMES)):
        raise ValueError(f"prosody gave {values.shape}, not ({frames}, {len(PROSODY_NAMES)})")
    return {"intensity": intensity.astype(np.float16), "prosody": values.astype(np.float16)}


def _check_annotator(annotator: str) -> None:
    if annotator not in ANNOTATORS:
        raise unknown_name("annotator", annotator, ANNOTATORS)


@contextlib.contextmanager
def _writing(folder: Path) -> Iterator[None]:
    """Turns a full disk or a missing permission into one sentence."""
    try:
        yield
    except (OSError, RuntimeError) as error:  # ArrayRecord says "No space left" by RuntimeError
        raise UserError(
            f"the sidecar cannot be written in {folder.parent} ({error}): free some space or "
            "check the folder's permissions, then run again"
        ) from error


def _summary(annotator: str, index: CorpusIndex) -> dict:
    """What sidecar.json says of a sidecar made now."""
    ids = "\n".join(index.column("utterance_id"))
    return {
        "schema": SIDECAR_SCHEMA,
        "annotator": annotator,
        "fingerprint": annotator_fingerprint(annotator),
        "corpus_fingerprint": index.fingerprint,
        "num_utterances": len(index),
        "num_frames": int(num_frames(index.column("num_samples")).sum()),
        "prosody_names": list(PROSODY_NAMES),
        "utterance_ids_sha256": hashlib.sha256(ids.encode()).hexdigest(),
    }


def _records(source: CorpusSource, annotator: str, processes: int) -> Iterator[bytes]:
    """The records in the order of the rows."""
    total = len(source.index)
    tasks = [range(i, min(i + _ROWS_PER_TASK, total)) for i in range(0, total, _ROWS_PER_TASK)]
    if processes == 1:
        for rows in tasks:
            yield from _annotate_rows(source, annotator, rows)
        return
    # Spawned, not forked: the parent may have threads (ArrayRecord has).
    with ProcessPoolExecutor(
        processes,
        mp_context=multiprocessing.get_context("spawn"),
        initializer=_open_in_worker,
        initargs=(source, annotator),
    ) as pool:
        try:
            yield from itertools.chain.from_iterable(pool.map(_annotate_in_worker, tasks))
        except BaseException:
            pool.shutdown(wait=True, cancel_futures=True)
            raise


def _annotate_rows(source: CorpusSource, annotator: str, rows: range) -> list[bytes]:
    records = []
    for row in rows:
        waveform = source.waveform(row)
        expected = int(source.index.column("num_samples")[row])
        if len(waveform) != expected:
            utterance_id = source.index.column("utterance_id")[row]
            raise UserError(
                f"utterance {utterance_id!r} of corpus {source.index.corpus!r} has "
                f"{len(waveform)} samples where the index says {expected}: run `sersl prepare` "
                "for it again"
            )
        records.append(safetensors.numpy.save(annotate_waveform(annotator, waveform)))
    return records


_worker: tuple[CorpusSource, str] | None = None  # of a worker process, set once as it starts


def _open_in_worker(source: CorpusSource, annotator: str) -> None:
    global _worker
    _worker = (source, annotator)


def _annotate_in_worker(rows: range) -> list[bytes]:
    return _annotate_rows(*_worker, rows)
