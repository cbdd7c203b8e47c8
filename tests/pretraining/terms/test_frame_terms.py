"""Frame-level objectives as terms of pretraining: each learns, and nonsense is refused."""

import dataclasses
import functools
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from sersl.config.load import from_mapping
from sersl.config.schema import MaskingConfig, MeshConfig, PretrainConfig
from sersl.core.errors import UserError
from sersl.core.lengths import num_frames
from sersl.parallel.mesh import make_mesh
from sersl.parallel.sharding import batch_sharding
from sersl.pretraining.masking import choose_masked, repeat_rows
from sersl.pretraining.student import Passes, most_unmasked
from sersl.pretraining.task import PretrainTask
from sersl.pretraining.terms.distill import Utterance
from sersl.training.step import make_teacher
from sersl.training.task import StepContext
from tests.tolerances import FP32, LOSS_ACROSS_MESHES

B, N = 4, 16_080
SMALL = {
    "encoder": {"num_layers": 1, "width": 16, "num_heads": 2, "mlp_width": 16},
    "frontend": {"num_mels": 20},
    "masking": {"rule": "uniform", "span": 4},
}
GRU = {"encoder": {"kind": "gru"}, "masking": {"rule": "none"}}
TEACHER = {"decoder_width": 8, "decoder_groups": 4, "decoder_layers": 2}
# Name of the term to settings under objectives.<term>, and settings of the whole run.
CASES = {
    "reconstruction": ({"hidden": 16}, {"masking": {"replace": "features"}}),
    "apc": ({}, GRU),
    "cpc": ({"steps": 3, "num_negatives": 8}, GRU),
    "npc": (
        {"groups": 2, "codes": 4, "width": 16},
        {"encoder": {"kind": "masked_conv"}, "masking": {"rule": "none"}},
    ),
    "best_rq": ({"codes": 32, "books": 2}, {}),
    "clusters": ({"books": ("k5", "k7"), "codes": (5, 7), "width": 8}, {}),
    "distill": (
        {"decoder": "convolution", **TEACHER},
        {"masking": {"replace": "remove", "clones": 3}},
    ),
    "utterance": ({"tokens": 3}, {}),
}


def merged(*mappings):
    result = {}
    for mapping in mappings:
        for key, value in mapping.items():
            both = isinstance(value, dict) and isinstance(result.get(key), dict)
            result[key] = merged(result[key], value) if both else value
    return result


def config_of(name, *more):
    own, whole = CASES[name]
    values = {"objectives": {name: {"weight": 1.0, **own}}}
    return from_mapping(PretrainConfig, merged(SMALL, values, whole, *more))


def batch_of(waveform=None, num_rows=B):
    rng = np.random.default_rng(0)
    if waveform is None:
        waveform = rng.normal(size=(num_rows, N)) * 0.1
    valid = np.arange(N) < np.array([N, N, 9000, 0])[:num_rows, None]
    frames = num_frames(N)
    return {
        "waveform": jnp.asarray(waveform, jnp.float32),
        "valid": jnp.asarray(valid),
        "speaker": jnp.array([0, 1, 0, -1][:num_rows]),
        "codes/k5": jnp.asarray(rng.integers(-1, 5, (num_rows, frames)), jnp.int32),
        "codes/k7": jnp.asarray(rng.integers(-1, 7, (num_rows, frames)), jnp.int32),
    }


@functools.cache
def compiled(config):
    """The task, its first parameters, and value, metrics and gradient of its loss."""
    task = PretrainTask(config)
    params = nnx.to_pure_dict(nnx.split(task.make_model())[1])

    def run(params, teacher, batch, step):
        def loss(p):
            return task.loss(p, batch, StepContext(teacher, {}, step, jax.random.key(1)))

        (value, metrics), gradient = jax.value_and_grad(loss, has_aux=True)(params)
        return value, {name: mean.value() for name, mean in metrics.items()}, gradient

    return task, params, jax.jit(run)


def norm(tree):
    return float(sum(jnp.square(leaf).sum() for leaf in jax.tree.leaves(tree)))


@pytest.mark.parametrize("name", CASES)
def test_term_when_its_gradient_is_followed_then_the_loss_falls(name):
    task, params, run = compiled(config_of(name))
    batch, teacher = batch_of(), make_teacher(task, params)
    first, metrics, gradient = run(params, teacher, batch, 0)
    assert np.isfinite(first) and first > 0
    np.testing.assert_allclose(metrics[name], first, rtol=1e-5)
    assert norm(gradient["encoder"]) > 0 and norm(gradient[name]) > 0
    for _ in range(5):
        scale = 0.05 / norm(gradient) ** 0.5
        params = jax.tree.map(lambda p, g, s=scale: p - s * g, params, gradient)
        last, _, gradient = run(params, teacher, batch, 0)
    assert last < first


