import dataclasses
import json

import jax
import numpy as np
import pytest
from flax import nnx

from sersl.annotation.codebooks import codebook, kmeans
from sersl.annotation.codebooks.codebook import Fit, fit_codebook, read_codebook, write_codes
from sersl.annotation.codebooks.frame_features import layer_features, mfcc_features
from sersl.cli.main import main
from sersl.config.schema import EncoderConfig, FrontendConfig
from sersl.core.errors import UserError
from sersl.core.lengths import num_frames
from sersl.corpora.sidecar import codes_folder
from sersl.data.codes import CodeReader
from sersl.data.sources import CorpusSource
from sersl.models.encoder import SpeechEncoder
from sersl.models.spectra import describe_frames
from tests.data.doubles import prepare
from tests.tolerances import FP32_DEEP

LENGTHS = np.array([16000, 399, 400, 9000, 12345])
FIT = Fit(num_codes=4, max_frames=60)


@pytest.fixture
def data_dir(tmp_path):
    for corpus in ("alpha", "beta"):
        prepare(tmp_path / "data", corpus, LENGTHS)
    return tmp_path / "data"


def sources(data_dir):
    return [CorpusSource(data_dir, name) for name in ("alpha", "beta")]


def quiet(line):
    """Says nothing."""


def test_mfcc_features_when_compared_with_numpy_then_slopes_stop_at_the_ends():
    rng = np.random.default_rng(0)
    waveform = np.zeros((2, 4000), np.float32)
    lengths = np.array([4000, 2500])
    for row, n in enumerate(lengths):
        waveform[row, :n] = rng.normal(size=n) * 0.1
    values = np.asarray(mfcc_features().compute(waveform, lengths))
    assert values.shape == (2, num_frames(4000), 39)

    def slope(x):
        padded = np.concatenate([x[:1], x[:1], x, x[-1:], x[-1:]])
        n = len(x)
        return (2 * (padded[4:] - padded[:n]) + padded[3 : n + 3] - padded[1 : n + 1]) / 10

    for row, n in enumerate(lengths):
        count = num_frames(int(n))
        cepstra = np.asarray(describe_frames("mfcc", waveform[row : row + 1]))[0, :count]
        first = slope(cepstra)
        expected = np.concatenate([cepstra, first, slope(first)], -1)
        np.testing.assert_allclose(values[row, :count], expected, **FP32_DEEP)


def test_codes_when_written_then_those_of_each_frame_alone_and_read_by_row(data_dir, tmp_path):
    features = mfcc_features()
    book = fit_codebook(tmp_path / "k4", sources(data_dir), features, FIT, say=quiet)
    assert book.name == "k4" and book.centroids.shape == (4, 39)
    assert 20 < book.about["num_frames"] < 100  # every frame has the same chance
    again = read_codebook(tmp_path / "k4")
    np.testing.assert_array_equal(again.centroids, book.centroids)
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []

    source = sources(data_dir)[0]
    write_codes(book, source, features)
    reader = CorpusSource(data_dir, "alpha", books={"k4": 4}).books[0]
    for row, length in enumerate(LENGTHS):
        frames = num_frames(int(length))
        codes = reader.codes(row, num_frames=frames)
        assert codes.shape == (frames,) and codes.dtype == np.int32
        if frames:
            values = features.compute(source.waveform(row)[None], np.array([length]))[0]
            expected, _ = kmeans.nearest(values, book.centroids)
            np.testing.assert_array_equal(codes, expected)
    part = reader.codes(0, start_frame=7, num_frames=5)
    np.testing.assert_array_equal(part, reader.codes(0, num_frames=49)[7:12])


