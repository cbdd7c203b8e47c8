"""Outputs of a model for prepared utterances, gathered on the host, each utterance once."""

import dataclasses
import functools
import zipfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Protocol

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from sersl.config.schema import DataConfig
from sersl.core.errors import UserError
from sersl.core.files import whole_file
from sersl.corpora.labels import DIMENSIONS, LabelView
from sersl.data.buckets import Bucket
from sersl.data.pipeline import evaluation_batches
from sersl.data.sources import CorpusSource
from sersl.parallel.sharding import check_rows, global_arrays, local_rows

ANSWERS = "answers.npz"  # of a fold, on the test side
VALIDATION = "validation.npz"  # of a fold, on the validation side
_NONE = np.zeros(0, np.int64)


@dataclasses.dataclass(frozen=True)
class Answers:
    """Answers beside the truth, in the order in which the utterances were given.

    Attributes:
      rows: int64 [n], numbers of the utterances in the concatenated indexes.
      scores: float32 [n, C], probabilities.
      dimensions: float32 [n, D], in 0..1 where the heads are bounded.
      dimension_names: str [D], of `dimensions`.
      true_category: int32 [n], -1 none.
      true_dimensions: float64 [n, E]; NaN none.
      true_dimension_names: str [E], of `true_dimensions`.
      true_categories: float32 [n, C], where several may apply: 1 applies, 0 does not, NaN not
        known; [n, 0] otherwise.
      thresholds: float64 [C], where several may apply: scores from which one does; [0] otherwise.
    """

    rows: np.ndarray
    scores: np.ndarray
    dimensions: np.ndarray
    dimension_names: np.ndarray
    true_category: np.ndarray
    true_dimensions: np.ndarray
    true_dimension_names: np.ndarray
    true_categories: np.ndarray
    thresholds: np.ndarray

    @property
    def multi(self) -> bool:
        """Whether several categories of one utterance may apply."""
        return bool(self.true_categories.shape[1])

    def save(self, path: str | Path) -> None:
        """Writes all arrays to an .npz file, whole or not at all."""
        with whole_file(path, "wb") as file:
            np.savez(file, **dataclasses.asdict(self))

    @classmethod
    def load(cls, path: str | Path) -> "Answers":
        """Reads what `save` wrote.

        Raises:
          UserError: the file is missing or damaged.
        """
        names = [field.name for field in dataclasses.fields(cls)]
        try:
            with np.load(path) as file:
                arrays = {name: file[name] for name in names if name in file}
            # Earlier versions always predicted all three dimensions, or none.
            names_before = DIMENSIONS[: arrays["dimensions"].shape[1]]
            arrays.setdefault("dimension_names", np.array(names_before, str))
            # And had only these, and one category of an utterance.
            arrays.setdefault("true_dimension_names", np.array(DIMENSIONS, str))
            arrays.setdefault("true_categories", np.zeros((len(arrays["rows"]), 0), np.float32))
            arrays.setdefault("thresholds", np.zeros(0))
            found = cls(**arrays)
            found._check()
        except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile) as error:
            raise UserError(
                f"{path} (answers of a fold) cannot be read: {error}; remove the folder "
                f"{Path(path).parent} and run `sersl finetune` again to train this fold again"
            ) from error
        return found

    def _check(self) -> None:
        n, num_dimensions = len(self.rows), len(self.dimension_names)
        shapes = {
            "scores": (n, self.scores.shape[-1]),
            "dimensions": (n, num_dimensions),
            "true_category": (n,),
            "true_dimensions": (n, len(self.true_dimension_names)),
            "true_categories": (n, self.scores.shape[-1] if self.multi else 0),
            "thresholds": (self.true_categories.shape[-1],),
        }
        for name, shape in shapes.items():
            if getattr(self, name).shape != shape:
                raise ValueError(f"{name} has shape {getattr(self, name).shape}, not {shape}")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Truth:
    """Labels of all utterances of a run; arrays run over the indexes one after the other.

    Attributes:
      category: int32 [all], -1 none.
      categories: float32 [all, C], where several may apply, see `Answers`; [all, 0] otherwise.
      dimensions: float64 [all, E]; NaN none.
      dimension_names: of `dimensions`.
    """

    category: np.ndarray
    categories: np.ndarray
    dimensions: np.ndarray
    dimension_names: Sequence[str]


