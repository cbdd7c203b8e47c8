"""Predicts with a released model: emotions and embeddings of audio, by name."""

import functools
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from sersl.core import lengths
from sersl.core.errors import UserError
from sersl.models.emotion_model import probabilities
from sersl.models.pooling.pooling import gives_frames
from sersl.release.folder import ReleasedModel, read_model
from sersl.release.predict.outputs import (
    SILENT,
    TOO_SHORT,
    Answer,
    Recording,
    uncertainty_names,
)
from sersl.release.predict.padding import fixed_length, padded_batch
from sersl.release.predict.windows import Source, check_window, windows

# Audio in one batch, and audio that is read before the network runs.
_BATCH_SAMPLES = 4 * lengths.num_samples(1500)  # four stretches of 30 s
_SECONDS_PER_RUN = 480.0
_RECORDINGS_PER_RUN = 256
_ROWS = (16, 4, 1)  # few sizes, so that few programs are compiled
_NOT_FINITE = (
    "the scores of the model are NaN or infinite: its weights are damaged or have diverged, export "
    "the model again"
)
# The process that loaded a model, and thereby started the threads of JAX.
_loading_process: list[int] = []


def load(folder: str | Path, *, verify_weights: bool = True) -> "Model":
    """Loads a released model.

    Args:
      folder: that `sersl export` or `sersl import` wrote.
      verify_weights: compare the weights with their checksum; False saves time with very large
        models.

    Returns:
      The model, ready to predict.

    Raises:
      UserError: the folder is missing, incomplete or damaged.
    """
    for process in _loading_process:
        _check_process(process)
    return Model(read_model(folder, verify_weights=verify_weights))