@pytest.mark.parametrize("name", CASES)
def test_term_when_all_is_silent_then_finite(name):
    task, params, run = compiled(config_of(name))
    teacher = make_teacher(task, params)
    for batch in (batch_of(np.zeros((B, N))), batch_of() | {"valid": jnp.zeros((B, N), bool)}):
        value, metrics, gradient = run(params, teacher, batch, 0)
        assert np.isfinite(value)
        assert np.isfinite(norm(gradient)), metrics


@pytest.mark.parametrize("name", ["cpc", "distill", "utterance"])
def test_term_when_the_batch_has_one_row_then_finite(name):
    task, params, run = compiled(config_of(name))
    value, _, gradient = run(params, make_teacher(task, params), batch_of(num_rows=1), 0)
    assert np.isfinite(value) and np.isfinite(norm(gradient))


@pytest.mark.parametrize(
    ("name", "more", "words"),
    [
        ("apc", {"encoder": {"kind": "transformer"}}, "objectives.apc predicts later frames"),
        ("cpc", {"encoder": {"kind": "masked_conv"}}, "objectives.cpc predicts later frames"),
        ("npc", {"encoder": {"kind": "gru"}}, "set it to 'masked_conv'"),
        ("apc", {"masking": {"rule": "uniform"}}, "would only remove input"),
        ("cpc", {"objectives": {"cpc": {"negatives": "speakers"}}}, "did you mean 'speaker'"),
        ("clusters", {"objectives": {"clusters": {"books": ()}}}, "run `sersl cluster`"),
        ("clusters", {"objectives": {"clusters": {"codes": (5,)}}}, "number of codes"),
        ("clusters", {"masking": {"rule": "none"}}, "masking.rule is 'none'"),
        ("best_rq", {"masking": {"replace": "remove"}}, "removes them from its input"),
        ("best_rq", {"masking": {"replace": "feature"}}, "did you mean 'features'"),
        (
            "distill",
            {"objectives": {"distill": {"decoder": "linear"}}},
            "removes them from its input",
        ),
        ("distill", {"objectives": {"distill": {"decoder": "conv"}}}, "decoder"),
        ("distill", {"objectives": {"distill": {"decoder_groups": 3}}}, "does not divide"),
        ("distill", {"encoder": {"kind": "gru"}}, "cannot skip frames"),
        ("utterance", {"objectives": {"utterance": {"kind": "tokens"}}}, "did you mean 'token'"),
        ("best_rq", {"objectives": {"penalty": {"weight": 1.0}}}, "none that learn"),
        ("apc", {"masking": {"clones": 2}}, "have no effect"),
        ("best_rq", {"mixing": {"lowest_db": 9.0}}, "swap them"),
        ("distill", {"frontend": {"kind": "whisper"}}, "attends to all of its window"),
        ("apc", {"encoder": {"positions": "convolution"}}, "mixes neighbouring frames"),
        ("cpc", {"encoder": {"positions": "convolution_stack"}}, "mixes neighbouring frames"),
        ("npc", {"encoder": {"positions": "convolution"}}, "mixes neighbouring frames"),
        ("apc", {"frontend": {"kind": "whisper"}}, "mix neighbouring frames"),
        ("utterance", {"encoder": {"kind": "gru"}}, "do not depend on the frames"),
        ("apc", {"encoder": {"relative_bias": True}}, "of encoder.kind 'transformer'"),
        ("npc", {"encoder": {"layer_drop": 0.1}}, "of encoder.kind 'transformer'"),
        ("best_rq", {"alteration": {"band_share": 0.2}}, "alteration have no effect"),
        ("distill", {"encoder": {"attention": "cudnn"}}, "leaves gaps between frames"),
    ],
)
def test_settings_when_they_make_no_sense_then_one_sentence(name, more, words):
    with pytest.raises(UserError, match=words) as caught:
        PretrainTask(config_of(name, more))
    assert "\n" not in str(caught.value)


def student_of(config, batch, key):
    task = PretrainTask(config)
    model = task.make_model()

    @jax.jit
    def run(batch, key):
        mixed = task.mix_rows(batch, key)
        passes = Passes(mixed, config=config, tokens={}, key=key)
        return passes.student(model.encoder, "distorted" if mixed is not batch else "waveform")

    return model, run(batch, key)


