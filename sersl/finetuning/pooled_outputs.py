"""Pooled outputs of the upper layers as they are, from kept output of the lower ones."""

import functools
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from sersl.config.schema import DataConfig
from sersl.corpora.labels import LabelView
from sersl.data.buckets import Bucket
from sersl.data.pipeline import evaluation_batches
from sersl.data.sources import CorpusSource
from sersl.parallel.sharding import global_arrays, local_rows

Pooled = Callable[[dict[str, Any], dict[str, jax.Array]], jax.Array]
_NOT_LABELS = ("waveform", "valid", "hidden_states")


class PooledOutputs:
    """Runs the upper layers over whole utterances; all processes must call this.

    All folds of a run start from the same encoder, so `gather` runs each utterance once.
    """

    def __init__(
        self,
        pooled: Pooled,
        *,
        buckets: Sequence[Bucket],
        mesh: Mesh,
        view: LabelView,
        dimensions: Sequence[str],
        needs: Collection[str],
        data: DataConfig,
    ):
        """Keeps what is needed to compile.

        Args:
          pooled: given parameters and a batch, what the pooling needs of the encoder, [B, L, F, D].
          buckets: batch shapes that hold the longest utterance.
          mesh: the mesh.
          view: names of the categories.
          dimensions: names of the dimensions.
          needs: of the task.
          data: reading threads.
        """
        self._buckets, self._mesh, self._data = buckets, mesh, data
        self._view, self._dimensions, self._needs = view, tuple(dimensions), frozenset(needs)
        self._known: dict[str, np.ndarray] = {}  # of `gather`, by utterance_index
        self._rows = {bucket.num_samples: bucket.rows for bucket in buckets}
        # Every process gets all rows.
        self._pooled = jax.jit(
            lambda params, batch, labels: labels | {"hidden_states": pooled(params, batch)},
            out_shardings=NamedSharding(mesh, P()),
        )

    def moments(
        self, params: dict[str, Any], sources: Sequence[CorpusSource], rows: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Computes mean and standard deviation over utterances, holding one batch at a time.

        Args:
          params: of the model, on the mesh.
          sources: corpora in order, with kept outputs.
          rows: int [n], utterances, at least one.

        Returns:
          (mean, deviation), each float64 [L, F, D].
        """
        return moments_of(batch["hidden_states"] for batch in self._batches(params, sources, rows))

    def gather(
        self, params: dict[str, Any], sources: Sequence[CorpusSource], rows: np.ndarray
    ) -> dict[str, np.ndarray]:
        """Gathers outputs and labels of utterances in host memory, which keeps them.

        Args:
          params: of the model, on the mesh; always with the same encoder.
          sources: corpora in order, with kept outputs.
          rows: int [n], utterances, at least one.

        Returns:
          hidden_states float32 [n, L, F, D] and the labels of a batch, each [n, ...], in the order
          of `utterance_index`.
        """
        rows = np.sort(rows)
        found = self._known.get("utterance_index", np.zeros(0, np.int32))
        missing = np.setdiff1d(rows, found)
        if len(missing):
            parts = [self._known] if self._known else []
            parts += self._batches(params, sources, missing)
            whole = {name: np.concatenate([part[name] for part in parts]) for name in parts[-1]}
            order = np.argsort(whole["utterance_index"])
            self._known = {name: values[order] for name, values in whole.items()}
        where = np.searchsorted(self._known["utterance_index"], rows)
        return {name: values[where] for name, values in self._known.items()}

    def _batches(
        self, params: dict[str, Any], sources: Sequence[CorpusSource], rows: np.ndarray
    ) -> Iterator[dict[str, np.ndarray]]:
        batches = evaluation_batches(
            sources,
            rows,
            self._view,
            buckets=self._buckets,
            batch_rows=functools.partial(local_rows, self._mesh),
            data=self._data,
            dimensions=self._dimensions,
            needs=self._needs,
        )
        for host_batch in batches:
            whole = self._rows[host_batch["valid"].shape[1]]
            batch = global_arrays(host_batch, self._mesh, rows=whole)
            labels = {name: value for name, value in batch.items() if name not in _NOT_LABELS}
            found = jax.device_get(self._pooled(params, batch, labels))
            real = found["utterance_index"] >= 0
            yield {name: np.asarray(values)[real] for name, values in found.items()}


def moments_of(parts: Iterable[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Computes mean and standard deviation, float64 [...], over the rows of arrays [n, ...]."""
    count, total, squares = 0, np.zeros(()), np.zeros(())
    for part in parts:
        values = part.astype(np.float64)
        count, total = count + len(values), total + values.sum(0)
        squares = squares + np.square(values).sum(0)
    mean = total / count
    return mean, np.sqrt(np.maximum(squares / count - np.square(mean), 0.0))
