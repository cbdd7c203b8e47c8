"""Random access to one prepared corpus: index, audio records and sidecar of an annotator.

Only paths are sent to a worker process; every process opens the files when it first reads.
"""

import threading
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import safetensors.numpy
import tensorflow_datasets as tfds
from array_record.python.array_record_data_source import ArrayRecordDataSource
from google.protobuf.json_format import ParseError
from google.protobuf.message import DecodeError
from safetensors import SafetensorError
from tensorflow_datasets.proto import tf_example_pb2

from sersl.audio.flac import decode_flac
from sersl.audio.prosody import PROSODY_NAMES
from sersl.config.schema import DataConfig
from sersl.core.errors import UserError, first_line
from sersl.core.lengths import num_frames as frames_of
from sersl.corpora.index import SPLIT, CorpusIndex, load_index, prepare_command
from sersl.corpora.remote import UnreachableError, copy_beside, local_folder
from sersl.corpora.sidecar import (
    RECORDS_FILE,
    SUMMARY_FILE,
    annotation_folder,
    codes_folder,
    read_sidecar,
)
from sersl.data.batch import ViewShape
from sersl.data.codes import CodeReader
from sersl.data.store import OutputReader, ViewReader
from sersl.data.streaming import StreamedRecords

_SIDECAR_SCHEMA = 1  # layout of the sidecar that this file reads
# Exceptions of libraries for damaged bytes.
_DAMAGE = (
    *(UserError, DecodeError, ParseError, SafetensorError),
    *(RuntimeError, ValueError, IndexError, KeyError),
)


class DamagedRecordError(UserError):
    """A record that cannot be read; training may replace it, evaluation does not.

    Attributes:
      corpus: name.
      row: of the corpus's index.
      speed: at which it was read.
    """

    corpus: str
    row: int
    speed: float


