"""From the references of a batch to its arrays."""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from sersl.audio.prosody import PROSODY_NAMES
from sersl.core.lengths import HOP, num_frames
from sersl.corpora.labels import DIMENSIONS, LabelView, soft_label_table
from sersl.data.codes import NEED
from sersl.data.references import BatchRefs
from sersl.data.sources import CorpusSource


class BatchMaker:
    """Makes the arrays of batches; keeps the labels of all corpora in memory as numbers.

    Attributes:
      speakers: names as "corpus/speaker"; `speaker` in a batch is a position in this tuple.
    """

    def __init__(self, sources: Sequence[CorpusSource], view: LabelView, *, soft: bool = False):
        """Collects the labels.

        Args:
          sources: corpora, in the order of the plan.
          view: names of the categories to predict.
          soft: whether batches also hold the shares of the raters' votes.
        """
        self._sources = tuple(sources)
        self._annotated = all(source.annotator is not None for source in sources)
        if not self._annotated and any(source.annotator is not None for source in sources):
            raise ValueError("either all sources have an annotator or none")
        indexes = [source.index for source in sources]
        self._offset = np.cumsum([0, *map(len, indexes)])
        categories = [view.indices(index.column("category")) for index in indexes]
        self._category = np.concatenate(categories)
        self._dimensions = np.stack(
            [np.concatenate([index.column(name) for index in indexes]) for name in DIMENSIONS],
            axis=1,
        ).astype(np.float32)
        self._probabilities = None
        if soft:
            tables = [soft_label_table(index.column("votes"), view) for index in indexes]
            self._probabilities = np.concatenate(tables)
        self.speakers, self._speaker = _number_speakers(sources)

    def make(self, refs: BatchRefs, rows: np.ndarray | None = None) -> dict[str, np.ndarray]:
        """Reads and assembles rows of one batch.

        Args:
          refs: where the rows are found.
          rows: sorted rows of the batch to make; None: all.

        Returns:
          Arrays [B, ...] where B is the number of `rows`, N = refs.num_samples and T its frames:
          waveform [B, N] f32 (0 after the end), valid [B, N] bool, category [B] i32 (-1 none),
          dimensions [B, 3] f32 (arousal, dominance, valence in 0..1, NaN none), speaker [B] i32
          (-1 unknown), utterance_index [B] i32 (row in the concatenation of the indexes, -1
          padding), with soft labels category_probabilities [B, C] f32 (shares of the votes, NaN
          where there are none), and with an annotator intensity [B, T] f32 and prosody [B, T, 6]
          f32 (NaN where there is no value and after the end), and of each code book codes/<name>
          [B, T] i32 (-1 after the end).

        Raises:
          DamagedRecordError: one cannot be read.
        """
        rows = np.arange(len(refs.row)) if rows is None else np.asarray(rows)
        corpus, row, start, length = (
            array[rows] for array in (refs.corpus, refs.row, refs.start, refs.length)
        )
        real = corpus >= 0
        position = np.where(real, self._offset[corpus] + row, -1)
        # Not zeros: most is decoded into, and memory of an earlier batch is taken as it is.
        waveform = np.empty((len(rows), refs.num_samples), np.float32)
        valid = np.empty(waveform.shape, np.bool_)
        for i, end in enumerate(length):
            waveform[i, end:], valid[i, :end], valid[i, end:] = 0, True, False
        for i in np.flatnonzero(real):
            self._sources[corpus[i]].waveform(
                row[i],
                start=int(start[i]),
                num_samples=int(length[i]),
                out=waveform[i, : length[i]],
            )
        batch = {
            "waveform": waveform,
            "valid": valid,
            "category": np.where(real, self._category[position], -1).astype(np.int32),
            "dimensions": np.where(real[:, None], self._dimensions[position], np.float32("nan")),
            "speaker": np.where(real, self._speaker[position], -1).astype(np.int32),
            "utterance_index": position.astype(np.int32),
        }
        if self._probabilities is not None:
            shares = self._probabilities[position]
            batch["category_probabilities"] = np.where(real[:, None], shares, np.float32("nan"))
        if self._annotated:
            frames = num_frames(refs.num_samples)
            intensity = np.full((len(rows), frames), np.nan, np.float32)
            prosody = np.full((len(rows), frames, len(PROSODY_NAMES)), np.nan, np.float32)
            for i in np.flatnonzero(real):
                part = slice(0, num_frames(int(length[i])))
                intensity[i, part], prosody[i, part] = self._sources[corpus[i]].frames(
                    row[i], start_frame=int(start[i]) // HOP, num_frames=part.stop
                )
            batch |= {"intensity": intensity, "prosody": prosody}
        for number, book in enumerate(self._sources[0].books):
            codes = np.full((len(rows), num_frames(refs.num_samples)), -1, np.int32)
            for i in np.flatnonzero(real):
                count = num_frames(int(length[i]))
                codes[i, :count] = (
                    self._sources[corpus[i]]
                    .books[number]
                    .codes(row[i], start_frame=int(start[i]) // HOP, num_frames=count)
                )
            batch[NEED + book.book] = codes
        return batch


def _number_speakers(sources: Sequence[CorpusSource]) -> tuple[tuple[str, ...], np.ndarray]:
    """Numbers speakers in the order in which they first appear; "" is -1."""
    names, numbers = [], []
    for source in sources:
        coded = pa.array(source.index.column("speaker"), pa.string()).dictionary_encode()
        of_corpus = coded.dictionary.to_pylist()
        number_of = {name: len(names) + i for i, name in enumerate(n for n in of_corpus if n)}
        table = np.array([number_of[name] if name else -1 for name in of_corpus], np.int32)
        numbers.append(table[coded.indices.to_numpy()])
        names += [f"{source.index.corpus}/{name}" for name in number_of]
    return tuple(names), np.concatenate(numbers)