def answers_beside(
    truth: Truth,
    rows: np.ndarray,
    *,
    scores: np.ndarray,
    dimensions: np.ndarray,
    dimension_names: Sequence[str] | np.ndarray,
) -> Answers:
    """Puts answers of int [n] rows beside their labels; where several apply, from one half on.

    Args:
      truth: of every utterance.
      rows: int [n].
      scores: [n, C], probabilities.
      dimensions: [n, D], in 0..1.
      dimension_names: D names.
    """
    return Answers(
        rows=np.asarray(rows, np.int64),
        scores=scores.astype(np.float32),
        dimensions=dimensions.astype(np.float32),
        dimension_names=np.array(dimension_names, str),
        true_category=truth.category[rows],
        true_dimensions=truth.dimensions[rows],
        true_dimension_names=np.array(truth.dimension_names, str),
        true_categories=truth.categories[rows],
        thresholds=np.full(truth.categories.shape[1], 0.5),
    )


class CanAnswer(Protocol):
    """A task whose model answers batches."""

    def answer(self, params: dict[str, Any], batch: dict[str, jax.Array]) -> dict[str, jax.Array]:
        """Gives scores [B, C], dimensions [B, D] and utterance_index [B] of a batch."""


class Answerer:
    """Runs a model over utterances in fixed shapes; compiles each shape once, when first met."""

    def __init__(
        self, task: CanAnswer, *, buckets: Sequence[Bucket], mesh: Mesh, dimensions: Sequence[str]
    ):
        """Keeps what is needed to compile.

        Args:
          task: with the model.
          buckets: batch shapes that hold the longest utterance.
          mesh: the mesh.
          dimensions: names of the task's dimensions.

        Raises:
          UserError: the rows of a bucket do not divide over the mesh.
        """
        for bucket in buckets:
            check_rows(bucket.rows, mesh)
        self._buckets, self._mesh = buckets, mesh
        self._dimensions = np.array(dimensions, str)
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
        truth: Truth,
        data: DataConfig,
        copies: np.ndarray = _NONE,
    ) -> Answers:
        """Asks about utterances, each exactly once.

        Args:
          params: of the model, on the mesh.
          sources: corpora in order.
          rows: int64 [n], utterances to ask about.
          view: names of the categories.
          truth: of every utterance.
          data: reading threads.
          copies: int64 [k], other recordings of these utterances, see `of_batches`.

        Returns:
          Answers for exactly these rows, in their order.

        Raises:
          UserError: a record is damaged.
        """
        batches = evaluation_batches(
            sources,
            np.concatenate([rows, copies]),
            view,
            buckets=self._buckets,
            batch_rows=functools.partial(local_rows, self._mesh),
            data=data,
        )
        return self.of_batches(params, batches, rows, view, truth=truth)

    def of_batches(
        self,
        params: dict,
        batches: Iterable[dict[str, np.ndarray]],
        rows: np.ndarray,
        view: LabelView,
        *,
        truth: Truth,
    ) -> Answers:
        """Asks about the utterances of batches, each in one row.

        Of n utterances in all, the rows r, n + r, 2 n + r and so on are recordings of utterance r,
        see `sersl.data.speed_view.Views`; its answer is the mean over those in the batches.

        Args:
          params: of the model, on the mesh.
          batches: this process's rows, in the shapes of the buckets; all processes have as many.
          rows: int64 [n], utterances to answer for; all are in the batches.
          view: names of the categories.
          truth: of every utterance.

        Returns:
          Answers for exactly these rows, in their order.
        """
        parts = []
        for host_batch in batches:
            whole = self._rows[host_batch["valid"].shape[1]]
            batch = global_arrays(host_batch, self._mesh, rows=whole)
            parts.append(self._answer(params, batch))
        parts = [jax.device_get(part) for part in parts]
        widths = {"scores": len(view.names), "dimensions": len(self._dimensions)}
        found = {
            name: np.concatenate([part[name] for part in parts]) if parts else np.zeros((0, width))
            for name, width in widths.items()
        }
        index = np.concatenate([p["utterance_index"] for p in parts] or [_NONE])
        # Rows of padding have number -1; every other row comes once.
        order = np.argsort(index, kind="stable")[np.count_nonzero(index < 0) :]
        utterance = index[order] % len(truth.category)
        return answers_beside(
            truth,
            rows,
            scores=_means(found["scores"][order], utterance, rows),
            dimensions=_means(found["dimensions"][order], utterance, rows),
            dimension_names=self._dimensions,
        )


def _means(values: np.ndarray, utterance: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Averages values [m, W] over the recordings of each utterance, numbers [m]; [n, W] of rows."""
    known, place = np.unique(utterance, return_inverse=True)
    total, count = np.zeros((len(known), values.shape[1])), np.bincount(place, minlength=len(known))
    np.add.at(total, place, values)
    where = np.searchsorted(known, rows)
    if not np.array_equal(known[np.minimum(where, len(known) - 1)], rows):
        raise ValueError("the batches lack utterances that answers are for")
    return total[where] / count[where, None]