def test_fit_when_interrupted_then_goes_on_to_the_same_code_book(data_dir, tmp_path, monkeypatch):
    features = mfcc_features()
    whole = fit_codebook(tmp_path / "whole", sources(data_dir), features, FIT, say=quiet)
    real, calls = kmeans._lloyd, []

    def interrupted(*arguments):
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return real(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(kmeans, "_lloyd", interrupted)
        with pytest.raises(KeyboardInterrupt):
            fit_codebook(tmp_path / "cut", sources(data_dir), features, FIT, say=quiet)
    assert read_codebook(tmp_path / "cut") is None

    def never(*arguments):
        raise AssertionError("frames that were kept are computed again")

    (tmp_path / f".cut-{'0' * 16}.partial").mkdir()  # of a run with other settings
    with monkeypatch.context() as patch:
        patch.setattr(codebook, "_computed", never)
        rest = fit_codebook(tmp_path / "cut", sources(data_dir), features, FIT, say=quiet)
    np.testing.assert_array_equal(rest.centroids, whole.centroids)
    assert rest.about == whole.about
    assert not list(tmp_path.glob(".cut*"))


def test_fit_when_what_an_interrupted_run_left_is_damaged_then_it_is_computed_again(
    data_dir, tmp_path, monkeypatch
):
    features = mfcc_features()
    whole = fit_codebook(tmp_path / "whole", sources(data_dir), features, FIT, say=quiet)

    def interrupted(*arguments):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(codebook, "write_codebook", interrupted)
        with pytest.raises(KeyboardInterrupt):
            fit_codebook(tmp_path / "cut", sources(data_dir), features, FIT, say=quiet)
    for file in tmp_path.glob(".cut-*/*"):
        file.write_bytes(file.read_bytes()[:40])
    rest = fit_codebook(tmp_path / "cut", sources(data_dir), features, FIT, say=quiet)
    np.testing.assert_array_equal(rest.centroids, whole.centroids)


@pytest.mark.parametrize(
    ("output", "sentence"),
    [
        ("file", "exists and is not a code book"),
        ("file/k4", "it is not a folder"),
        ("full", "exists and is not a code book"),
        ("k*", "because of '\\*'"),
        ("..", "cannot be the name of a folder"),
    ],
)
def test_fit_when_the_output_cannot_be_written_then_found_before_the_work(
    data_dir, tmp_path, monkeypatch, output, sentence
):
    (tmp_path / "file").write_text("mine")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine").write_text("mine")

    def never(*arguments):
        raise AssertionError("worked before the output was checked")

    monkeypatch.setattr(codebook, "_computed", never)
    with pytest.raises(UserError, match=sentence):
        fit_codebook(tmp_path / output, sources(data_dir), mfcc_features(), FIT, say=quiet)
    assert (tmp_path / "file").read_text() == (tmp_path / "full" / "mine").read_text() == "mine"


def test_layer_features_when_computed_then_that_hidden_state_whatever_the_padding():
    config = EncoderConfig(num_layers=2, width=16, num_heads=2, mlp_width=16)
    encoder = SpeechEncoder(FrontendConfig(num_mels=20), config, key=jax.random.key(0))
    params = nnx.to_pure_dict(nnx.split(encoder)[1])
    # Weights of a run whose layers were scanned are the same, one by one.
    config = dataclasses.replace(config, scan_layers=True)
    features = layer_features(params, FrontendConfig(num_mels=20), config, layer=1, source="x")
    waveform = np.random.default_rng(0).normal(size=(1, 3000)).astype(np.float32) * 0.1
    expected = encoder(waveform, np.ones((1, 3000), bool)).hidden_states[1]
    found = features.compute(np.pad(waveform, ((0, 0), (0, 1000))), np.array([3000]))
    np.testing.assert_allclose(found[:, : expected.shape[1]], expected, **FP32_DEEP)
    with pytest.raises(UserError, match=r"--layer 3 is not in 0\.\.2"):
        layer_features(params, FrontendConfig(num_mels=20), config, layer=3, source="x")


def test_code_book_when_another_is_there_or_frames_are_few_then_user_error(data_dir, tmp_path):
    features = mfcc_features()
    fit_codebook(tmp_path / "k4", sources(data_dir), features, FIT, say=quiet)
    with pytest.raises(UserError, match="another num_codes"):
        fit_codebook(tmp_path / "k4", sources(data_dir), features, Fit(5), say=quiet)
    with pytest.raises(UserError, match="fewer than --num_codes"):
        fit_codebook(tmp_path / "big", sources(data_dir), features, Fit(500), say=quiet)
    for settings in ({"num_codes": 1}, {"num_codes": 70_000}, {"num_codes": 9, "max_frames": 8}):
        with pytest.raises(UserError, match="--"):
            Fit(**settings)
    (tmp_path / "k4" / "codebook.safetensors").write_bytes(b"x")
    with pytest.raises(UserError, match="damaged"):
        read_codebook(tmp_path / "k4")


def test_codes_when_missing_of_another_size_or_of_other_records_then_user_error(data_dir, tmp_path):
    features = mfcc_features()
    book = fit_codebook(tmp_path / "k4", sources(data_dir), features, FIT, say=quiet)
    source = sources(data_dir)[0]
    write_codes(book, source, features)
    with pytest.raises(UserError, match=r"known: k4; .*sersl cluster"):
        CodeReader(source.index, "k5", num_codes=4)
    with pytest.raises(UserError, match=r"has 4 codes, not the 5 of objectives\.clusters\.codes"):
        CodeReader(source.index, "k4", num_codes=5)
    file = codes_folder(source.index, "k4") / "sidecar.json"
    summary = json.loads(file.read_text())
    file.with_name("digests.json").unlink()  # as if written by an older version
    for key, value in (("corpus_fingerprint", "other"), ("num_frames", 3)):
        file.write_text(json.dumps(summary | {key: value}))
        with pytest.raises(UserError, match=f"other records \\({key} differs"):
            CodeReader(source.index, "k4", num_codes=4)


def test_cluster_when_run_from_the_command_line_then_fits_once_and_codes_every_corpus(
    data_dir, tmp_path, capsys
):
    words = ["cluster", "--data_dir", str(data_dir), "--output", str(tmp_path / "k4")]
    words += ["--num_codes", "4", "--max_frames", "60"]
    assert main([*words, "--corpus", "alpha"]) == 0
    said = capsys.readouterr().out
    assert "4 codes of" in said and "--config.objectives.clusters.books=k4" in said
    assert main([*words, "--corpus", "alpha", "beta"]) == 0
    fingerprints = {
        CorpusSource(data_dir, name, books={"k4": 4}).books[0].fingerprint
        for name in ("alpha", "beta")
    }
    assert len(fingerprints) == 1
    capsys.readouterr()
    for more, sentence in (
        (["--corpus", "alpha", "alpha"], "names a corpus twice"),
        (["--corpus", "alpha", "--layer", "3"], "--features mfcc is none"),
        (["--corpus", "alpha", "--features", str(tmp_path)], "neither the workdir"),
        (["--corpus", "gamma"], "gamma"),
    ):
        assert main([*words, *more]) == 2
        error = capsys.readouterr().err
        assert sentence in error and error.count("\n") == 1
