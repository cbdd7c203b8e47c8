"""Predicts with a released model: emotions and embeddings of audio, by name."""

import functools
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np

from sersl.core.errors import UserError
from sersl.core.lengths import FRAME_RATE
from sersl.release.folder import ReleasedModel, read_model
from sersl.release.hub.finding import find_model
from sersl.release.packaged.shipped import announce, shipped_model, warn_of_embedded_corpus
from sersl.release.predict.averaging import Averaging, Part
from sersl.release.predict.dialogue_model import DialogueModel
from sersl.release.predict.embedding import NOT_FINITE, Embedding, embeddings, joined, layer_numbers
from sersl.release.predict.given_tables import NO_TABLES, Tables
from sersl.release.predict.outputs import Answer, Recording, check_asked
from sersl.release.predict.precision import check_precision
from sersl.release.predict.programs import Arrays, Network, check_process
from sersl.release.predict.source_runs import Piece, Run, runs
from sersl.release.predict.stream import Stream
from sersl.release.predict.turns import Turn, turns_of
from sersl.release.predict.uncertainty import uncertainty_names
from sersl.release.predict.windows import Cutting, Source, Window
from sersl.release.predict.with_views import Asked, WithViews, with_views

# The process that loaded a model, and thereby started the threads of JAX.
_loading_process: list[int] = []


def load(
    folder: str | Path | None = None,
    *,
    verify_weights: bool = True,
    precision: str | None = None,
    needs_heads: bool = False,
    tables: Tables = NO_TABLES,
    average: bool = True,
) -> "Model":
    """Loads a released model.

    Args:
      folder: that `sersl export` or `sersl import` wrote; or OWNER/NAME[@REVISION] of a model on
        the Hugging Face Hub, which is downloaded at first use; None: the model in the package.
      verify_weights: compare the weights with their checksum; False saves time with very large
        models.
      precision: "float32", "bfloat16" or "int8" (weights only); None: as the model was trained.
      needs_heads: refuse a model on a hub that has no heads, before its weights are downloaded.
      tables: Parquet or NPZ file of each view that is a table, by name; see `GivenTables`.
      average: False: answers of the recording alone, of a model that averages over copies of it.

    Raises:
      UserError: the folder is missing, incomplete or damaged, or the precision is unknown.
    """
    for process in _loading_process:
        check_process(process)
    check_precision(precision)
    shipped = folder is None
    folder = shipped_model() if folder is None else find_model(folder, needs_heads=needs_heads)
    released = read_model(folder, verify_weights=verify_weights)
    if shipped:
        announce(released.about)
    return Model(released, precision=precision, tables=tables, average=average)


