"""Passes with dropout: seeded, different, around the prediction, and refused without dropout."""

import dataclasses

import numpy as np
import pytest

from sersl.core.errors import UserError
from sersl.release.folder import write_model
from sersl.release.predict.dropout import check_dropout, dropout_passes
from sersl.release.predict.predictor import load
from tests.release import fake_model

RATE = 16_000


def waveforms():
    time = np.arange(RATE) / RATE
    return [(0.2 * np.sin(f * time) * np.sin(9 * time)).astype(np.float32) for f in (900, 1700)]


def test_passes_when_seeded_then_equal_again_and_spread_around_the_prediction(tmp_path):
    model = load(fake_model.write_fake(tmp_path / "model", heads={"dropout": 0.3}))
    check_dropout(model)
    sources = [waveforms()[0], np.zeros(RATE, np.float32), waveforms()[1]]
    first, again, other = (
        list(dropout_passes(model, sources, num_passes=64, seed=seed, sample_rate=RATE))
        for seed in (5, 5, 6)
    )
    assert first[1] is None  # silence has no scores
    for row in (0, 2):
        assert first[row].shape == (64, 4)
        np.testing.assert_allclose(first[row].sum(axis=1), 1, atol=1e-5)
        np.testing.assert_array_equal(first[row], again[row])
        assert np.abs(first[row] - other[row]).max() > 1e-3
        assert len(np.unique(first[row], axis=0)) > 32
        plain = list(model.predict(sources[row], sample_rate=RATE)["scores"].values())
        assert np.abs(first[row].mean(axis=0) - plain).max() < 0.35


def test_passes_when_the_model_has_no_dropout_then_refused(tmp_path):
    config = fake_model.make_config()
    without = {
        part: dataclasses.replace(
            getattr(config, part),
            **{
                field.name: 0.0
                for field in dataclasses.fields(getattr(config, part))
                if "drop" in field.name
            },
        )
        for part in ("frontend", "encoder", "heads")
    }
    config = dataclasses.replace(config, **without)
    folder = write_model(
        tmp_path / "model",
        params=fake_model.make_params(config),
        config=config,
        categories=fake_model.NAMES,
        dimensions=fake_model.DIMENSIONS,
        results=None,
        corpora=fake_model.CORPORA,
    )
    with pytest.raises(UserError, match="trained without dropout"):
        check_dropout(load(folder))
