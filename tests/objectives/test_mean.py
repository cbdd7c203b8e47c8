import jax
import numpy as np

from sersl.objectives.mean import Mean


def test_mean_when_parts_are_added_then_equals_mean_of_all():
    rng = np.random.default_rng(0)
    values, weights = rng.normal(size=30), rng.uniform(size=30)
    whole = Mean.of(values, weights)
    parts = Mean.of(values[:7], weights[:7]) + Mean.of(values[7:], weights[7:])
    np.testing.assert_allclose(parts.value(), whole.value(), rtol=1e-6)
    np.testing.assert_allclose(whole.value(), np.average(values, weights=weights), rtol=1e-6)


def test_mean_when_nothing_is_counted_then_nan_or_what_is_asked_for():
    nothing = Mean.of(np.ones(3), np.zeros(3, bool))
    assert np.isnan(nothing.value())
    assert nothing.value(empty=0.0) == 0.0


def test_mean_when_uncounted_value_is_nan_then_value_and_gradient_are_finite():
    values, counted = np.array([1.0, np.nan, 3.0]), np.array([True, False, True])
    assert Mean.of(values, counted).value() == 2.0
    gradient = jax.grad(lambda v: Mean.of(v, counted).value())(values)
    np.testing.assert_allclose(gradient, [0.5, 0.0, 0.5])


def test_mean_when_passed_through_jit_then_stays_a_mean():
    mean = jax.jit(lambda m: m + m)(Mean.of(np.ones(4)))
    assert isinstance(mean, Mean)
    assert (float(mean.total), float(mean.weight)) == (8.0, 8.0)
