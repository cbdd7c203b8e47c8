"""Teachers whose statistics of whole utterances are computed once and kept beside the corpora."""

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np

from sersl.config.network import PoolingConfig
from sersl.config.schema import FinetuneConfig, PretrainConfig
from sersl.core.errors import UserError
from sersl.core.lengths import SAMPLE_RATE
from sersl.data.sources import CorpusSource
from sersl.pretraining.terms.statistics import view_name
from sersl.runs.initial_weights import InitialWeights, with_sizes
from sersl.runs.kept_outputs import OutputStore

# What is kept of a teacher, as a frozen probe reads it (configs/finetune/frozen.py).
POOLING = PoolingConfig(kind="statistics", layers="all", standardize_layers=True)


def check_kept(config: PretrainConfig, sources: Sequence[CorpusSource]) -> None:
    """Checks the settings that go with kept teachers and with copies at other speeds.

    Args:
      config: of the run.
      sources: corpora and their copies.

    Raises:
      UserError: nothing reads the teachers, utterances would be cropped, or codes have no copies.
    """
    if config.views.speeds and any(source.books for source in sources):
        raise UserError(
            "objectives.clusters predicts codes of the plain utterances, and views.speeds adds "
            "copies at other speeds: leave views.speeds empty"
        )
    if not config.kept_teachers:
        return
    if not config.objectives.statistics.weight:
        raise UserError(
            "kept_teachers are read by objectives.statistics, whose weight is 0: give it a weight, "
            "or use frozen_teachers"
        )
    longest = max(int(source.num_samples.max()) for source in sources) / SAMPLE_RATE
    if longest > config.data.max_seconds:
        raise UserError(
            f"objectives.statistics compares whole utterances, of which the longest has "
            f"{longest:.1f} s, and data.max_seconds={config.data.max_seconds:g} would crop it: "
            "raise data.max_seconds, or prepare shorter utterances"
        )


def attach_kept(
    sources: Sequence[CorpusSource],
    kept: Sequence[InitialWeights],
    *,
    say: Callable[[str], None],
    preempted: Callable[[int], bool],
) -> None:
    """Gives every source a reader of each teacher's statistics; computes those that are missing.

    Each statistic is standardized over the utterances of the source.

    Args:
      sources: corpora and their copies.
      kept: teachers.
      say: called with lines for people.
      preempted: see `OutputStore.open`.

    Raises:
      UserError: no room to write, or a record is damaged.
      Preempted: before the end; what is complete is kept.
    """
    for number, weights in enumerate(kept):
        store = OutputStore(_reading(weights), weights)
        for source in sources:
            reader = store.open(source, say, preempted=preempted)
            reader.standardize(np.zeros(len(source), np.int64))
            source.views = {**source.views, view_name(number): reader}


def _reading(weights: InitialWeights) -> FinetuneConfig:
    """Gives the settings with which a frozen encoder of these weights is read, without dropout."""
    config = with_sizes(FinetuneConfig(pooling=POOLING), weights)
    return dataclasses.replace(
        config,
        frontend=dataclasses.replace(config.frontend, dropout=0.0),
        encoder=dataclasses.replace(config.encoder, dropout=0.0),
    )
