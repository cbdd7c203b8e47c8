"""Adapters in a released folder: merged, as files of PEFT, or kept by name."""

import dataclasses
import json

import jax
import numpy as np
import pytest
from flax import nnx
from safetensors.numpy import load_file

from sersl.config import schema
from sersl.config.adaptation import AdaptationConfig
from sersl.core.errors import UserError
from sersl.models.emotion_model import EmotionModel
from sersl.release.copying import copy_model
from sersl.release.folder import read_model, write_model
from sersl.release.onnx.exporting import write_onnx
from sersl.release.starting_weights import read_weights
from tests.release.fake_model import CORPORA, NAMES

RANK, ALPHA, WIDTH = 3, 6.0, 16
WHISPER = (
    schema.FrontendConfig(kind="whisper", num_mels=20, window_seconds=0.0),
    {"norm": "pre", "positions": "learned", "max_frames": 100, "key_bias": False},
)
WAV2VEC2 = (
    schema.FrontendConfig(kind="waveform", conv_width=12),
    {"norm": "post", "positions": "convolution", "position_kernel": 8, "position_groups": 4},
)
LOG_MEL = (schema.FrontendConfig(num_mels=20), {})


def config_of(kind, method, **changes) -> schema.FinetuneConfig:
    frontend, encoder = kind
    sizes = {"num_layers": 3, "width": WIDTH, "num_heads": 2, "mlp_width": 32, **encoder}
    own = {"trained_layers": 2, "rank": RANK, "alpha": ALPHA, "vectors": 4, "width": 5, **changes}
    return schema.FinetuneConfig(
        name="adapted",
        frontend=frontend,
        encoder=schema.EncoderConfig(**sizes),
        pooling=schema.PoolingConfig(kind="mean"),
        heads=schema.HeadsConfig(hidden=8),
        adaptation=AdaptationConfig(method=method, **own),
        init_from="runs/base",
    )


def model_of(config, *, seed=0):
    """Makes a model with random adapters, and its parameters."""
    model = EmotionModel(
        config.frontend,
        config.encoder,
        config.pooling,
        config.heads,
        num_categories=len(NAMES),
        num_dimensions=0,
        key=jax.random.key(seed),
        adaptation=config.adaptation,
    )
    graph, state = nnx.split(model)
    rng = np.random.default_rng(seed)
    params = jax.tree.map(
        lambda x: np.asarray(x + 0.1 * rng.normal(size=x.shape), np.float32),
        nnx.to_pure_dict(state),
    )
    return graph, params


def answers(graph, params):
    rng = np.random.default_rng(3)
    waveform = (0.1 * rng.normal(size=(2, 9000))).astype(np.float32)
    valid = np.arange(9000) < np.array([[9000], [7000]])
    return np.asarray(nnx.merge(graph, nnx.State(params))(waveform, valid).category)


def write(folder, config, params, **options):
    return write_model(
        folder,
        params=params,
        config=config,
        categories=NAMES,
        dimensions=(),
        results=None,
        corpora=CORPORA,
        **options,
    )


@pytest.mark.parametrize("kind", [WHISPER, WAV2VEC2, LOG_MEL], ids=["whisper", "wav2vec2", "mel"])
def test_model_when_exported_with_lora_then_merged_and_its_answers_are_the_same(kind, tmp_path):
    config = config_of(kind, "lora", targets="attention/(query|output)|mlp_in")
    graph, params = model_of(config)
    folder = write(tmp_path / "model", config, params)
    released = read_model(folder)
    assert released.architecture.adaptation is None
    plain, _ = nnx.split(released.architecture.build())
    np.testing.assert_allclose(
        answers(plain, released.params), answers(graph, params), rtol=1e-5, atol=1e-5
    )
    assert (folder / "adapter").is_dir() == (kind is not LOG_MEL)


