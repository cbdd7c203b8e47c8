"""Binary cross-entropy of several categories, compared with torch."""

import jax
import numpy as np
import pytest
import torch

from sersl.objectives.binary import binary_cross_entropy
from tests.tolerances import FP32


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_loss_when_compared_with_torch_then_equal_in_value_and_gradient(smoothing):
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(5, 3)).astype(np.float32)
    target = (rng.random((5, 3)) < 0.5).astype(np.float32)
    target[0] = np.nan
    target[1, 2] = np.nan
    weights = np.array([1.0, 2.0, 0.5], np.float32)
    value, gradient = jax.value_and_grad(
        lambda x: binary_cross_entropy(
            x, target, positive_weights=weights, label_smoothing=smoothing
        )[0]
    )(logits)
    known = ~np.isnan(target)
    smooth = (1 - smoothing) * np.nan_to_num(target) + smoothing / 2
    given = torch.tensor(logits, requires_grad=True)
    losses = torch.nn.functional.binary_cross_entropy_with_logits(
        given, torch.tensor(smooth), pos_weight=torch.tensor(weights), reduction="none"
    )
    expected = losses[torch.tensor(known)].mean()
    expected.backward()
    np.testing.assert_allclose(value, expected.item(), **FP32)
    np.testing.assert_allclose(gradient, given.grad.numpy(), **FP32)


def test_loss_when_nothing_is_known_then_zero():
    loss, metrics = binary_cross_entropy(np.zeros((2, 3)), np.full((2, 3), np.nan))
    assert loss == 0 and np.isnan(metrics["category_accuracy"].value())
