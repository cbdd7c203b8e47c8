"""Batches of whole dialogues: the slots of a dialogue are neighbouring rows."""

from collections.abc import Collection, Iterator, Sequence

import numpy as np

from sersl.core.lengths import SAMPLE_RATE
from sersl.core.seeds import generator
from sersl.corpora.dialogues import Dialogues, relations
from sersl.corpora.labels import LabelView
from sersl.data.batch import RELATIONS, SECONDS
from sersl.data.references import BatchRefs, locate_rows
from sersl.data.sources import CorpusSource
from sersl.data.transforms import BatchMaker

ROW_SAMPLES = 400  # one frame: pooled outputs need no more
_LABELS = {
    "category": -1,
    "dimensions": np.nan,
    "categories": np.nan,
    "category_probabilities": np.nan,
}


class DialogueBatches:
    """Makes batches of kept outputs, G dialogues of U slots each."""

    def __init__(
        self,
        sources: Sequence[CorpusSource],
        dialogues: Dialogues,
        view: LabelView,
        *,
        num_dialogues: int,
        slots: int,
        dimensions: Sequence[str],
        needs: Collection[str],
    ):
        """Reads the labels.

        Args:
          sources: corpora in order, with open outputs.
          dialogues: of all of them.
          view: names of the categories.
          num_dialogues: G.
          slots: U, at least the turns of the longest dialogue.
          dimensions: names of the dimensions.
          needs: of the task.
        """
        self._sources, self._dialogues = sources, dialogues
        self._count, self._slots = num_dialogues, slots
        self._maker = BatchMaker(
            sources, view, dimensions=dimensions, needs=frozenset(needs) - {RELATIONS}
        )

    def train(
        self,
        rows: np.ndarray,
        *,
        seed: int,
        start_step: int,
        num_steps: int,
        own_rows: np.ndarray,
    ) -> Iterator[dict[str, np.ndarray]]:
        """Makes the batches of steps, each a function of seed and step.

        Args:
          rows: int64 [n], utterances whose labels are learnt; the others of their dialogues are
            context without labels.
          seed: of the run.
          start_step: first step.
          num_steps: how many.
          own_rows: int [m], rows of the global batch that this process needs.
        """
        numbers = np.unique(self._dialogues.of_row[rows])
        for step in range(start_step, start_step + num_steps):
            places = np.arange(step * self._count, (step + 1) * self._count)
            chosen = [
                generator(seed, "dialogues", int(epoch)).permutation(numbers)[place]
                for epoch, place in zip(*divmod(places, len(numbers)), strict=True)
            ]
            yield self._make(np.array(chosen), own_rows, labelled=rows)

    def of(self, rows: np.ndarray, *, own_rows: np.ndarray) -> Iterator[dict[str, np.ndarray]]:
        """Makes batches that hold the dialogues of int64 [n] rows once each."""
        numbers = np.unique(self._dialogues.of_row[rows])
        for start in range(0, len(numbers), self._count):
            part = numbers[start : start + self._count]
            padded = np.pad(part, (0, self._count - len(part)), constant_values=-1)
            yield self._make(padded, own_rows, labelled=rows)

    def _make(
        self, numbers: np.ndarray, own_rows: np.ndarray, *, labelled: np.ndarray
    ) -> dict[str, np.ndarray]:
        """Makes the rows of int [G] dialogues, -1 for none."""
        rows = np.full((self._count, self._slots), -1, np.int64)
        related = np.zeros((self._count, self._slots, self._slots), np.int8)
        for place, number in enumerate(numbers.tolist()):
            if number >= 0:
                own = self._dialogues.rows[number]
                rows[place, : len(own)] = own
                related[place] = relations(self._dialogues.speakers[number], self._slots)
        refs = self._refs(rows.reshape(-1))
        batch = self._maker.make(refs, own_rows)
        batch[SECONDS] = (refs.length[own_rows] / SAMPLE_RATE).astype(np.float32)
        hidden = ~np.isin(batch["utterance_index"], labelled)
        for name, unknown in _LABELS.items():
            if name in batch:
                batch[name][hidden] = unknown
        batch[RELATIONS] = related.reshape(-1, self._slots)[own_rows]
        return batch

    def _refs(self, rows: np.ndarray) -> BatchRefs:
        """Refers to int64 [B] rows of the concatenated indexes, -1 for an empty slot."""
        corpus, row = locate_rows(np.maximum(rows, 0), [len(source) for source in self._sources])
        lengths = np.concatenate([source.num_samples for source in self._sources])
        empty = rows < 0
        return BatchRefs(
            bucket=0,
            num_samples=ROW_SAMPLES,
            corpus=np.where(empty, -1, corpus).astype(np.int32),
            row=np.where(empty, -1, row),
            start=np.zeros(len(rows), np.int64),
            length=np.where(empty, 0, lengths[np.maximum(rows, 0)]),
        )