class Model:
    """Predicts emotions and gives embeddings; all results carry names.

    Batches have a few fixed lengths, so that few programs are compiled; padding changes no answer.
    What is longer than 30 s is cut into stretches of 30 s whose probabilities, dimensions and
    embeddings are averaged by their duration, so that an hour needs no more memory than a minute.
    """

    def __init__(self, released: ReleasedModel):
        """Puts the parameters on the default device.

        Args:
          released: from `read_model`.
        """
        self._process = os.getpid()
        _loading_process[:] = [self._process]
        self.about = released.about
        self.categories = released.architecture.categories
        self.dimensions = released.architecture.dimensions
        self.labels = released.labels
        self.num_layers = released.architecture.encoder.num_layers
        self.has_heads = released.architecture.heads is not None
        pooling = released.architecture.pooling
        heads = released.architecture.heads
        self.uncertainty: tuple[str, ...] = ()
        if heads is not None:
            self.uncertainty = uncertainty_names(heads, self.categories, self.dimensions)
        self._threshold = 1.0 if heads is None else heads.open_set_threshold
        self._gives_frames = pooling is not None and gives_frames(pooling)
        params = released.params if self.has_heads else released.params["encoder"]
        self._graph = nnx.graphdef(released.architecture.for_this_machine().build())
        self._params = jax.tree.map(jnp.asarray, params)
        self._compiled = {
            frames: jax.jit(functools.partial(self._forward, frames=frames))
            for frames in (False, True)
        }
        self._hidden = jax.jit(self._hidden_states, static_argnames=("layers", "frames"))

    def predict(
        self,
        source: Source | list[Source] | tuple[Source, ...],
        *,
        sample_rate: object = None,
        window: float | None = None,
        hop: float | None = None,
        frames: bool = False,
    ) -> dict | list:
        """Predicts the emotions of a recording, or of each of a list.

        Args:
          source: path, bytes of an audio file, waveform [N] or [N, channels], or a list of these.
          sample_rate: Hz of the waveforms; None for files.
          window: seconds; None: one answer for the whole recording.
          hop: seconds between the starts of windows; None: windows side by side.
          frames: also scores per frame, 50 a second.

        Returns:
          {"status", "start", "end", "category": {name: probability}, "dimensions": {name: 0..1},
          "embedding": float32 [E], "uncertainty": {name: value} of losses that give it, "unknown":
          whether no category is near} and "frames": {"time": [T], name: [T]} if asked for; with a
          window a list of these; for a list of sources a list of either. Where several categories
          may apply, "applies" names those that do (`labels.thresholds`). `labels.scales` has the
          scales of the ratings that 0..1 stand for.

        Raises:
          UserError: audio that cannot be read, is shorter than 0.1 s or silent, or wrong arguments.
        """
        answers = self.answers(
            source if isinstance(source, list | tuple) else [source],
            sample_rate=sample_rate,
            window=window,
            hop=hop,
            frames=frames,
        )
        results = []
        for answer in answers:
            rows = [row.as_dict() for row in answer.checked().rows]
            results.append(rows[0] if window is None else rows)
        return results if isinstance(source, list | tuple) else results[0]

    def answers(
        self,
        sources: Iterable[Source],
        *,
        sample_rate: object = None,
        window: float | None = None,
        hop: float | None = None,
        frames: bool = False,
    ) -> Iterator[Answer]:
        """Predicts many recordings, whatever is wrong with some of them.

        Args:
          sources: read one after the other, when their turn comes.
          sample_rate: as `predict`.
          window: as `predict`.
          hop: as `predict`.
          frames: as `predict`.

        Yields:
          One answer per source, in order, while later ones are still to be read.

        Raises:
          UserError: wrong arguments, or a model without heads, or without scores per frame.
        """
        if not self.has_heads:
            raise UserError(
                "this model is an encoder without heads, which predicts nothing: fine-tune it "
                "(`sersl finetune --config.init_from=...`), or take its embeddings"
            )
        if frames and not self._gives_frames:
            raise UserError(
                "this model pools by the correlation of channels, which gives no scores per frame: "
                "ask without frames, or with a window"
            )
        _check_process(self._process)
        check_window(window, hop)
        waiting: list[Recording] = []
        seconds = 0.0
        for source in sources:
            waiting.append(Recording(source))
            try:
                for part in windows(source, sample_rate=sample_rate, window=window, hop=hop):
                    waiting[-1].add(part)
                    seconds += len(part.waveform) / lengths.SAMPLE_RATE
                    if seconds >= _SECONDS_PER_RUN:
                        self._run(waiting, frames=frames)
                        seconds = 0.0
            except UserError as error:
                waiting[-1].fail(str(error))
            if seconds >= _SECONDS_PER_RUN / 2 or len(waiting) >= _RECORDINGS_PER_RUN:
                self._run(waiting, frames=frames)
                yield from (recording.answer(whole=window is None) for recording in waiting)
                waiting, seconds = [], 0.0
        self._run(waiting, frames=frames)
        yield from (recording.answer(whole=window is None) for recording in waiting)

    def embed(
        self,
        source: Source,
        *,
        sample_rate: object = None,
        layers: str | int | None = None,
        frames: bool = False,
    ) -> np.ndarray:
        """Gives the embedding of a recording.

        Args:
          source: path, bytes of an audio file, or waveform.
          sample_rate: Hz of a waveform; None for files.
          layers: None: the vector that the heads read (of an encoder alone: "last"); "last",
            "all", or a number: hidden states of those layers, 0 being the input of the first.
          frames: hidden states per frame, 50 a second, instead of their mean.

        Returns:
          float32 [E], or [D], [T, D]; with layers "all" a leading dimension of L + 1.

        Raises:
          UserError: as `predict`, or no such layer.
        """
        if layers is None and (frames or not self.has_heads):
            layers = "last"
        if layers is None:
            (answer,) = self.answers([source], sample_rate=sample_rate)
            return answer.checked().rows[0].embedding
        _check_process(self._process)
        wanted = self.layer_numbers(layers)
        parts, weights, num_windows = [], [], 0
        for part in windows(source, sample_rate=sample_rate):
            num_windows += 1
            if part.silent and not frames:
                continue  # as in predict: silence has no share in the mean
            length = fixed_length(len(part.waveform))
            waveform, valid = padded_batch([part.waveform], rows=1, length=length)
            states = self._hidden(self._params, waveform, valid, layers=wanted, frames=frames)
            num_frames = lengths.num_frames(len(part.waveform))
            parts.append(np.asarray(states)[:, 0, :num_frames] if frames else states[:, 0])
            weights.append(num_frames)
        if not parts:
            status = SILENT if num_windows else TOO_SHORT
            Answer(source=source, status=status, end=0.0, rows=[]).checked()
        if frames:
            result = np.concatenate(parts, axis=1)
        else:
            result = np.average(np.stack(parts), axis=0, weights=weights).astype(np.float32)
        if not np.isfinite(result).all():
            raise UserError(_NOT_FINITE)
        return result if layers == "all" else result[0]

    def layer_numbers(self, layers: str | int) -> tuple[int, ...]:
        """Finds the hidden states that "all", "last" or a number means.

        Args:
          layers: as `embed`.

        Returns:
          Their numbers, 0 to L.

        Raises:
          UserError: there is no such layer.
        """
        if layers == "all":
            return tuple(range(self.num_layers + 1))
        if layers == "last":
            return (self.num_layers,)
        if isinstance(layers, str) and layers.isascii() and layers.isdigit() and len(layers) < 9:
            layers = int(layers)
        if not isinstance(layers, int) or not 0 <= layers <= self.num_layers:
            raise UserError(
                f"layers {layers!r:.40} do not exist: give all, last, or a number from 0 (input of "
                f"the first layer) to {self.num_layers}"
            )
        return (layers,)

    def _run(self, recordings: Sequence[Recording], *, frames: bool) -> None:
        pending = [(recording, part) for recording in recordings for part in recording.take()]
        # Alike lengths side by side; a batch ends where the fixed length changes.
        pending.sort(key=lambda pair: len(pair[1].waveform))
        while pending:
            length = fixed_length(len(pending[0][1].waveform))
            fitting = [size for size in _ROWS if size * length <= _BATCH_SAMPLES]
            same = [p for p in pending[: fitting[0]] if fixed_length(len(p[1].waveform)) == length]
            rows = min(size for size in fitting if size >= len(same))
            waveform, valid = padded_batch(
                [part.waveform for _, part in same], rows=rows, length=length
            )
            output = self._compiled[frames](self._params, waveform, valid)
            output = {name: np.asarray(value) for name, value in output.items()}
            for i, (recording, part) in enumerate(same):
                if not all(np.isfinite(value[i]).all() for value in output.values()):
                    recording.fail(_NOT_FINITE)
                    continue
                recording.finish(
                    part,
                    {name: value[i] for name, value in output.items()},
                    categories=self.categories,
                    dimensions=self.dimensions,
                    thresholds=self.labels.thresholds,
                    open_set_threshold=self._threshold,
                )
            pending = pending[len(same) :]

    def _forward(
        self, params: dict[str, Any], waveform: jax.Array, valid: jax.Array, *, frames: bool
    ) -> dict[str, jax.Array]:
        model = nnx.merge(self._graph, nnx.State(params))
        output = model(waveform, valid)
        result = {
            "category": probabilities(output.category, multi=self.labels.multi),
            "dimensions": output.dimensions,
            "embedding": output.embedding,
            **model.uncertainty(output),
        }
        # What is not returned is not computed.
        return (
            {**result, "frames": probabilities(output.frames, multi=self.labels.multi)}
            if frames
            else result
        )

    def _hidden_states(
        self,
        params: dict[str, Any],
        waveform: jax.Array,
        valid: jax.Array,
        *,
        layers: tuple[int, ...],
        frames: bool,
    ) -> jax.Array:
        model = nnx.merge(self._graph, nnx.State(params))
        encoder = model.encoder if self.has_heads else model
        output = encoder(waveform, valid)
        states = output.hidden_states[jnp.array(layers)].astype(jnp.float32)
        if frames:
            return states
        real = output.valid[None, :, :, None]
        return jnp.where(real, states, 0).sum(2) / jnp.maximum(real.sum(2), 1)


def _check_process(process: int) -> None:
    """Refuses to compute in a forked child, where the threads of JAX do not run."""
    if process != os.getpid():
        raise UserError(
            "a model was loaded before this process was forked, and JAX never answers in a forked "
            "child: start processes with multiprocessing.get_context('spawn'), and load the model "
            "in each"
        )
