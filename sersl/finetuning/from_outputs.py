"""What fine-tuning does with an encoder that never trains: it keeps its outputs where it can."""

import dataclasses
import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import numpy as np

from sersl.config.adaptation import AdaptationConfig
from sersl.config.schema import (
    AugmentConfig,
    CombineConfig,
    DistortionConfig,
    FinetuneConfig,
    PoolingConfig,
)
from sersl.core.errors import UserError
from sersl.core.lengths import FRAME_RATE, SAMPLE_RATE, num_frames
from sersl.data.references import locate_rows
from sersl.data.sources import CorpusSource
from sersl.finetuning.ideas.enrolment import enrolled
from sersl.finetuning.pooled_outputs import moments_of
from sersl.finetuning.trained_parts import num_frozen
from sersl.models.layers import EPSILON
from sersl.models.pooling.pooling import count_vectors
from sersl.parallel.sharding import path_name
from sersl.runs.initial_weights import InitialWeights
from sersl.runs.kept_outputs import OutputStore
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
    num_layers = config.encoder.num_layers
    frozen = num_frozen(starts, num_layers)
    if frozen is not None and frozen < num_layers and config.encoder.side_layers:
        frozen, reason = None, "a side branch reads lower layers than those that train"
    if frozen:
        whole = frozen == num_layers
        reason = why_not(config, sources, weights, whole=whole)
        if reason is None and weights is not None:
            if not whole and config.domain.normalize != "none":
                raise UserError(
                    "domain.normalize standardizes the outputs of an encoder, and its upper layers "
                    "train: set it to 'none', or freeze the whole encoder"
                )
            if not whole and config.enrolment.utterances:
                raise UserError(
                    "enrolment.utterances centres the outputs of an encoder, and its upper layers "
                    "train: set it to 0, or freeze the whole encoder"
                )
            if whole:
                check_lower_layers(config.adaptation, without="the whole encoder is frozen")
            return OutputStore(config, weights, num_frozen=None if whole else frozen)
        part = "the encoder is frozen, but runs" if whole else "lower layers are frozen, but run"
        say(f"{part} in every step: {reason}")
    check_lower_layers(config.adaptation, without=reason)
    for name, on, off in (
        ("pooling.standardize_outputs", config.pooling.standardize_outputs, "False"),
        ("enrolment.utterances", config.enrolment.utterances > 0, "0"),
        ("domain.normalize", config.domain.normalize != "none", "'none'"),
    ):
        if on:
            raise UserError(
                f"{name} needs the kept outputs of a frozen encoder, and there are none "
                f"({reason}): set it to {off}, or use configs/finetune/frozen.py with init_from"
            )
    return None


def check_lower_layers(config: AdaptationConfig, *, without: str | None) -> None:
    """Refuses settings that need the kept output of frozen lower layers.

    Args:
      config: of the run.
      without: the reason why there is none.

    Raises:
      UserError: a setting needs it.
    """
    for name, default in (("frame_share", 1.0), ("head_steps", 0)):
        if getattr(config, name) != default:
            raise UserError(
                f"adaptation.{name} needs the kept output of frozen lower layers, and there is "
                f"none ({without}): set it to {default}"
            )


def why_not(
    config: FinetuneConfig,
    sources: Sequence[CorpusSource],
    weights: InitialWeights | None,
    *,
    whole: bool = True,
) -> str | None:
    """Finds a reason not to keep the outputs of a frozen encoder.

    Args:
      config: of the run.
      sources: corpora in order.
      weights: that the run starts from.
      whole: whether the whole encoder is frozen, not its lower layers alone.

    Returns:
      A clause, or None where there is no reason.
    """
    if config.store == "off":
        return "store=off"
    if weights is None:
        return "its weights are random"
    if not whole and config.frontend.kind == "whisper" and config.frontend.window_seconds:
        return "its layers attend to the silence of the window (frontend.window_seconds)"
    if config.tasks.transcript_weight and count_vectors(config.pooling):
        return f"tasks.transcript_weight needs frames, and pooling.kind={config.pooling.kind} none"
    for name, value, plain in (
        ("augment", config.augment, AugmentConfig()),
        ("distortion", config.distortion, DistortionConfig()),
        ("combine", config.combine, CombineConfig()),
    ):
        if value != plain:
            return f"the settings of {name} change its input"
    longest = max(int(np.max(source.num_samples, initial=0)) for source in sources)
    if num_frames(longest) > round(config.data.max_seconds * FRAME_RATE):
        return (
            f"utterances of up to {longest / SAMPLE_RATE:.1f} s are cropped at random to "
            f"data.max_seconds={config.data.max_seconds:g}"
        )
    remote = [source.index.corpus for source in sources if source.index.remote]
    return f"corpus {remote[0]} is in a bucket" if remote else None


