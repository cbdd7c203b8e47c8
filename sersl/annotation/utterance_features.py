"""Features of whole utterances of a corpus, and their mean and deviation per speaker."""

import functools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from sersl.annotation.sidecar_records import read_waveforms
from sersl.annotation.speakers import Measure, Standard, measure_speakers, rows_of_speakers
from sersl.annotation.strength import strength_input
from sersl.annotation.stretches import make_batches
from sersl.config.annotation import SpeakerConfig
from sersl.core.lengths import num_frames
from sersl.data.sources import CorpusSource
from sersl.models.acoustic.functionals import FUNCTIONALS, utterance_functionals

_ROWS_AT_ONCE = 256  # utterances in memory at once


def corpus_functionals(waveforms: Sequence[np.ndarray]) -> np.ndarray:
    """Computes the functionals of utterances of any length.

    Args:
      waveforms: [N] float32 each, at 16 kHz.

    Returns:
      float32 [n, F]; beyond 30 s the mean over stretches, weighted by their duration; 0 for an
      utterance shorter than a frame.
    """
    return _over_stretches(waveforms, utterance_functionals, len(FUNCTIONALS))


def spectral_moments(waveforms: Sequence[np.ndarray], *, num_mels: int) -> np.ndarray:
    """Computes mean and mean square of the log-mel of active frames, of utterances of any length.

    Args:
      waveforms: [N] float32 each, at 16 kHz.
      num_mels: M.

    Returns:
      float32 [n, 4 M], first the means of the 2 M features; 0 for an utterance shorter than a
      frame.
    """
    return _over_stretches(waveforms, functools.partial(_moments, num_mels), 4 * num_mels)


def mean_spectra(waveforms: Sequence[np.ndarray], *, num_mels: int) -> np.ndarray:
    """Computes the means alone of `spectral_moments`.

    Args:
      waveforms: [N] float32 each, at 16 kHz.
      num_mels: M.

    Returns:
      float32 [n, 2 M].
    """
    return spectral_moments(waveforms, num_mels=num_mels)[:, : 2 * num_mels]


def corpus_standard(
    source: CorpusSource, everyone: Standard, measure: Measure, config: SpeakerConfig
) -> Standard:
    """Measures the speakers of a corpus on some of their utterances.

    Args:
      source: the corpus.
      everyone: mean and deviation of the training data.
      measure: [N] waveforms to [n, F] features.
      config: whether, and on how many utterances.

    Returns:
      `everyone`, with the corpus's speakers if the config asks for them.

    Raises:
      UserError: an utterance cannot be read.
    """
    if not config.normalize:
        return everyone
    speakers = source.index.column("speaker")
    long_enough = num_frames(source.num_samples) > 0
    rows = rows_of_speakers(np.where(long_enough, speakers, ""), config)
    if not len(rows):
        return everyone
    features = measure_rows(source, rows, measure)
    return measure_speakers(features, speakers[rows], everyone=everyone, prior=config.prior)


def measure_rows(
    source: CorpusSource, rows: Sequence[int] | np.ndarray, measure: Measure
) -> np.ndarray:
    """Computes features of many utterances, some at a time.

    Args:
      source: the corpus.
      rows: [n], of its index.
      measure: [N] waveforms to [n, F] features.

    Returns:
      float32 [n, F].

    Raises:
      UserError: an utterance cannot be read.
    """
    return np.concatenate(
        [
            measure(read_waveforms(source, rows[i : i + _ROWS_AT_ONCE]))
            for i in range(0, len(rows), _ROWS_AT_ONCE)
        ]
    )


def _over_stretches(waveforms, function, num_features: int) -> np.ndarray:
    total = np.zeros((len(waveforms), num_features))
    frames = np.zeros(len(waveforms))
    for batch in make_batches(waveforms):
        features = np.asarray(function(batch.waveform, batch.num_samples))
        for row, (owner, _, count) in enumerate(batch.stretches):
            total[owner] += count * features[row].astype(np.float64)
            frames[owner] += count
    return (total / np.maximum(frames, 1)[:, None]).astype(np.float32)


@functools.partial(jax.jit, static_argnums=0)
def _moments(num_mels, waveform, num_samples):
    inputs = strength_input(waveform, num_samples, num_mels=num_mels)
    share = inputs.active / jnp.maximum(inputs.active.sum(1, keepdims=True), 1)
    # A silent utterance gets the mean of its silence; 0 would be the log of a power of 1.
    silent = ~inputs.active.any(1, keepdims=True)
    share = jnp.where(
        silent, inputs.valid / jnp.maximum(inputs.valid.sum(1, keepdims=True), 1), share
    )
    both = jnp.concatenate([inputs.features, jnp.square(inputs.features)], axis=-1)
    return jnp.einsum("bt,btd->bd", share, both)
