"""The strength network and its loss against plain NumPy, and that it learns."""

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from sersl.annotation.fitted import name_parameters, put_parameters
from sersl.annotation.strength import (
    StrengthInput,
    StrengthNetwork,
    StrengthOutput,
    active_frames,
    strength_input,
)
from sersl.annotation.strength_training import (
    Example,
    StrengthTargets,
    strength_loss,
    train_strength,
)
from sersl.config.annotation import StrengthConfig
from sersl.core.errors import UserError
from sersl.core.lengths import num_frames, num_samples
from tests.tolerances import FP32, FP32_DEEP, GRADIENT

NANO = dataclasses.replace(
    StrengthConfig(),
    num_mels=8,
    width=6,
    num_convolutions=1,
    recurrent=4,
    batch=8,
    crop_seconds=0.5,
)


def heard(T=12, seed=0, lengths=(12, 7)):
    rng = np.random.default_rng(seed)
    valid = np.arange(T) < np.array(lengths)[:, None]
    features = np.where(valid[..., None], rng.normal(size=(len(lengths), T, 16)), 0)
    active = valid & (rng.random((len(lengths), T)) < 0.7)
    return StrengthInput(
        jnp.asarray(features, jnp.float32), jnp.asarray(valid), jnp.asarray(active)
    )


def network(config=NANO, num_categories=3):
    model = StrengthNetwork(config, num_categories=num_categories, key=jax.random.key(1))
    if num_categories:  # 0 at the start
        model.added.kernel[...] = jax.random.normal(jax.random.key(2), model.added.kernel.shape)
    return model


def numpy_network(p, features, active, told=-1):
    """One utterance without padding, [T, 16], in float64."""
    sigmoid = lambda x: 1 / (1 + np.exp(-x))  # noqa: E731

    def norm(x, name):
        y = (x - x.mean(1, keepdims=True)) / np.sqrt(x.var(1, keepdims=True) + 1e-5)
        return y * p[f"{name}.scale"] + p[f"{name}.bias"]

    def lstm(x, name):
        hidden, cell, out = np.zeros(4), np.zeros(4), []
        for gates in x @ p[f"{name}.input.kernel"] + p[f"{name}.input.bias"]:
            gates = gates + hidden @ p[f"{name}.recurrent"]
            enter, forget, new, leave = np.split(gates, 4)
            cell = sigmoid(forget + 1) * cell + sigmoid(enter) * np.tanh(new)
            hidden = sigmoid(leave) * np.tanh(cell)
            out.append(hidden)
        return np.array(out)

    x = features.astype(np.float64) @ p["enter.kernel"] + p["enter.bias"]
    y = np.pad(norm(x, "convolutions.0.norm"), ((1, 1), (0, 0)))
    y = sum(y[k : k + len(x)] @ p["convolutions.0.kernel"][k] for k in range(3))
    y = y + p["convolutions.0.bias"]
    tanh = np.tanh(math.sqrt(2 / math.pi) * (y + 0.044715 * y**3))
    x = x + 0.5 * y * (1 + tanh)
    x = norm(np.concatenate([lstm(x, "forward"), lstm(x[::-1], "backward")[::-1]], 1), "norm")
    category = x[active].mean(0) @ p["category.kernel"] + p["category.bias"]
    chances = np.exp(category) / np.exp(category).sum() if told < 0 else np.eye(3)[told]
    added = (x @ p["added.kernel"] + p["added.bias"]) @ chances
    frames = sigmoid((x @ p["strength.kernel"] + p["strength.bias"])[:, 0] + added)
    return frames, frames[active].mean(), category


def test_strength_network_is_that_of_plain_numpy_and_padding_changes_nothing():
    model, given = network(), heard()
    parameters = name_parameters(nnx.split(model)[1])
    for told in (None, (2, -1)):
        output = model(given, known=None if told is None else jnp.array(told))
        for row, length in enumerate((12, 7)):
            features, active = (np.asarray(x[row, :length]) for x in (given.features, given.active))
            frames, utterance, category = numpy_network(
                parameters, features, active, told[row] if told else -1
            )
            np.testing.assert_allclose(output.frames[row, :length], frames, **FP32_DEEP)
            np.testing.assert_allclose(output.utterance[row], utterance, **FP32_DEEP)
            np.testing.assert_allclose(output.category[row], category, **FP32_DEEP)
        assert not output.frames[1, 7:].any()
    silent = given._replace(active=jnp.zeros((2, 12), bool))
    assert not model(silent).utterance.any() and np.isfinite(model(silent).category).all()


def test_what_intensities_teach_is_not_which_category_is_heard():
    model, given = network(), heard()
    graph, state = nnx.split(model)

    def error(state, told):
        output = nnx.merge(graph, state)(given, known=told)
        return jnp.abs(output.utterance - 0.9).sum()

    for told in (None, jnp.array([1, 1])):
        gradient = jax.grad(error)(state, told)
        assert not np.asarray(gradient["category"]["kernel"][...]).any()
        moved = np.asarray(gradient["added"]["kernel"][...]).any(0)
        assert moved.tolist() == [told is None, True, told is None]


def test_before_any_training_all_categories_are_heard_alike():
    model = StrengthNetwork(NANO, num_categories=3, key=jax.random.key(1))
    frames = [model(heard(), known=jnp.full(2, category)).frames for category in (-1, 0, 2)]
    np.testing.assert_array_equal(frames[0], frames[1])
    np.testing.assert_array_equal(frames[0], frames[2])


