"""What a model says of prepared utterances, gathered on the host, each utterance once."""

import dataclasses
import functools
from collections.abc import Sequence
from pathlib import Path

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from sersl.config.schema import DataConfig
from sersl.core.files import whole_file
from sersl.corpora.labels import LabelView
from sersl.data.buckets import Bucket
from sersl.data.pipeline import evaluation_batches
from sersl.data.sources import CorpusSource
from sersl.parallel.sharding import check_rows, global_arrays, local_rows


@dataclasses.dataclass(frozen=True)
class Answers:
    """Answers beside the truth, in the order in which the utterances were given.

    Attributes:
      rows: int64 [n], numbers of the utterances in the concatenated indexes.
      scores: float32 [n, C], probabilities.
      dimensions: float32 [n, 3] in 0..1, or [n, 0].
      true_category: int32 [n], -1 none.
      true_dimensions: float64 [n, 3], NaN none.
    """

    rows: np.ndarray
    scores: np.ndarray
    dimensions: np.ndarray
    true_category: np.ndarray
    true_dimensions: np.ndarray

    def save(self, path: str | Path) -> None:
        """Writes all arrays to an .npz file, whole or not at all."""
        with whole_file(path, "wb") as file:
            np.savez(file, **dataclasses.asdict(self))

    @classmethod
    def load(cls, path: str | Path) -> "Answers":
        """Reads what `save` wrote."""
        with np.load(path) as file:
            return cls(**{field.name: file[field.name] for field in dataclasses.fields(cls)})


class Answerer:
    """Runs a model over utterances in fixed shapes; compiles each shape once, when first met."""

    def __init__(self, task, *, buckets: Sequence[Bucket], mesh: Mesh):
        """Keeps what is needed to compile.

        Args:
          task: with a method `answer(params, batch)`.
          buckets: batch shapes that hold the longest utterance.
          mesh: the mesh.

        Raises:
          UserError: the rows of a bucket do not divide over the mesh.
        """
        for bucket in buckets:
            check_rows(bucket.rows, mesh)
        self._buckets, self._mesh = buckets, mesh
        self._rows = {bucket.num_samples: bucket.rows for bucket in buckets}
        # Answers are small: every device gets them whole, so that any host can read them.
        self._answer = jax.jit(task.answer, out_shardings=NamedSharding(mesh, P()))

    def __call__(
        self,
        params: dict,
        sources: Sequence[CorpusSource],
        rows: np.ndarray,
        view: LabelView,
        *,
        category: np.ndarray,
        dimensions: np.ndarray,
        data: DataConfig,
    ) -> Answers:
        """Asks about utterances, each exactly once.

        Args:
          params: of the model, on the mesh.
          sources: corpora in order.
          rows: int64 [n], utterances to ask about.
          view: names of the categories.
          category: int32 [all], truth of every utterance.
          dimensions: float64 [all, 3], truth of every utterance.
          data: reading threads.

        Returns:
          Answers for exactly these rows, in their order.

        Raises:
          UserError: a record is damaged.
        """
        parts = []
        batches = evaluation_batches(
            sources,
            rows,
            view,
            buckets=self._buckets,
            batch_rows=functools.partial(local_rows, self._mesh),
            data=data,
        )
        for host_batch in batches:
            whole = self._rows[host_batch["waveform"].shape[1]]
            batch = global_arrays(host_batch, self._mesh, rows=whole)
            parts.append(self._answer(params, batch))
        parts = [jax.device_get(part) for part in parts]
        found = {
            name: np.concatenate([part[name] for part in parts]) if parts else np.zeros((0, 0))
            for name in ("scores", "dimensions")
        }
        index = np.concatenate([p["utterance_index"] for p in parts] or [np.zeros(0, np.int32)])
        # Rows of padding have number -1; every other row comes once.
        place = {int(row): i for i, row in enumerate(index) if row >= 0}
        order = np.array([place[int(row)] for row in rows], np.int64)
        return Answers(
            rows=np.asarray(rows, np.int64),
            scores=found["scores"][order],
            dimensions=found["dimensions"][order],
            true_category=category[rows],
            true_dimensions=dimensions[rows],
        )
