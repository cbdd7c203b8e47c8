"""Embeddings of many recordings, in batches and with bounded memory."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from sersl.core import lengths
from sersl.core.errors import UserError
from sersl.release.predict.outputs import OK, SILENT, TOO_SHORT, UNREADABLE, Answer
from sersl.release.predict.source_runs import Piece, Run, runs
from sersl.release.predict.windows import Cutting, Source
from sersl.release.predict.with_views import Asked

if TYPE_CHECKING:  # a command line is checked before jax is imported
    from sersl.release.predict.programs import Network

NOT_FINITE = (
    "the scores of the model are NaN or infinite: its weights are damaged or have diverged, export "
    "the model again"
)
_MOST_BYTES = 256 << 20  # of the frames of a run


@dataclass(frozen=True, kw_only=True)
class Embedding:
    """A part of the embedding of one source: all of it, or the frames of one stretch.

    Attributes:
      number: of the source, from 0.
      source: as given.
      vectors: float32 [E] or [layers, D], or frames [T, layers, D]; empty with an error.
      error: why there is none; known with the last part.
      last: whether it is the last part of the source.
    """

    number: int
    source: Source
    vectors: np.ndarray = field(default_factory=lambda: np.zeros(0, np.float32))
    error: str = ""
    last: bool = True


def embeddings(
    network: "Network",
    sources: Iterable[Asked],
    *,
    sample_rate: object,
    layers: tuple[int, ...] | None,
    frames: bool,
    bytes_per_second: int,
) -> Iterator[Embedding]:
    """Embeds sources; see `Model.embeddings`.

    Args:
      network: of the model.
      sources: read one after the other.
      sample_rate: Hz of waveforms; None for files.
      layers: numbers of hidden states; None: the vector that the heads read.
      frames: the hidden states of each frame.
      bytes_per_second: of the frames of a second of audio.

    Yields:
      In order; for frames one part per stretch of up to 30 s.
    """
    mean = _Mean(frames=frames, by_samples=layers is None)
    seconds = min(960.0, max(30.0, _MOST_BYTES / bytes_per_second)) if frames else 960.0
    for run in runs(sources, Cutting(), sample_rate=sample_rate, seconds=seconds):
        outputs = _outputs(network, run, layers=layers, frames=frames)
        for index, piece in enumerate(run.pieces):
            yield from mean.add(piece, outputs.pop(index, None))


def _outputs(
    network: "Network", run: Run, *, layers: tuple[int, ...] | None, frames: bool
) -> dict[int, np.ndarray]:
    """Computes {index of a piece: vectors}; silence has none, but frames."""
    by_piece = run.waveforms(silent=frames)
    wanted, waveforms = list(by_piece), list(by_piece.values())
    if layers is None:
        own = [run.pieces[index].recording for index in wanted]
        results = network.scores(waveforms, own, share=run.share)
        return {wanted[i]: output["embedding"].copy() for i, output in results}
    states = network.hidden(waveforms, layers=layers, frames=frames, share=run.share)
    found = {}
    for i, output in states:
        real = output["states"][: lengths.num_frames(len(waveforms[i]))] if frames else None
        found[wanted[i]] = (output["states"] if real is None else real).copy()
    return found


class _Mean:
    """Averages the vectors of the stretches of a source, or hands its frames on."""

    def __init__(self, *, frames: bool, by_samples: bool):
        """Starts without a source; `by_samples`: weigh by samples, as predict, not by frames."""
        self._frames, self._by_samples = frames, by_samples
        self._start()

    def _start(self) -> None:
        self._total = np.zeros(())
        self._weight = 0
        self._num_windows = 0
        self._error = ""

    def add(self, piece: Piece, vectors: np.ndarray | None) -> Iterator[Embedding]:
        """Takes the next piece with its vectors, and gives what is complete."""
        if piece.window is not None:
            self._num_windows += 1
            if vectors is None:
                return
            if not np.isfinite(vectors).all():
                self._error = NOT_FINITE
            if self._frames and not self._error:
                self._weight += len(vectors)
                yield Embedding(
                    number=piece.number, source=piece.source, vectors=vectors, last=False
                )
            elif not self._error:
                # As in predict: silence has no share in the mean.
                weight = len(piece.window.waveform)
                weight = weight if self._by_samples else lengths.num_frames(weight)
                self._total = self._total + weight * vectors.astype(np.float64)
                self._weight += weight
            return
        yield self._finished(piece)
        self._start()

    def _finished(self, piece: Piece) -> Embedding:
        status = OK if self._weight else (SILENT if self._num_windows else TOO_SHORT)
        error = piece.error or self._error
        if error:
            status = UNREADABLE
        problem = Answer(source=piece.source, status=status, error=error, end=0, rows=[]).problem
        if problem or self._frames:
            return Embedding(number=piece.number, source=piece.source, error=problem)
        vectors = (self._total / self._weight).astype(np.float32)
        return Embedding(number=piece.number, source=piece.source, vectors=vectors)


def joined(parts: Iterable[Embedding]) -> np.ndarray:
    """Joins the parts of one source: [E], [layers, D] or, of frames, [T, layers, D].

    Raises:
      UserError: there is no embedding.
    """
    kept = []
    for part in parts:
        if part.error:
            raise UserError(part.error)
        if part.vectors.size:
            kept.append(part.vectors)
    return kept[0] if len(kept) == 1 else np.concatenate(kept)


def layer_numbers(layers: str | int, num_layers: int) -> tuple[int, ...]:
    """Finds the numbers, 0 to L, of the hidden states that `layers` of `Model.embed` means."""
    if layers == "all":
        return tuple(range(num_layers + 1))
    if layers == "last":
        return (num_layers,)
    if isinstance(layers, str) and layers.isascii() and layers.isdigit() and len(layers) < 9:
        layers = int(layers)
    if not isinstance(layers, int) or not 0 <= layers <= num_layers:
        raise UserError(
            f"layers {layers!r:.40} do not exist: give all, last, or a number from 0 (input of "
            f"the first layer) to {num_layers}"
        )
    return (layers,)
