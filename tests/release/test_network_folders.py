"""Released folders of models with a network over frames."""

import jax
import numpy as np
import pytest
from flax import nnx

from sersl.config import schema
from sersl.config.frame_network import NetworkConfig
from sersl.models.emotion_model import EmotionModel
from sersl.models.networks.all_networks import NETWORKS, SPECTRAL
from sersl.release.folder import read_model, write_model
from sersl.release.predict import predictor
from tests.release.fake_model import CORPORA, DIMENSIONS, NAMES
from tests.tolerances import FP32_DEEP

MELS = 12


def config_of(kind):
    network = NetworkConfig(
        kind=kind, windows_per_frame=2 if kind in SPECTRAL else 1, width=4, depth=2, num_heads=2
    )
    return schema.FinetuneConfig(
        name="fake",
        frontend=schema.FrontendConfig(num_mels=MELS, projection=False),
        encoder=schema.EncoderConfig(
            kind="features", num_layers=1, width=2 * MELS, positions="none", dropout=0.0
        ),
        pooling=schema.PoolingConfig(kind="mean", layers="last", network=network),
        heads=schema.HeadsConfig(kind="linear"),
    )


def make(config):
    return EmotionModel(
        config.frontend,
        config.encoder,
        config.pooling,
        config.heads,
        num_categories=len(NAMES),
        num_dimensions=len(DIMENSIONS),
        key=jax.random.key(0),
    )


def write(folder, config):
    shapes = nnx.to_pure_dict(nnx.state(nnx.eval_shape(lambda: make(config))))
    rng = np.random.default_rng(0)
    params = jax.tree.map(
        lambda leaf: (0.3 * rng.normal(size=leaf.shape)).astype(np.float32), shapes
    )
    write_model(
        folder,
        params=params,
        config=config,
        categories=NAMES,
        dimensions=DIMENSIONS,
        results=None,
        corpora=CORPORA,
        licence="",
    )
    return params


@pytest.mark.parametrize("kind", NETWORKS)
def test_folder_when_the_pooling_has_a_network_then_read_with_the_same_weights(kind, tmp_path):
    config = config_of(kind)
    params = write(tmp_path / "model", config)
    released = read_model(tmp_path / "model")
    assert released.architecture.pooling == config.pooling
    assert jax.tree.structure(released.params) == jax.tree.structure(params)
    jax.tree.map(np.testing.assert_array_equal, released.params, params)


def test_folder_when_the_pooling_has_a_network_then_predictions_are_those_of_the_model(tmp_path):
    config = config_of("multiscale_cnn")
    params = write(tmp_path / "model", config)
    waveform = (0.1 * np.random.default_rng(1).normal(size=16_000)).astype(np.float32)
    found = next(iter(predictor.load(tmp_path / "model").network.scores([waveform], frames=False)))
    graph, state = nnx.split(make(config))
    nnx.replace_by_pure_dict(state, params)
    output = nnx.merge(graph, state)(waveform[None], np.ones((1, 16_000), bool))
    logits = np.asarray(output.category)[0]
    expected = np.exp(logits) / np.exp(logits).sum()
    np.testing.assert_allclose(found[1]["category"], expected, **FP32_DEEP)
