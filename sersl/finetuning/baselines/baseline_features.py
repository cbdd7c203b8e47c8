"""The features of the baselines, computed once per run and kept in its workdir."""

import functools
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sersl.annotation.utterance_features import (
    corpus_functionals,
    measure_rows,
    spectral_moments,
)
from sersl.core.errors import UserError
from sersl.core.extras import install_hint
from sersl.core.files import whole_file
from sersl.core.lengths import SAMPLE_RATE
from sersl.data.sources import CorpusSource
from sersl.models.acoustic.functionals import FUNCTIONALS_VERSION

NUM_MELS = 80
_LOGMEL_VERSION = 1
_MIN_SAMPLES = SAMPLE_RATE // 10  # openSMILE's longest window and a little more

Measure = Callable[[Sequence[np.ndarray]], np.ndarray]


def read_features(
    path: Path,
    sources: Sequence[CorpusSource],
    kinds: Sequence[str],
    say: Callable[[str], None],
    *,
    ask: Callable[[], None] = lambda: None,
) -> np.ndarray:
    """Reads the features of all utterances from a file, or computes and writes them.

    Args:
      path: of the file; one of other corpora or features is replaced.
      sources: corpora in order.
      kinds: names of `BaselineConfig.features`.
      say: called with a line for people.
      ask: called before every few utterances; may raise to leave.

    Returns:
      float32 [n, F], always finite, of the indexes one after the other.

    Raises:
      UserError: a record is damaged, or openSMILE is not installed.
    """
    measures = {kind: _measure(kind) for kind in kinds}
    made_from = "\n".join(
        [f"{name} {version}" for name, (version, _) in measures.items()]
        + [source.index.fingerprint for source in sources]
    )
    kept = _read(path, made_from)
    if kept is not None:
        return kept
    say(f"features: {', '.join(kinds)} of {sum(map(len, sources))} utterances")

    def asking(measure: Measure) -> Measure:
        def measured(waveforms: Sequence[np.ndarray]) -> np.ndarray:
            ask()
            return measure(waveforms)

        return measured

    features = np.concatenate(
        [
            np.concatenate(
                [measure_rows(source, np.arange(len(source)), asking(one)) for source in sources]
            )
            for _, one in measures.values()
        ],
        axis=1,
    ).astype(np.float32)
    with whole_file(path, "wb") as file:
        np.savez(file, features=features, made_from=np.array(made_from))
    return features


def logmel_statistics(waveforms: Sequence[np.ndarray]) -> np.ndarray:
    """Computes mean and deviation of the log-mel of active frames.

    Args:
      waveforms: [N] float32 each, at 16 kHz.

    Returns:
      float32 [n, 4 M]: means, then deviations, of both windows of a frame.
    """
    moments = spectral_moments(waveforms, num_mels=NUM_MELS).astype(np.float64)
    mean, square = np.split(moments, 2, axis=1)
    deviation = np.sqrt(np.maximum(square - np.square(mean), 0.0))
    return np.concatenate([mean, deviation], axis=1).astype(np.float32)


def _measure(kind: str) -> tuple[str, Measure]:
    """Gives the version of some features and the function that computes them."""
    match kind:
        case "functionals":
            return str(FUNCTIONALS_VERSION), corpus_functionals
        case "logmel":
            return str(_LOGMEL_VERSION), logmel_statistics
        case "egemaps":
            opensmile = _opensmile()
            smile = opensmile.Smile(
                feature_set=opensmile.FeatureSet.eGeMAPSv02,
                feature_level=opensmile.FeatureLevel.Functionals,
            )
            return opensmile.__version__, functools.partial(_egemaps, smile)
    raise ValueError(f"unknown features {kind!r}")


def _egemaps(smile: Any, waveforms: Sequence[np.ndarray]) -> np.ndarray:
    """Computes openSMILE's 88 functionals of each of n waveforms: float32 [n, 88]."""
    rows = []
    for waveform in waveforms:
        padded = np.pad(waveform, (0, max(0, _MIN_SAMPLES - len(waveform))))
        rows.append(smile.process_signal(padded, SAMPLE_RATE).to_numpy(np.float32)[0])
    return np.nan_to_num(np.stack(rows))


def _opensmile() -> Any:
    try:
        import opensmile
    except ImportError as error:
        raise UserError(
            "baseline.features 'egemaps' needs openSMILE, whose licence does not allow commercial "
            f"products: install it with {install_hint('opensmile')}, or use 'functionals'"
        ) from error
    return opensmile


def _read(path: Path, made_from: str) -> np.ndarray | None:
    """Reads kept features; None where there are none, or they are damaged or of something else."""
    try:
        with np.load(path) as file:
            return file["features"] if str(file["made_from"]) == made_from else None
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None
