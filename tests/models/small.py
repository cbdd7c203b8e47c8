"""Small models and ragged batches for the tests of this room."""

import jax
import numpy as np
from flax import nnx

from sersl.config.schema import EncoderConfig, FrontendConfig, HeadsConfig, PoolingConfig
from sersl.models.emotion_model import EmotionModel

ENCODER = EncoderConfig(num_layers=2, width=32, num_heads=2, mlp_width=64)
LENGTHS = (6500, 16080, 9999)  # samples
BUCKETS = (16080, 16400, 24080)


def utterances():
    """Noise with a slow contour, one per length."""
    rng = np.random.default_rng(0)
    return [
        (rng.normal(size=n) * 0.1 * (1.1 + np.sin(np.arange(n) / 700))).astype(np.float32)
        for n in LENGTHS
    ]


def pad(waveforms, num_samples, *, filler=0.0):
    """Stacks waveforms; what is not valid holds `filler`, a number or an array."""
    batch = np.zeros((len(waveforms), num_samples), np.float32) + filler
    valid = np.zeros(batch.shape, bool)
    for row, waveform in enumerate(waveforms):
        batch[row, : len(waveform)] = waveform
        valid[row, : len(waveform)] = True
    return batch.astype(np.float32), valid


def emotion_model(*, normalize="fixed", pooling="mean", layers="weighted", bounded=True, **changes):
    """Builds a small EmotionModel with four categories and three dimensions."""
    settings = {"num_categories": 4, "num_dimensions": 3, "key": jax.random.key(7)} | changes
    return EmotionModel(
        FrontendConfig(normalize=normalize),
        ENCODER,
        PoolingConfig(kind=pooling, layers=layers, hidden=8),
        HeadsConfig(hidden=16, bounded=bounded),
        **settings,
    )


def compiled(model):
    """Splits a model; returns (params, jitted function of params and the call's arguments)."""
    graph, state = nnx.split(model)

    def call(params, *args, **kwargs):
        return nnx.merge(graph, nnx.State(params))(*args, **kwargs)

    return nnx.to_pure_dict(state), jax.jit(call)
