import dataclasses

import jax
import numpy as np
import pytest

from sersl.config.schema import EncoderConfig
from sersl.core.errors import UserError
from sersl.models.recurrent import Recurrent
from tests.models.small import compiled
from tests.tolerances import FP32

B, T, D = 3, 7, 6
CONFIG = EncoderConfig(kind="gru", num_layers=2, width=D, dropout=0.1)
X = np.random.default_rng(0).normal(size=(B, T, D)).astype(np.float32)
VALID = np.ones((B, T), bool)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def layer(p, x):
    given = x @ p["input"]["kernel"] + p["input"]["bias"]
    h, states = np.zeros((B, D)), []
    for t in range(T):
        r, u, n = np.split(given[:, t], 3, axis=1)
        kr, ku, kn = np.split(h @ p["kernel"], 3, axis=1)
        r, u = sigmoid(r + kr), sigmoid(u + ku)
        h = (1 - u) * np.tanh(n + r * (kn + p["bias"])) + u * h
        states.append(h)
    return np.stack(states, 1)


def test_recurrent_when_compared_with_loops_then_equal():
    params, network = compiled(Recurrent(CONFIG, key=jax.random.key(0)))
    params["layers"][0]["bias"] = params["layers"][0]["bias"] + 0.3
    hidden_states = network(params, X, VALID)
    p = jax.tree.map(np.asarray, params)
    first = layer(p["layers"][0], X)
    second = layer(p["layers"][1], first) + first
    np.testing.assert_array_equal(hidden_states[0], X)
    np.testing.assert_allclose(hidden_states[1], first, **FP32)
    np.testing.assert_allclose(hidden_states[2], second, **FP32)


def test_recurrent_when_later_frames_change_then_earlier_outputs_do_not():
    params, network = compiled(Recurrent(CONFIG, key=jax.random.key(0)))
    changed = X.copy()
    changed[:, 4:] += 3.0
    before, after = network(params, X, VALID), network(params, changed, VALID)
    np.testing.assert_array_equal(before[:, :, :4], after[:, :, :4])
    assert np.abs(before[-1][:, 4:] - after[-1][:, 4:]).min() > 0
    assert Recurrent.causal


def test_recurrent_when_there_is_a_key_then_drops_out_and_in_bfloat16_stays_close():
    params, network = compiled(Recurrent(CONFIG, key=jax.random.key(0)))
    dropped = network(params, X, VALID, key=jax.random.key(1))
    assert 0.02 < (np.asarray(dropped[1]) == 0).mean() < 0.3
    exact = np.asarray(network(params, X, VALID))
    config = dataclasses.replace(CONFIG, dtype="bfloat16")
    _, half = compiled(Recurrent(config, key=jax.random.key(0)))
    rounded = half(params, X, VALID)
    assert rounded.dtype == np.dtype("bfloat16")
    # 8 bits of precision, values up to 2
    np.testing.assert_allclose(np.asarray(rounded, np.float32), exact, atol=0.05)


@pytest.mark.parametrize("setting", [{"remat": "full"}, {"scan_layers": True}])
def test_recurrent_when_settings_of_the_transformer_are_given_then_user_error(setting):
    with pytest.raises(UserError, match=r"encoder\.remat|encoder\.scan_layers"):
        Recurrent(dataclasses.replace(CONFIG, **setting), key=jax.random.key(0))
