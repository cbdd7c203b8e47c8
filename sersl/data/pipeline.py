"""Reads batches ahead in threads or processes, with Grain.

One element of the Grain dataset is one batch, addressed by its step. So a run can start at any
step, and the content of a batch does not depend on threads, processes or hosts.
"""

import functools
import logging
from collections.abc import Callable, Collection, Iterator, Sequence

import grain
import numpy as np
from absl import flags

from sersl.config.schema import DataConfig
from sersl.core.errors import UserError
from sersl.core.lengths import SAMPLE_RATE
from sersl.core.processes import end_with_parent
from sersl.corpora.labels import DIMENSIONS, LabelView
from sersl.data.batch_plan import BatchPlan
from sersl.data.buckets import Bucket
from sersl.data.distortion import Distorter
from sersl.data.references import BatchRefs, evaluation_plan, locate_rows
from sersl.data.sources import CorpusSource, DamagedRecordError
from sersl.data.transforms import BatchMaker

logger = logging.getLogger(__name__)

# Maps the rows of a global batch to the sorted row numbers that this process needs.
BatchRows = Callable[[int], np.ndarray]


class _Batches:
    """Batches by number, as a random-access source for Grain."""

    def __init__(
        self, maker: BatchMaker, refs_of: Callable[[int], BatchRefs], num_batches: int, rows: dict
    ):
        self._maker, self._refs_of, self._num_batches = maker, refs_of, num_batches
        self._rows = rows  # by rows of the global batch

    def __len__(self) -> int:
        return self._num_batches

    def __getitem__(self, index: int) -> dict[str, np.ndarray]:
        return self._make(self._refs_of(int(index)))

    def _make(self, refs: BatchRefs) -> dict[str, np.ndarray]:
        return self._maker.make(refs, self._rows[len(refs.row)])


class _TrainingBatches(_Batches):
    """Batches with damaged records replaced, each with a list of those."""

    def __init__(
        self,
        maker: BatchMaker,
        plan: BatchPlan,
        corpora: Sequence[tuple[str, float]],
        *,
        start_step: int,
        num_steps: int,
        rows: dict,
        max_corrupted: int,
        distorter: Distorter | None,
    ):
        super().__init__(maker, functools.partial(_refs_after, plan, start_step), num_steps, rows)
        self._plan, self._corpora, self._max_corrupted = plan, tuple(corpora), max_corrupted
        self._start_step, self._distorter = start_step, distorter

    def __getitem__(self, index: int) -> dict:
        refs = self._refs_of(int(index))
        damaged: list[tuple[int, int, str]] = []
        while True:
            try:
                batch = self._make(refs)
                if self._distorter is not None:
                    batch = self._distorter(batch, self._start_step + int(index))
                return {"batch": batch, "damaged": damaged}
            except DamagedRecordError as error:
                corpus = self._corpora.index((error.corpus, error.speed))
                damaged.append((corpus, error.row, str(error)))
                if len(damaged) > self._max_corrupted:
                    raise _too_many(str(error), self._max_corrupted) from error
                refs = self._plan.replace(refs, corpus, error.row)


def training_batches(
    sources: Sequence[CorpusSource],
    plan: BatchPlan,
    view: LabelView,
    *,
    start_step: int,
    num_steps: int,
    batch_rows: BatchRows | None = None,
    data: DataConfig,
    dimensions: Sequence[str] = DIMENSIONS,
    needs: Collection[str] = (),
    distorter: Distorter | None = None,
) -> Iterator[dict[str, np.ndarray]]:
    """Reads the batches of the steps start_step, ..., start_step + num_steps - 1.

    Args:
      sources: corpora, in the order of the plan.
      plan: utterances of each step.
      view: names of the categories.
      start_step: first step.
      num_steps: how many batches to read.
      batch_rows: selects the rows of a global batch that this process needs, such as
        `functools.partial(local_rows, mesh)`; None: all.
      data: threads, processes, prefetch, and how many damaged records may be replaced.
      dimensions: names of the dimensions, in the order of the batches.
      needs: of the task; those that are labels are added, see `BatchMaker`.
      distorter: changes waveforms as a function of the step and the utterance; None: no change.

    Returns:
      Iterator over batches, see `BatchMaker.make`; the same for any number of threads, processes
      and hosts. A damaged record is replaced, see `BatchPlan.replace`, listed in its source's
      `damaged` and logged once.

    Raises:
      UserError: more than `data.max_corrupted` records are damaged (while iterating).
    """
    batches = _TrainingBatches(
        BatchMaker(sources, view, dimensions=dimensions, needs=needs),
        plan,
        [(source.index.corpus, source.speed) for source in sources],
        start_step=start_step,
        num_steps=num_steps,
        rows=_rows_by_size(plan.buckets, batch_rows),
        max_corrupted=data.max_corrupted,
        distorter=distorter,
    )
    return _take_batches(_read_ahead(batches, data), sources, data.max_corrupted)


