"""Runs that hear recorded noise: babble of real rooms over speech, and what is written about it."""

import json

import pytest

from sersl.config.schema import DataConfig, DistortionConfig, PretrainConfig
from sersl.corpora.prepare import prepare
from sersl.data.sources import CorpusSource
from sersl.runs.provenance import gather_origin
from sersl.runs.record import fingerprints
from tests.data import doubles
from tests.tiny_runs import arguments, run, values_of

SETTINGS = (
    *("train.num_steps=6", "checkpoint.every_steps=2", "distortion.noise_probability=1.0"),
    "distortion.noise_corpora=babble",
)


def test_origin_when_noise_and_rooms_are_recorded_then_they_are_listed(tmp_path):
    for name in ("alpha", "beta"):
        doubles.prepare(tmp_path, name, [8000, 9000])
    sources = [CorpusSource(tmp_path, "alpha")]
    config = PretrainConfig(
        data=DataConfig(data_dir=str(tmp_path), corpora=("alpha",)),
        distortion=DistortionConfig(
            noise_corpora=("beta", "alpha"), reverb_corpora=("beta",), noise_probability=1.0
        ),
    )
    listed = gather_origin(config, sources, weights=None)
    assert [(one["by"], one["corpus"], one["labels_used"]) for one in listed] == [
        ("noise", "beta", False),
        ("noise", "alpha", False),
        ("reverb", "beta", False),
    ]
    assert fingerprints(sources, listed) == {"alpha": "print-alpha", "beta": "print-beta"}
    assert list(fingerprints(sources, gather_origin(PretrainConfig(), sources, weights=None))) == [
        "alpha"
    ]


@pytest.mark.corpora
@pytest.mark.slow
def test_pretrain_when_babble_is_recorded_then_it_goes_on_identically_but_not_with_other_babble(
    data_dir, corpora_dir, tmp_path
):
    files = sorted((corpora_dir / "picovoice" / "audio").iterdir())[:6]
    data = tmp_path / "data"
    data.mkdir()
    (data / "synthetic").symlink_to(data_dir / "synthetic")

    def record(chosen):
        (tmp_path / "babble.csv").write_text("\n".join(["path", *map(str, chosen)]) + "\n")
        prepare(
            data_dir=data,
            manifest=tmp_path / "babble.csv",
            name="babble",
            allow_outside_paths=True,
            overwrite=True,
        )

    record(files)
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    code, out, err = run(arguments("pretrain", data, whole, *SETTINGS))
    assert code == 0, out + err
    (noise,) = json.loads((whole / "origin.json").read_text())
    assert (noise["by"], noise["corpus"]) == ("noise", "babble")
    words = arguments("pretrain", data, broken, *SETTINGS)
    code, out, err = run(words, action="kill", at=4)
    assert code == -9, out + err
    record(files[:3])
    code, out, err = run(words)
    assert code == 2 and "other records of corpus babble" in err, out + err
    record(files)
    code, out, err = run(words)
    assert code == 0 and "resumed from" in out, out + err
    assert values_of(broken) == values_of(whole)
    quiet = arguments("pretrain", data, tmp_path / "quiet", "train.num_steps=6")
    code, out, err = run(quiet)
    assert code == 0, out + err
    assert values_of(tmp_path / "quiet")[0]["loss"] != values_of(whole)[0]["loss"]


def test_pretrain_when_the_noise_is_not_prepared_then_a_sentence(data_dir, tmp_path):
    code, out, err = run(arguments("pretrain", data_dir, tmp_path / "run", *SETTINGS))
    assert code == 2 and "babble" in err and "sersl prepare" in err, out + err
    assert len(err.strip().splitlines()) == 1 and not (tmp_path / "run" / "config.json").exists()
