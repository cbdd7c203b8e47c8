import jax
import jax.numpy as jnp
import numpy as np

from sersl.config.schema import TeacherConfig
from sersl.objectives.distill import (
    distill,
    ema_decay,
    ema_update,
    teacher_targets,
    utterance_distill,
    utterance_targets,
)
from tests.objectives.gradients import check_gradient
from tests.tolerances import FP32

B, T, D, L = 3, 8, 5, 4


def example():
    rng = np.random.default_rng(0)
    hidden_states = rng.normal(size=(L + 1, B, T, D)) * 3 + 1
    valid = np.arange(T) < np.array([8, 5, 0])[:, None]
    masked = valid & (rng.random((B, T)) < 0.6)
    return hidden_states, valid, masked, rng.normal(size=(B, T, D))


def test_teacher_targets_when_compared_with_loops_then_equal_and_zero_at_padding():
    hidden_states, valid, _, _ = example()
    for top_layers in (1, 2, 8):
        expected = np.zeros((B, T, D))
        layers = hidden_states[1:][-top_layers:]
        for b in (0, 1):
            real = layers[:, b, valid[b]]
            normal = (real - real.mean(1, keepdims=True)) / np.sqrt(
                real.var(1, keepdims=True) + 1e-5
            )
            expected[b, valid[b]] = normal.mean(0)
        targets = teacher_targets(hidden_states, valid, top_layers=top_layers)
        np.testing.assert_allclose(targets, expected, **FP32)


def test_distill_when_compared_with_numpy_then_equal():
    _, _, masked, predicted = example()
    target = np.random.default_rng(1).normal(size=predicted.shape)
    loss, metrics = distill(predicted, target, masked=masked)
    error = (predicted - target)[masked]
    np.testing.assert_allclose(loss, (error**2).sum(-1).mean() / np.sqrt(D), **FP32)
    variance = target[masked].var(0).mean()
    np.testing.assert_allclose(metrics["target_variance"].value(), variance, **FP32)
    variance = predicted[masked].var(0).mean()
    np.testing.assert_allclose(metrics["prediction_variance"].value(), variance, **FP32)


def test_distill_when_differentiated_then_only_the_student_gets_a_gradient():
    hidden_states, valid, masked, predicted = example()
    target = np.asarray(teacher_targets(hidden_states, valid, top_layers=2))
    check_gradient(lambda x: distill(x, target, masked=masked)[0], predicted)

    def loss(states):
        target = teacher_targets(states, valid, top_layers=2)
        return distill(predicted, target, masked=masked)[0]

    assert not np.asarray(jax.grad(loss)(hidden_states)).any()


def test_distill_when_output_is_constant_then_variance_is_zero():
    _, _, masked, predicted = example()
    _, metrics = distill(np.ones_like(predicted), predicted, masked=masked)
    assert metrics["prediction_variance"].value() == 0.0


def test_ema_decay_when_steps_pass_then_linear_then_constant():
    config = TeacherConfig(decay_start=0.9, decay_end=0.99, decay_steps=100)
    decays = [float(ema_decay(step, config)) for step in (0, 50, 100, 1000)]
    np.testing.assert_allclose(decays, [0.9, 0.945, 0.99, 0.99], rtol=1e-6)
    assert float(ema_decay(0, TeacherConfig(decay_steps=0))) == np.float32(0.999)


def test_ema_update_when_student_is_bfloat16_then_teacher_stays_float32():
    teacher = {"a": jnp.zeros(3), "b": {"c": jnp.full(2, 4.0)}}
    student = {"a": jnp.ones(3, jnp.bfloat16), "b": {"c": jnp.zeros(2)}}
    moved = ema_update(teacher, student, jnp.float32(0.75))
    assert moved["a"].dtype == jnp.float32
    np.testing.assert_allclose(moved["a"], 0.25)
    np.testing.assert_allclose(moved["b"]["c"], 3.0)


def test_utterance_targets_when_compared_with_loops_then_mean_of_standardised_frames():
    hidden_states, valid, _, _ = example()
    targets = np.asarray(utterance_targets(hidden_states, valid, top_layers=2))
    for b in (0, 1):
        frames = hidden_states[-2:, b, valid[b]]
        standard = (frames - frames.mean(-1, keepdims=True)) / np.sqrt(
            frames.var(-1, keepdims=True) + 1e-5
        )
        np.testing.assert_allclose(targets[b], standard.mean((0, 1)), **FP32)
    assert not targets[2].any()
    # What the instance norm of the frames' targets would leave of an utterance: nothing.
    frames = np.asarray(teacher_targets(hidden_states, valid, top_layers=2))
    np.testing.assert_allclose(frames[0].mean(0), 0.0, atol=1e-6)


def test_utterance_distill_when_compared_with_numpy_then_equal_and_differentiable():
    rng = np.random.default_rng(3)
    predicted, target = rng.normal(size=(2, B, D))
    rows = np.array([True, True, False])
    loss, metrics = utterance_distill(predicted, target, rows=rows)
    expected = np.square(predicted - target).sum(-1)[:2].mean() / np.sqrt(D)
    np.testing.assert_allclose(loss, expected, **FP32)
    for name, values in (("target", target), ("prediction", predicted)):
        variance = metrics[f"utterance_{name}_variance"].value()
        np.testing.assert_allclose(variance, values[:2].var(0).mean(), **FP32)
    check_gradient(lambda x: utterance_distill(x, target, rows=rows)[0], predicted)
    gradient = jax.grad(lambda x: utterance_distill(predicted, x, rows=rows)[0])(target)
    assert not np.asarray(gradient).any()


def test_utterance_distill_when_there_is_one_row_or_none_then_finite_and_no_variance():
    predicted = np.ones((1, D))
    for rows in (np.array([True]), np.array([False])):
        loss, metrics = utterance_distill(predicted, predicted * 0, rows=rows)
        assert np.isfinite(loss)
        assert metrics["utterance_prediction_variance"].weight == 0
