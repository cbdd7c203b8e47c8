"""Frame intensity from a fine-tuned model: distance from neutral, arousal, or certainty."""

import functools
import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from sersl.annotation.annotators import Recording
from sersl.annotation.stretches import make_batches
from sersl.core.errors import UserError, unknown_name
from sersl.core.lengths import num_frames
from sersl.corpora.index import CorpusIndex
from sersl.data.sources import CorpusSource
from sersl.models.emotion_model import EmotionModel
from sersl.release.folder import ReleasedModel, read_model
from sersl.release.hub.finding import find_model
from sersl.release.hub.hub_name import hub_name
from sersl.release.starting_weights import corpora_of_model, labels_of

MODEL_VERSION = 1  # of everything below
MEASURES = ("neutral", "arousal", "entropy")
_SECONDS = 60.0  # of audio on each device at once
_FILE = "sersl.json"  # by which a released folder is known


def is_model(folder: str | Path) -> bool:
    """Tells whether this is the folder of a released model, or the name of one on a hub."""
    return hub_name(folder) is not None or (Path(folder) / _FILE).is_file()


class ModelAnnotator:
    """Intensity of frames, from the frame scores of a fine-tuned model.

    "neutral" is 1 - probability of neutral. "arousal" is the predicted arousal. "entropy" is 1 -
    entropy of the categories / its maximum, so 1 means certainty about one category, which may be
    neutral.
    """

    on_device = True

    def __init__(self, folder: str | Path, *, measure: str):
        """Reads a model.

        Args:
          folder: that `sersl export` wrote; the annotator is named FOLDER-MEASURE.
          measure: one of `MEASURES`.

        Raises:
          UserError: no model, unknown measure, or the model has no such output.
        """
        if measure not in MEASURES:
            raise unknown_name("measure", measure, MEASURES)
        released = read_model(find_model(folder))
        categories = released.architecture.categories
        dimensions = released.architecture.dimensions
        missing = {
            "neutral": "neutral" not in categories,
            "arousal": "arousal" not in dimensions,
            "entropy": len(categories) < 2,
        }[measure]
        if missing or released.architecture.heads is None:
            raise UserError(
                f"model {folder} cannot measure {measure!r}, because it predicts "
                f"{', '.join((*categories, *dimensions)) or 'nothing'}: give another --measure of "
                f"{', '.join(MEASURES)}, or another model"
            )
        if not released.architecture.gives_frames:
            raise UserError(
                f"model {folder} pools by the correlation of channels, or fuses several views, "
                "which gives no scores per frame: take another model"
            )
        self.name = f"{Path(folder).resolve().name}-{measure}"
        self.measure = measure
        self._weights = _fingerprint(released)
        self._labels_of = labels_of(corpora_of_model(released.about))
        self._params = jax.tree.map(jnp.asarray, released.params)
        graph = nnx.graphdef(released.architecture.for_this_machine().build())
        at = {"neutral": categories, "arousal": dimensions, "entropy": ("entropy",)}[measure]
        self._apply = jax.jit(functools.partial(_apply, graph, measure, at.index(measure)))

    def identity(self) -> dict[str, Any]:
        """See `sersl.annotation.annotators.Annotator`."""
        return {
            "kind": "model",
            "versions": [MODEL_VERSION],
            "measure": self.measure,
            "weights": self._weights,
        }

    def prepare(self, source: CorpusSource) -> None:
        """See `sersl.annotation.annotators.Annotator`: it needs nothing of the corpus."""

    def labels_of(self, index: CorpusIndex) -> list[dict[str, str]]:
        """See `sersl.annotation.annotators.Annotator`: those that the model was trained on."""
        return self._labels_of

    def intensities(self, recordings: Sequence[Recording]) -> list[np.ndarray]:
        """See `sersl.annotation.annotators.Annotator`."""
        waveforms = [recording.waveform for recording in recordings]
        found = [np.zeros(num_frames(len(waveform)), np.float32) for waveform in waveforms]
        for batch in make_batches(waveforms, seconds=_SECONDS):
            frames = np.asarray(self._apply(self._params, batch.waveform, batch.num_samples))
            for row, (owner, start, count) in enumerate(batch.stretches):
                found[owner][start : start + count] = frames[row, :count]
        return found


def _apply(
    graph: nnx.GraphDef[EmotionModel],
    measure: str,
    at: int,
    params: dict[str, Any],
    waveform: jax.Array,
    num_samples: jax.Array,
) -> jax.Array:
    """Computes the intensity of a batch.

    Args:
      graph: of the model.
      measure: one of `MEASURES`.
      at: index of the category or dimension.
      params: of the model.
      waveform: [B, N] float32.
      num_samples: [B] int32; 0: a row of padding.

    Returns:
      [B, T] float32 in 0..1.
    """
    model = nnx.merge(graph, nnx.State(params))
    # The encoder takes no row without real audio; what rows of padding give is not used.
    length = jnp.where(num_samples > 0, num_samples, waveform.shape[1])
    valid = jnp.arange(waveform.shape[1]) < length[:, None]
    if measure == "arousal":
        encoded = model.encoder(waveform, valid)
        _, local = model.pooling(encoded.hidden_states, encoded.valid)
        if local is None:
            raise ValueError("the pooling gives no values per frame")
        scores = model.dimensions(local)
        return jnp.clip(scores[..., at].astype(jnp.float32), 0.0, 1.0)
    logits = model(waveform, valid).frames.astype(jnp.float32)
    share = jax.nn.softmax(logits, axis=-1)
    if measure == "neutral":
        return 1.0 - share[..., at]
    entropy = -(share * jax.nn.log_softmax(logits, axis=-1)).sum(-1)
    return jnp.clip(1.0 - entropy / np.log(share.shape[-1]), 0.0, 1.0)


def _fingerprint(released: ReleasedModel) -> str:
    """Hashes the architecture and the weights: 16 hex digits."""
    digest = hashlib.sha256(repr(released.architecture).encode())
    for path, leaf in jax.tree_util.tree_flatten_with_path(released.params)[0]:
        digest.update(jax.tree_util.keystr(path).encode())
        digest.update(np.ascontiguousarray(leaf).tobytes())
    return digest.hexdigest()[:16]
