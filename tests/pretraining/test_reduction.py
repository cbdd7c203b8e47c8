"""Smaller copies of a Whisper encoder: the parts against references, and a run that starts so."""

import dataclasses

import jax
import numpy as np
import pytest
from flax import nnx

from sersl.config.load import load_config
from sersl.config.schema import EncoderConfig, FrontendConfig, PretrainConfig
from sersl.core.errors import UserError
from sersl.core.lengths import num_samples
from sersl.models.encoder import SpeechEncoder
from sersl.pretraining.reduction import (
    choose,
    first_layers,
    least_squares,
    reduce_encoder,
    reduced_encoder,
)
from sersl.pretraining.run import pretrain
from sersl.runs.checkpoint import load_params
from sersl.training.loop import Preempted
from tests.finetuning.test_kept_outputs import weights_of
from tests.tiny_runs import ROOT, never, values_of

ONE = jax.devices()[:1]
WHISPER = FrontendConfig(kind="whisper", num_mels=20, window_seconds=0.0)
LARGE = {"width": 32, "num_heads": 4, "mlp_width": 64, "num_layers": 2, "max_frames": 200}
SMALL = {"width": 16, "num_heads": 2, "mlp_width": 24, "num_layers": 1}


@pytest.fixture(scope="module")
def start():
    return weights_of(frontend=WHISPER, positions="learned", key_bias=False, **LARGE)


def audio(num_rows=12, num_frames=50):
    """Noise of changing loudness and colour; rows of different length."""
    rng = np.random.default_rng(0)
    noise = rng.normal(size=(num_rows, num_samples(num_frames)))
    smooth = np.cumsum(noise, axis=1) / 30
    share = np.linspace(0, 1, num_rows)[:, None]
    level = 0.05 + 0.1 * np.abs(np.sin(np.arange(noise.shape[1]) / 3000 + 9 * share))
    waveform = level * (share * noise + (1 - share) * (smooth - smooth.mean(1, keepdims=True)))
    lengths = np.linspace(noise.shape[1] // 2, noise.shape[1], num_rows).astype(int)
    valid = np.arange(noise.shape[1]) < lengths[:, None]
    return np.where(valid, waveform, 0).astype(np.float32), valid


def states_of(weights, waveform, valid):
    encoder = SpeechEncoder(weights.frontend, weights.encoder, key=jax.random.key(0))
    graph, _ = nnx.split(encoder)
    output = nnx.merge(graph, nnx.State(weights.params["encoder"]))(waveform, valid)
    return np.asarray(output.hidden_states), np.asarray(output.valid)


def test_least_squares_when_compared_with_numpy_then_equal():
    rng = np.random.default_rng(0)
    inputs, targets = (rng.normal(size=(500, n)).astype(np.float32) + 2 for n in (6, 3))
    targets += inputs @ rng.normal(size=(6, 3)).astype(np.float32)
    kernel, bias = least_squares(inputs, targets)
    wanted = np.linalg.lstsq(np.c_[inputs, np.ones(500)], targets, rcond=None)[0]
    np.testing.assert_allclose(kernel, wanted[:6], atol=1e-3)
    np.testing.assert_allclose(bias, wanted[6], atol=1e-2)
    kernel, bias = least_squares(inputs, targets, bias=False)
    wanted = np.linalg.lstsq(inputs, targets, rcond=None)[0]
    np.testing.assert_allclose(kernel, wanted, atol=1e-2)
    np.testing.assert_array_equal(bias, 0)


def test_choose_when_compared_with_regressions_on_the_chosen_then_the_least_explained_comes_next():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(400, 8)) @ rng.normal(size=(8, 8))
    x -= x.mean(0)
    chosen = []
    for _ in range(4):
        own = x[:, chosen]
        left = x - own @ np.linalg.lstsq(own, x, rcond=None)[0] if chosen else x
        variance = left.var(0)
        variance[chosen] = -1
        chosen.append(int(variance.argmax()))
    np.testing.assert_array_equal(choose(x.T @ x / len(x), 4), sorted(chosen))


