"""Frame intensity from a fine-tuned model: how far from neutral, how aroused, or how sure it is."""

import functools
import hashlib
from collections.abc import Sequence
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from sersl.annotation.stretches import make_batches
from sersl.core.errors import UserError, unknown_name
from sersl.core.lengths import num_frames
from sersl.corpora.index import CorpusIndex
from sersl.data.sources import CorpusSource
from sersl.models.pooling.pooling import gives_frames
from sersl.release.folder import ReleasedModel, read_model
from sersl.release.starting_weights import corpora_of_model, labels_of

MODEL_VERSION = 1  # of everything below
MEASURES = ("neutral", "arousal", "entropy")
_SECONDS = 60.0  # of audio on each device at once
_FILE = "sersl.json"  # by which a released folder is known


def is_model(folder: str | Path) -> bool:
    """Says whether a folder holds a released model."""
    return (Path(folder) / _FILE).is_file()


class ModelAnnotator:
    """Intensity of frames, from the scores of a fine-tuned model for about one second around them.

    "neutral": 1 - probability of neutral; "arousal": of the dimension; "entropy": 1 - entropy of
    the categories over its maximum, so that 1 is one sure emotion (neutral counts as one).
    """

    on_device = True

    def __init__(self, folder: str | Path, *, measure: str):
        """Reads a model.

        Args:
          folder: that `sersl export` wrote; its last part and the measure are the name.
          measure: one of `MEASURES`.

        Raises:
          UserError: no model, unknown measure, or the model has no such output.
        """
        if measure not in MEASURES:
            raise unknown_name("measure", measure, MEASURES)
        released = read_model(folder)
        categories = released.architecture.categories
        dimensions = released.architecture.dimensions
        missing = {
            "neutral": "neutral" not in categories,
            "arousal": "arousal" not in dimensions,
            "entropy": len(categories) < 2,
        }[measure]
        if missing or released.architecture.heads is None:
            raise UserError(
                f"model {folder} cannot measure {measure!r}, for it predicts "
                f"{', '.join((*categories, *dimensions)) or 'nothing'}: take another --measure of "
                f"{', '.join(MEASURES)}, or another model"
            )
        pooling = released.architecture.pooling
        if pooling is None or not gives_frames(pooling):
            raise UserError(
                f"model {folder} pools by the correlation of channels, which gives no scores per "
                "frame: take another model"
            )
        self.name = f"{Path(folder).resolve().name}-{measure}"
        self.measure = measure
        self._weights = _fingerprint(released)
        self._labels_of = labels_of(corpora_of_model(released.about))
        self._params = jax.tree.map(jnp.asarray, released.params)
        graph = nnx.graphdef(released.architecture.for_this_machine().build())
        at = {"neutral": categories, "arousal": dimensions, "entropy": ("entropy",)}[measure]
        self._apply = jax.jit(functools.partial(_apply, graph, measure, at.index(measure)))

    def identity(self) -> dict:
        """See `sersl.annotation.annotators.Annotator`."""
        return {
            "kind": "model",
            "versions": [MODEL_VERSION],
            "measure": self.measure,
            "weights": self._weights,
        }

    def prepare(self, source: CorpusSource) -> None:
        """See `sersl.annotation.annotators.Annotator`: it needs nothing of the corpus."""

    def labels_of(self, index: CorpusIndex) -> list[dict]:
        """See `sersl.annotation.annotators.Annotator`: those that the model was trained on."""
        del index
        return self._labels_of

    def intensities(self, source, rows, waveforms: Sequence[np.ndarray], tracks):
        """See `sersl.annotation.annotators.Annotator`.

        Args:
          source: not needed.
          rows: not needed.
          waveforms: [N] float32 each.
          tracks: not needed.

        Returns:
          [T] float32 each.
        """
        del source, rows, tracks
        found = [np.zeros(num_frames(len(waveform)), np.float32) for waveform in waveforms]
        for batch in make_batches(waveforms, seconds=_SECONDS):
            frames = np.asarray(self._apply(self._params, batch.waveform, batch.num_samples))
            for row, (owner, start, count) in enumerate(batch.stretches):
                found[owner][start : start + count] = frames[row, :count]
        return found


def _apply(graph, measure, at, params, waveform, num_samples):
    model = nnx.merge(graph, nnx.State(params))
    # A row of padding would mean nothing to the encoder, as no row of predictions is one.
    length = jnp.where(num_samples > 0, num_samples, waveform.shape[1])
    valid = jnp.arange(waveform.shape[1]) < length[:, None]
    if measure == "arousal":
        encoded = model.encoder(waveform, valid)
        _, local = model.pooling(encoded.hidden_states, encoded.valid)
        scores = model.dimensions(local)
        if model.dimensions.config.bounded:
            scores = jax.nn.sigmoid(scores)
        return jnp.clip(scores[..., at].astype(jnp.float32), 0.0, 1.0)
    logits = model(waveform, valid).frames.astype(jnp.float32)
    share = jax.nn.softmax(logits, axis=-1)
    if measure == "neutral":
        return 1.0 - share[..., at]
    entropy = -(share * jax.nn.log_softmax(logits, axis=-1)).sum(-1)
    return jnp.clip(1.0 - entropy / np.log(share.shape[-1]), 0.0, 1.0)


def _fingerprint(released: ReleasedModel) -> str:
    """Names the network: what it is made of, and its weights."""
    digest = hashlib.sha256(repr(released.architecture).encode())
    for path, leaf in jax.tree_util.tree_flatten_with_path(released.params)[0]:
        digest.update(jax.tree_util.keystr(path).encode())
        digest.update(np.ascontiguousarray(leaf).tobytes())
    return digest.hexdigest()[:16]
