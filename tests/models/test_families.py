"""Every family of encoders: against NumPy, padded, scanned, recomputed, in bfloat16, on a mesh."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from sersl.config.schema import AugmentConfig
from sersl.core.errors import UserError
from sersl.core.lengths import num_frames, num_samples
from sersl.models.transformer import stack_layers
from sersl.models.waveform import WaveformFrontend
from tests.models import plain
from tests.models.families import FAMILIES, built, encoder, settings
from tests.models.small import LENGTHS, compiled, pad, utterances
from tests.tolerances import FP32_DEEP, LOSS_ACROSS_MESHES

KEY = jax.random.key(3)


def float64(params):
    return jax.tree.map(lambda x: np.asarray(x, np.float64), params)


@pytest.mark.parametrize("family", FAMILIES)
def test_encoder_when_padded_with_noise_then_equal_to_numpy_on_the_utterance_alone(family):
    frontend, config = settings(family)
    params, run = built(family)
    shortest = utterances()[0]
    # Whatever stands in the padding must not be heard, not even by a norm over time.
    noise = np.random.default_rng(1).normal(size=(3, 24080))
    output = run(params, *pad(utterances(), 24080, filler=noise))
    np.testing.assert_array_equal(output.valid.sum(1), [num_frames(n) for n in LENGTHS])
    exact = jax.tree.map(lambda x: np.asarray(x, np.float64), params)
    frames = num_frames(len(shortest))
    found = np.asarray(output.features[0, :frames])
    if frontend.kind == "waveform":
        features = plain.conv_stack(exact["frontend"], shortest, frontend)
        np.testing.assert_allclose(found, features, **FP32_DEEP)
    elif frontend.kind == "whisper":
        seconds = frontend.window_seconds
        window = shortest[: num_samples(frames)]
        if seconds:
            window = np.pad(shortest, (0, int(seconds * 16_000) - len(shortest)))
        features = plain.whisper_log_mel(window, plain.slaney_filters(20)).reshape(-1, 40)
        np.testing.assert_allclose(found, features[:frames], **FP32_DEEP)
    else:
        features = found.astype(np.float64)
    expected = plain.encoder(exact, features, frontend, config)[:, :frames]
    np.testing.assert_allclose(output.hidden_states[:, 0, :frames], expected, **FP32_DEEP)


def test_whisper_when_without_window_then_a_full_window_has_the_frames_of_the_window():
    params, with_window = built("whisper", dropout=0.0)
    _, without = built("whisper_without_window", dropout=0.0)
    rng = np.random.default_rng(4)
    waveform = (0.1 * rng.normal(size=num_samples(80))).astype(np.float32)
    waveform[-2_000:] = 0.0
    batch = pad([waveform], len(waveform))
    expected = with_window(params, *batch)
    found = without(params, *batch)
    np.testing.assert_allclose(found.features, expected.features, **FP32_DEEP)
    # The convolutions of the window end with zeros, those of the audio with silence.
    first = [np.asarray(output.hidden_states[0, 0]) for output in (found, expected)]
    np.testing.assert_allclose(first[0][:-1], first[1][:-1], **FP32_DEEP)
    states = [np.asarray(output.hidden_states)[1:, 0, :-1] for output in (found, expected)]
    assert np.abs(states[0] - states[1]).mean() < 0.02 * np.abs(states[1]).mean()


@pytest.mark.parametrize("attention", ["xla", "jax"])
@pytest.mark.parametrize("family", ["log_mel", "wav2vec2_post", "wavlm_pre", "data2vec"])
def test_encoder_when_padded_frames_are_perturbed_then_no_real_frame_moves(family, attention):
    graph, state = nnx.split(encoder(family, attention=attention))

    @jax.jit
    def run(state, x, frame_valid):
        return nnx.merge(graph, state).contextualize(x, frame_valid)

    rng = np.random.default_rng(2)
    real = np.arange(30) < np.array([30, 17])[:, None]
    x, noise = rng.normal(size=(2, 2, 30, 32)).astype(np.float32)
    first = np.asarray(run(state, x, real))
    second = np.asarray(run(state, np.where(real[..., None], x, noise), real))
    np.testing.assert_array_equal(first[:, real], second[:, real])
    assert np.abs(first - second).max() > 0.1


@pytest.mark.parametrize("family", ["wavlm_post", "data2vec", "whisper"])
def test_encoder_when_scanned_and_recomputed_then_same_numbers_and_gradients(family):
    drops = {"attention_dropout": 0.1, "activation_dropout": 0.1, "layer_drop": 0.5}
    listed, run_listed = built(family, **drops)
    _, run_scanned = compiled(encoder(family, scan_layers=True, remat="full", **drops))
    waveform, valid = pad(utterances(), 16080)

    def loss(params, run):
        states = run(params, waveform, valid, key=KEY).hidden_states
        return jnp.square(states).mean(), states

    gradient = jax.value_and_grad(loss, has_aux=True)
    (_, expected), expected_gradient = gradient(listed, run_listed)
    (_, states), found = gradient(stack_layers(listed), run_scanned)
    np.testing.assert_allclose(states, expected, **FP32_DEEP)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, **FP32_DEEP),
        found,
        stack_layers(expected_gradient),
    )


@pytest.mark.parametrize("family", ["wav2vec2_post", "wavlm_pre", "data2vec", "whisper"])
def test_encoder_when_computed_in_bfloat16_then_close(family):
    batch = pad(utterances(), 16080)
    params, run = built(family)
    _, run_low = built(family, dtype="bfloat16")
    output = run_low(params, *batch)
    assert output.hidden_states.dtype == jnp.bfloat16
    assert output.features.dtype == jnp.float32
    real = np.asarray(output.valid)
    expected = np.asarray(run(params, *batch).hidden_states)[:, real]
    error = np.asarray(output.hidden_states, np.float32)[:, real] - expected
    # bfloat16 has 8 bits; the conv stack alone is seven layers deep.
    assert np.sqrt(np.mean(error**2)) < 0.05 * np.sqrt(np.mean(expected**2))


def test_encoder_when_layers_are_dropped_then_each_hands_on_its_input_at_the_rate():
    params, run = built("log_mel_post", num_layers=4, layer_drop=0.5, dropout=0.0)
    batch = pad(utterances()[:1], 6500)
    kept = []
    for seed in range(30):
        states = np.asarray(run(params, *batch, key=jax.random.key(seed)).hidden_states)
        kept += [bool((states[i] != states[i + 1]).any()) for i in range(4)]
    assert 0.35 < np.mean(kept) < 0.65
    states = np.asarray(run(params, *batch).hidden_states)
    assert all((states[i] != states[i + 1]).any() for i in range(4))


def test_encoder_when_a_mesh_is_set_then_waveform_gives_same_numbers():
    params, run = built("wavlm_post")
    batch = pad([*utterances(), *utterances(), *utterances()[:2]], 16080)
    expected = run(params, *batch).hidden_states
    mesh = jax.make_mesh(
        (2, 2, 2), ("data", "fsdp", "tensor"), axis_types=(jax.sharding.AxisType.Auto,) * 3
    )
    with jax.set_mesh(mesh):
        output = run(params, *batch).hidden_states
    assert output.sharding.spec[1] == ("data", "fsdp")
    np.testing.assert_allclose(output, expected, **LOSS_ACROSS_MESHES)


def test_encoder_when_audio_is_longer_than_whispers_window_then_cut_and_the_rest_not_valid():
    params, run = built("whisper")
    rng = np.random.default_rng(0)
    waveform = 0.1 * rng.normal(size=(1, 32_080)).astype(np.float32)
    output = run(params, waveform, np.ones(waveform.shape, bool))
    assert output.hidden_states.shape == (3, 1, 100, 32)
    assert output.features.shape == (1, 100, 40)
    np.testing.assert_array_equal(output.valid[0], np.arange(100) < 80)
    cut = run(params, waveform[:, : 80 * 320 + 80], np.ones((1, 80 * 320 + 80), bool))
    np.testing.assert_allclose(output.hidden_states[:, :, :80], cut.hidden_states, **FP32_DEEP)


@pytest.mark.parametrize("family", FAMILIES)
def test_encoder_when_only_shapes_are_wanted_then_every_parameter_names_its_axes(family):
    for scan in (False, True):
        model = nnx.eval_shape(functools.partial(encoder, family, scan_layers=scan))
        state = nnx.split(model)[1]
        for path, param in nnx.to_flat_state(state):
            axes = param.get_metadata()["axes"]
            assert len(axes) == len(param.shape), path
            named = [axis for axis in axes if axis is not None]
            assert len(set(named)) == len(named), path


def test_encoder_when_time_and_channels_are_masked_then_by_embedding_and_by_zero():
    augment = AugmentConfig(
        time_mask_fraction=0.4, time_mask_span=5, channel_mask_fraction=0.3, channel_mask_span=4
    )
    # Without positions, norm or dropout the first hidden state shows what was hidden.
    model = encoder("wav2vec2_pre", augment=augment, positions="none", dropout=0.0)
    params, run = compiled(model)
    batch = pad(utterances()[1:2], 16080)
    without = np.asarray(run(params, *batch).hidden_states[0, 0])
    seen = np.asarray(run(params, *batch, key=KEY).hidden_states[0, 0])
    channels = (seen == 0).all(0)
    frames = (seen == np.where(channels, 0, params["mask_embedding"])).all(1)
    assert 0 < channels.sum() < 32
    assert 0 < frames.sum() < 50
    rest = np.ix_(~frames, ~channels)
    np.testing.assert_array_equal(seen[rest], without[rest])


def test_frontend_when_the_conv_stack_learns_slower_then_its_gradient_is_scaled():
    batch = pad([utterances()[0][:1680]], 1680)

    def gradient(scale):
        config = dataclasses.replace(settings("wav2vec2_post")[0], gradient_scale=scale)
        model = WaveformFrontend(config, width=8, dtype="float32", key=KEY)
        graph, state = nnx.split(model)

        def loss(params):
            return nnx.merge(graph, nnx.State(params)).features(*batch)[0][..., :5].sum()

        return jax.jit(jax.grad(loss))(nnx.to_pure_dict(state))

    whole, tenth = gradient(1.0), gradient(0.1)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(0.1 * a, b, rtol=1e-3, atol=1e-6),
        whole["convolutions"],
        tenth["convolutions"],
    )
    np.testing.assert_allclose(whole["feature_norm"]["bias"], tenth["feature_norm"]["bias"])


@pytest.mark.parametrize(
    ("family", "changes", "sentence"),
    [
        ("wav2vec2_post", {"positions": "convolutions"}, "did you mean 'convolution'"),
        ("wav2vec2_post", {"norm": "past"}, "did you mean 'post'"),
        ("wav2vec2_post", {"position_groups": 5}, r"encoder\.position_groups"),
        ("data2vec", {"position_groups": 5}, r"encoder\.position_groups"),
        ("wav2vec2_post", {"num_heads": 5}, r"encoder\.num_heads"),
        ("wavlm_pre", {"attention": "jax", "attention_dropout": 0.1}, "attention_dropout=0"),
        ("wav2vec2_post", {"frontend_changes": {"conv_norm": "batch"}}, r"frontend\.conv_norm"),
        ("wav2vec2_post", {"frontend_changes": {"normalize": "none"}}, r"frontend\.normalize"),
        ("whisper", {"frontend_changes": {"normalize": "utterance"}}, r"frontend\.normalize"),
        (
            "whisper",
            {"frontend_changes": {"window_seconds": 1.01}},
            "not a multiple of the frame length",
        ),
        ("wav2vec2_pre", {"augment": AugmentConfig(band_mask_width=3)}, "channel_mask_fraction"),
    ],
)
def test_encoder_when_settings_do_not_fit_then_user_error(family, changes, sentence):
    with pytest.raises(UserError, match=sentence):
        encoder(family, **changes)


def test_encoder_when_there_are_more_frames_than_learned_positions_then_user_error():
    model = encoder("log_mel", positions="learned", max_frames=10)
    with pytest.raises(UserError, match=r"more than encoder\.max_frames=10"):
        model(*pad(utterances()[:1], 6500))
