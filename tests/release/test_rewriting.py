"""Weights in int8 and notes for the card of an exported model."""

import json

import numpy as np
import pytest
from safetensors.numpy import load_file

import sersl
from sersl.cli.main import main
from sersl.release.architecture import flatten
from sersl.release.folder import read_model
from tests.release import fake_model


def export(source, output, *words):
    words = ["export", "--workdir", source, "--output", output, *words]
    return main([str(word) for word in words])


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    fake_model.write_fake(folder / "float32")
    (folder / "notes.md").write_text("Tested on **nothing**.\n")
    options = ("--weights", "int8", "--notes", folder / "notes.md")
    assert export(folder / "float32", folder / "int8", *options) == 0
    return folder


def test_model_when_exported_in_int8_then_kernels_of_the_encoder_are_rounded(folders):
    exact = flatten(read_model(folders / "float32").params)
    found = flatten(read_model(folders / "int8").params)
    assert exact.keys() == found.keys()
    rounded = 0
    for name, array in exact.items():
        kernel = name.startswith("encoder.") and array.ndim > 1 and array.size >= 256
        if not kernel:
            np.testing.assert_array_equal(found[name], array)
            continue
        rounded += 1
        # Within half a step of each output, by definition.
        step = np.abs(array).max(tuple(range(array.ndim - 1))) / 127
        assert (np.abs(found[name] - array) <= 0.5001 * step).all(), name
        assert found[name].dtype == np.float32 and (found[name] != array).any()
    assert rounded > 5
    size = {
        name: (folders / name / "model.safetensors").stat().st_size for name in ("int8", "float32")
    }
    assert size["int8"] < 0.6 * size["float32"]


def test_model_when_in_int8_then_answers_are_near(folders):
    noise = 0.1 * np.random.default_rng(0).normal(size=16_000).astype(np.float32)

    def scores(name):
        answer = sersl.load(folders / name).predict(noise, sample_rate=16_000)
        return np.array([*answer["scores"].values()])

    exact, rounded = scores("float32"), scores("int8")
    assert 0 < np.abs(exact - rounded).max() < 0.02


def test_model_when_in_int8_then_stock_loaders_refuse_it_and_the_card_says_why(folders):
    config = json.loads((folders / "int8" / "config.json").read_text())
    assert config["model_type"] == "sersl"
    card = (folders / "int8" / "README.md").read_text()
    assert "# int8\n" in card and "stored in 8 bits" in card and "Tested on **nothing**." in card
    kinds = {a.dtype.name for a in load_file(folders / "int8" / "model.safetensors").values()}
    assert kinds == {"int8", "float32"}


def test_model_in_int8_when_copied_then_equal_bytes_and_it_keeps_its_notes(folders, tmp_path):
    assert export(folders / "int8", tmp_path / "copy", "--licence", "CC-BY-4.0") == 0
    weights = "model.safetensors"
    assert (tmp_path / "copy" / weights).read_bytes() == (folders / "int8" / weights).read_bytes()
    assert "Tested on **nothing**." in (tmp_path / "copy" / "README.md").read_text()
    assert main(["export", "--check", str(tmp_path / "copy")]) == 0


def test_notes_when_they_cannot_be_read_then_one_sentence(folders, tmp_path, capsys):
    (tmp_path / "long.md").write_text("x" * (1 << 17))
    (tmp_path / "binary.md").write_bytes(b"\xff\xfe\x00")
    for name, cause in (
        ("missing.md", "cannot be read"),
        ("long.md", "longer"),
        ("binary.md", "UTF-8"),
    ):
        assert export(folders / "float32", tmp_path / "out", "--notes", tmp_path / name) == 2
        error = capsys.readouterr().err
        assert cause in error and error.count("\n") == 1
        assert not (tmp_path / "out").exists()


def test_scales_when_they_do_not_fit_then_the_folder_is_refused(folders, tmp_path, capsys):
    assert export(folders / "int8", tmp_path / "copy") == 0
    about = json.loads((tmp_path / "copy" / "sersl.json").read_text())
    del about["weights"]
    fake_model.seal(tmp_path / "copy", about)
    assert (
        main(["export", "--workdir", str(tmp_path / "copy"), "--output", str(tmp_path / "x")]) == 2
    )
    assert "export" in capsys.readouterr().err