@pytest.mark.parametrize("units", [64, 63])
def test_reduction_when_sizes_stay_the_same_or_nearly_so_then_the_hidden_states_do(start, units):
    sizes = dataclasses.replace(start.encoder, mlp_width=units)
    waveform, valid = audio()
    said: list[str] = []
    encoder = reduced_encoder(start, sizes)
    found = first_layers(start, encoder)
    if found is None:
        found = reduce_encoder(start, encoder, waveform, valid, said.append)
    whole = dataclasses.replace(start, encoder=dataclasses.replace(start.encoder, final_norm=False))
    params = {**start.params["encoder"], "context": {**start.params["encoder"]["context"]}}
    del params["context"]["norm"]
    whole = dataclasses.replace(whole, params={"encoder": params})
    own, real = states_of(found, waveform, valid)
    wanted, _ = states_of(whole, waveform, valid)
    for layer in range(3):
        error = np.square(own[layer] - wanted[layer])[real].mean()
        assert error <= (units < 64) * 0.01 * wanted[layer][real].var(0).mean(), layer
    assert ("layer 2 reproduces" in "".join(said)) == (units < 64)


def test_reduction_when_smaller_then_weights_have_the_sizes_and_are_blind_to_padding(start):
    sizes = EncoderConfig(**SMALL)
    encoder = reduced_encoder(start, sizes)
    waveform, valid = audio()
    found = reduce_encoder(start, encoder, waveform, valid, [].append)
    shapes = jax.tree.map(np.shape, found.params["encoder"])
    assert shapes["frontend"]["conv2"]["kernel"] == (3, 16, 16)
    assert shapes["context"]["layers"][0]["mlp_in"]["kernel"] == (16, 24)
    noisy = np.where(valid, waveform, 0.5).astype(np.float32)
    other = reduce_encoder(start, encoder, noisy, valid, [].append)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5),
        found.params,
        other.params,
    )


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"width": 64, "num_heads": 8}, "encoder.width=64 is above the 32 of init_from"),
        ({"num_layers": 3}, "encoder.num_layers=3 is above the 2"),
        ({"num_heads": 4}, "a head of init_from='a test' has 8 channels, and encoder.width=16 has"),
    ],
)
def test_reduction_when_sizes_do_not_fit_then_one_sentence(start, changes, words):
    with pytest.raises(UserError, match=words) as caught:
        reduced_encoder(start, EncoderConfig(**{**SMALL, **changes}))
    assert "\n" not in str(caught.value)


def test_reduction_when_init_from_is_not_whisper_then_one_sentence():
    with pytest.raises(UserError, match="reduces Whisper encoders, and init_from='a test' is none"):
        reduced_encoder(weights_of(), EncoderConfig(**SMALL))


def test_student_when_it_starts_from_a_smaller_copy_then_it_learns_and_resumes(
    data_dir, start, tmp_path
):
    settings = [f"encoder.{name}={value}" for name, value in SMALL.items()]
    config = load_config(
        PretrainConfig,
        str(ROOT / "configs" / "pretrain" / "student.py") + ":nano_alone",
        [
            *(f"data.data_dir={data_dir}", "train.num_steps=4", "train.log_every_steps=1"),
            *("reduction.seconds=20", "encoder.kind=transformer", *settings),
        ],
    )
    pretrain(config, tmp_path / "whole", preempted=never, weights=start, devices=ONE)
    with pytest.raises(Preempted):
        pretrain(config, tmp_path / "run", preempted=lambda s: s == 2, weights=start, devices=ONE)
    pretrain(config, tmp_path / "run", preempted=never, weights=start, devices=ONE)
    pairs = [load_params(tmp_path / name) for name in ("whole", "run")]
    for a, b in zip(*map(jax.tree.leaves, pairs), strict=True):
        np.testing.assert_array_equal(a, b)
    assert [line["step"] for line in values_of(tmp_path / "run")] == [1, 2, 3, 4]
