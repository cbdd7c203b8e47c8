"""Heads in closed form whose answers should not follow the speakers of corpora without labels."""

import json
import shutil

import numpy as np
import pytest
import soundfile

from sersl.core.errors import UserError
from sersl.corpora.prepare import prepare
from sersl.finetuning.ridge.nuisance import deviations, rows_of_speakers
from sersl.runs.checkpoint import load_params
from tests.finetuning.test_kept_outputs import config_of, fine_tuned

RIDGE = ("solver.kind=ridge", "heads.bounded=false", "protocol.folds=('fold1',)")
SPEAKERS = ("a", "b", "", "a", "")
NUISANCE = "solver.nuisance_corpora=read"


class Index:
    corpus = "read"

    def __init__(self, speakers):
        self.speakers = np.array(speakers)

    def column(self, name):
        assert name == "speaker"
        return self.speakers


class Source:
    def __init__(self, *speakers):
        self.index = Index(speakers)


@pytest.fixture(scope="module")
def read_data(data_dir, tmp_path_factory):
    """The small corpus, and `read` of five recordings by two speakers and others."""
    folder = tmp_path_factory.mktemp("nuisance")
    for number in range(len(SPEAKERS)):
        noise = np.random.default_rng(number).normal(0, 0.1 * (number + 1), 16_000).clip(-1, 1)
        soundfile.write(folder / f"{number}.wav", noise, 16_000)
    rows = "".join(f"{number}.wav,{speaker}\n" for number, speaker in enumerate(SPEAKERS))
    (folder / "read.csv").write_text("path,speaker\n" + rows)
    shutil.copytree(data_dir, folder / "data", ignore=shutil.ignore_patterns("outputs"))
    prepare(data_dir=folder / "data", manifest=folder / "read.csv", name="read")
    return folder / "data"


def run(data_dir, workdir, *settings, devices=1):
    fold = fine_tuned(config_of(data_dir, *RIDGE, *settings), workdir, devices=devices)
    return load_params(fold)["category"]["output"]["kernel"]


def test_nuisance_when_recordings_are_long_then_their_start_counts(read_data, tmp_path):
    noise = np.random.default_rng(0).normal(0, 0.1, (2, 33 * 16_000)).clip(-1, 1)
    for number, wave in enumerate(noise):
        soundfile.write(tmp_path / f"{number}.flac", wave, 16_000)
        soundfile.write(tmp_path / f"start{number}.flac", wave[: 30 * 16_000], 16_000)
    for name, start in (("whole", ""), ("start", "start")):
        rows = "".join(f"{start}{number}.flac,{number}\n" for number in (0, 1))
        (tmp_path / f"{name}.csv").write_text("path,speaker\n" + rows)
        prepare(data_dir=read_data, manifest=tmp_path / f"{name}.csv", name=name)
    whole, start = (
        run(read_data, tmp_path / name, f"solver.nuisance_corpora={name}")
        for name in ("whole", "start")
    )
    np.testing.assert_allclose(whole, start, rtol=1e-5, atol=1e-7)


def test_speakers_when_some_are_unknown_then_their_rows_are_one_each():
    assert [one.tolist() for one in rows_of_speakers(Source(*SPEAKERS))] == [[0, 3], [1], [2], [4]]
    assert [one.tolist() for one in rows_of_speakers(Source("x", "x", "x"))] == [[0], [1], [2]]
    assert len(rows_of_speakers(Source(*map(str, range(5000))))) == 4096
    with pytest.raises(UserError, match="read, which has a single utterance"):
        rows_of_speakers(Source("x"))


def test_deviations_when_rows_come_in_parts_then_those_of_the_speakers_means():
    vectors = np.random.default_rng(0).normal(size=(5, 3)).astype(np.float32)
    speakers = [np.array([0, 3]), np.array([1]), np.array([2]), np.array([4])]
    order = np.array([0, 3, 1, 2, 4])
    found = deviations(speakers, [(order[:3], vectors[order[:3]]), (order[3:], vectors[order[3:]])])
    means = np.stack([vectors[[0, 3]].mean(0), vectors[1], vectors[2], vectors[4]])
    np.testing.assert_allclose(found, means - means.mean(0), atol=1e-6)


def test_ridge_when_nuisance_weighs_much_then_speakers_of_it_get_the_same_answer(
    read_data, tmp_path
):
    small = run(read_data, tmp_path / "small", NUISANCE, "solver.nuisance_weights=1e-9")
    plain = run(read_data, tmp_path / "plain")
    np.testing.assert_allclose(small, plain, atol=1e-4 * np.abs(plain).max())
    found = run(read_data, tmp_path / "run", NUISANCE, "solver.nuisance_weights=1e6")
    assert np.abs(found - plain).max() > 0.01 * np.abs(plain).max()
    origin = json.loads((tmp_path / "run" / "origin.json").read_text())
    (listed,) = [one for one in origin if one["by"] == "nuisance"]
    assert (listed["corpus"], listed["labels_used"]) == ("read", False)
    assert listed["fingerprint"] and "licence" in listed
    eight = run(read_data, tmp_path / "eight", NUISANCE, "solver.nuisance_weights=1e6", devices=8)
    np.testing.assert_allclose(eight, found, atol=0.02 * np.abs(found).max())


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (("solver.kind=gradient",), "nuisance_corpora is for heads in closed form"),
        (("solver.nuisance_corpora=synthetic",), "synthetic is in data.corpora and in"),
        (("solver.nuisance_corpora=missing",), "missing"),
        (("domain.normalize=corpus",), "domain.normalize='corpus' changes the outputs"),
        (("baseline.kind=logistic", "heads.kind=linear"), "nuisance_corpora is for networks"),
    ],
)
def test_nuisance_when_it_makes_no_sense_then_user_error(read_data, tmp_path, settings, message):
    with pytest.raises(UserError, match=message):
        run(read_data, tmp_path / "run", NUISANCE, *settings)
