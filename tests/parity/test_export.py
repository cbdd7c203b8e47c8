"""Models of our own, exported, in stock `transformers`."""

import jax
import numpy as np
import pytest
import torch
import transformers
from flax import nnx
from safetensors.numpy import load_file

from sersl.config import schema
from sersl.core.lengths import num_frames
from sersl.models.emotion_model import EmotionModel
from sersl.models.encoder import SpeechEncoder
from sersl.release.folder import read_model, write_encoder, write_model
from sersl.release.predict import predictor
from tests.parity import peers
from tests.parity.test_hidden_states import run
from tests.release.fake_model import CORPORA, NAMES

MOST = 1e-4
SIZES = {"num_layers": 2, "width": 32, "num_heads": 4, "mlp_width": 48}
CONVOLUTION = {"positions": "convolution", "position_kernel": 16, "position_groups": 4}
# name: (frontend, encoder, class of transformers)
OURS = {
    "wav2vec2": (
        {"conv_norm": "group", "normalize": "utterance"},
        {"norm": "post", **CONVOLUTION},
        "Wav2Vec2Model",
    ),
    "wavlm": (
        {"conv_norm": "layer", "conv_bias": True},
        {"norm": "pre", "relative_bias": True, "relative_buckets": 20, **CONVOLUTION},
        "WavLMModel",
    ),
    "hubert": ({"feature_norm": False}, {"norm": "post", **CONVOLUTION}, "HubertModel"),
    "data2vec": (
        {"conv_norm": "layer"},
        {
            "norm": "post",
            **CONVOLUTION,
            "positions": "convolution_stack",
            "position_kernel": 7,
            "position_layers": 2,
        },
        "Data2VecAudioModel",
    ),
    "whisper": (
        {"kind": "whisper", "window_seconds": 2.0},
        {"norm": "pre", "positions": "learned", "max_frames": 100, "key_bias": False},
        "WhisperModel",
    ),
}


def configs(name):
    frontend, encoder, _ = OURS[name]
    return (
        schema.FrontendConfig(**{"kind": "waveform", "conv_width": 24, **frontend}),
        schema.EncoderConfig(**SIZES, **encoder),
    )


def random_params(abstract, seed=0):
    """Every weight random, also those that start at 0 or 1."""
    rng = np.random.default_rng(seed)
    shapes = nnx.to_pure_dict(nnx.split(abstract)[1])

    def draw(leaf):
        scale = 0.3 if leaf.ndim < 2 else np.prod(leaf.shape[:-1]) ** -0.5
        return (scale * rng.normal(size=leaf.shape)).astype(np.float32)

    return jax.tree.map(draw, shapes)


