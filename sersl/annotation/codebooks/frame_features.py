"""Features of frames to cluster: the cepstrum, or the output of a layer of an encoder."""

import dataclasses
import functools
import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from sersl.config.schema import EncoderConfig, FrontendConfig
from sersl.core.errors import UserError
from sersl.core.lengths import num_frames
from sersl.models.encoder import SpeechEncoder
from sersl.models.spectra import describe_frames

_MFCC_VERSION = 1


@dataclass(frozen=True)
class FrameFeatures:
    """A vector for each frame.

    Attributes:
      identity: all that the vectors depend on, JSON-able.
      compute: (waveform [B, N], num_samples int [B]) -> float32 [B, T, D]; jitted.
      labels_of: {"corpus", "version", "fingerprint"} of corpora whose labels they depend on.
    """

    identity: dict
    compute: Callable[[jax.Array, jax.Array], jax.Array]
    labels_of: tuple[dict, ...] = ()


def mfcc_features() -> FrameFeatures:
    """Gives 13 mel cepstra, their slopes and the slopes of these: 39 values a frame.

    Source: HuBERT (2106.07447), sec. 4.2. Differs: 50 frames a second from the start, and each
    cepstrum divided by its deviation over speech where Kaldi's are liftered.
    """
    identity = {"features": "mfcc", "version": _MFCC_VERSION}
    return FrameFeatures(identity, jax.jit(_mfcc))


def layer_features(
    params: dict,
    frontend: FrontendConfig,
    encoder: EncoderConfig,
    *,
    layer: int,
    source: str,
    labels_of: Sequence[dict] = (),
) -> FrameFeatures:
    """Gives a layer of an encoder, such as one that was fine-tuned on emotions.

    Args:
      params: of the encoder, layers as a list.
      frontend: its settings.
      encoder: its settings, however it was trained.
      layer: 1 for the first, up to encoder.last_layer; 0 for the input of the first.
      source: where it comes from, for messages.
      labels_of: as in `FrameFeatures`.

    Returns:
      The features.

    Raises:
      UserError: it has no such layer.
    """
    if not 0 <= layer <= encoder.last_layer:
        raise UserError(
            f"--layer {layer} is not in 0..{encoder.last_layer}, the layers of {source}: choose one"
        )
    digest = hashlib.sha256()
    for path, array in jax.tree_util.tree_leaves_with_path(params):
        digest.update(jax.tree_util.keystr(path).encode())
        digest.update(np.asarray(array).tobytes())
    encoder = dataclasses.replace(encoder, scan_layers=False)
    graph = nnx.graphdef(
        nnx.eval_shape(functools.partial(SpeechEncoder, frontend, encoder, key=jax.random.key(0)))
    )
    params = jax.tree.map(jnp.asarray, params)

    @jax.jit
    def compute(params, waveform, num_samples):
        valid = jnp.arange(waveform.shape[1]) < num_samples[:, None]
        output = nnx.merge(graph, nnx.State(params))(waveform, valid)
        return output.hidden_states[layer].astype(jnp.float32)

    identity = {"features": "layer", "layer": layer, "weights": digest.hexdigest()[:16]}
    return FrameFeatures(identity, functools.partial(compute, params), tuple(labels_of))


def _mfcc(waveform: jax.Array, num_samples: jax.Array) -> jax.Array:
    """MFCC and slopes; the first and the last real frame are repeated beyond the ends."""
    cepstra = describe_frames("mfcc", waveform)
    last = jnp.maximum(num_frames(num_samples) - 1, 0)[:, None]
    first = _slope(cepstra, last)
    return jnp.concatenate([cepstra, first, _slope(first, last)], axis=-1)


def _slope(values, last):
    """Least-squares slope per frame over 5 frames."""
    at = jnp.arange(values.shape[1])
    near = [
        jnp.take_along_axis(values, jnp.clip(at + offset, 0, last)[..., None], axis=1)
        for offset in (-2, -1, 1, 2)
    ]
    return (2 * (near[3] - near[0]) + near[2] - near[1]) / 10.0