def evaluation_batches(
    sources: Sequence[CorpusSource],
    rows: np.ndarray,
    view: LabelView,
    *,
    buckets: Sequence[Bucket],
    batch_rows: BatchRows | None = None,
    data: DataConfig | None = None,
    dimensions: Sequence[str] = DIMENSIONS,
    needs: Collection[str] = (),
) -> Iterator[dict[str, np.ndarray]]:
    """Reads given utterances once each, whole.

    Args:
      sources: corpora; their indexes one after the other number the utterances.
      rows: int [n], numbers of the utterances, each once.
      view: names of the categories.
      buckets: batch shapes that hold the longest utterance, see `evaluation_buckets`.
      batch_rows: as for `training_batches`; every process gets the same number of batches.
      data: threads, processes and prefetch; None: the defaults.
      dimensions: names of the dimensions, in the order of the batches.
      needs: of the task, as for `training_batches`.

    Returns:
      Iterator over batches, shortest bucket first. The last batch of a bucket is filled up with
      rows that have utterance_index -1 and no valid sample.

    Raises:
      UserError: an utterance is longer than the longest bucket, or a record is damaged.
    """
    corpus, row = locate_rows(rows, [len(source) for source in sources])
    lengths = np.concatenate([source.num_samples for source in sources])[rows]
    longest = max(bucket.num_samples for bucket in buckets)
    if np.max(lengths, initial=0) > longest:
        worst = int(np.argmax(lengths))
        source = sources[corpus[worst]]
        raise UserError(
            f"utterance {source.index.column('utterance_id')[row[worst]]!r} of corpus "
            f"{source.index.corpus!r} lasts {lengths[worst] / SAMPLE_RATE:.2f} s, longer than the "
            f"{longest / SAMPLE_RATE:.2f} s that are evaluated at once: cut it into shorter "
            "utterances and prepare the corpus again"
        )
    batches = evaluation_plan(lengths, corpus, row, buckets=buckets)
    own_rows = _rows_by_size(buckets, batch_rows)
    maker = BatchMaker(sources, view, dimensions=dimensions, needs=needs)
    source = _Batches(maker, batches.__getitem__, len(batches), own_rows)
    return _read_ahead(source, data if data is not None else DataConfig())


def damage(sources: Sequence[CorpusSource]) -> list[str]:
    """Describes for each corpus the damaged records that training replaced by others."""
    return [
        f"{len(source.damaged)} damaged records of corpus {source.index.corpus} were replaced by "
        f"the plan's next: prepare it again ({'; '.join(source.damaged.values())})"
        for source in sources
        if source.damaged
    ]


def _take_batches(elements, sources: Sequence[CorpusSource], max_corrupted: int):
    """Takes the batches out; counts replaced records here, where all workers' batches arrive."""
    for element in elements:
        for corpus, row, sentence in element["damaged"]:
            if row in sources[corpus].damaged:
                continue
            sources[corpus].damaged[row] = sentence
            if sum(len(source.damaged) for source in sources) > max_corrupted:
                raise _too_many(sentence, max_corrupted)
            logger.warning("replaced by another utterance: %s", sentence)
        yield element["batch"]


def _too_many(sentence: str, max_corrupted: int) -> UserError:
    return UserError(
        f"{sentence}; more records are damaged than data.max_corrupted={max_corrupted} allows to "
        "replace by others"
    )


def _refs_after(plan: BatchPlan, start_step: int, index: int) -> BatchRefs:
    return plan.batch(start_step + index)


def _rows_by_size(buckets: Sequence[Bucket], batch_rows: BatchRows | None) -> dict:
    """Selects this process's rows once per batch size, since that may need the mesh."""
    if batch_rows is None:
        return {bucket.rows: None for bucket in buckets}
    return {bucket.rows: np.asarray(batch_rows(bucket.rows)) for bucket in buckets}


def _read_ahead(batches, data: DataConfig) -> Iterator[dict[str, np.ndarray]]:
    """Reads a source of batches in threads, in worker processes or both."""
    if len(batches) == 0:
        return iter(())
    options = grain.ReadOptions(
        num_threads=data.threads,
        # With fewer slots than threads, threads would be idle.
        prefetch_buffer_size=max(data.prefetch, data.threads) if data.threads else 0,
    )
    dataset = grain.MapDataset.source(batches).to_iter_dataset(options)
    if data.processes:
        if not flags.FLAGS.is_parsed():
            # Grain's worker processes read absl flags, which only absl's own `app.run` parses.
            flags.FLAGS.mark_as_parsed()
        workers = grain.MultiprocessingOptions(
            num_workers=data.processes,
            per_worker_buffer_size=max(1, data.prefetch // data.processes),
        )
        dataset = dataset.mp_prefetch(workers, worker_init_fn=end_with_parent)
    return iter(dataset)
