"""A model answers in the process that loaded it; elsewhere, or with NaN, it gives a sentence."""

import dataclasses
import multiprocessing
import os
import signal

import jax
import numpy as np
import pytest

from sersl.core.errors import UserError
from sersl.release.folder import read_model
from sersl.release.predict.outputs import UNREADABLE
from sersl.release.predict.predictor import Model, load
from tests.release import fake_model

NOISE = 0.1 * np.random.default_rng(0).normal(size=16_000).astype(np.float32)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return fake_model.write_fake(tmp_path_factory.mktemp("models") / "model")


def in_a_fork(work):
    """The sentence of the UserError that work raises in a forked child; "" for none."""
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        signal.alarm(60)  # ends a child that hangs
        try:
            work()
            said = "an answer"
        except UserError as error:
            said = str(error)
        os.write(writing, said.encode())
        os._exit(0)
    os.close(writing)
    with open(reading) as file:
        said = file.read()
    os.waitpid(child, 0)
    return said


@pytest.mark.filterwarnings("ignore:.*fork")
def test_model_when_loaded_before_a_fork_then_a_sentence_instead_of_a_hang(folder):
    model = load(folder)
    model.predict(NOISE, sample_rate=16_000)
    for work in (
        lambda: model.predict(NOISE, sample_rate=16_000),
        lambda: model.embed(NOISE, sample_rate=16_000, layers="all"),
        lambda: load(folder),
    ):
        assert "get_context('spawn')" in in_a_fork(work)
    assert model.predict(NOISE, sample_rate=16_000)["status"] == "no_speech"


def _answer(folder):
    return load(folder).predict(NOISE, sample_rate=16_000)["scores"]


def test_model_when_loaded_in_a_spawned_process_then_answers_alike(folder):
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        found = pool.apply(_answer, (folder,))
    assert found == pytest.approx(_answer(folder), abs=1e-6)


def with_weights(folder, change):
    released = read_model(folder)
    return Model(dataclasses.replace(released, params=jax.tree.map(change, released.params)))


def test_model_when_its_weights_overflow_then_no_nan_is_given(folder):
    model = with_weights(folder, lambda array: np.sign(array) * np.float32(3e38))
    (answer,) = model.answers([NOISE], sample_rate=16_000)
    assert answer.status == UNREADABLE
    assert answer.error.startswith("the scores of the model are NaN or infinite")
    assert not answer.rows
    with pytest.raises(UserError, match="NaN or infinite"):
        model.predict(NOISE, sample_rate=16_000)
    for layers in (None, "last", "all"):
        with pytest.raises(UserError, match="NaN or infinite"):
            model.embed(NOISE, sample_rate=16_000, layers=layers)


def test_model_when_trained_with_the_attention_of_a_gpu_then_answers_without_one(folder):
    released = read_model(folder)
    encoder = dataclasses.replace(released.architecture.encoder, attention="cudnn")
    architecture = dataclasses.replace(released.architecture, encoder=encoder)
    answer = Model(dataclasses.replace(released, architecture=architecture)).predict(
        NOISE, sample_rate=16_000
    )
    assert answer["scores"] == pytest.approx(_answer(folder), abs=1e-6)
