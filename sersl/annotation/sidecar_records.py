"""Makes the records of a sidecar, in several processes on the host or in batches on the device."""

import collections
import contextlib
import functools
import itertools
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import jax
import jax.numpy as jnp
import numpy as np
import safetensors.numpy

from sersl.annotation.annotators import Annotator, Recording
from sersl.annotation.stretches import make_batches
from sersl.audio.prosody import PROSODY_NAMES, Track, pitch, prosody
from sersl.core.errors import UserError
from sersl.core.lengths import num_frames
from sersl.core.processes import in_processes
from sersl.data.sources import CorpusSource
from sersl.models.acoustic.pitch import track_pitch

_ROWS_PER_TASK = 32  # utterances that travel between processes at once, about 100 KiB
_THREADS = 4  # that decode; libsndfile works without the interpreter's lock


def make_records(
    source: CorpusSource, annotator: Annotator, parts: Sequence[range], *, processes: int
) -> Generator[Iterator[bytes], None, None]:
    """Makes the records of parts of a corpus.

    Args:
      source: the corpus.
      annotator: prepared for it.
      parts: rows of each.
      processes: worker processes of an annotator that works on the host; 1 works in this one.

    Yields:
      The records of one part after the other; they must be taken in order.

    Raises:
      UserError: a damaged record, or a worker process was killed; also while records
        are taken.
    """
    if annotator.on_device:
        yield from _in_batches(source, annotator, parts)
        return
    if processes == 1:
        for rows in parts:
            yield _annotate_rows(source, annotator, rows)
        return
    tasks = [
        [rows[i : i + _ROWS_PER_TASK] for i in range(0, len(rows), _ROWS_PER_TASK)]
        for rows in parts
    ]
    with contextlib.closing(
        in_processes(
            functools.partial(_annotate_several, source, annotator),
            itertools.chain.from_iterable(tasks),
            processes=processes,
            doing=f"annotating corpus {source.index.corpus!r}",
        )
    ) as done:
        for own in tasks:
            yield itertools.chain.from_iterable(itertools.islice(done, len(own)))


def device_tracks(waveforms: Sequence[np.ndarray]) -> list[Track]:
    """Tracks the pitch of many utterances on the device.

    Args:
      waveforms: [N] float32 each, at 16 kHz.

    Returns:
      The result of `audio.prosody.pitch` for each, up to rounding; every 30 s of a longer one, the
      window of 40 ms ends at the cut.
    """
    tracks = [(np.full(t, np.nan), np.zeros(t)) for t in (num_frames(len(w)) for w in waveforms)]
    for batch in make_batches(waveforms):
        f0, voicing = (np.asarray(x, np.float64) for x in _track(batch.waveform, batch.num_samples))
        for row, (owner, start, frames) in enumerate(batch.stretches):
            found = f0[row, :frames]
            tracks[owner][0][start : start + frames] = np.where(found > 0, found, np.nan)
            tracks[owner][1][start : start + frames] = voicing[row, :frames]
    return tracks


def make_record(waveform: np.ndarray, intensity: np.ndarray, track: Track, *, name: str) -> bytes:
    """Makes one record.

    Args:
      waveform: [N] float32 at 16 kHz.
      intensity: [T] in 0..1, NaN none.
      track: F0 and voicing, [T] each.
      name: of the annotator, for messages.

    Returns:
      safetensors: "intensity" [T] and "prosody" [T, 6], float16, NaN none.

    Raises:
      ValueError: the annotator gave other than num_frames(N) values in 0..1.
    """
    frames = num_frames(len(waveform))
    if intensity.shape != (frames,):
        raise ValueError(f"annotator {name!r} gave {intensity.shape}, not ({frames},)")
    if not ((intensity >= 0) & (intensity <= 1) | np.isnan(intensity)).all():
        raise ValueError(f"annotator {name!r} gave intensities outside 0..1")
    values = prosody(waveform, track=track)
    if values.shape != (frames, len(PROSODY_NAMES)):
        raise ValueError(f"prosody gave {values.shape}, not ({frames}, {len(PROSODY_NAMES)})")
    return safetensors.numpy.save(
        {"intensity": intensity.astype(np.float16), "prosody": values.astype(np.float16)}
    )


