import json

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

import sersl
from sersl.cli.main import main
from sersl.core.errors import UserError
from sersl.release.folder import read_model
from sersl.release.huggingface.tensor_names import (
    FORMS,
    WEIGHT_NORMS,
    Place,
    fold_weight_norm,
    to_parameter,
    to_stored,
)
from sersl.release.starting_weights import read_weights
from tests.release.fake_source import CONFIG, LEFT_OVER, PREPROCESSOR, make_tensors, write_source
from tests.tolerances import FP32


@pytest.fixture
def source(tmp_path):
    return write_source(tmp_path / "source")


def run(*words):
    return main([str(word) for word in words])


@pytest.mark.parametrize("weight_norm", WEIGHT_NORMS)
def test_model_when_imported_and_exported_then_each_tensor_is_bit_equal(
    tmp_path, capsys, weight_norm
):
    tensors = make_tensors(weight_norm=weight_norm)
    source = write_source(tmp_path / "source", tensors)
    assert run("import", "--source", source, "--output", tmp_path / "model") == 0
    export = ("export", "--workdir", tmp_path / "model", "--output", tmp_path / "again")
    assert run(*export) == 2 and "needs a licence" in capsys.readouterr().err
    assert run(*export, "--licence", "MIT") == 0
    for folder in ("model", "again"):
        found = load_file(tmp_path / folder / "model.safetensors")
        assert found.keys() == tensors.keys()
        for name, array in tensors.items():
            assert found[name].tobytes() == array.tobytes(), name
        assert (
            json.loads((tmp_path / folder / "preprocessor_config.json").read_text()) == PREPROCESSOR
        )
    assert "Wav2Vec2Model" in (tmp_path / "again" / "config.json").read_text()


def test_import_when_done_then_every_tensor_and_parameter_is_listed(source, tmp_path, capsys):
    tensors = load_file(source / "model.safetensors")
    del tensors["wav2vec2.masked_spec_embed"]
    name = "wav2vec2.encoder.layers.1.attention.q_proj.weight"
    tensors[name] = tensors[name].astype(np.float16)
    save_file(tensors, source / "model.safetensors")
    assert run("import", "--source", source, "--output", tmp_path / "model") == 0
    out = capsys.readouterr().out
    assert f"imported {len(tensors) - len(LEFT_OVER)} tensors" in out
    assert f"{len(LEFT_OVER)} left out" in out and "  quantizer.codevectors\n" in out
    assert f"1 converted to float32:\n  {name}\n" in out
    assert "1 not in the source, so with initial values:\n  encoder.mask_embedding\n" in out
    listed = json.loads((tmp_path / "model" / "sersl.json").read_text())["imported"]
    assert listed == {
        "source": "source",
        "unused": sorted(LEFT_OVER),
        "converted": [name],
        "initial": ["encoder.mask_embedding"],
    }
    assert "sersl.encoder.mask_embedding" in load_file(tmp_path / "model" / "model.safetensors")


def test_imported_model_when_loaded_then_embeds_and_starts_training(source, tmp_path):
    assert run("import", "--source", source, "--output", tmp_path / "model") == 0
    noise = np.random.default_rng(0).normal(size=16_000).astype(np.float32) * 0.1
    vector = sersl.load(tmp_path / "model").embed(noise, sample_rate=16_000)
    assert vector.shape == (32,) and np.isfinite(vector).all() and vector.std() > 0.01
    weights = read_weights(tmp_path / "model")
    assert set(weights.params) == {"encoder"}
    assert (weights.frontend.kind, weights.encoder.positions) == ("waveform", "convolution")


def test_kernel_when_weight_norm_is_folded_then_equal_to_numpy_and_exact_when_split_again():
    rng = np.random.default_rng(0)
    length = np.abs(rng.normal(size=(1, 1, 5))).astype(np.float32)
    direction = rng.normal(size=(6, 3, 5)).astype(np.float32)
    kernel = fold_weight_norm(length, direction)
    for tap in range(5):
        norm = np.sqrt((direction[..., tap].astype(np.float64) ** 2).sum())
        expected = length[0, 0, tap] * direction[..., tap] / norm
        np.testing.assert_allclose(kernel[..., tap], expected, **FP32)
    place = Place(("g", "v"), "weight_norm")
    parameter = to_parameter(place, length, direction)
    assert parameter.shape == (5, 3, 6)
    again = to_stored(place, parameter)
    # What is written is read back bit by bit, however often.
    np.testing.assert_array_equal(to_parameter(place, again["g"], again["v"]), parameter)
    assert not np.isnan(fold_weight_norm(np.zeros_like(length), np.zeros_like(direction))).any()


@pytest.mark.parametrize("form", FORMS)
def test_parameter_when_stored_and_read_then_the_same(form):
    shape = {"same": (4,), "linear": (3, 4), "per_head": (4,)}.get(form, (5, 3, 6))
    parameter = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    place = Place(("g", "v") if form == "weight_norm" else ("a",), form)
    stored = to_stored(place, parameter)
    shapes = FORMS[form].shapes(shape)
    assert tuple(array.shape for array in stored.values()) == tuple(map(tuple, shapes))
    np.testing.assert_array_equal(to_parameter(place, *stored.values()), parameter)


def change_config(**change):
    def apply(source):
        config = {key: value for key, value in {**CONFIG, **change}.items() if value is not None}
        (source / "config.json").write_text(json.dumps(config))

    return apply


def change_tensors(change):
    def apply(source):
        tensors = load_file(source / "model.safetensors")
        change(tensors)
        save_file(tensors, source / "model.safetensors")

    return apply