def test_parameters_by_name_come_back_and_wrong_ones_are_refused():
    graph, state = nnx.split(network())
    tensors = name_parameters(state)
    again = nnx.merge(graph, put_parameters(state, tensors))
    np.testing.assert_array_equal(again(heard()).frames, network()(heard()).frames)
    with pytest.raises(ValueError, match=r"\['enter.bias'\] are missing"):
        put_parameters(state, {k: v for k, v in tensors.items() if k != "enter.bias"})
    with pytest.raises(ValueError, match=r"enter.bias has shape \(2,\)"):
        put_parameters(state, tensors | {"enter.bias": np.zeros(2)})


def test_strength_loss_and_gradient_are_those_of_plain_numpy():
    given = heard()
    rng = np.random.default_rng(2)
    frames, utterance = rng.random((2, 12)), rng.random(2)
    category = rng.normal(size=(2, 3))
    config = dataclasses.replace(NANO, frame_weight=0.5, category_weight=0.25)
    active, valid = np.asarray(given.active), np.asarray(given.valid)

    def reference(frames, utterance, category):
        wanted = np.where(active[0], 0.8, 0.0)  # the other row's intensity is not known
        log_share = category[1] - np.log(np.exp(category[1]).sum())
        terms = (
            abs(utterance[0] - 0.8),
            np.abs(frames[0] - wanted)[valid[0]].mean(),
            -log_share[2],
        )
        return terms, terms[0] + 0.5 * terms[1] + 0.25 * terms[2]

    targets = StrengthTargets(jnp.array([0.8, jnp.nan]), jnp.array([-1, 2]))

    def function(*outputs):
        return strength_loss(StrengthOutput(*outputs), given, targets, config)

    outputs = [jnp.asarray(x, jnp.float32) for x in (frames, utterance, category)]
    (value, terms), gradient = jax.value_and_grad(function, argnums=(0, 1, 2), has_aux=True)(
        *outputs
    )
    gradient = [np.asarray(x) for x in gradient]
    expected, total = reference(frames, utterance, category)
    np.testing.assert_allclose(value, total, **FP32)
    np.testing.assert_allclose(
        [terms[k] for k in ("utterance", "frames", "category")], expected, **FP32
    )
    for i, array in enumerate((frames, utterance, category)):
        for at in np.ndindex(*array.shape):
            sides = []
            for step in (1e-5, -1e-5):
                moved = [x.copy() for x in (frames, utterance, category)]
                moved[i][at] += step
                sides.append(reference(*moved)[1])
            numeric = (sides[0] - sides[1]) / 2e-5
            np.testing.assert_allclose(gradient[i][at], numeric, **GRADIENT)
    nothing = StrengthTargets(jnp.full(2, jnp.nan), jnp.array([-1, -1]))
    assert strength_loss(StrengthOutput(*outputs), given, nothing, config)[0] == 0


def test_active_frames_are_those_near_the_loud_ones_and_none_in_silence():
    level = np.full((2, 40), -10.0)
    level[0, 10:30] = np.linspace(-2, 2, 20)
    level[0, 15] = 2 - 6.5  # 28 dB below
    level[0, 16] = 2 - 7.5  # 33 dB below
    level[1] = np.log(1e-6) + 0.5
    found = np.asarray(active_frames(jnp.asarray(level), jnp.ones((2, 40), bool)))
    assert found[0].nonzero()[0].tolist() == [*range(10, 16), *range(17, 30)]
    assert not found[1].any()


def test_strength_input_does_not_depend_on_padding():
    rng = np.random.default_rng(0)
    sound = 0.1 * rng.normal(size=num_samples(30)).astype(np.float32)
    padded = np.ones((1, num_samples(50)), np.float32)
    padded[0, : len(sound)] = sound
    alone = strength_input(jnp.asarray(sound[None]), jnp.array([len(sound)]), num_mels=8)
    beside = strength_input(jnp.asarray(padded), jnp.array([len(sound)]), num_mels=8)
    np.testing.assert_allclose(beside.features[:, :30], alone.features, **FP32)
    assert beside.valid.sum() == 30 and not beside.features[:, 30:].any()
    np.testing.assert_array_equal(beside.active[:, :30], alone.active)


def tone_examples(count=24):
    """Noise whose level is its intensity, and short ones that are left out."""
    rng = np.random.default_rng(0)
    examples = []
    for i in range(count):
        intensity = i / (count - 1)
        sound = (10 ** (-2 + 1.5 * intensity) * rng.normal(size=9000)).astype(np.float32)
        read = lambda start, n, sound=sound: sound[start : start + n]  # noqa: E731
        moments = (np.full(16, -3, np.float32), np.full(16, 3, np.float32))
        examples.append(Example(read, len(sound), intensity, i % 2, *moments))
    return [*examples, dataclasses.replace(examples[0], num_samples=100)]


def test_train_strength_on_noise_of_several_levels_learns_the_level():
    config = dataclasses.replace(NANO, num_steps=60, learning_rate=2e-2, dropout=0.0)
    seen = []
    model = train_strength(
        tone_examples(), config, num_categories=2, progress=lambda *at: seen.append(at)
    )
    assert seen[-1][:2] == (60, 60) and seen[-1][2]["utterance"] < 0.12
    found = []
    for example in tone_examples()[:-1]:
        sound = jnp.asarray(example.read(0, 8080)[None])
        given = strength_input(sound, jnp.array([8080]), num_mels=8)
        found.append(float(model(given._replace(features=(given.features + 3) / 3)).utterance[0]))
    assert np.corrcoef(found, np.linspace(0, 1, 24))[0, 1] > 0.95
    assert num_frames(8080) == 25


def test_train_strength_without_a_known_intensity_says_so():
    unknown = [dataclasses.replace(e, intensity=math.nan) for e in tone_examples(3)]
    with pytest.raises(UserError, match="no utterance has a known intensity: fit a ranker"):
        train_strength(unknown, NANO, num_categories=2)
