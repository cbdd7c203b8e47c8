"""The one place that makes the input of students, second views and EMA teachers."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sersl.config.load import from_mapping
from sersl.config.schema import PretrainConfig
from sersl.core.lengths import num_frames
from sersl.parallel.random import run_key
from sersl.pretraining.student import Passes
from sersl.pretraining.task import PretrainTask
from tests.pretraining.terms.test_frame_terms import merged
from tests.tolerances import FP32

B, N = 4, 8_080
SETTINGS = {
    "encoder": {
        "num_layers": 2,
        "width": 16,
        "num_heads": 2,
        "mlp_width": 16,
        "dropout": 0.0,
        "positions": "convolution",
        "position_kernel": 5,
        "position_groups": 4,
    },
    "frontend": {"num_mels": 20},
    "masking": {"rule": "none", "span": 4},
    "knowledge": {"input": True, "input_dropout": 0.5},
    "distortion": {"noise_probability": 1.0},
    "objectives": {
        "instances": {"weight": 1.0, "loss": "bootstrap", "hidden": 8, "width": 8},
        "utterance": {"weight": 1.0, "kind": "chunk", "tokens": 3},
    },
}
MASKED = {"masking": {"rule": "uniform", "clones": 2}}


def batch_of() -> dict[str, jax.Array]:
    """Rows of which all three waveforms are the same audio."""
    rng = np.random.default_rng(0)
    waveform = jnp.asarray(0.1 * rng.normal(size=(B, N)), jnp.float32)
    return {
        "waveform": waveform,
        "distorted": waveform,
        "second": waveform,
        "valid": jnp.asarray(np.arange(N) < np.array([N, N, 5000, N])[:, None]),
        "intensity": jnp.asarray(rng.random((B, num_frames(N))), jnp.float32),
    }


def all_passes(*changes, key=0):
    """The hidden states of the student, of its second pass and of the teacher; and the student."""
    config = from_mapping(PretrainConfig, merged(SETTINGS, *changes))
    task = PretrainTask(config)
    model = task.make_model()
    tokens = {"utterance": model.utterance.tokens[...]}

    @jax.jit
    def run(batch, key):
        passes = Passes(
            task.mix_rows(batch, key),
            config=config,
            intensity_input=model.intensity_input if config.knowledge.input else None,
            tokens=tokens,
            key=key,
        )
        student = passes.student(model.encoder, "distorted")
        second = passes.second(model.encoder, student)
        return student.hidden_states, second, passes.teacher(model.encoder, "waveform"), student

    return run(batch_of(), run_key(key, "step"))


def test_passes_when_audio_is_identical_then_student_second_view_and_teacher_are_too():
    student, second, teacher, _ = all_passes()
    np.testing.assert_allclose(second, student, **FP32)
    np.testing.assert_allclose(teacher, student, **FP32)


@pytest.mark.parametrize("replace", ["embedding", "features", "remove"])
def test_passes_when_frames_are_masked_then_the_second_view_has_the_same_masks(replace):
    changes = [MASKED, {"masking": {"replace": replace}}]
    if replace == "features":
        changes.append({"alteration": {"zero_share": 1.0, "swap_share": 0.0}})
    if replace == "remove":
        changes.append({"objectives": {"instances": {"weight": 0.0}}})
    first, second, teacher, student = all_passes(*changes)
    present = np.asarray(student.present)
    np.testing.assert_allclose(second[:, present], first[:, present], **FP32)
    # The teacher sees every frame, once for each row.
    assert teacher.shape[1] == B and first.shape[1] == 2 * B
    assert np.abs(np.asarray(first[1, ::2] - teacher[1])).max() > 0.01


@pytest.mark.parametrize(
    "changes",
    [
        {"knowledge": {"input": False}},
        {"objectives": {"utterance": {"tokens": 2}}},
    ],
)
def test_passes_when_an_input_is_missing_then_every_pass_changes(changes):
    for with_it, without in zip(all_passes()[:3], all_passes(changes)[:3], strict=True):
        assert np.abs(np.asarray(with_it - without)).max() > 0.01


@pytest.mark.parametrize(
    "changes",
    [
        {"mixing": {"probability": 1.0}},
        {"masking": {"rule": "uniform", "replace": "features"}, "alteration": {"band_share": 0.9}},
    ],
)
def test_passes_when_the_student_is_altered_then_the_second_view_is_too_and_the_teacher_not(
    changes,
):
    plain, altered = all_passes(), all_passes(changes)
    for one in (0, 1):
        assert np.abs(np.asarray(plain[one] - altered[one])).max() > 0.01
    assert np.abs(np.asarray(altered[0] - altered[1])).max() > 0.01  # drawn anew
    np.testing.assert_allclose(altered[2], plain[2], **FP32)


def test_upper_when_given_the_students_own_frames_then_its_last_layer():
    config = from_mapping(PretrainConfig, SETTINGS)
    model = PretrainTask(config).make_model()
    passes = Passes(
        batch_of() | {"intensity": jnp.zeros((B, num_frames(N)))},
        config=config,
        intensity_input=model.intensity_input,
        tokens={"utterance": model.utterance.tokens[...]},
        key=run_key(0, "step"),
    )
    student = passes.student(model.encoder, "waveform")
    last = passes.upper(
        model.encoder, student.hidden_states[1], student, start=1, key=run_key(0, "again")
    )
    valid = np.asarray(student.valid)
    np.testing.assert_allclose(last[valid], student.hidden_states[-1][valid], **FP32)