@pytest.mark.parametrize("name", OURS)
def test_encoder_when_exported_then_stock_transformers_computes_the_same(tmp_path, name):
    frontend, encoder = configs(name)
    config = schema.PretrainConfig(name="ours", frontend=frontend, encoder=encoder)
    made = nnx.eval_shape(lambda: SpeechEncoder(frontend, encoder, key=jax.random.key(0)))
    params = {"encoder": random_params(made)}
    folder = write_encoder(tmp_path / "model", params=params, config=config, corpora=CORPORA)
    released = read_model(folder)
    for ours, theirs in zip(jax.tree.leaves(params), jax.tree.leaves(released.params), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    model, loading = transformers.AutoModel.from_pretrained(folder, output_loading_info=True)
    assert type(model).__name__ == OURS[name][2]
    own = {key for key in load_file(folder / "model.safetensors") if key.startswith("sersl.")}
    assert set(loading["unexpected_keys"]) == own
    assert not loading["mismatched_keys"]
    assert all(key.startswith("decoder.") for key in loading["missing_keys"])
    preprocess = transformers.AutoFeatureExtractor.from_pretrained(folder)
    (waveform,) = peers.waveforms(1.0)
    states, last = peers.hidden_states(model.eval(), preprocess, waveform)
    frames = num_frames(len(waveform))
    found = run(released, [waveform])[:, 0, :frames]
    assert np.abs(found[:-1] - states[:-1, :frames]).max() < MOST
    assert np.abs(found[-1] - last[:frames]).max() < MOST


@pytest.mark.parametrize("layers", ["weighted", "last"])
def test_categories_when_exported_then_stock_transformers_gives_the_same_probabilities(
    tmp_path, layers
):
    frontend, encoder = configs("wav2vec2")
    config = schema.FinetuneConfig(
        name="ours",
        frontend=frontend,
        encoder=encoder,
        pooling=schema.PoolingConfig(
            kind="mean", layers=layers, standardize_layers=False, projection=20
        ),
        heads=schema.HeadsConfig(kind="linear"),
    )
    params = random_params(
        nnx.eval_shape(
            lambda: EmotionModel(
                frontend,
                encoder,
                config.pooling,
                config.heads,
                num_categories=4,
                num_dimensions=3,
                key=jax.random.key(0),
            )
        )
    )
    folder = write_model(
        tmp_path / "model",
        params=params,
        config=config,
        categories=NAMES,
        dimensions=("arousal", "dominance", "valence"),
        results=None,
        corpora=CORPORA,
    )
    auto = transformers.AutoModelForAudioClassification
    model, loading = auto.from_pretrained(folder, output_loading_info=True)
    assert type(model).__name__ == "Wav2Vec2ForSequenceClassification"
    assert not loading["missing_keys"] and not loading["mismatched_keys"]
    assert set(loading["unexpected_keys"]) == {
        "sersl.dimensions.output.kernel",
        "sersl.dimensions.output.bias",
    }
    preprocess = transformers.AutoFeatureExtractor.from_pretrained(folder)
    (waveform,) = peers.waveforms(1.0)
    inputs = preprocess(waveform, sampling_rate=16_000, return_tensors="pt").input_values
    with torch.no_grad():
        expected = model.eval()(inputs).logits[0].softmax(-1).numpy()
    answer = predictor.load(folder).predict(waveform, sample_rate=16_000)
    assert list(answer["scores"]) == list(model.config.id2label.values())
    assert np.abs(np.array(list(answer["scores"].values())) - expected).max() < MOST
    assert set(answer["dimensions"]) == {"arousal", "dominance", "valence"}
    # The encoder alone loads from the same folder.
    assert type(transformers.AutoModel.from_pretrained(folder)).__name__ == "Wav2Vec2Model"


def test_dimensions_when_they_are_all_then_stock_transformers_loads_them_as_a_regression(tmp_path):
    frontend, encoder = configs("wavlm")
    config = schema.FinetuneConfig(
        name="ours",
        frontend=frontend,
        encoder=encoder,
        pooling=schema.PoolingConfig(kind="mean", layers="last", projection=20),
        heads=schema.HeadsConfig(kind="linear", bounded=False),
    )
    sizes = {"num_categories": 0, "num_dimensions": 3, "key": jax.random.key(0)}
    params = random_params(
        nnx.eval_shape(
            lambda: EmotionModel(frontend, encoder, config.pooling, config.heads, **sizes)
        )
    )
    names = ("arousal", "dominance", "valence")
    about = {"results": None, "corpora": CORPORA, "categories": (), "dimensions": names}
    folder = write_model(tmp_path / "model", params=params, config=config, **about)
    auto = transformers.AutoModelForAudioClassification
    model, loading = auto.from_pretrained(folder, output_loading_info=True)
    assert type(model).__name__ == "WavLMForSequenceClassification"
    assert not loading["missing_keys"] and not loading["unexpected_keys"]
    assert tuple(model.config.id2label.values()) == names
    assert model.config.problem_type == "regression"
    kernel = params["dimensions"]["output"]["kernel"]
    np.testing.assert_array_equal(model.classifier.weight.detach().numpy().T, kernel)
