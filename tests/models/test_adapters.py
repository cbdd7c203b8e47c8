"""Parts added to layers: their formulas, no change at the start, blind to padding."""

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from sersl.config.adaptation import AdaptationConfig
from sersl.core.patterns import Pattern
from sersl.models import adapters
from sersl.models.adapters import Prefix, add_adapters
from sersl.models.attention import Attention
from sersl.models.layers import Linear
from tests.models.families import FAMILIES, encoder, settings
from tests.models.small import ENCODER, compiled, pad, utterances

CLOSE = {"rtol": 1e-4, "atol": 1e-5}
METHODS = ("lora", "bottleneck", "prefix", "extension")
ONE_OF_EACH = ("whisper_without_window", "wavlm_pre", "hubert_post")
assert set(ONE_OF_EACH) <= set(FAMILIES)


def config_of(method, **changes) -> AdaptationConfig:
    sizes = {"rank": 3, "width": 5, "vectors": 4, "trained_layers": 1}
    return AdaptationConfig(**{"method": method, **sizes, **changes})


def adapted(family, method):
    model = encoder(family)
    _, config = settings(family)
    add_adapters(model, config, config_of(method), key=jax.random.key(5))
    return model


def states(model, waveform, valid):
    params, run = compiled(model)
    return run(params, waveform, valid)


def drawn(module, seed=0):
    """Replaces every parameter by normal numbers, and returns them by path."""
    rng = np.random.default_rng(seed)
    params = {}
    for path, variable in nnx.to_flat_state(nnx.split(module)[1]):
        params["/".join(map(str, path))] = value = rng.normal(size=variable.shape) / 4
        variable.set_value(jnp.asarray(value, jnp.float32))
        owner = module
        for name in path[:-1]:
            owner = owner[name] if isinstance(name, int) else getattr(owner, name)
        setattr(owner, path[-1], variable)
    return params


@pytest.mark.parametrize("method", ["lora", "bottleneck"])
def test_linear_when_adapted_then_as_numpy(method):
    x = np.random.default_rng(1).normal(size=(2, 7, 6))
    holder = nnx.Module()
    holder.own = Linear(6, 8, axes=("embed", "mlp"), key=jax.random.key(0))
    config = config_of(method, alpha=7.0)
    own = Pattern("own", setting="a test")
    assert adapters._adapt_maps(holder, config, own, key=jax.random.key(1)) == 1
    p = drawn(holder)
    expected = x @ p["own/kernel"] + p["own/bias"]
    if method == "lora":
        update = p["own/adapter/down/kernel"] @ p["own/adapter/up/kernel"]
        expected = expected + 7.0 / 3 * x @ update
    else:
        hidden = expected @ p["own/adapter/down/kernel"] + p["own/adapter/down/bias"]
        hidden = hidden * 0.5 * (1 + np.vectorize(math.erf)(hidden / math.sqrt(2)))
        expected = expected + hidden @ p["own/adapter/up/kernel"] + p["own/adapter/up/bias"]
    np.testing.assert_allclose(holder.own(x.astype(np.float32)), expected, **CLOSE)


def test_attention_when_it_has_a_prefix_then_as_numpy():
    config = dataclasses.replace(ENCODER, positions="none")
    width, heads = config.width, config.num_heads
    layer = Attention(config, key=jax.random.key(0))
    layer.prefix = Prefix(4, width, key=jax.random.key(1))
    p = drawn(layer)
    x = np.random.default_rng(1).normal(size=(1, 5, width))
    valid = np.array([[True, True, True, False, False]])

    def split(name):
        y = x[0] @ p[f"{name}/kernel"] + p[f"{name}/bias"]
        return y.reshape(5, heads, -1)

    def with_prefix(own, y):
        return np.concatenate([own.reshape(4, heads, -1), y[:3]])

    keys = with_prefix(p["prefix/keys"], split("key"))
    values = with_prefix(p["prefix/values"], split("value"))
    scores = np.einsum("thd,shd->hts", split("query"), keys) / math.sqrt(width // heads)
    weights = np.exp(scores - scores.max(-1, keepdims=True))
    weights /= weights.sum(-1, keepdims=True)
    mixed = np.einsum("hts,shd->thd", weights, values).reshape(5, width)
    expected = mixed @ p["output/kernel"] + p["output/bias"]
    found = layer(x.astype(np.float32), valid)[0]
    np.testing.assert_allclose(found[:3], expected[:3], **CLOSE)


@pytest.mark.parametrize("family", ONE_OF_EACH)
def test_encoder_when_adapters_are_new_then_its_outputs_are_unchanged_but_for_prefixes(family):
    waveform, valid = pad(utterances(), 24080)
    expected = states(encoder(family), waveform, valid).hidden_states
    for method in METHODS:
        found = states(adapted(family, method), waveform, valid).hidden_states
        lower = expected.shape[0] - 1
        np.testing.assert_array_equal(found[:lower], expected[:lower])
        changed = not np.allclose(found[-1], expected[-1], rtol=1e-5, atol=1e-5)
        assert changed == (method == "prefix")


@pytest.mark.parametrize("method", METHODS)
def test_encoder_when_adapted_and_padded_then_no_real_frame_changes(method):
    model = adapted("log_mel", method)
    waveform, valid = pad(utterances(), 24080)
    noise, _ = pad(utterances(), 24080, filler=0.3)
    clean, other = states(model, waveform, valid), states(model, noise, valid)
    real = np.asarray(clean.valid)
    np.testing.assert_allclose(
        np.asarray(clean.hidden_states)[:, real], np.asarray(other.hidden_states)[:, real], **CLOSE
    )