def cut(name, size):
    def apply(source):
        content = (source / name).read_bytes()
        (source / name).write_bytes(content[:size])

    return apply


def remove(name):
    return lambda source: (source / name).unlink()


Q = "wav2vec2.encoder.layers.0.attention.q_proj.weight"
BAD = {
    "a missing tensor": (change_tensors(lambda t: t.pop(Q)), f"lacks tensor '{Q}'"),
    "an extra tensor": (
        change_tensors(lambda t: t.update({"wav2vec2.encoder.more": t[Q]})),
        "has tensor 'wav2vec2.encoder.more', which no model",
    ),
    "an extra layer": (
        change_config(num_hidden_layers=1),
        "has tensor 'wav2vec2.encoder.layers.1.attention.k_proj.bias', which no model",
    ),
    "a wrong shape": (
        change_tensors(lambda t: t.update({Q: t[Q][:5]})),
        f"tensor '{Q}' has shape [5, 32], the sizes in config.json make it [32, 32]",
    ),
    "sizes that disagree": (change_config(intermediate_size=64), "config.json make it [64"),
    "heads that do not divide": (change_config(num_attention_heads=5), "its sizes disagree"),
    "groups that do not divide": (
        change_config(num_conv_pos_embedding_groups=5),
        "its sizes disagree",
    ),
    "an unsupported family": (
        change_config(model_type="wav2vec2-bert"),
        "unknown family of models",
    ),
    "no family": (change_config(model_type=None), "has no 'model_type'"),
    "an adapter": (change_config(add_adapter=True), "add_adapter=True is not supported"),
    "another stride": (change_config(conv_stride=[5, 2, 2, 2, 2, 2, 1]), "conv_stride="),
    "uneven channels": (change_config(conv_dim=[24] * 6 + [48]), "conv_dim="),
    "another activation": (change_config(hidden_act="relu"), "hidden_act='relu'"),
    "a number that is none": (change_config(hidden_size="wide"), "cannot be used"),
    "a size below 1": (change_config(num_hidden_layers=0), "cannot be used"),
    "a truncated header": (cut("model.safetensors", 100), "truncated within its header"),
    "truncated data": (cut("model.safetensors", -10), "truncated within tensor"),
    "an empty file": (cut("model.safetensors", 0), "truncated within its header"),
    "no config": (remove("config.json"), "has no config.json"),
    "no preprocessor": (remove("preprocessor_config.json"), "has no preprocessor_config.json"),
    "no weights": (remove("model.safetensors"), "has no weights"),
    "a config that is no JSON": (cut("config.json", 20), "cannot be read"),
    "a number that is not finite": (
        change_tensors(lambda t: t.update({Q: np.full_like(t[Q], np.nan)})),
        f"'{Q}' has values that are NaN",
    ),
    "quantised weights": (
        change_tensors(lambda t: t.update({Q: t[Q].astype(np.int8)})),
        f"'{Q}' is int8",
    ),
    "a classifier without its weights": (
        change_config(architectures=["Wav2Vec2ForSequenceClassification"]),
        "lacks tensor 'classifier.bias'",
    ),
    "a rate of 8 kHz": (
        lambda source: (source / "preprocessor_config.json").write_text('{"sampling_rate": 8000}'),
        "the model takes audio of 8000 Hz",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_import_when_the_source_is_bad_then_one_sentence_and_nothing_written(
    source, tmp_path, capsys, case
):
    spoil, words = BAD[case]
    spoil(source)
    assert run("import", "--source", source, "--output", tmp_path / "model") == 2
    said = capsys.readouterr().err
    assert words in said and len(said.splitlines()) == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["source"]


def test_import_when_source_or_output_is_wrong_then_said(source, tmp_path, capsys):
    assert run("import", "--source", tmp_path / "none", "--output", tmp_path / "model") == 2
    assert "does not exist" in capsys.readouterr().err
    before = sorted(path.name for path in source.iterdir())
    assert run("import", "--source", source, "--output", source) == 2
    assert "does not hold a sersl model" in capsys.readouterr().err
    assert sorted(path.name for path in source.iterdir()) == before
    assert run("import", "--source", source, "--output", tmp_path / "model") == 0
    assert run("import", "--source", tmp_path / "model", "--output", tmp_path / "again") == 2
    assert "is a model of sersl already" in capsys.readouterr().err


def test_training_when_started_from_a_source_not_imported_then_the_command_is_named(source):
    with pytest.raises(UserError, match="sersl import --source"):
        read_weights(source)


def test_exported_model_when_damaged_then_not_exported_again(source, tmp_path, capsys):
    assert run("import", "--source", source, "--output", tmp_path / "model") == 0
    cut("model.safetensors", -10)(tmp_path / "model")
    assert run("export", "--workdir", tmp_path / "model", "--output", tmp_path / "again") == 2
    assert not (tmp_path / "again").exists()
    assert run("export", "--workdir", tmp_path / "model", "--output", tmp_path / "model") == 2
    assert "to itself" in capsys.readouterr().err


def test_prefix_when_the_source_has_none_then_read_alike(tmp_path):
    for prefix in ("", "wav2vec2."):
        source = write_source(tmp_path / f"s{prefix}", make_tensors(prefix=prefix))
        assert run("import", "--source", source, "--output", tmp_path / f"m{prefix}") == 0
    one, other = (read_model(tmp_path / f"m{p}").params["encoder"] for p in ("", "wav2vec2."))
    np.testing.assert_array_equal(one["positions"]["kernel"], other["positions"]["kernel"])
