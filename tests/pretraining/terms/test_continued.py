"""Objectives of continued pretraining, and parameters that are frozen or slow by pattern."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from sersl.config.load import from_mapping
from sersl.config.schema import PretrainConfig
from sersl.core.errors import UserError
from sersl.models.acoustic.functional_scales import CENTRES, SCALES
from sersl.models.acoustic.functionals import FUNCTIONALS, utterance_functionals
from sersl.models.encoder import SpeechEncoder
from sersl.objectives.anchor import anchor
from sersl.objectives.whole_batch import collecting, knowing
from sersl.parallel.random import run_key
from sersl.pretraining.task import PretrainTask
from sersl.pretraining.terms.continued import mean_and_deviation
from sersl.pretraining.trained_weights import optimizer_of
from sersl.runs.initial_weights import InitialWeights, with_sizes
from sersl.training.task import StepContext
from tests.pretraining.terms.spread import assert_same_on_eight_devices
from tests.pretraining.terms.test_terms_utterances import SMALL, B, batch_of
from tests.tolerances import FP32, LOSS_ACROSS_MESHES

SIDE = {
    "encoder": {**SMALL["encoder"], "side_layers": 1, "side_from": 1},
    "frontend": SMALL["frontend"],
    "masking": {"rule": "none"},
    "frozen_teachers": ("start",),
    "objectives": {"functionals": {"weight": 1.0, "hidden": 8}, "anchor": {"weight": 1.0}},
    "unfreeze": (("encoder/context/side.*", 0), ("encoder/.*", -1), (".*", 0)),
}


def config_of(**more) -> PretrainConfig:
    return from_mapping(PretrainConfig, {**SIDE, **more})


def start_of(config: PretrainConfig, seed: int = 5) -> InitialWeights:
    """A start without a side branch."""
    encoder = dataclasses.replace(config.encoder, side_layers=0, side_from=0)
    plain = dataclasses.replace(
        config,
        encoder=encoder,
        frozen_teachers=(),
        unfreeze=((".*", 0),),
        objectives=from_mapping(
            PretrainConfig, {"objectives": {"functionals": {"weight": 1.0}}}
        ).objectives,
    )
    plain = dataclasses.replace(plain, train=dataclasses.replace(plain.train, seed=seed))
    params = nnx.to_pure_dict(nnx.split(PretrainTask(plain).make_model())[1])
    return InitialWeights({"encoder": params["encoder"]}, plain.frontend, encoder, "start")


def run_of(config: PretrainConfig):
    start = start_of(config)
    task = PretrainTask(config, frozen=[start] if config.frozen_teachers else [])
    params = nnx.to_pure_dict(nnx.split(task.make_model())[1])

    def loss(params, batch):
        context = StepContext(None, {"frozen": {0: start.params["encoder"]}}, 0, run_key(1, "s"))
        value, metrics = task.loss(params, batch, context)
        return value, {name: mean.value() for name, mean in metrics.items()}

    return task, params, jax.jit(jax.value_and_grad(loss, has_aux=True))


def test_anchor_when_compared_with_numpy_then_equal():
    rng = np.random.default_rng(0)
    states, targets = rng.normal(size=(2, 3, 2, 5, 4)).astype(np.float32)
    weights = np.array([[1, 1, 1, 0, 0], [1, 1, 2, 1, 1]], np.float32)
    total = weight = 0.0
    for b in range(2):
        for t in range(5):
            distances = [
                ((states[i, b, t] - targets[i, b, t]) ** 2).mean() / (targets[i, b, t].var() + 1e-5)
                for i in range(3)
            ]
            total += weights[b, t] * np.mean(distances)
            weight += weights[b, t]
    loss, found = anchor(states, targets, weights=weights)
    np.testing.assert_allclose(loss, total / weight, **FP32)
    np.testing.assert_allclose(found["anchor"].value(), total / weight, **FP32)
    padded = np.where(weights[None, :, :, None] == 0, np.nan, states)
    np.testing.assert_allclose(anchor(padded, targets, weights=weights)[0], loss, **FP32)


def test_mean_and_deviation_when_compared_with_numpy_then_equal_and_blind_to_padding():
    hidden = np.random.default_rng(0).normal(size=(2, 5, 3)).astype(np.float32)
    valid = np.arange(5) < np.array([[5], [3]])
    found = mean_and_deviation(jnp.asarray(np.where(valid[..., None], hidden, 99.0)), valid)
    for row, count in enumerate((5, 3)):
        real = hidden[row, :count]
        expected = np.concatenate([real.mean(0), np.sqrt(real.var(0) + 1e-5)])
        np.testing.assert_allclose(found[row], expected, **FP32)


def test_functionals_when_head_predicts_the_mean_of_speech_then_the_loss_is_their_distance():
    config = config_of(frozen_teachers=(), objectives={"functionals": {"weight": 1.0, "hidden": 8}})
    _, params, run = run_of(config)
    params["functionals"] = jax.tree.map(jnp.zeros_like, params["functionals"])
    batch = batch_of()
    (value, _), _ = run(params, batch)
    waveform = jnp.where(batch["valid"], batch["waveform"], 0.0)
    values = np.asarray(utterance_functionals(waveform, batch["valid"].sum(1)))
    assert values.shape == (B, len(FUNCTIONALS))
    expected = np.abs(np.clip((values - CENTRES) / SCALES, -5, 5)).mean()
    np.testing.assert_allclose(value, expected, **FP32)


def test_continued_when_gradient_is_followed_then_the_branch_learns_and_the_start_stays():
    config = config_of()
    task, params, run = run_of(config)
    start = start_of(config)
    params["encoder"] = {**params["encoder"], **start.params["encoder"]} | {
        "context": {**params["encoder"]["context"], **start.params["encoder"]["context"]}
    }
    optimizer = optimizer_of(config, task)
    batch = batch_of()
    state, first, losses = optimizer.init(params), params, []
    for _ in range(4):
        (value, metrics), gradient = run(params, batch)
        losses.append(float(value))
        updates, state = optimizer.update(gradient, state, params)
        params = jax.tree.map(jnp.add, params, updates)
    assert losses[-1] < losses[0]
    assert 0.0 < metrics["anchor"] < 0.1
    for name, before in first["encoder"]["context"].items():
        pairs = zip(
            *map(jax.tree.leaves, (before, params["encoder"]["context"][name])), strict=True
        )
        assert all(np.array_equal(a, b) for a, b in pairs) != name.startswith("side"), name


@pytest.mark.parametrize("onto", [0, 2])
def test_anchor_when_there_is_a_side_branch_then_its_distance_to_what_it_starts_as(onto):
    config = config_of(frozen_teachers=())
    encoder = dataclasses.replace(config.encoder, side_onto=onto)
    config = dataclasses.replace(config, encoder=encoder)
    _, params, run = run_of(config)
    batch = batch_of()
    (_, metrics), _ = run(params, batch)  # a branch starts as what it reads
    np.testing.assert_allclose(metrics["anchor"], 0.0, atol=1e-6)

    side = params["encoder"]["context"]["side"][0]
    drawn = np.random.default_rng(0).normal(size=side["mlp_out"]["kernel"].shape)
    side["mlp_out"]["kernel"] = jnp.asarray(drawn, jnp.float32)
    (_, metrics), _ = run(params, batch)
    encoder = SpeechEncoder(config.frontend, config.encoder, key=jax.random.key(0))
    encoder = nnx.merge(nnx.graphdef(encoder), nnx.State(params["encoder"]))
    found = encoder(batch["waveform"], batch["valid"])
    states = np.asarray(found.hidden_states, np.float64)

    def standard(one):
        return (one - one.mean(-1, keepdims=True)) / (one.std(-1, keepdims=True) + 1e-9)

    start = standard(states[1])
    if onto:
        start = standard(standard(states[onto]) + 0.5 * start)
    error = np.square(standard(states[3]) - start).mean(-1)
    assert error.mean() > 0.1
    np.testing.assert_allclose(metrics["anchor"], error[np.asarray(found.valid)].mean(), rtol=1e-3)


def test_continued_when_rows_are_spread_over_eight_devices_then_the_loss_of_one():
    _, params, run = run_of(config_of())
    batch = batch_of()
    assert_same_on_eight_devices(run, params, batch)


def test_continued_when_the_batch_comes_in_parts_then_the_loss_of_the_whole():
    config = config_of()
    task, params, run = run_of(config)
    (whole, _), _ = run(params, batch_of())
    start = start_of(config)
    halves = [{name: array[i::2] for name, array in batch_of().items()} for i in range(2)]

    def loss(batch):
        context = StepContext(None, {"frozen": {0: start.params["encoder"]}}, 0, run_key(1, "s"))
        return task.loss(params, batch, context)[0]

    sums = []
    for half in halves:
        with collecting(2) as found:
            loss(half)
        sums.append(list(found))
    totals = [a + b for a, b in zip(*sums, strict=True)]
    values = []
    for half in halves:
        with knowing(2, totals):
            values.append(loss(half))
    np.testing.assert_allclose(np.mean(values), whole, **LOSS_ACROSS_MESHES)


def test_continued_when_start_has_no_branch_then_sizes_come_from_it_and_the_branch_is_added():
    config = config_of()
    other = dataclasses.replace(
        config, encoder=dataclasses.replace(config.encoder, num_layers=7, width=64)
    )
    found = with_sizes(other, start_of(config)).encoder
    assert (found.num_layers, found.width, found.side_layers, found.side_from) == (2, 16, 1, 1)
    assert found.last_layer == 3


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (
            {"frozen_teachers": (), "encoder": SMALL["encoder"], "unfreeze": ((".*", 0),)},
            "objectives.anchor needs the start as a frozen teacher",
        ),
        (
            {"encoder": {**SMALL["encoder"], "num_layers": 3}, "unfreeze": ((".*", 0),)},
            "has 2 layers of width 16 where",
        ),
        ({"unfreeze": (("encoder/side.*", 0), (".*", 0))}, "first match of no parameter"),
        ({"rate_scales": (("encoder/.*", 0.1),)}, "rate_scales: no pattern matches"),
    ],
)
def test_continued_when_settings_make_no_sense_then_one_sentence(more, words):
    start = start_of(config_of())
    config = config_of(**more)
    with pytest.raises(UserError, match=words) as caught:
        task = PretrainTask(config, frozen=[start] if config.frozen_teachers else [])
        optimizer_of(config, task)
    assert "\n" not in str(caught.value)
