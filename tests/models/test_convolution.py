"""Every formulation of a convolution, and the one that each platform runs, forward and backward."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sersl.models.convolution import CHOICES, FORMULATIONS, convolve, convolve_groups
from tests.models import plain
from tests.own_rows import kinds_sent
from tests.tolerances import FP32

STRIDED = [(10, 5), (3, 2), (2, 2)]  # taps, stride
GROUPED = [(8, 4), (5, 4), (40, 4)]  # taps, groups; the last is longer than the input


def arrays(taps, inputs, outputs, *, frames=31, width=None):
    rng = np.random.default_rng(taps)
    x = rng.normal(size=(2, frames, width or inputs)).astype(np.float32)
    return x, rng.normal(size=(taps, inputs, outputs)).astype(np.float32) / taps


def outputs_and_gradients(forms, x, kernel):
    """Of every formulation: {name: (output, gradients of an uneven sum to input and kernel)}."""

    @jax.jit
    def run(x, kernel):
        found = {}
        for name, form in forms.items():
            y, pull_back = jax.vjp(form, x, kernel)
            uneven = jnp.sin(jnp.arange(y.size, dtype=jnp.float32)).reshape(y.shape)
            found[name] = y, *pull_back(uneven)
        return found

    return run(x, kernel)


def check(family, size, chosen, x, kernel, exact):
    forms = {name: functools.partial(form, size) for name, form in FORMULATIONS[family].items()} | {
        "chosen": chosen
    }
    found = outputs_and_gradients(forms, x, kernel)
    for name, (y, *gradients) in found.items():
        np.testing.assert_allclose(y, exact, **FP32, err_msg=name)
        for gradient, expected in zip(gradients, found["lax"][1:], strict=True):
            np.testing.assert_allclose(gradient, expected, **FP32, err_msg=name)


@pytest.mark.parametrize(("taps", "stride"), STRIDED)
def test_convolve_when_formulated_in_any_way_then_equal_to_numpy_and_same_gradients(taps, stride):
    x, kernel = arrays(taps, 6, 8)
    exact = [plain.convolve(row.astype(np.float64), kernel, stride) for row in x]
    check("strided", stride, lambda x, k: convolve(x, k, stride=stride), x, kernel, exact)


@pytest.mark.parametrize(("taps", "groups"), GROUPED)
def test_convolve_groups_when_formulated_in_any_way_then_equal_to_numpy_and_same_gradients(
    taps, groups
):
    x, kernel = arrays(taps, 2, 8, width=8)
    exact = [plain.convolve_groups(row.astype(np.float64), kernel, groups) for row in x]
    check("grouped", groups, lambda x, k: convolve_groups(x, k, groups=groups), x, kernel, exact)


def test_choices_when_read_then_name_formulations_and_have_a_default():
    for family, by_platform in CHOICES.items():
        assert "default" in by_platform
        for names in by_platform.values():
            assert len(names) == 2
            assert set(names) <= set(FORMULATIONS[family])


def test_convolve_when_lowered_for_another_platform_then_its_formulation():
    x, kernel = arrays(8, 2, 8, width=8)
    gradient = jax.grad(lambda x, k: convolve_groups(x, k, groups=4).sum())
    traced = jax.jit(gradient).trace(x, kernel)
    assert "fft" in traced.lower(lowering_platforms=("cpu",)).as_text()
    for platform in ("tpu", "cuda"):
        text = traced.lower(lowering_platforms=(platform,)).as_text()
        assert "fft" not in text
        assert "stablehlo.convolution" in text


def test_convolve_when_half_precision_then_dtype_is_kept():
    x, kernel = arrays(3, 2, 8, width=8)
    low = jax.ShapeDtypeStruct(x.shape, jnp.bfloat16)
    whole = jnp.zeros((3, 8, 8))
    strided = jax.eval_shape(lambda x: convolve(x, whole, stride=2), low)
    grouped = jax.eval_shape(lambda x: convolve_groups(x, kernel, groups=4), low)
    assert {strided.dtype, grouped.dtype} == {jnp.dtype("bfloat16")}


@pytest.mark.parametrize("form", ["lax", "fft"])
def test_convolve_groups_when_rows_are_on_eight_devices_then_only_gradients_travel(
    form, monkeypatch
):
    monkeypatch.setitem(CHOICES["grouped"], "cpu", (form, form))
    rng = np.random.default_rng(0)
    x = rng.normal(size=(16, 31, 8)).astype(np.float32)
    kernel = rng.normal(size=(5, 2, 8)).astype(np.float32)

    def loss(x, kernel):
        return jnp.sum(jnp.tanh(convolve_groups(x, kernel, groups=4)))

    assert kinds_sent(jax.grad(loss, argnums=(0, 1)), x, kernel) == {"all-reduce"}