def standardize_groups(sources: Sequence[CorpusSource], config: FinetuneConfig) -> None:
    """Standardizes the open outputs by speaker or corpus, or centres them by enrolment.

    Raises:
      UserError: an utterance has no speaker.
    """
    by = config.domain.normalize
    if by == "none" and not config.enrolment.utterances:
        return
    for source in sources:
        speakers = source.index.column("speaker")
        if by == "speaker" and (speakers == "").any():
            raise UserError(
                f"domain.normalize='speaker' needs the speaker of every utterance, and corpus "
                f"{source.index.corpus!r} has some without: set it to 'corpus', or prepare the "
                "corpus with a column speaker"
            )
        group = np.unique(speakers, return_inverse=True)[1]
        if by == "corpus":
            group = np.zeros(len(source), int)
        assert source.outputs is not None
        known = enrolled(config, source.index) if config.enrolment.utterances else None
        source.outputs.standardize(group.reshape(-1), enrolled=known)


def with_moments(
    state: TrainState, mean: np.ndarray, deviation: np.ndarray, *, view: str = ""
) -> TrainState:
    """Sets `center` and `scale` of a pooling to mean and deviation, each [L, F, D].

    A deviation below 1e-3 becomes 1e-3. `view` names a further view; "" is the main encoder.
    """
    deviation = np.maximum(deviation, _MIN_DEVIATION)

    def put(path, leaf):
        if path_name(path) not in names:
            return leaf
        return jax.device_put(names[path_name(path)].astype(np.float32), leaf.sharding)

    where = f"fusion/views/{view}/pooling" if view else "pooling"
    names = {f"{where}/center": mean, f"{where}/scale": deviation}
    params = jax.tree_util.tree_map_with_path(put, state.params)
    return dataclasses.replace(state, params=params)


def moments(
    sources: Sequence[CorpusSource], rows: np.ndarray, *, pooling: PoolingConfig, view: str = ""
) -> tuple[np.ndarray, np.ndarray]:
    """Computes mean and standard deviation of kept outputs over utterances, or over their frames.

    Args:
      sources: corpora in order, each with outputs.
      rows: int [n], of the indexes one after the other; at least one.
      pooling: settings of the pooling that reads these outputs.
      view: name of a further view, of which rows may be missing; "": the main encoder.

    Returns:
      (mean, deviation), each float64 [L, F, D]; F is 1 for frames.

    Raises:
      UserError: no row has the view.
    """

    def kept() -> Iterator[np.ndarray]:
        for corpus, row in zip(*locate_rows(rows, [len(s) for s in sources]), strict=True):
            reader = sources[corpus].views[view] if view else sources[corpus].outputs
            if reader is None:
                raise ValueError("the outputs are not open")
            values = reader.read(int(row))
            if not values.shape[1]:
                continue
            yield values[None] if count_vectors(pooling) else _frames(values, pooling)

    parts = kept()
    first = next(parts, None)
    if first is None:
        raise UserError(
            f"no utterance on the training side has view {view!r}: leave it out of fusion.views"
        )
    return moments_of(itertools.chain([first], parts))


def _frames(values: np.ndarray, pooling: PoolingConfig) -> np.ndarray:
    """Lines up frames [L, T, D] as the pooling reads them, see `standardize`, [T, L, 1, D]."""
    values = values.astype(np.float32)
    if pooling.layers_standardized:
        values = values - values.mean(-1, keepdims=True)
        values /= np.sqrt(np.square(values).mean(-1, keepdims=True) + EPSILON)
    return values.swapaxes(0, 1)[:, :, None]