def test_student_when_there_are_clones_then_masked_differently_and_features_alike():
    config, batch = config_of("distill"), batch_of()
    _, student = student_of(config, batch, jax.random.key(0))
    masked = np.asarray(student.masked).reshape(B, 3, -1)
    features = np.asarray(student.features).reshape(B, 3, *student.features.shape[1:])
    for row in range(2):
        assert not np.array_equal(masked[row, 0], masked[row, 1])
    np.testing.assert_array_equal(features[:, 0], features[:, 2])
    np.testing.assert_array_equal(student.present, student.valid & ~student.masked)
    x = np.arange(6).reshape(2, 3)
    np.testing.assert_array_equal(repeat_rows(x, 2, axis=1), x[:, [0, 0, 1, 1, 2, 2]])


@pytest.mark.parametrize("positions", ["rotary", "convolution"])
def test_student_when_frames_are_removed_then_the_others_do_not_depend_on_them(positions):
    config = config_of(
        "distill",
        {"masking": {"clones": 1}, "encoder": {"positions": positions, "position_groups": 4}},
    )
    model, student = student_of(config, batch_of(), jax.random.key(0))
    encoder, present = model.encoder, np.asarray(student.present)
    x = encoder.frontend.project(student.features)
    changed = jnp.where(present[..., None], x, 7.0)
    tokens = jnp.ones((2, 16))
    most = most_unmasked(present.shape[1], config.masking)
    assert present.sum(1).max() <= most < present.shape[1]
    run = functools.partial(encoder.contextualize, frame_valid=present, tokens=tokens)
    expected = np.asarray(run(x))
    alone = np.asarray(encoder.contextualize(x, present))
    assert expected.shape[2] == 2 + alone.shape[2] and not np.allclose(expected[:, :, 2:], alone)
    for found in (run(changed), run(x, most_valid=most), run(changed, most_valid=most)):
        found = np.asarray(found)
        np.testing.assert_allclose(found[:, :, :2], expected[:, :, :2], **FP32)
        np.testing.assert_allclose(
            found[:, :, 2:][:, present], expected[:, :, 2:][:, present], **FP32
        )


@pytest.mark.parametrize("num_frames", [3, 49, 50])
def test_most_unmasked_when_counted_for_every_length_then_enough_and_even(num_frames):
    masking = MaskingConfig(rule="uniform", fraction=0.5, span=5)
    valid = np.arange(num_frames) < np.arange(num_frames + 1)[:, None]
    masked = np.asarray(choose_masked(valid, None, jax.random.key(0), masking))
    left = (valid & ~masked).sum(1).max()
    assert left <= most_unmasked(num_frames, masking) <= min(left + 1, num_frames)


def test_student_when_utterances_are_mixed_then_targets_are_clean_and_hearing_is_not():
    config = config_of("best_rq", {"mixing": {"probability": 1.0}})
    plain = dataclasses.replace(config, mixing=dataclasses.replace(config.mixing, probability=0.0))
    _, mixed = student_of(config, batch_of(), jax.random.key(1))
    _, clean = student_of(plain, batch_of(), jax.random.key(1))
    np.testing.assert_array_equal(mixed.features, clean.features)
    np.testing.assert_array_equal(mixed.masked, clean.masked)
    assert not np.array_equal(mixed.hidden_states, clean.hidden_states)


def test_diagnose_when_teacher_or_student_is_alike_everywhere_then_says_so():
    task = PretrainTask(config_of("distill"))
    good = {
        "silent_rows": 0.0,
        "feature_variance": 1.0,
        "target_variance": 0.5,
        "prediction_variance": 0.1,
    }
    assert task.diagnose(1000, good) is None
    assert "teacher of objectives.distill" in task.diagnose(1000, good | {"target_variance": 0.009})
    found = task.diagnose(1000, good | {"prediction_variance": 9e-5})
    assert "student of objectives.distill" in found and "min_prediction_deviation" in found
    assert task.diagnose(10, good | {"target_variance": 0.0}) is None
    utterance = PretrainTask(config_of("utterance"))
    values = {"utterance_target_variance": float("nan"), "utterance_prediction_variance": 1.0}
    assert utterance.diagnose(1000, good | values) is None


def test_diagnose_when_the_whole_batch_is_silent_then_says_so_from_the_first_step():
    task, params, run = compiled(config_of("best_rq"))
    sound = np.asarray(batch_of()["waveform"])
    for waveform, share in ((sound, 0.0), (sound * (np.arange(B) == 1)[:, None], 2 / 3)):
        values = run(params, None, batch_of(waveform), 0)[1]
        np.testing.assert_allclose(values["silent_rows"], share, rtol=1e-6)
        assert task.diagnose(1, values) is None
    values = run(params, None, batch_of(0 * sound), 0)[1]
    assert "at step 1: every recording in this batch is digital silence" in task.diagnose(1, values)


