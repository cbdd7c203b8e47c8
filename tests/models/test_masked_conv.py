import dataclasses

import jax
import numpy as np
import pytest

from sersl.config.schema import EncoderConfig
from sersl.core.errors import UserError
from sersl.models.masked_conv import MaskedConvolution
from tests.models.small import compiled
from tests.tolerances import FP32

B, T, D = 2, 24, 6
CONFIG = EncoderConfig(
    kind="masked_conv", num_layers=2, width=D, dropout=0.1, kernel_frames=11, hidden_frames=5
)
X = np.random.default_rng(0).normal(size=(B, T, D)).astype(np.float32)
VALID = np.arange(T) < np.array([24, 17])[:, None]


def network_of(config=CONFIG):
    return compiled(MaskedConvolution(config, key=jax.random.key(0)))


def convolve(p, x, *, blind=0):
    kernel, around = p["kernel"].copy(), len(p["kernel"]) // 2
    for offset in range(-around, around + 1):
        if abs(offset) <= blind // 2 and blind:
            kernel[offset + around] = 0
    padded = np.pad(x, ((around, around), (0, 0)))
    frames = [np.einsum("kd,kde->e", padded[t : t + len(kernel)], kernel) for t in range(len(x))]
    return np.stack(frames) + p["bias"]


def normalize(p, x):
    y = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-5)
    return y * p["scale"] + p["bias"]


def reference(p, x):
    total = 0
    states = [x]
    for i in range(2):
        block = p["layers"][i]
        y = np.maximum(normalize(block["first_norm"], convolve(block["convolution"], x)), 0)
        y = y @ block["linear"]["kernel"] + block["linear"]["bias"]
        y = normalize(block["second_norm"], y)
        x = np.maximum(x + y if i else y, 0)
        total = total + np.tanh(convolve(p["blind"][i], x, blind=7 + 2 * i))
        states.append(x)
    return np.stack([*states[:-1], total])


def test_masked_convolution_when_compared_with_loops_then_equal_also_beside_padding():
    params, network = network_of()
    params = jax.tree.map(lambda a: a + 0.05, params)
    hidden_states = np.asarray(network(params, X, VALID))
    p = jax.tree.map(np.asarray, params)
    for row in range(B):
        expected = reference(p, X[row, VALID[row]])
        np.testing.assert_allclose(hidden_states[:, row, VALID[row]], expected, **FP32)


def test_masked_convolution_when_hidden_frames_change_then_the_centre_does_not():
    params, network = network_of()
    centre, near = 12, 14  # hidden_frames = 5: two to each side
    for moved, seen in ((centre, False), (near, False), (near + 1, True), (centre - 2, False)):
        changed = X.copy()
        changed[:, moved] += 1.0
        difference = np.abs(network(params, changed, VALID)[-1] - network(params, X, VALID)[-1])
        assert bool((difference[0, centre] > 0).all()) == seen
        assert bool((difference[0, centre] == 0).all()) != seen


def test_masked_convolution_when_padding_holds_anything_then_real_frames_stay():
    params, network = network_of()
    noisy = X + 100.0 * ~VALID[..., None]
    before, after = network(params, X, VALID), network(params, noisy, VALID)
    np.testing.assert_array_equal(before[:, VALID], after[:, VALID])
    dropped = network(params, X, VALID, key=jax.random.key(1))
    assert not np.array_equal(dropped[-1], before[-1])


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ({"kernel_frames": 9}, "kernel_frames=9 is not above 9"),
        ({"kernel_frames": 12}, "odd"),
        ({"hidden_frames": 4}, "odd"),
        ({"remat": "dots"}, "encoder.remat"),
    ],
)
def test_masked_convolution_when_sizes_do_not_fit_then_user_error(setting, words):
    with pytest.raises(UserError, match=words):
        MaskedConvolution(dataclasses.replace(CONFIG, **setting), key=jax.random.key(0))
