"""Attention one head after the other, as `sersl predict` computes it on one CPU."""

import jax
import numpy as np
import pytest

from sersl.config.schema import EncoderConfig
from sersl.models import attention
from sersl.models.attention import Attention
from tests.tolerances import FP32


@pytest.mark.parametrize("relative_bias", [False, True])
def test_attention_when_computed_head_by_head_then_the_same(monkeypatch, relative_bias):
    config = EncoderConfig(width=8, num_heads=2, relative_bias=relative_bias)
    layer = Attention(config, key=jax.random.key(0))
    rng = np.random.default_rng(0)
    x = rng.normal(size=(2, 7, 8)).astype(np.float32)
    valid = np.arange(7) < np.array([[7], [4]])
    bias = rng.normal(size=(2, 7, 7)).astype(np.float32) if relative_bias else None
    whole = layer(x, valid, bias=bias)
    monkeypatch.setattr(attention, "_MANY_SCORES", 0)
    layer.head_by_head = True
    np.testing.assert_allclose(layer(x, valid, bias=bias), whole, **FP32)
    many = jax.make_jaxpr(lambda x: layer(x, valid, bias=bias))(x)
    assert "scan" in str(many)
