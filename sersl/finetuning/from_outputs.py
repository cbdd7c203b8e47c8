"""What fine-tuning does with an encoder that never trains: it keeps its outputs where it can."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np

from sersl.config.schema import AugmentConfig, CombineConfig, DistortionConfig, FinetuneConfig
from sersl.core.errors import UserError
from sersl.core.lengths import FRAME_RATE, SAMPLE_RATE, num_frames
from sersl.data.buckets import MAX_EVALUATION_SECONDS
from sersl.data.references import locate_rows
from sersl.data.sources import CorpusSource
from sersl.finetuning.frozen import is_frozen
from sersl.finetuning.kept_outputs import OutputStore
from sersl.runs.initial_weights import InitialWeights
from sersl.training.state import TrainState

_MIN_DEVIATION = 1e-3  # what changes less is hardly more than the rounding of float16


def choose_store(
    config: FinetuneConfig,
    starts: Any,
    sources: Sequence[CorpusSource],
    weights: InitialWeights | None,
    say: Callable[[str], None],
) -> OutputStore | None:
    """Decides whether a run trains from kept outputs of its encoder.

    Args:
      config: of the run.
      starts: int per parameter, the step from which it trains.
      sources: corpora in order.
      weights: that the run starts from.
      say: called with the reason where a frozen encoder runs in every step.

    Returns:
      The store, not yet opened, or None.

    Raises:
      UserError: a setting needs kept outputs and there are none.
    """
    reason: str | None = "the encoder trains"
    if is_frozen(starts):
        reason = why_not(config, sources, weights)
        if reason is None and weights is not None:
            return OutputStore(config, weights)
        say(f"the encoder is frozen, but runs in every step: {reason}")
    if config.pooling.standardize_outputs:
        raise UserError(
            "pooling.standardize_outputs needs the kept outputs of a frozen encoder, and there are "
            f"none ({reason}): set it to False, or use configs/finetune/frozen.py with init_from"
        )
    return None


def why_not(
    config: FinetuneConfig, sources: Sequence[CorpusSource], weights: InitialWeights | None
) -> str | None:
    """Finds a reason not to keep the outputs of a frozen encoder.

    Args:
      config: of the run.
      sources: corpora in order.
      weights: that the run starts from.

    Returns:
      A clause, or None where there is no reason.
    """
    if config.store == "off":
        return "store=off"
    if weights is None:
        return "its weights are random"
    for name, value, plain in (
        ("augment", config.augment, AugmentConfig()),
        ("distortion", config.distortion, DistortionConfig()),
        ("combine", config.combine, CombineConfig()),
    ):
        if value != plain:
            return f"the settings of {name} change its input"
    longest = max(int(np.max(source.num_samples, initial=0)) for source in sources)
    most = min(config.data.max_seconds, MAX_EVALUATION_SECONDS)
    if num_frames(longest) > round(most * FRAME_RATE):
        return (
            f"utterances of up to {longest / SAMPLE_RATE:.1f} s are cropped at random to "
            f"data.max_seconds={config.data.max_seconds:g}, or longer than "
            f"{MAX_EVALUATION_SECONDS} s"
        )
    remote = [source.index.corpus for source in sources if source.index.remote]
    return f"corpus {remote[0]} is in a bucket" if remote else None


def with_moments(
    state: TrainState, sources: Sequence[CorpusSource], rows: np.ndarray
) -> TrainState:
    """Sets `center` and `scale` of the pooling to `moments` of int [n] rows to train on."""
    pooling = dict(state.params["pooling"])
    for name, values in zip(("center", "scale"), moments(sources, rows), strict=True):
        pooling[name] = jax.device_put(values, pooling[name].sharding)
    return dataclasses.replace(state, params={**state.params, "pooling": pooling})


def moments(sources: Sequence[CorpusSource], rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Computes mean and standard deviation of kept outputs over utterances.

    Args:
      sources: corpora in order, each with outputs of a fixed number of vectors.
      rows: int [n], of the indexes one after the other; at least one.

    Returns:
      (mean, deviation), each float32 [L, F, D]; a deviation below 1e-3 becomes 1e-3.
    """
    total, squares = np.zeros(()), np.zeros(())
    for corpus, row in zip(*locate_rows(rows, [len(s) for s in sources]), strict=True):
        reader = sources[corpus].outputs
        if reader is None:
            raise ValueError("the outputs are not open")
        values = reader.read(int(row)).astype(np.float64)
        total, squares = total + values, squares + np.square(values)
    mean = total / len(rows)
    deviation = np.sqrt(np.maximum(squares / len(rows) - np.square(mean), 0.0))
    return mean.astype(np.float32), np.maximum(deviation, _MIN_DEVIATION).astype(np.float32)
