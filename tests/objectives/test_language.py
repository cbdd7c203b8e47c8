import jax
import numpy as np
import pytest

from sersl.core.errors import UserError
from sersl.objectives.language import label_targets, soft_contrast
from tests.objectives.gradients import check_gradient
from tests.tolerances import FP32

COUNTED = np.array([True, True, True, False, True])


def example():
    rng = np.random.default_rng(0)
    audio, text = rng.normal(size=(2, 5, 4))
    targets = 0.7 * label_targets(np.array([0, 1, 0, 1, 1])) + 0.3 * label_targets(
        np.array([0, 0, 1, 1, -1])
    )
    return audio, text, np.asarray(targets, np.float64)


def reference(audio, text, targets, scale):
    unit = [x / np.linalg.norm(x, axis=1, keepdims=True) for x in (audio, text)]
    logits = scale * unit[0] @ unit[1].T
    rows, losses = np.flatnonzero(COUNTED), []
    for i in rows:
        both = 0.0
        for line, wanted in ((logits[i], targets[i]), (logits[:, i], targets[:, i])):
            p = np.exp(line[rows]) / np.exp(line[rows]).sum()
            q = wanted[rows] / wanted[rows].sum()
            both += sum(qj * np.log(qj / pj) for qj, pj in zip(q, p, strict=True) if qj > 0)
        losses.append(0.5 * both)
    return np.mean(losses)


def test_soft_contrast_when_compared_with_loops_then_equal():
    audio, text, targets = example()
    loss, metrics = soft_contrast(audio, text, targets, log_scale=1.5, counted=COUNTED)
    np.testing.assert_allclose(loss, reference(audio, text, targets, np.exp(1.5)), **FP32)
    np.testing.assert_allclose(metrics["language"].value(), loss, **FP32)


def test_soft_contrast_when_differentiated_then_equals_central_differences():
    audio, text, targets = example()

    def loss(x, y, s):
        return soft_contrast(x, y, targets, log_scale=s, counted=COUNTED)[0]

    check_gradient(lambda x: loss(x, text, 1.5), audio)
    check_gradient(lambda x: loss(audio, x, 1.5), text)
    check_gradient(lambda s: loss(audio, text, s[0]), np.array([1.5]))


def test_soft_contrast_when_scale_is_huge_then_it_is_at_most_100():
    audio, text, targets = example()
    loss, _ = soft_contrast(audio, text, targets, log_scale=50.0, counted=COUNTED)
    np.testing.assert_allclose(loss, reference(audio, text, targets, 100.0), rtol=1e-4)


def test_soft_contrast_when_no_row_has_a_description_then_zero_and_no_gradient():
    audio, text, targets = example()

    def loss(x):
        return soft_contrast(x, text, targets, log_scale=1.0, counted=np.zeros(5, bool))[0]

    value, gradient = jax.value_and_grad(loss)(audio)
    assert value == 0.0 and not np.asarray(gradient).any()


def test_soft_contrast_when_batch_has_one_row_then_user_error():
    with pytest.raises(UserError, match="one row"):
        soft_contrast(
            np.ones((1, 2)), np.ones((1, 2)), np.ones((1, 1)), log_scale=0.0,
            counted=np.ones(1, bool),
        )  # fmt: skip


def test_label_targets_when_a_label_is_unknown_then_it_fits_itself_only():
    np.testing.assert_array_equal(
        label_targets(np.array([0, -1, 0, -1])),
        [[1, 0, 1, 0], [0, 1, 0, 0], [1, 0, 1, 0], [0, 0, 0, 1]],
    )
