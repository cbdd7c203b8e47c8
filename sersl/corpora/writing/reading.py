"""Reads the audio of utterances: rows of the index and the FLAC bytes of records."""

import concurrent.futures
import hashlib
import json
import threading
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from sersl.audio.decode import AudioInfo, encode_flac, probe, read_audio, to_pcm16
from sersl.audio.levels import Levels, measure
from sersl.core.errors import UserError
from sersl.core.lengths import SAMPLE_RATE, WINDOW, resampled_length
from sersl.corpora.utterance import Utterance

_END_TOLERANCE = 320  # samples = 20 ms: label files round the ends of segments
_SEEKABLE = ("WAV", "WAVEX", "FLAC")  # at 16 kHz a segment costs no more than its own length
_KEPT = 2  # recordings in memory: threads may be at the end of one and the start of the next


class Reader:
    """Reads utterances, from many threads at once.

    Segments of one recording that cannot be sought in, or has another rate, would decode all of
    it each; it is decoded once instead, and the last two recordings stay in memory as 16-bit
    samples (115 MB an hour each).
    """

    def __init__(self):
        self._lock = threading.Lock()
        self._recordings: dict[tuple, concurrent.futures.Future] = {}

    def read(self, corpus: str, item: Utterance) -> tuple[dict, bytes, Levels, AudioInfo | None]:
        """Reads one utterance.

        Args:
          corpus: its corpus.
          item: what is known of it.

        Returns:
          Its row of the index, FLAC bytes, measures, and what its file was.

        Raises:
          UserError: the audio cannot be used, and why.
        """
        waveform, audio, info = self._load(item)
        if len(waveform) < WINDOW:
            raise UserError(
                f"too short: {len(waveform)} samples at 16 kHz, one frame of 25 ms needs {WINDOW}"
            )
        samples = to_pcm16(waveform)
        if audio is None:
            audio = encode_flac(waveform)
        return _row(corpus, item, samples), audio, measure(samples), info

    def _load(self, item: Utterance) -> tuple[np.ndarray, bytes | None, AudioInfo | None]:
        """Decodes, and keeps the file's own bytes where they already are what records hold."""
        if isinstance(item.source, np.ndarray):
            return item.source, None, None
        info = probe(item.source)
        if item.start is None and item.end is None:
            waveform = read_audio(item.source, channel=item.channel)
            shape = (info.format, info.subtype, info.sample_rate, info.channels)
            if shape == ("FLAC", "PCM_16", SAMPLE_RATE, 1):
                return waveform, item.source.read_bytes(), info
            return waveform, None, info
        start = 0 if item.start is None else round(item.start * SAMPLE_RATE)
        length = resampled_length(info.num_samples, info.sample_rate)
        stop = length if item.end is None else round(item.end * SAMPLE_RATE)
        if stop > length + _END_TOLERANCE or start >= length:
            raise UserError(
                f"segment {start / SAMPLE_RATE:g} to {stop / SAMPLE_RATE:g} s is outside of the "
                f"file ({length / SAMPLE_RATE:g} s)"
            )
        stop = min(stop, length)
        if info.sample_rate == SAMPLE_RATE and info.format in _SEEKABLE:
            waveform = read_audio(
                item.source, start=start, num_samples=stop - start, channel=item.channel
            )
        else:
            samples = self._whole(item.source, item.channel)[start:stop]
            waveform = samples.astype(np.float32) / np.float32(32768)
        return waveform, None, info

    def _whole(self, source: Path, channel: int | None) -> np.ndarray:
        """Decodes a recording once for all threads that ask: [N] int16."""
        key, mine = (source, channel), None
        with self._lock:
            if key not in self._recordings:
                while len(self._recordings) >= _KEPT:
                    del self._recordings[next(iter(self._recordings))]
                mine = self._recordings[key] = concurrent.futures.Future()
            future = self._recordings[key]
        if mine is not None:
            try:
                mine.set_result(to_pcm16(read_audio(source, channel=channel)))
            except BaseException as error:  # whoever waits must hear of it
                mine.set_exception(error)
        return future.result()


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
