"""The side branch of a Transformer: more layers beside those of a kept encoder."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from sersl.config.schema import EncoderConfig
from sersl.core.errors import UserError
from sersl.models.transformer import Transformer, stack_layers
from tests import tolerances

D, T = 8, 6
PLAIN = EncoderConfig(num_layers=3, width=D, num_heads=2, mlp_width=16, dropout=0.0)


def make(config: EncoderConfig) -> Transformer:
    """A network as after some training: the branch is not what it reads."""
    network = Transformer(config, key=jax.random.key(0))
    for number, layer in enumerate(network.side if config.side_layers else ()):
        for end in (layer.attention.output, layer.mlp_out):
            shape, key = end.kernel[...].shape, jax.random.key(number)
            end.kernel[...] = 0.3 * jax.random.normal(key, shape)
    return network


def frames(rows: int = 2) -> jax.Array:
    return jax.random.normal(jax.random.key(1), (rows, T, D))


@pytest.mark.parametrize("norm", ["pre", "post"])
@pytest.mark.parametrize("side_from", [0, 1, 3])
def test_side_branch_when_added_then_lower_layers_stay_and_it_reads_its_layer(side_from, norm):
    plain = dataclasses.replace(PLAIN, norm=norm)
    config = dataclasses.replace(plain, side_layers=2, side_from=side_from)
    x, valid = frames(), jnp.ones((2, T), bool)
    base, both = make(plain), make(config)
    expected, found = base(x, valid), both(x, valid)
    assert found.shape == (config.last_layer + 1, 2, T, D) == (6, 2, T, D)
    np.testing.assert_allclose(found[:4], expected, **tolerances.FP32)
    # The last layer before the final LayerNorm, by the layers one by one.
    state = x
    for layer in list(base.layers)[:side_from]:
        state = layer(state, valid, bias=None, key=None)
    for i, layer in enumerate(both.side):
        state = layer(state, valid, bias=None, key=None)
        last = i == 1 and norm == "pre"
        np.testing.assert_allclose(
            found[4 + i], both.side_norm(state) if last else state, **tolerances.FP32
        )


@pytest.mark.parametrize("norm", ["pre", "post"])
def test_side_branch_when_new_then_it_is_what_it_reads(norm):
    config = dataclasses.replace(PLAIN, norm=norm, side_layers=2, side_from=1)
    network = Transformer(config, key=jax.random.key(0))
    x, valid = frames(), jnp.ones((2, T), bool)
    found = network(x, valid)
    expected = network.side_norm(found[1]) if norm == "pre" else found[1]
    np.testing.assert_allclose(found[-1], expected, **tolerances.FP32)


@pytest.mark.parametrize("norm", ["pre", "post"])
@pytest.mark.parametrize("side_onto", [2, 3])
def test_side_branch_when_added_to_a_layer_then_the_last_output_has_both(side_onto, norm):
    alone = dataclasses.replace(PLAIN, norm=norm, side_layers=2, side_from=1)
    config = dataclasses.replace(alone, side_onto=side_onto)
    x, valid = frames(), jnp.ones((2, T), bool)
    branch, found = make(alone)(x, valid), make(config)(x, valid)
    layer = np.asarray(branch[side_onto])  # the final LayerNorm is new: it standardizes
    centred = layer - layer.mean(-1, keepdims=True)
    standard = centred / np.sqrt(centred.var(-1, keepdims=True) + 1e-5)
    np.testing.assert_allclose(found[:-1], branch[:-1], **tolerances.FP32)
    np.testing.assert_allclose(found[-1], standard + 0.5 * branch[-1], rtol=2e-5, atol=2e-5)


def test_side_branch_when_layers_are_scanned_then_equal():
    config = dataclasses.replace(PLAIN, side_layers=1, side_from=2)
    listed = make(config)
    scanned = make(dataclasses.replace(config, scan_layers=True))
    params = nnx.to_pure_dict(nnx.split(listed)[1])
    nnx.update(scanned, nnx.State(stack_layers(params)))
    x, valid = frames(), jnp.arange(T)[None] < jnp.array([[T], [4]])
    np.testing.assert_allclose(scanned(x, valid), listed(x, valid), **tolerances.FP32)


def test_side_branch_when_row_is_padded_then_real_frames_are_unchanged():
    network = make(dataclasses.replace(PLAIN, side_layers=1, side_from=1))
    x, valid = frames(1), jnp.arange(T)[None] < 4
    found = network(x, valid)
    other = network(jnp.where(valid[..., None], x, 7.0), valid)
    np.testing.assert_allclose(found[:, :, :4], other[:, :, :4], **tolerances.FP32)


def test_side_branch_when_key_is_given_then_its_dropout_is_its_own():
    config = dataclasses.replace(PLAIN, side_layers=2, side_from=1)
    network = make(dataclasses.replace(config, dropout=0.5))
    x, valid = frames(), jnp.ones((2, T), bool)
    key = jax.random.key(3)
    once, again = network(x, valid, key=key), network(x, valid, key=key)
    np.testing.assert_array_equal(once, again)
    assert not np.allclose(once[4:], network(x, valid)[4:])
    plain = make(dataclasses.replace(PLAIN, dropout=0.5))
    np.testing.assert_allclose(once[:4], plain(x, valid, key=key), **tolerances.FP32)


def test_side_branch_when_it_reads_a_missing_layer_then_refused():
    for name in ("side_from", "side_onto"):
        with pytest.raises(UserError, match=rf"encoder\.{name}=4 is above encoder\.num_layers=3"):
            make(dataclasses.replace(PLAIN, side_layers=1, **{name: 4}))
