import dataclasses

import jax
import numpy as np
import pytest

from sersl.config.schema import EncoderConfig
from sersl.core.errors import UserError
from sersl.models.residual_conv import DILATIONS, ResidualConvolution
from tests.models.small import compiled
from tests.tolerances import FP32

B, T, D = 2, 23, 6
CONFIG = EncoderConfig(kind="convolution", num_layers=4, width=D, kernel_frames=3, frame_stride=2)
X = np.random.default_rng(0).normal(size=(B, T, D)).astype(np.float32)
VALID = np.arange(T) < np.array([23, 16])[:, None]


def network_of(config=CONFIG):
    return compiled(ResidualConvolution(config, key=jax.random.key(0)))


def gelu(x):
    return 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))


def reference(p, x, *, stride):
    """Runs the layers on one utterance [T, D] without padding, tap by tap."""
    states = [x]
    means = np.stack([x[i : i + stride].mean(0) for i in range(0, len(x), stride)])
    for number in range(len(p["layers"])):
        layer, norm = p["layers"][number], p["norms"][number]
        dilation = DILATIONS[number % len(DILATIONS)]
        y = np.zeros_like(means) + layer["bias"]
        for t in range(len(means)):
            for tap in range(len(layer["kernel"])):
                at = t + (tap - len(layer["kernel"]) // 2) * dilation
                if 0 <= at < len(means):
                    y[t] += means[at] @ layer["kernel"][tap]
        y = (y - y.mean(-1, keepdims=True)) / np.sqrt(y.var(-1, keepdims=True) + 1e-5)
        means = means + gelu(y * norm["scale"] + norm["bias"])
        states.append(np.repeat(means, stride, axis=0)[: len(x)])
    return np.stack(states)


@pytest.mark.parametrize("stride", [1, 2, 3])
def test_residual_convolution_when_compared_with_loops_then_equal_also_beside_padding(stride):
    params, network = network_of(dataclasses.replace(CONFIG, frame_stride=stride))
    params = jax.tree.map(lambda a: a + 0.05, params)
    filled = np.where(VALID[..., None], X, 7.0).astype(np.float32)
    hidden_states = np.asarray(network(params, filled, VALID))
    assert hidden_states.shape == (5, B, T, D)
    p = jax.tree.map(lambda a: np.asarray(a, np.float64), params)
    for row in range(B):
        expected = reference(p, X[row, VALID[row]].astype(np.float64), stride=stride)
        found = hidden_states[:, row, : VALID[row].sum()]
        np.testing.assert_allclose(found, expected, **FP32)


def test_residual_convolution_when_called_with_a_key_then_it_drops_out():
    params, network = network_of(dataclasses.replace(CONFIG, dropout=0.5))
    still = network(params, X, VALID)
    one, other = (network(params, X, VALID, key=jax.random.key(i)) for i in (0, 1))
    np.testing.assert_array_equal(one[0], still[0])
    assert np.abs(one - still).max() > 0.1
    assert np.abs(one - other).max() > 0.1


@pytest.mark.parametrize(
    ("changes", "words"),
    [({"kernel_frames": 4}, "must be odd"), ({"remat": "full"}, "remat")],
)
def test_residual_convolution_when_a_setting_makes_no_sense_then_one_sentence(changes, words):
    with pytest.raises(UserError, match=words):
        network_of(dataclasses.replace(CONFIG, **changes))
