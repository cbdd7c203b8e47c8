"""Reads the audio of utterances: rows of the index and the FLAC bytes of records."""

import concurrent.futures
import hashlib
import json
import threading
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from sersl.audio.decode import AudioFile, AudioInfo, open_audio
from sersl.audio.flac import encode_flac, to_pcm16
from sersl.audio.levels import Levels, measure
from sersl.core.errors import UserError
from sersl.core.lengths import SAMPLE_RATE, WINDOW, resampled_length
from sersl.corpora.utterance import Utterance

_END_TOLERANCE = 320  # samples = 20 ms: label files round the ends of segments
_KEPT = 2  # recordings in memory: threads may be at the end of one and the start of the next
_MOST_HOURS = 24.0  # of a recording in memory: 2.8 GB


class Reader:
    """Reads utterances, from many threads at once.

    Segments of one recording that has another rate, or whose format has no exact seeking, would
    each decode all of it; it is decoded once instead, and the last two recordings stay in memory as
    16-bit samples (115 MB an hour each).
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._recordings: dict[
            tuple[Path, int | None], concurrent.futures.Future[tuple[np.ndarray, AudioInfo]]
        ] = {}

    def read(self, corpus: str, item: Utterance) -> tuple[dict, bytes, Levels, AudioInfo | None]:
        """Reads one utterance.

        Args:
          corpus: its corpus.
          item: the utterance.

        Returns:
          Its row of the index, FLAC bytes, measures, and what its file was.

        Raises:
          UserError: the audio cannot be used, and why.
        """
        samples, info = self._load(item)
        if len(samples) < WINDOW:
            raise UserError(
                f"too short: {len(samples)} samples at 16 kHz, one frame of 25 ms needs {WINDOW}"
            )
        return _row(corpus, item, samples), encode_flac(samples), measure(samples), info

    def _load(self, item: Utterance) -> tuple[np.ndarray, AudioInfo | None]:
        """Decodes an utterance: [N] int16."""
        if isinstance(item.source, np.ndarray):
            return to_pcm16(item.source), None
        with self._lock:
            known = self._recordings.get((item.source, item.channel))
        is_part = item.start is not None or item.end is not None
        if is_part and known is not None:
            samples, info = known.result()
            start, stop = _segment(item, info)
            return samples[start:stop], info
        with open_audio(item.source) as audio:
            if not is_part:
                samples = to_pcm16(audio.read(channel=item.channel))
                return samples, audio.info()
            if audio.sample_rate == SAMPLE_RATE and audio.seekable:
                info = audio.info()
                start, stop = _segment(item, info)
                waveform = audio.read(start=start, num_samples=stop - start, channel=item.channel)
                return to_pcm16(waveform), info
            samples, info = self._whole(item.source, audio, item.channel)
        start, stop = _segment(item, info)
        return samples[start:stop], info

    def _whole(
        self, source: Path, audio: AudioFile, channel: int | None
    ) -> tuple[np.ndarray, AudioInfo]:
        """Decodes a recording once for all threads that need it: [N] int16."""
        key, mine = (source, channel), None
        with self._lock:
            if key not in self._recordings:
                while len(self._recordings) >= _KEPT:
                    del self._recordings[next(iter(self._recordings))]
                mine = self._recordings[key] = concurrent.futures.Future()
            future = self._recordings[key]
        if mine is not None:
            try:
                blocks = audio.blocks(channel=channel, most_hours=_MOST_HOURS)
                samples = np.concatenate([to_pcm16(block) for block in blocks])
                mine.set_result((samples, audio.info()))
            except BaseException as error:  # the threads that wait must get it
                mine.set_exception(error)
        return future.result()


def _segment(item: Utterance, info: AudioInfo) -> tuple[int, int]:
    """Gives the first sample of a segment and the one after its last, at 16 kHz."""
    length = resampled_length(info.num_samples, info.sample_rate)
    start = 0 if item.start is None else round(item.start * SAMPLE_RATE)
    stop = length if item.end is None else round(item.end * SAMPLE_RATE)
    if stop > length + _END_TOLERANCE or start >= length:
        raise UserError(
            f"segment {start / SAMPLE_RATE:g} to {stop / SAMPLE_RATE:g} s is outside of the file "
            f"({length / SAMPLE_RATE:g} s)"
        )
    return start, min(stop, length)


def _row(corpus: str, item: Utterance, samples: np.ndarray) -> dict:
    return {
        "utterance_id": item.utterance_id,
        "corpus": corpus,
        "speaker": item.speaker,
        "gender": item.gender,
        "language": item.language,
        "session": item.session,
        "text": item.text,
        "category": item.category,
        "category_raw": item.category_raw,
        "votes": "" if item.votes is None else _json(item.votes),
        "intensity": item.intensity,
        "arousal": item.arousal,
        "dominance": item.dominance,
        "valence": item.valence,
        "scale_low": item.scale_low,
        "scale_high": item.scale_high,
        "fold": item.fold,
        "num_samples": len(samples),
        "duration": len(samples) / SAMPLE_RATE,
        "sha256": hashlib.sha256(samples.astype("<i2").tobytes()).hexdigest(),
        "extra": _json(item.extra) if item.extra else "",
        "path": item.path,
    }


def _json(value: Mapping) -> str:
    return json.dumps(dict(value), sort_keys=True, ensure_ascii=False)