class Model(DialogueModel):
    """Predicts emotions and gives embeddings; all results carry names.

    What is longer than 30 s is cut into stretches of 30 s whose answers are averaged by duration,
    so that memory is bounded. Several threads may use one model at once.
    """

    def __init__(
        self,
        released: ReleasedModel,
        *,
        precision: str | None = None,
        tables: Tables = NO_TABLES,
        average: bool = True,
    ):
        """Puts the parameters on the devices, see `load`."""
        self._process = os.getpid()
        _loading_process[:] = [self._process]
        architecture = released.architecture
        self.about = released.about
        self.categories = architecture.categories
        self.dimensions = architecture.dimensions
        self.labels = released.labels
        self.num_layers = architecture.encoder.last_layer
        self.width = architecture.encoder.width
        heads = architecture.heads
        self.uncertainty: tuple[str, ...] = ()
        if heads is not None:
            self.uncertainty = uncertainty_names(heads, self.categories, self.dimensions)
        self._threshold = 1.0 if heads is None else heads.open_set_threshold
        self.context = architecture.conversation
        self._gives_frames = architecture.gives_frames
        speeds = released.average_speeds if average else ()
        self.averaging = Averaging(speeds, temperature=self.labels.temperature)
        self.network = Network(released, precision=precision, tables=tables, calibrate=not speeds)
        self.has_heads = self.network.has_heads

    def predict(
        self,
        source: Asked | list[Source] | list[WithViews] | tuple[Asked, ...],
        *,
        sample_rate: object = None,
        window: float | None = None,
        hop: float | None = None,
        speech: bool = False,
        rttm: str | Path | None = None,
        frames: bool = False,
    ) -> dict | list:
        """Predicts the emotions of a recording, or of each of a list.

        Args:
          source: path, URL, bytes of a file, waveform [N] or [N, channels], `WithViews`, or a list.
          sample_rate: Hz of the waveforms; None for files.
          window: seconds; None: one answer for the whole recording.
          hop: seconds between the starts of windows; None: windows side by side.
          speech: one answer for each stretch of speech.
          rttm: RTTM file with turns of speakers; one answer for each turn.
          frames: also scores per frame, 50 a second.

        Returns:
          {"file", "status", "start", "end", "category": the most probable, "scores": {name:
          probability}, "dimensions": {name: 0..1}, "embedding": float32 [E]}; "speaker" with turns;
          "uncertainty": {name: value} and "unknown": whether no category is near, of losses that
          give them; and "frames": {"time": [T], name: [T]} if asked for. With windows, stretches
          or turns a list of these; for a list of sources a list of either. A source of a list that
          has no scores has "error", a sentence. Where several categories may apply, "category" and
          "applies" list those that do (`labels.thresholds`). `labels.scales` has the scales of the
          ratings that 0..1 stand for.

        Raises:
          UserError: wrong arguments; or one source, not in a list, that cannot be read, is shorter
            than 0.1 s, silent, or has no speech or turns where these are asked for.
        """
        many = isinstance(source, list | tuple)
        sources: Sequence[Asked] = source if isinstance(source, list | tuple) else [source]
        turns = None if rttm is None else turns_of([with_views(s).source for s in sources], rttm)
        answers = self.answers(
            sources,
            sample_rate=sample_rate,
            window=window,
            hop=hop,
            speech=speech,
            turns=turns,
            frames=frames,
        )
        whole = window is None and not speech and rttm is None
        results = []
        for answer in answers:
            rows = list((answer if many else answer.checked()).dicts())
            results.append(rows[0] if whole else rows)
        return results if many else results[0]

    def answers(
        self,
        sources: Iterable[Asked],
        *,
        sample_rate: object = None,
        window: float | None = None,
        hop: float | None = None,
        speech: bool = False,
        turns: Sequence[Sequence[Turn]] | None = None,
        frames: bool = False,
        embedding: bool = True,
    ) -> Iterator[Answer]:
        """Predicts many recordings, whatever is wrong with some of them.

        Args:
          sources: read one after the other, when their turn comes.
          sample_rate: as `predict`.
          window: as `predict`.
          hop: as `predict`.
          speech: as `predict`.
          turns: of each source.
          frames: as `predict`.
          embedding: whether rows hold their embeddings; without, many rows need less memory.

        Yields:
          One answer per source, in order, while later ones are still to be read.

        Raises:
          UserError: wrong arguments, or a model without heads, or without scores per frame.
        """
        check_asked(frames, has_heads=self.has_heads, gives_frames=self._gives_frames)
        check_process(self._process)
        warn_of_embedded_corpus(self.about)
        cutting = Cutting(window=window, hop=hop, speech=speech)
        if turns is not None and not cutting.whole:
            raise UserError("turns go with neither windows nor stretches of speech: give one")
        whole = cutting.whole and turns is None
        recording: Recording | None = None
        for run in runs(sources, cutting, sample_rate=sample_rate, turns=turns):
            outputs = self._outputs(run, frames=frames, embedding=embedding)
            for index, piece in enumerate(run.pieces):
                if recording is None:
                    own = None if turns is None else turns[piece.number]
                    recording = Recording(piece.source, turns=own)
                if piece.window is None:
                    if piece.error:
                        recording.fail(piece.error)
                    yield recording.answer(whole=whole, speech_only=speech)
                    recording = None
                else:
                    self._add(recording, piece.window, outputs.pop(index, None))

    def scores(self, window: Window, *, frames: bool = False) -> Answer:
        """Scores one window of up to 30 s; several threads may call it at once."""
        recording = Recording(window.waveform)
        run = Run([Piece(0, with_views(window.waveform), window)], share=1.0)
        self._add(recording, window, self._outputs(run, frames=frames, embedding=True).get(0))
        return recording.answer(whole=False)

    def embed(
        self,
        source: Asked,
        *,
        sample_rate: object = None,
        layers: str | int | None = None,
        frames: bool = False,
    ) -> np.ndarray:
        """Gives the embedding of a recording.

        Args:
          source: as `predict`.
          sample_rate: Hz of a waveform; None for files.
          layers: None: the vector that the heads read (of an encoder alone: "last"); "last",
            "all", or a number: hidden states of those layers, 0 being the input of the first.
          frames: hidden states per frame, 50 a second, instead of their mean.

        Returns:
          float32 [E], or [D], [T, D]; with layers "all" a leading dimension of L + 1.

        Raises:
          UserError: as `predict`, or no such layer.
        """
        parts = self.embeddings([source], sample_rate=sample_rate, layers=layers, frames=frames)
        vectors = joined(parts)
        # Frames come first in `embeddings`, layers come first here.
        layered = np.moveaxis(vectors, 1, 0) if vectors.ndim == 3 else vectors
        return layered[0] if layered.ndim > 1 and layers != "all" else layered

    def embeddings(
        self,
        sources: Iterable[Asked],
        *,
        sample_rate: object = None,
        layers: str | int | None = None,
        frames: bool = False,
    ) -> Iterator[Embedding]:
        """Embeds many recordings, batched by length, with bounded memory.

        Args:
          sources: read one after the other, when their turn comes.
          sample_rate: as `embed`.
          layers: as `embed`.
          frames: as `embed`.

        Yields:
          Of each source in order one embedding, [E] or [layers, D], or with `frames` its frames
          [T, layers, D] in parts; the last part has `last`, and an error where there is none.

        Raises:
          UserError: no such layer.
        """
        check_process(self._process)
        if layers is None and (frames or not self.has_heads):
            layers = "last"
        wanted = None if layers is None else layer_numbers(layers, self.num_layers)
        bytes_per_frame = 4 * self.width * (1 if wanted is None else len(wanted))
        return embeddings(
            self.network,
            sources,
            sample_rate=sample_rate,
            layers=wanted,
            frames=frames,
            bytes_per_second=round(FRAME_RATE) * bytes_per_frame,
        )

    def stream(
        self,
        sample_rate: object,
        *,
        window: float = 2.0,
        hop: float | None = 0.5,
        frames: bool = False,
    ) -> Stream:
        """Starts a stream that takes chunks of audio and gives running answers.

        Args:
          sample_rate: Hz of the chunks.
          window: seconds of audio behind each answer.
          hop: seconds between answers; None: the window.
          frames: as `predict`.

        Returns:
          The stream; several streams may run at once, each in a thread of its own.

        Raises:
          UserError: wrong arguments, or a model without heads.
        """
        for _ in self.answers([], window=window, hop=hop, frames=frames):
            pass  # checks the arguments
        score = functools.partial(self.scores, frames=frames)
        return Stream(score, sample_rate, window=window, hop=hop)

    def _outputs(self, run: Run, *, frames: bool, embedding: bool) -> dict[int, Arrays]:
        """Computes {index of a piece: outputs} of the windows that are not silent."""
        own = run.waveforms()

        def compute(part: Part) -> Iterator[tuple[int, Arrays]]:
            wanted = frames and not part.copies
            return self.network.scores(
                part.waveforms, part.recordings, frames=wanted, share=run.share
            )

        found, indices = {}, list(own)
        recordings = [run.pieces[index].recording for index in own]
        for i, output in self.averaging(compute, list(own.values()), recordings):
            if not embedding:
                del output["embedding"]
            found[indices[i]] = output
        return found

    def _add(self, recording: Recording, window: Window, output: Arrays | None) -> None:
        if output is not None and not all(np.isfinite(value).all() for value in output.values()):
            recording.fail(NOT_FINITE)
        recording.add(
            window,
            output,
            categories=self.categories,
            dimensions=self.dimensions,
            speech=output is not None and window.has_speech,
            thresholds=self.labels.thresholds,
            open_set_threshold=self._threshold,
        )
