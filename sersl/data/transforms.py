"""Makes the arrays of a batch from references to utterances."""

import dataclasses
from collections.abc import Collection, Mapping, Sequence

import numpy as np
import pyarrow as pa

from sersl.core.lengths import HOP, num_frames
from sersl.corpora import label_columns
from sersl.corpora.labels import DIMENSIONS, LabelView
from sersl.data.batch import (
    ANNOTATION,
    CATEGORIES,
    CODES,
    OUTPUTS,
    VIEW,
    VIEW_VALID,
    VOTES,
    LabelSizes,
    Shaped,
    batch_arrays,
)
from sersl.data.references import BatchRefs
from sersl.data.sources import CorpusSource, view_shapes


class BatchMaker:
    """Makes the arrays of batches; holds the labels of all corpora in memory as numbers.

    Attributes:
      speakers: "corpus/speaker" names; `speaker` of a batch is an index into this tuple.
    """

    def __init__(
        self,
        sources: Sequence[CorpusSource],
        view: LabelView,
        *,
        dimensions: Sequence[str] = DIMENSIONS,
        needs: Collection[str] = (),
    ):
        """Collects the labels.

        Args:
          sources: corpora, in the order of the plan.
          view: names of the categories to predict.
          dimensions: names of the dimensions, in the order of the batches.
          needs: arrays that the task needs; the labels among them are collected, see
            `sersl.data.batch`.
        """
        self._sources = tuple(sources)
        annotated = self._sources[0].annotator is not None
        if any((source.annotator is not None) != annotated for source in sources):
            raise ValueError("either all sources have an annotator or none")
        self._needs = {CODES + book.book for book in self._sources[0].books}
        if annotated:
            self._needs.add(ANNOTATION)
        outputs = self._sources[0].outputs
        self._output_shape = None if outputs is None else outputs.shape
        if outputs is not None:
            self._needs.add(OUTPUTS)
        self._view_shapes = view_shapes(self._sources[0])
        indexes = [source.index for source in sources]
        self._offset = np.cumsum([0, *map(len, indexes)])
        self.speakers, speaker = _number_speakers(sources)
        # One row per utterance, in the order of the concatenated indexes.
        words = [label_columns.words(index, raw=view.raw) for index in indexes]
        rated = [label_columns.ratings(index, dimensions) for index in indexes]
        self._labels = {
            "category": np.concatenate([view.indices(one) for one in words]),
            "dimensions": np.concatenate(rated).astype(np.float32),
            "speaker": speaker,
        }
        wanted = {VOTES, CATEGORIES} & set(needs)
        self._needs |= wanted
        if VOTES in wanted:
            tables = [label_columns.soft_labels(index, view) for index in indexes]
            self._labels["category_probabilities"] = np.concatenate(tables)
        if CATEGORIES in wanted:
            tables = [label_columns.applying(index, view) for index in indexes]
            self._labels["categories"] = np.concatenate(tables)
        self._sizes = LabelSizes(categories=len(view.names), dimensions=len(dimensions))

    def make(self, refs: BatchRefs, rows: np.ndarray | None = None) -> dict[str, np.ndarray]:
        """Reads and assembles rows of one batch.

        Args:
          refs: the utterance and crop of each row.
          rows: sorted indices of the rows to make; None for all.

        Returns:
          The arrays of `sersl.data.batch.ARRAYS` that the sources have and the task needs,
          [B, ...] with B the number of `rows` and N = `refs.num_samples`.

        Raises:
          DamagedRecordError: a record cannot be read.
        """
        rows = np.arange(len(refs.row)) if rows is None else np.asarray(rows)
        picked = dataclasses.replace(
            refs,
            corpus=refs.corpus[rows],
            row=refs.row[rows],
            start=refs.start[rows],
            length=refs.length[rows],
        )
        arrays = batch_arrays(
            self._needs,
            rows=len(rows),
            num_samples=refs.num_samples,
            labels=self._sizes,
            outputs=self._output_shape,
            views=self._view_shapes,
        )
        batch = self._audio(picked, arrays)
        real = picked.corpus >= 0
        position = self._offset[picked.corpus[real]] + picked.row[real]
        for name, values in self._labels.items():
            batch[name] = arrays[name].filled()
            batch[name][real] = values[position]
        batch["utterance_index"] = arrays["utterance_index"].filled()
        batch["utterance_index"][real] = position
        if ANNOTATION in self._needs:
            batch |= self._annotation(picked, arrays)
        return batch | self._codes(picked, arrays) | self._views(picked, arrays)

    def _audio(self, refs: BatchRefs, arrays: Mapping[str, Shaped]) -> dict[str, np.ndarray]:
        """Makes `valid`, and `waveform` or the kept outputs of an encoder, `hidden_states`."""
        # Not filled first, because decoding overwrites most of it.
        valid = np.empty(arrays["valid"].shape, arrays["valid"].dtype)
        for i, end in enumerate(refs.length):
            valid[i, :end], valid[i, end:] = True, arrays["valid"].padding
        if self._output_shape is not None:
            return {"valid": valid, "hidden_states": self._outputs(refs, arrays)}
        waveform = np.empty(arrays["waveform"].shape, arrays["waveform"].dtype)
        for i, end in enumerate(refs.length):
            waveform[i, end:] = arrays["waveform"].padding
        for i in np.flatnonzero(refs.corpus >= 0).tolist():
            self._sources[refs.corpus[i]].waveform(
                refs.row[i],
                start=int(refs.start[i]),
                num_samples=int(refs.length[i]),
                out=waveform[i, : refs.length[i]],
            )
        return {"waveform": waveform, "valid": valid}

    def _outputs(self, refs: BatchRefs, arrays: Mapping[str, Shaped]) -> np.ndarray:
        found = arrays["hidden_states"].filled()
        for i in np.flatnonzero(refs.corpus >= 0):
            source, row = self._sources[refs.corpus[i]], int(refs.row[i])
            if source.outputs is None or refs.start[i] or refs.length[i] != source.num_samples[row]:
                raise ValueError("kept outputs need whole utterances of corpora that have them")
            kept = source.outputs.read(row)
            found[i, :, : kept.shape[1]] = kept
        return found

    def _views(self, refs: BatchRefs, arrays: Mapping[str, Shaped]) -> dict[str, np.ndarray]:
        found: dict[str, np.ndarray] = {}
        for name in self._view_shapes:
            values, valid = (arrays[one + name].filled() for one in (VIEW, VIEW_VALID))
            for i in np.flatnonzero(refs.corpus >= 0):
                kept = self._sources[refs.corpus[i]].views[name].read(int(refs.row[i]))
                values[i, :, : kept.shape[1]] = kept
                valid[i, : kept.shape[1]] = True
            found |= {VIEW + name: values, VIEW_VALID + name: valid}
        return found

    def _annotation(self, refs: BatchRefs, arrays: Mapping[str, Shaped]) -> dict[str, np.ndarray]:
        intensity, prosody = (arrays[name].filled() for name in ("intensity", "prosody"))
        for i in np.flatnonzero(refs.corpus >= 0):
            count = num_frames(int(refs.length[i]))
            intensity[i, :count], prosody[i, :count] = self._sources[refs.corpus[i]].frames(
                refs.row[i], start_frame=int(refs.start[i]) // HOP, num_frames=count
            )
        return {"intensity": intensity, "prosody": prosody}

    def _codes(self, refs: BatchRefs, arrays: Mapping[str, Shaped]) -> dict[str, np.ndarray]:
        found = {}
        for number, book in enumerate(self._sources[0].books):
            name = CODES + book.book
            found[name] = arrays[name].filled()
            for i in np.flatnonzero(refs.corpus >= 0):
                count = num_frames(int(refs.length[i]))
                found[name][i, :count] = (
                    self._sources[refs.corpus[i]]
                    .books[number]
                    .codes(refs.row[i], start_frame=int(refs.start[i]) // HOP, num_frames=count)
                )
        return found


def _number_speakers(sources: Sequence[CorpusSource]) -> tuple[tuple[str, ...], np.ndarray]:
    """Numbers speakers in order of first appearance; "" gets -1."""
    names: list[str] = []
    numbers = []
    for source in sources:
        coded = pa.array(source.index.column("speaker"), pa.string()).dictionary_encode()
        of_corpus = coded.dictionary.to_pylist()
        number_of = {name: len(names) + i for i, name in enumerate(n for n in of_corpus if n)}
        table = np.array([number_of[name] if name else -1 for name in of_corpus], np.int32)
        numbers.append(table[coded.indices.to_numpy()])
        names += [f"{source.index.corpus}/{name}" for name in number_of]
    return tuple(names), np.concatenate(numbers)
