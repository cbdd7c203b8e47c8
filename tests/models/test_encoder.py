import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from sersl.config.schema import EncoderConfig, FrontendConfig
from sersl.core.errors import UserError
from sersl.models.attention import ATTENTION
from sersl.models.encoder import SpeechEncoder
from sersl.models.positions import rotate
from sersl.models.transformer import stack_layers, unstack_layers
from tests.models.small import ENCODER, compiled, pad, utterances
from tests.tolerances import FP32, FP32_DEEP, LOSS_ACROSS_MESHES


def encoder(*, key=0, **changes):
    config = dataclasses.replace(ENCODER, **changes)
    return SpeechEncoder(FrontendConfig(), config, key=jax.random.key(key))


@pytest.mark.parametrize("remat", ["none", "dots", "full"])
def test_encoder_when_layers_are_scanned_or_recomputed_then_same_numbers(remat):
    batch = pad(utterances(), 16080)
    listed, run_listed = compiled(encoder())
    scanned, run_scanned = compiled(encoder(scan_layers=True, remat=remat))
    stacked = stack_layers(listed)
    jax.tree.map(np.testing.assert_array_equal, scanned, stacked)
    key = jax.random.key(3)
    expected = run_listed(listed, *batch, key=key)
    output = run_scanned(stacked, *batch, key=key)
    np.testing.assert_allclose(output.hidden_states, expected.hidden_states, **FP32_DEEP)

    def gradient(run, params):
        def loss(params):
            return jnp.square(run(params, *batch, key=key).hidden_states[1]).mean()

        return jax.grad(loss)(params)

    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, **FP32_DEEP),
        gradient(run_scanned, stacked),
        stack_layers(gradient(run_listed, listed)),
    )


def test_stack_layers_when_undone_then_same_parameters():
    params, _ = compiled(encoder())
    jax.tree.map(np.testing.assert_array_equal, unstack_layers(stack_layers(params)), params)
    stacked = stack_layers(params)
    jax.tree.map(np.testing.assert_array_equal, stack_layers(stacked), stacked)
    jax.tree.map(np.testing.assert_array_equal, unstack_layers(params), params)


def test_encoder_when_scanned_then_axes_name_the_layers():
    _, state = nnx.split(encoder(scan_layers=True))
    for path, param in nnx.to_flat_state(state):
        axes = param.get_metadata()["axes"]
        assert len(axes) == len(param.shape), path
        assert (axes[0] == "layers") == ("layers" in path), path


def test_encoder_when_frames_are_masked_then_what_they_held_has_no_effect():
    params, run = compiled(encoder())
    waveform, valid = pad(utterances()[1:2], 16080)
    masked = np.zeros((1, 50), bool)
    masked[0, 20:30] = True
    changed = waveform.copy()
    # Windows of frames 19 and 30 reach 80 samples over the edge of their frames.
    changed[0, 20 * 320 + 400 : 30 * 320 - 400] = 0.5
    first = run(params, waveform, valid, masked=masked)
    second = run(params, changed, valid, masked=masked)
    np.testing.assert_allclose(first.hidden_states, second.hidden_states, **FP32)
    assert np.abs(np.asarray(first.features - second.features)).max() > 0.1
    expected = np.broadcast_to(params["mask_embedding"], (10, 32))
    np.testing.assert_array_equal(first.hidden_states[0, 0, 20:30], expected)


def test_encoder_when_computed_in_bfloat16_then_close_and_parameters_stay_float32():
    batch = pad(utterances(), 16080)
    params, run = compiled(encoder())
    low_params, run_low = compiled(encoder(dtype="bfloat16"))
    assert {x.dtype for x in jax.tree.leaves(low_params)} == {jnp.dtype("float32")}
    output = run_low(low_params, *batch)
    assert output.hidden_states.dtype == jnp.bfloat16
    assert output.features.dtype == jnp.float32
    expected = run(params, *batch).hidden_states
    error = np.asarray(output.hidden_states, np.float32) - np.asarray(expected)
    # bfloat16 has 8 bits: errors of 2^-8 of a value about 1, a few layers deep.
    assert np.sqrt(np.mean(error**2)) < 0.02


def test_encoder_when_a_mesh_is_set_then_same_numbers():
    params, run = compiled(encoder())
    rows = [*utterances(), *utterances(), *utterances()[:2]]
    batch = pad(rows, 16080)
    expected = run(params, *batch).hidden_states
    mesh = jax.make_mesh(
        (2, 2, 2), ("data", "fsdp", "tensor"), axis_types=(jax.sharding.AxisType.Auto,) * 3
    )
    with jax.set_mesh(mesh):
        output = run(params, *batch).hidden_states
    spec = output.sharding.spec
    assert spec[1] == ("data", "fsdp")
    np.testing.assert_allclose(output, expected, **LOSS_ACROSS_MESHES)


def test_attention_when_compared_with_jax_then_equal():
    rng = np.random.default_rng(0)
    query, key, value = jnp.asarray(rng.normal(size=(3, 2, 9, 4, 6)), jnp.float32)
    bias = jnp.asarray(rng.normal(size=(2, 4, 9, 9)), jnp.float32)
    seen = np.arange(9) < np.array([9, 5])[:, None]
    for given in (None, bias):
        np.testing.assert_allclose(
            ATTENTION["xla"](query, key, value, seen, given, 0.0, None),
            ATTENTION["jax"](query, key, value, seen, given, 0.0, None),
            **FP32,
        )


def test_rotate_when_both_are_shifted_then_products_depend_on_distance_only():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(2, 1, 1, 1, 8)).astype(np.float32)
    turned_x = rotate(np.broadcast_to(x, (1, 20, 1, 8)))[0, :, 0]
    turned_y = rotate(np.broadcast_to(y, (1, 20, 1, 8)))[0, :, 0]
    products = np.asarray(turned_x @ turned_y.T)
    for distance in range(5):
        along = np.diagonal(products, distance)
        np.testing.assert_allclose(along, along[0], **FP32)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"attention": "flash"}, r"encoder\.attention"),
        ({"remat": "dot"}, "did you mean 'dots'"),
        ({"dtype": "float16"}, r"encoder\.dtype"),
        ({"width": 30, "num_heads": 4}, "multiple of 2"),
        ({"num_layers": 0}, r"encoder\.num_layers"),
    ],
)
def test_encoder_when_config_is_wrong_then_user_error(changes, sentence):
    with pytest.raises(UserError, match=sentence):
        encoder(**changes)


def test_encoder_when_frontend_is_unknown_then_user_error():
    with pytest.raises(UserError, match="did you mean 'log_mel'"):
        SpeechEncoder(FrontendConfig(kind="logmel"), EncoderConfig(), key=jax.random.key(0))


def test_encoder_when_context_network_is_unknown_then_user_error():
    with pytest.raises(UserError, match="did you mean 'transformer'"):
        encoder(kind="tranformer")


def test_encoder_when_called_in_parts_then_same_numbers_as_whole():
    model = encoder()
    waveform, valid = pad(utterances(), 16080)
    masked, key = np.arange(50)[None].repeat(3, 0) % 7 == 0, jax.random.key(5)
    features, frame_valid = model.frontend.features(waveform, valid)
    parts = model.contextualize(
        model.frontend.project(features), frame_valid, masked=masked, key=key
    )
    whole = model(waveform, valid, masked=masked, key=key)
    np.testing.assert_allclose(parts, whole.hidden_states, **FP32)