class CorpusSource:
    """Reads waveforms and frame-level annotation of one corpus by row; thread-safe.

    Attributes:
      index: of the corpus, one row per utterance.
      annotator: name of the sidecar, or None.
      books: readers of the codes that batches hold.
      outputs: reader of the encoder outputs that batches hold instead of waveforms, or None.
      views: readers of further views that batches hold, by name.
      num_samples: int64 [n], lengths at 16 kHz of what is read of the utterances.
      most_samples: first samples of an utterance that are read; None: all of them.
      speed: at which the utterances are read, see `sersl.data.speed_view`.
      damaged: row to reason, of the records that training in this process replaced.
    """

    speed = 1.0

    def __init__(
        self,
        data_dir: str | Path,
        corpus: str,
        *,
        annotator: str | None = None,
        books: Mapping[str, int] | None = None,
        cache_gigabytes: float = DataConfig.cache_gigabytes,
        most_samples: int | None = None,
    ):
        """Finds the corpus and checks its sidecar; opens no records yet.

        Args:
          data_dir: where `sersl prepare` wrote, or a copy of it in a bucket.
          corpus: name.
          annotator: of the sidecar to read; None: waveforms only.
          books: name of each code book to read, to the number of its codes.
          cache_gigabytes: of the cache of records that come from a bucket.
          most_samples: of an utterance that are read; None: all of them.

        Raises:
          UserError: corpus, sidecar or codes are missing, or belong to other records.
        """
        self.index: CorpusIndex = load_index(data_dir, corpus)
        self.annotator = annotator
        self._cache_bytes = int(cache_gigabytes * 1e9)
        if self.index.remote:
            folders = [self._folder()] if annotator is not None else []
            folders += [codes_folder(self.index, book) for book in books or ()]
            copy_beside(self.index.remote, self.index.folder, folders)
        self.books = tuple(
            CodeReader(self.index, book, num_codes=size) for book, size in (books or {}).items()
        )
        self.outputs: OutputReader | None = None
        self.views: dict[str, ViewReader] = {}
        self.most_samples = most_samples
        self.num_samples = self._lengths()
        self.damaged: dict[int, str] = {}
        self._data_dir = str(data_dir)
        self._open_nothing()
        if annotator is not None:
            self._check_sidecar()

    def __len__(self) -> int:
        return len(self.index)

    def __getstate__(self):
        left_out = ("_lock", "_audio", "_annotation", "num_samples")
        return {key: value for key, value in self.__dict__.items() if key not in left_out}

    def __setstate__(self, state):
        self.__dict__.update(state)
        self.num_samples = self._lengths()
        self._open_nothing()

    def waveform(
        self,
        row: int,
        *,
        start: int = 0,
        num_samples: int | None = None,
        out: np.ndarray | None = None,
    ) -> np.ndarray:
        """Decodes an utterance or a part of it.

        Args:
          row: of the index.
          start: first sample.
          num_samples: None takes all that follow `start`.
          out: float32 [num_samples] to decode into; None: a new array.

        Returns:
          float32 [num_samples] in [-1, 1]; `out` where it was given.

        Raises:
          DamagedRecordError: it cannot be read.
        """
        if num_samples is None and self.most_samples is not None:
            # Not of `num_samples`, which has the lengths of copies where this reads them.
            whole = int(self.index.column("num_samples")[row])
            num_samples = min(whole, self.most_samples) - int(start)
        try:
            audio = self.encoded(row)
            return decode_flac(audio, start=int(start), num_samples=num_samples, out=out)
        except UnreachableError:
            raise  # other records cannot be reached either
        except _DAMAGE as error:
            folder, after = local_folder(self._data_dir)
            raise self._damaged(
                row,
                f"the record of {self._name(row)} cannot be read ({first_line(error)}): run "
                f"`{prepare_command(self.index.folder, folder)}`{after}",
            ) from error

    def encoded(self, row: int) -> bytes:
        """Reads the FLAC bytes of an utterance; raises the exceptions of the libraries."""
        # Parsing only the audio takes a sixth of the time of all TFDS features; the labels are in
        # the index.
        example = tf_example_pb2.Example.FromString(self._records()[int(row)])
        return example.features.feature["audio"].bytes_list.value[0]

    def frames(
        self, row: int, *, start_frame: int = 0, num_frames: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """Reads the annotation of consecutive frames.

        Args:
          row: of the index.
          start_frame: first frame; frame t covers samples [320 t, 320 t + 400).
          num_frames: T.

        Returns:
          (intensity float32 [T], prosody float32 [T, 6]); NaN where there is no value.

        Raises:
          DamagedRecordError: it cannot be read.
          UserError: its number of frames is not that of the utterance.
        """
        expected = frames_of(int(self.index.column("num_samples")[row]))
        try:
            content = safetensors.numpy.load(self._sidecar()[int(row)])
            intensity, prosody = content["intensity"], content["prosody"]
        except _DAMAGE as error:
            raise self._damaged(
                row,
                f"the annotation of {self._name(row)} by {self.annotator!r} cannot be read "
                f"({first_line(error)}): run {self._annotate_command()}",
            ) from error
        if intensity.shape != (expected,) or prosody.shape != (expected, len(PROSODY_NAMES)):
            raise UserError(
                f"the annotation of {self._name(row)} by {self.annotator!r} has "
                f"{len(intensity)} frames where the audio has {expected}: run "
                f"{self._annotate_command()}"
            )
        part = slice(start_frame, start_frame + num_frames)
        return intensity[part].astype(np.float32), prosody[part].astype(np.float32)

    def _lengths(self) -> np.ndarray:
        whole = self.index.column("num_samples")
        return whole if self.most_samples is None else np.minimum(whole, self.most_samples)

    def _open_nothing(self) -> None:
        self._lock = threading.Lock()
        self._audio: ArrayRecordDataSource | None = None
        self._annotation: ArrayRecordDataSource | None = None

    def _records(self):
        with self._lock:
            if self._audio is None:
                builder = tfds.builder_from_directory(self.index.folder)
                if self.index.remote:
                    split = builder.info.splits[SPLIT]
                    self._audio = StreamedRecords(
                        self.index.remote,
                        sorted(split.filenames),
                        split.shard_lengths,
                        cache_bytes=self._cache_bytes,
                    )
                    return self._audio
                self._audio = builder.as_data_source(
                    split=SPLIT, deserialize_method=tfds.decode.DeserializeMethod.RAW_BYTES
                )
        return self._audio

    def _sidecar(self) -> ArrayRecordDataSource:
        with self._lock:
            if self._annotation is None:
                self._annotation = ArrayRecordDataSource(str(self._folder() / RECORDS_FILE))
        return self._annotation

    def _folder(self) -> Path:
        return annotation_folder(self.index, str(self.annotator))

    def _annotate_command(self) -> str:
        folder, after = local_folder(self._data_dir)
        return (
            f"`sersl annotate --annotator {self.annotator} --corpus {self.index.corpus} "
            f"--data_dir {folder}`{after}"
        )

    def _damaged(self, row: int, sentence: str) -> DamagedRecordError:
        # Not arguments, so that the error can be pickled.
        error = DamagedRecordError(sentence)
        error.corpus, error.row, error.speed = self.index.corpus, int(row), self.speed
        return error

    def _name(self, row: int) -> str:
        utterance_id = self.index.column("utterance_id")[row]
        return f"utterance {utterance_id!r} of corpus {self.index.corpus!r}"

    def _check_sidecar(self) -> None:
        """Compares the sidecar's summary with the index."""
        corpus = self.index.corpus
        if not (self._folder() / SUMMARY_FILE).is_file():
            raise UserError(
                f"corpus {corpus!r} has no annotation by {self.annotator!r}: run "
                f"{self._annotate_command()}"
            )
        summary = read_sidecar(
            self._folder(),
            what=f"annotation of corpus {corpus!r} by {self.annotator!r}",
            remedy=f"run {self._annotate_command()}",
        )
        for key, what, expected in (
            ("schema", "another layout", _SIDECAR_SCHEMA),
            ("corpus_fingerprint", "other records", self.index.fingerprint),
            ("num_utterances", "another number of utterances", len(self.index)),
            (
                "num_frames",
                "another number of frames",
                int(frames_of(self.index.column("num_samples")).sum()),
            ),
            ("prosody_names", "other prosody columns", list(PROSODY_NAMES)),
        ):
            if key not in summary or summary[key] != expected:
                raise UserError(
                    f"the annotation of corpus {corpus!r} by {self.annotator!r} was made for "
                    f"{what} ({key} differs): run {self._annotate_command()}"
                )


def view_shapes(source: CorpusSource) -> dict[str, ViewShape]:
    """Gives the shape of what batches hold of each view of a corpus, by name."""
    return {name: ViewShape(one.shape, one.dtype) for name, one in source.views.items()}
