import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sersl.config.objectives import ContrastiveConfig
from sersl.core.errors import UserError
from sersl.models.quantizer import Quantizer, gumbel_temperature
from tests.models.small import compiled
from tests.tolerances import FP32

CONFIG = ContrastiveConfig(width=8, groups=2, codes=5)
FEATURES = np.random.default_rng(0).normal(size=(2, 7, 6)).astype(np.float32)


def quantizer():
    return compiled(Quantizer(6, CONFIG, key=jax.random.key(0)))


def test_quantizer_when_without_key_then_likeliest_codes_looked_up():
    params, quantize = quantizer()
    output = quantize(params, FEATURES, temperature=1.0)
    p = jax.tree.map(np.asarray, params)
    logits = (FEATURES @ p["logits"]["kernel"] + p["logits"]["bias"]).reshape(2, 7, 2, 5)
    codes = logits.argmax(-1)
    book = p["codebook"].reshape(2, 5, 4)
    joined = np.concatenate([book[0][codes[..., 0]], book[1][codes[..., 1]]], -1)
    expected = joined @ p["output"]["kernel"] + p["output"]["bias"]
    np.testing.assert_array_equal(output.codes, codes)
    np.testing.assert_allclose(output.quantized, expected, **FP32)
    exponentials = np.exp(logits)
    np.testing.assert_allclose(
        output.probabilities, exponentials / exponentials.sum(-1, keepdims=True), **FP32
    )


def test_quantizer_when_key_is_given_then_codes_follow_their_probabilities():
    params, quantize = quantizer()
    features = np.broadcast_to(FEATURES[:1, :1] * 0.3, (1, 20000, 6))
    output = quantize(params, features, temperature=1.0, key=jax.random.key(1))
    for group in range(2):
        share = np.bincount(np.asarray(output.codes)[0, :, group], minlength=5) / 20000
        np.testing.assert_allclose(share, output.probabilities[0, 0, group], atol=0.015)


def test_quantizer_when_differentiated_then_gradient_is_that_of_the_softmax():
    params, quantize = quantizer()
    key, temperature = jax.random.key(2), 0.7

    def hard(params):
        output = quantize(params, FEATURES, temperature=temperature, key=key)
        return output.quantized[..., 0].sum()

    def soft(params):
        logits = FEATURES @ params["logits"]["kernel"] + params["logits"]["bias"]
        logits = logits.reshape(2, 7, 2, 5) + jax.random.gumbel(key, (2, 7, 2, 5))
        choice = jax.nn.softmax(logits / temperature)
        joined = jnp.einsum("btgv,gvd->btgd", choice, params["codebook"].reshape(2, 5, 4))
        output = joined.reshape(2, 7, 8) @ params["output"]["kernel"]
        return output[..., 0].sum()

    np.testing.assert_allclose(
        jax.grad(hard)(params)["logits"]["kernel"],
        jax.grad(soft)(params)["logits"]["kernel"],
        **FP32,
    )
    assert np.abs(jax.grad(hard)(params)["codebook"]).max() > 0


def test_gumbel_temperature_when_steps_pass_then_decays_to_its_end():
    config = ContrastiveConfig(gumbel_start=2.0, gumbel_end=0.5, gumbel_decay=0.9)
    temperatures = [float(gumbel_temperature(step, config)) for step in (0, 1, 10, 1000)]
    np.testing.assert_allclose(temperatures, [2.0, 1.8, 2.0 * 0.9**10, 0.5], rtol=1e-5)


def test_quantizer_when_width_does_not_divide_then_user_error():
    with pytest.raises(UserError, match=r"width 9 of a codebook is not a multiple of its 2 groups"):
        Quantizer(6, ContrastiveConfig(width=9, groups=2), key=jax.random.key(0))