def test_gradient_when_recordings_hold_digital_silence_then_layer_norms_do_not_blow_it_up():
    frontend = {"kind": "waveform", "conv_width": 16, "conv_norm": "layer", "conv_bias": True}
    config = config_of("utterance", {"frontend": frontend, "encoder": {"num_layers": 1}})
    task, params, run = compiled(config)
    waveform = np.asarray(batch_of()["waveform"]) * (np.arange(N) > N // 2)
    _, _, gradient = run(params, make_teacher(task, params), batch_of(waveform), 0)
    assert norm(gradient["encoder"]["frontend"]) < 1e3


@pytest.mark.parametrize("conv_norm", ["group", "layer"])
def test_gradient_when_a_row_is_silent_then_norms_in_a_row_do_not_blow_it_up(conv_norm):
    frontend = {"kind": "waveform", "conv_width": 16, "conv_norm": conv_norm}
    encoder = {"positions": "convolution_stack", "position_groups": 4, "position_kernel": 5}
    config = config_of("utterance", {"frontend": frontend, "encoder": encoder})
    task, params, run = compiled(config)
    waveform = np.asarray(batch_of()["waveform"]) * (np.arange(B) > 0)[:, None]
    _, _, gradient = run(params, make_teacher(task, params), batch_of(waveform), 0)
    assert norm(gradient) < 1e3


def test_student_when_the_frontend_has_a_window_of_its_own_then_frames_are_those_of_the_batch():
    """Whisper hears all of its window: longer than the batch, or shorter."""
    settings = {"frontend": {"kind": "whisper", "window_seconds": 1.5, "num_mels": 80}}
    _, params, run = compiled(config_of("best_rq", settings))
    batch = batch_of()
    value, metrics, gradient = run(params, None, batch, 0)
    assert np.isfinite(value) and np.isfinite(norm(gradient))
    np.testing.assert_allclose(metrics["masked_fraction"], 0.5, atol=0.05)
    for seconds in (1.5, 0.5):
        settings["frontend"]["window_seconds"] = seconds
        _, student = student_of(config_of("best_rq", settings), batch, jax.random.key(0))
        assert student.hidden_states.shape[2] == student.valid.shape[1] == num_frames(N)
        assert student.features.shape[1] == student.present.shape[1] == num_frames(N)
        heard = np.asarray(student.valid).sum(1)
        np.testing.assert_array_equal(heard, np.minimum([50, 50, 27, 0], int(seconds * 50)))


def test_utterance_when_frames_are_averaged_then_in_float32_whatever_the_encoder_computes_in():
    term = Utterance(config_of("utterance", {"objectives": {"utterance": {"kind": "global"}}}))
    heads = term.make_heads(key=jax.random.key(0))
    rng = np.random.default_rng(0)
    hidden = jnp.asarray(1 + rng.normal(size=(2, 999, 16)), jnp.bfloat16)
    real = np.ones((2, 999), bool)
    taught = rng.normal(size=(2, 2, 999, 16))
    view = types.SimpleNamespace(
        last=hidden,
        valid=real,
        clones=1,
        student=types.SimpleNamespace(present=real),
        teacher=types.SimpleNamespace(hidden_states_once=taught, valid_once=real),
    )
    said = heads.projection(np.asarray(hidden, np.float64).mean(1))
    frames = taught[1]
    frames = frames - frames.mean(-1, keepdims=True)
    target = (frames / np.sqrt(np.square(frames).mean(-1, keepdims=True) + 1e-5)).mean(1)
    expected = np.square(said - target).sum(-1).mean() / 4
    np.testing.assert_allclose(term.loss(heads, view)[0], expected, **FP32)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["cpc", "distill"])
def test_term_when_rows_lie_on_eight_devices_then_the_same_loss(name):
    task, params, run = compiled(config_of(name))
    teacher = make_teacher(task, params)
    batch = {key: jnp.concatenate([a, a[::-1]]) for key, a in batch_of().items()}
    alone, _, _ = run(params, teacher, batch, 0)
    mesh = make_mesh(MeshConfig(), jax.devices())
    assert mesh.size == 8
    with jax.set_mesh(mesh):
        spread, _, _ = run(params, teacher, jax.device_put(batch, batch_sharding(mesh)), 0)
    np.testing.assert_allclose(spread, alone, **LOSS_ACROSS_MESHES)
