"""The batches that every fold of a fine-tuning run trains on."""

import dataclasses
import functools
from collections.abc import Mapping

import numpy as np

from sersl.config.schema import FinetuneConfig
from sersl.data.batch_plan import BatchPlan, make_plan
from sersl.data.buckets import Bucket
from sersl.data.references import split_rows
from sersl.data.speed_view import Views


def plan_folds(
    config: FinetuneConfig,
    views: Views,
    rows_of: Mapping[str, np.ndarray],
    *,
    over_budget: bool,
) -> tuple[dict[str, BatchPlan], tuple[Bucket, ...]]:
    """Plans the batches of every fold, in the same shapes, so that one compiled step serves all.

    Args:
      config: data and seed.
      views: the corpora and their copies.
      rows_of: fold to int64 [m], utterances and copies to train on.
      over_budget: whether the longest rows may exceed `data.seconds_per_batch`.

    Returns:
      ({fold: plan}, batch shapes); a corpus that a fold does not train on has no rows in its plan.
    """
    lengths = [source.num_samples for source in views.sources]
    counts = [len(own) for own in lengths]
    train = {name: split_rows(own, counts) for name, own in rows_of.items()}
    rows = [
        np.arange(count) if any(len(own[number]) for own in train.values()) else np.zeros(0, int)
        for number, count in enumerate(counts)
    ]
    data = dataclasses.replace(config.data, weights=views.weights(config.data.weights))
    plan = functools.partial(make_plan, lengths, data=data, seed=config.train.seed)
    buckets = plan(rows=rows, over_budget=over_budget).buckets
    return {name: plan(rows=own, buckets=buckets) for name, own in train.items()}, buckets
