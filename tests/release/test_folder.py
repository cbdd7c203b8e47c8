import json

import jax
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

import sersl
from sersl.core.errors import UserError
from sersl.release import folder as releases
from sersl.release.architecture import flatten, unflatten
from tests.release import fake_model


@pytest.fixture
def model(tmp_path):
    return fake_model.write_fake(tmp_path / "model")


def _same(first, second):
    first, second = flatten(first), flatten(second)
    assert first.keys() == second.keys()
    for name in first:
        np.testing.assert_array_equal(first[name], second[name])


def test_model_when_written_and_read_then_bit_identical_by_name(model):
    released = releases.read_model(model)
    _same(released.params, fake_model.make_params(fake_model.make_config()))
    assert released.architecture.categories == fake_model.NAMES
    assert released.architecture.dimensions == fake_model.DIMENSIONS
    assert released.about["scale"] == {"low": 0.0, "high": 1.0}
    assert released.about["corpora"] == fake_model.CORPORA
    assert sorted(path.name for path in model.iterdir()) == sorted(releases.FILES)


def test_model_when_layers_were_stacked_then_the_file_is_the_same(model, tmp_path):
    config = fake_model.make_config(scan=True)
    stacked = fake_model.write_fake(tmp_path / "stacked", scan=True)
    assert config.encoder.scan_layers
    apart, together = (load_file(f / "model.safetensors") for f in (model, stacked))
    assert apart.keys() == together.keys()
    assert any(".layers.0." in name for name in apart)
    for name in apart:
        np.testing.assert_array_equal(apart[name], together[name])
    assert not releases.read_model(stacked).architecture.encoder.scan_layers


def test_model_when_it_has_a_side_branch_then_read_as_written_and_its_layers_are_given(tmp_path):
    options = {"kind": "mean", "layers": "all", "side": 2}
    folder = fake_model.write_fake(tmp_path / "side", **options)
    released = releases.read_model(folder)
    _same(released.params, fake_model.make_params(fake_model.make_config(**options)))
    assert {"side", "side_norm"} < set(released.params["encoder"]["context"])
    assert released.architecture.encoder.last_layer == 4
    noise = np.random.default_rng(0).normal(size=8000).astype(np.float32)
    vectors = sersl.load(folder).embed(0.1 * noise, sample_rate=16_000, layers="all")
    assert vectors.shape == (5, 16)


def test_encoder_when_written_then_it_has_no_heads_and_nothing_of_pretraining(tmp_path):
    folder = fake_model.write_fake_encoder(tmp_path / "encoder")
    about = json.loads((folder / "sersl.json").read_text())
    assert about["heads"] is None
    assert all(name.startswith("encoder.") for name in load_file(folder / "model.safetensors"))
    assert set(releases.read_model(folder).params) == {"encoder"}


def test_config_when_read_by_others_then_names_belong_to_numbers(model):
    config = json.loads((model / "config.json").read_text())
    assert config["id2label"] == dict(zip("0123", fake_model.NAMES, strict=True))
    assert json.loads((model / "preprocessor_config.json").read_text())["sampling_rate"] == 16000


def _change(model, change):
    tensors = load_file(model / "model.safetensors")
    change(tensors)
    save_file(tensors, model / "model.safetensors")
    fake_model.seal(model)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.pop("encoder.mask_embedding"), "lacks tensor 'encoder.mask_embedding'"),
        (lambda t: t.update(more=np.zeros(2, np.float32)), "has tensor 'more'"),
        (
            lambda t: t.update({"encoder.mask_embedding": np.zeros(3, np.float32)}),
            r"'encoder.mask_embedding' has shape \[3\].*needs \[16\]",
        ),
        (
            lambda t: t.update({"encoder.mask_embedding": np.zeros(16, np.float16)}),
            "is float16, not float32",
        ),
        (
            lambda t: t.update({"encoder.mask_embedding": np.full(16, np.nan, np.float32)}),
            "NaN or infinite",
        ),
    ],
)
def test_reading_when_a_tensor_does_not_fit_then_it_is_named(model, change, message):
    _change(model, change)
    with pytest.raises(UserError, match=message):
        releases.read_model(model)


def test_reading_when_tensors_are_truncated_then_said(model):
    path = model / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    fake_model.seal(model)
    with pytest.raises(UserError, match="truncated within tensor"):
        releases.read_model(model)
    path.write_bytes(b"")
    fake_model.seal(model)
    with pytest.raises(UserError, match="truncated within its header"):
        releases.read_model(model)


@pytest.mark.parametrize("name", releases.FILES[:-1])
def test_reading_when_a_file_is_missing_then_it_is_named(model, name):
    (model / name).unlink()
    with pytest.raises(UserError, match=f"has no {name}"):
        releases.read_model(model)


def test_reading_when_sersl_json_is_damaged_or_unknown_then_said(model):
    path = model / "sersl.json"
    about = json.loads(path.read_text())
    path.write_text(path.read_text()[:50])
    with pytest.raises(UserError, match="cannot be read"):
        releases.read_model(model)
    path.write_text(json.dumps({**about, "schema": 99}))
    with pytest.raises(UserError, match="schema 99"):
        releases.read_model(model)
    fake_model.seal(model, {**about, "encoder": {**about["encoder"], "widht": 3}})
    with pytest.raises(UserError, match=r"did you mean .*width"):
        releases.read_model(model)
    with pytest.raises(UserError, match="does not exist"):
        releases.read_model(model.parent / "nowhere")


def test_writing_when_the_folder_is_a_model_then_replaced_else_refused(tmp_path):
    folder = fake_model.write_fake(tmp_path / "model")
    fake_model.write_fake(folder, kind="mean")
    assert releases.read_model(folder).architecture.pooling.kind == "mean"
    (folder / "thesis.txt").write_text("years of work")
    with pytest.raises(UserError, match=r"also holds 'thesis.txt'"):
        fake_model.write_fake(folder)
    other = tmp_path / "photos"
    other.mkdir()
    (other / "cat.jpg").write_text("")
    with pytest.raises(UserError, match="does not hold a sersl model"):
        fake_model.write_fake(other)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model", "photos"]


def test_writing_when_params_do_not_fit_the_config_then_refused_and_nothing_left(tmp_path):
    config = fake_model.make_config()
    params = fake_model.make_params(config)
    del params["pooling"]
    with pytest.raises(UserError, match="the trained model lacks tensor 'pooling"):
        releases.write_model(
            tmp_path / "model",
            params=params,
            config=config,
            categories=fake_model.NAMES,
            dimensions=fake_model.DIMENSIONS,
            results=None,
            corpora=[],
        )
    assert not list(tmp_path.iterdir())


def test_names_when_flattened_and_nested_again_then_the_same():
    params = {"a": {0: {"b": 1}, 1: {"b": 2}}, "c": 3}
    assert flatten(params) == {"a.0.b": 1, "a.1.b": 2, "c": 3}
    assert unflatten(flatten(params)) == params
    assert jax.tree.structure(unflatten(flatten(params))) == jax.tree.structure(params)