def read_waveform(source: CorpusSource, row: int) -> np.ndarray:
    """Reads an utterance and checks its length.

    Args:
      source: the corpus.
      row: of its index.

    Returns:
      [N] float32 at 16 kHz.

    Raises:
      UserError: it cannot be read, or has another length than in the index.
    """
    waveform = source.waveform(row)
    expected = int(source.num_samples[row])
    if len(waveform) != expected:
        utterance_id = source.index.column("utterance_id")[row]
        raise UserError(
            f"utterance {utterance_id!r} of corpus {source.index.corpus!r} has "
            f"{len(waveform)} samples but {expected} in the index: run `sersl prepare` "
            "for it again"
        )
    return waveform


def read_waveforms(source: CorpusSource, rows: Sequence[int] | np.ndarray) -> list[np.ndarray]:
    """Reads utterances in several threads.

    Args:
      source: the corpus.
      rows: [n], of its index.

    Returns:
      [N] float32 at 16 kHz each.

    Raises:
      UserError: as `read_waveform`.
    """
    with ThreadPoolExecutor(_THREADS) as pool:
        return list(pool.map(lambda row: read_waveform(source, row), rows))


def make_recordings(
    source: CorpusSource,
    rows: Sequence[int],
    waveforms: Sequence[np.ndarray],
    tracks: Sequence[Track],
) -> list[Recording]:
    """Joins audio with what the index has about it.

    Args:
      source: the corpus.
      rows: of its index.
      waveforms: [N] float32 at 16 kHz, of these rows.
      tracks: F0 and voicing, of these rows.

    Returns:
      The recordings.
    """
    names = ("utterance_id", "speaker", "category")
    columns = [source.index.column(name)[np.asarray(rows, np.int64)].tolist() for name in names]
    return [
        Recording(utterance_id, speaker, category, waveform, track)
        for utterance_id, speaker, category, waveform, track in zip(
            *columns, waveforms, tracks, strict=True
        )
    ]


@jax.jit
def _track(waveform, num_samples):
    frames = num_frames(waveform.shape[1])
    valid = jnp.arange(frames) < num_frames(num_samples)[:, None]
    return track_pitch(waveform, valid)


def _in_batches(
    source: CorpusSource, annotator: Annotator, parts: Sequence[range]
) -> Iterator[Iterator[bytes]]:
    # While one part is on the device, the next is read.
    with ThreadPoolExecutor(1) as reader:
        ahead = collections.deque(reader.submit(read_waveforms, source, rows) for rows in parts[:1])
        for i, rows in enumerate(parts):
            waveforms = ahead.popleft().result()
            if i + 1 < len(parts):
                ahead.append(reader.submit(read_waveforms, source, parts[i + 1]))
            yield _records(source, annotator, rows, waveforms, device_tracks(waveforms))


def _annotate_rows(
    source: CorpusSource, annotator: Annotator, rows: Sequence[int]
) -> Iterator[bytes]:
    for row in rows:
        waveform = read_waveform(source, row)
        yield from _records(source, annotator, [row], [waveform], [pitch(waveform)])


def _records(
    source: CorpusSource,
    annotator: Annotator,
    rows: Sequence[int],
    waveforms: Sequence[np.ndarray],
    tracks: Sequence[Track],
) -> Iterator[bytes]:
    recordings = make_recordings(source, rows, waveforms, tracks)
    found = annotator.intensities(recordings)
    for recording, intensity in zip(recordings, found, strict=True):
        yield make_record(recording.waveform, intensity, recording.track, name=annotator.name)


def _annotate_several(
    source: CorpusSource, annotator: Annotator, rows: Sequence[int]
) -> list[bytes]:
    return list(_annotate_rows(source, annotator, rows))