@pytest.mark.parametrize(
    ("kind", "module", "base_class"),
    [
        (WHISPER, "encoder.layers.{}.self_attn.{}_proj", "WhisperModel"),
        (WAV2VEC2, "encoder.layers.{}.attention.{}_proj", "Wav2Vec2Model"),
    ],
    ids=["whisper", "wav2vec2"],
)
def test_peft_files_when_written_then_names_and_shapes_as_peft_documents(
    kind, module, base_class, tmp_path
):
    # Source: PEFT's documentation, "PEFT checkpoint format", and peft.LoraConfig.
    config = config_of(kind, "lora")
    _, params = model_of(config)
    folder = write(tmp_path / "model", config, params)
    tensors = load_file(folder / "adapter" / "adapter_model.safetensors")
    modules = [module.format(i, short) for i in (1, 2) for short in ("q", "v")]
    assert set(tensors) == {
        f"base_model.model.{name}.lora_{part}.weight" for name in modules for part in "AB"
    }
    for name, tensor in tensors.items():
        assert tensor.shape == ((RANK, WIDTH) if "lora_A" in name else (WIDTH, RANK))
        assert tensor.dtype == np.float32
    settings = json.loads((folder / "adapter" / "adapter_config.json").read_text())
    assert settings["peft_type"] == "LORA" and settings["bias"] == "none"
    assert (settings["r"], settings["lora_alpha"]) == (RANK, ALPHA)
    assert settings["target_modules"] == sorted(modules)
    assert settings["base_model_name_or_path"] == "runs/base"
    assert settings["auto_mapping"]["base_model_class"] == base_class
    # W + alpha / r B A, in PyTorch's [outputs, inputs].
    merged = load_file(folder / "model.safetensors")
    (stored,) = [name for name in merged if name.endswith(modules[0] + ".weight")]
    base = params["encoder"]["context"]["layers"][1]["attention"]["query"]["kernel"].T
    low, high = (tensors[f"base_model.model.{modules[0]}.lora_{part}.weight"] for part in "AB")
    np.testing.assert_allclose(merged[stored], base + ALPHA / RANK * high @ low, atol=1e-6)
    copied = copy_model(folder, tmp_path / "copy", licence="MIT")
    assert {path.name for path in (copied / "adapter").iterdir()} == {
        "adapter_config.json",
        "adapter_model.safetensors",
    }
    assert {path.name for path in write(folder, config, params).iterdir()} >= {"adapter"}


@pytest.mark.parametrize("method", ["bottleneck", "prefix", "extension"])
def test_model_when_exported_with_other_adapters_then_only_sersl_reads_it(method, tmp_path):
    config = config_of(WHISPER, method)
    graph, params = model_of(config)
    folder = write(tmp_path / "model", config, params)
    assert json.loads((folder / "config.json").read_text())["model_type"] == "sersl"
    released = read_model(folder)
    assert released.architecture.adaptation == config.adaptation
    again, _ = nnx.split(released.architecture.build())
    np.testing.assert_array_equal(answers(again, released.params), answers(graph, params))
    with pytest.raises(UserError, match=f"adaptation.method={method} cannot be written as ONNX"):
        write_onnx(released, tmp_path / "onnx")
    with pytest.raises(UserError, match=r"cannot be trained further: start from the model before"):
        read_weights(folder)


@pytest.mark.parametrize("method", ["full", "bias", "frozen"])
def test_model_when_exported_without_adapters_then_as_before(method, tmp_path):
    config = config_of(WHISPER, method)
    _, params = model_of(config)
    folder = write(tmp_path / "model", config, params)
    assert json.loads((folder / "config.json").read_text())["model_type"] == "whisper"
    assert "adaptation" not in json.loads((folder / "sersl.json").read_text())
    plain = dataclasses.replace(config, adaptation=AdaptationConfig())
    same = load_file(write(tmp_path / "plain", plain, params) / "model.safetensors")
    for name, tensor in load_file(folder / "model.safetensors").items():
        np.testing.assert_array_equal(tensor, same[name])
