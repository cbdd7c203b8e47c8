import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from sersl.core.errors import UserError
from sersl.models import decoder as module
from sersl.models.decoder import Decoder, DecoderLayer
from tests.models.small import compiled
from tests.own_rows import kinds_sent
from tests.tolerances import FP32

B, T, D, W, K, G = 2, 9, 4, 6, 3, 2
SIZES = {"width": W, "num_layers": 3, "kernel": K, "groups": G}
VALID = np.arange(T) < np.array([9, 6])[:, None]
MASKED = VALID & (np.random.default_rng(0).random((B, T)) < 0.4)
X = np.random.default_rng(1).normal(size=(B, T, D)).astype(np.float32)


def layer(p, x):
    kernel = p["kernel"]
    size = kernel.shape[1]
    out = np.zeros((len(x), kernel.shape[2]))
    padded = np.pad(x, ((K // 2, K // 2), (0, 0)))
    for j in range(kernel.shape[2]):
        group = j // (kernel.shape[2] // G)
        part = padded[:, group * size : (group + 1) * size]
        out[:, j] = [(part[t : t + K] * kernel[:, :, j]).sum() for t in range(len(x))]
    out = out + p["bias"]
    out = (out - out.mean(-1, keepdims=True)) / np.sqrt(out.var(-1, keepdims=True) + 1e-5)
    return out * 0.5 * (1 + np.vectorize(math.erf)(out / np.sqrt(2)))


def test_decoder_when_compared_with_loops_then_equal(monkeypatch):
    monkeypatch.setattr(module, "INPUT_DROPOUT", 0.0)
    monkeypatch.setattr(module, "MASK_NOISE", 0.0)
    params, decode = compiled(Decoder(D, **SIZES, key=jax.random.key(0)))
    params = jax.tree.map(lambda a: a + 0.1, params)
    predicted = np.asarray(decode(params, X, valid=VALID, masked=MASKED, key=jax.random.key(1)))
    p = jax.tree.map(np.asarray, params)
    for row in range(B):
        x = np.where(MASKED[row, :, None], 0.0, X[row])[VALID[row]]
        for number in range(3):
            y = layer(p["layers"][number], x)
            x = y + x if y.shape == x.shape else y
        expected = x @ p["output"]["kernel"] + p["output"]["bias"]
        np.testing.assert_allclose(predicted[row, VALID[row]], expected, **FP32)


def test_decoder_when_hidden_or_padded_frames_change_then_nothing_does():
    params, decode = compiled(Decoder(D, **SIZES, key=jax.random.key(0)))
    rest = {"valid": VALID, "masked": MASKED, "key": jax.random.key(1)}
    changed = X + 9.0 * (MASKED | ~VALID)[..., None]
    before, after = decode(params, X, **rest), decode(params, changed, **rest)
    np.testing.assert_array_equal(before[VALID], after[VALID])


def test_decoder_when_sizes_do_not_fit_then_user_error():
    for setting, words in (({"groups": 3}, "decoder_groups=3"), ({"kernel": 4}, "even")):
        with pytest.raises(UserError, match=words):
            Decoder(D, **(SIZES | setting), key=jax.random.key(0))


def test_decoder_layer_when_rows_are_on_eight_devices_then_only_gradients_travel():
    layer = DecoderLayer(D, W, kernel=K, groups=G, key=jax.random.key(0))
    graph, state = nnx.split(layer)

    def loss(x, state):
        return jnp.sum(jnp.sin(nnx.merge(graph, state)(x)))

    x = np.random.default_rng(0).normal(size=(16, T, D)).astype(np.float32)
    assert kinds_sent(jax.grad(loss, argnums=(0, 1)), x, state) == {"all-reduce"}
