"""Heads of the losses against their formulas in NumPy."""

import jax
import numpy as np
import pytest
from scipy.special import expit, softmax

from sersl.config.schema import HeadsConfig
from sersl.core.errors import UserError
from sersl.models.heads.category_heads import CATEGORY_HEADS, make_category_head, uncertainty
from sersl.models.heads.dimension_head import DIMENSION_HEADS, DimensionHead, doubt
from sersl.objectives.supervision.category_losses import CATEGORY_LOSSES
from sersl.objectives.supervision.dimension_losses import DIMENSION_LOSSES
from tests.tolerances import FP32

X = np.random.default_rng(0).normal(size=(6, 5)).astype(np.float32)


def made(loss, **settings):
    config = HeadsConfig(
        kind="linear", category_loss=loss, output_deviation=1.0, prototype_width=3, **settings
    )
    return make_category_head(5, 4, config, key=jax.random.key(1)), config


def linear(head):
    output = jax.tree.map(np.asarray, {n: getattr(head.output, n)[...] for n in ("kernel", "bias")})
    return X @ output["kernel"] + output["bias"]


def test_heads_when_listed_then_there_is_one_for_each_loss():
    assert list(CATEGORY_HEADS) == list(CATEGORY_LOSSES)
    assert list(DIMENSION_HEADS) == list(DIMENSION_LOSSES)


def test_heads_when_the_loss_is_unknown_then_user_error_with_the_known_ones():
    with pytest.raises(UserError, match=r"heads\.category_loss 'focus'.*focal"):
        made("focus")
    with pytest.raises(UserError, match=r"heads\.dimensions_loss 'ccx'.*ccc"):
        DimensionHead(5, 2, HeadsConfig(dimensions_loss="ccx"), key=jax.random.key(0))


def test_evidence_head_when_compared_with_numpy_then_dirichlet_mean_and_vacuity():
    head, config = made("evidential")
    scores = head(X)
    alpha = np.log1p(np.exp(linear(head))) + 1
    total = alpha.sum(1, keepdims=True)
    np.testing.assert_allclose(softmax(scores, axis=1), alpha / total, **FP32)
    np.testing.assert_allclose(uncertainty(scores, config)["vacuity"], 4 / total[:, 0], **FP32)


def test_prototype_head_when_compared_with_numpy_then_distances_and_open_set():
    head, config = made("prototypes", temperature=0.2)
    z = linear(head)
    z /= np.linalg.norm(z, axis=1, keepdims=True)
    p = np.asarray(head.prototypes[...])
    p = p / np.linalg.norm(p, axis=1, keepdims=True)
    squares = np.square(z[:, None] - p).sum(-1)
    np.testing.assert_allclose(head(X), -squares / 0.2, rtol=1e-4, atol=1e-4)
    found = uncertainty(head(X), config)["open_set"]
    np.testing.assert_allclose(found, squares.min(1) / 4, **FP32)
    assert (found >= 0).all()
    assert (found <= 1).all()


@pytest.mark.parametrize("kind", ["linear", "tanh"])
def test_listeners_head_when_compared_with_numpy_then_units_scaled_and_shifted_for_each(kind):
    config = HeadsConfig(
        kind=kind,
        hidden=3,
        category_loss="listeners",
        annotators=("ann", "ben"),
        listener_width=2,
        output_deviation=1.0,
    )
    head = make_category_head(5, 4, config, key=jax.random.key(1))
    each = head.each(X)
    np.testing.assert_allclose(each[:, 0], each[:, 1], **FP32)  # all the same at first
    rng = np.random.default_rng(2)
    adapt = rng.normal(size=head.adapt.kernel[...].shape).astype(np.float32)
    head.adapt.kernel[...] = jax.numpy.asarray(adapt)
    units = np.asarray(head.units(X))
    kernel, bias = np.asarray(head.output.kernel[...]), np.asarray(head.output.bias[...])
    scale, shift = np.split(np.asarray(head.listeners[...]) @ adapt, 2, axis=1)
    wanted = np.stack([(units * (1 + scale[i]) + shift[i]) @ kernel + bias for i in range(2)], 1)
    np.testing.assert_allclose(head.each(X), wanted, rtol=1e-4, atol=1e-5)
    mean = softmax(wanted, axis=-1).mean(1)
    np.testing.assert_allclose(np.exp(head(X)), mean, rtol=1e-4, atol=1e-5)


def test_ordinal_head_when_compared_with_numpy_then_differences_of_sigmoids():
    head, _ = made("ordinal")
    raw = np.asarray(head.thresholds[...], np.float64)
    thresholds = np.cumsum([raw[0], *np.log1p(np.exp(raw[1:]))])
    # At the start all categories are equally likely for a number of 0.
    np.testing.assert_allclose(expit(thresholds), [0.25, 0.5, 0.75], **FP32)
    below = np.concatenate(
        [np.zeros((6, 1)), expit(thresholds - linear(head)), np.ones((6, 1))], axis=1
    )
    np.testing.assert_allclose(np.exp(head(X)), np.diff(below, axis=1), **FP32)
    far = np.asarray(head(100 * X))
    assert np.isfinite(far).all()


def test_annotators_head_when_compared_with_numpy_then_mean_of_probabilities():
    head, _ = made("annotators", annotators=("ann", "ben", "cem"))
    logits = linear(head).reshape(6, 3, 4)
    np.testing.assert_allclose(head.each(X), logits, **FP32)
    np.testing.assert_allclose(np.exp(head(X)), softmax(logits, axis=2).mean(1), **FP32)
    with pytest.raises(UserError, match=r"needs heads\.annotators"):
        made("annotators")


def test_dimension_head_when_evidential_then_value_and_distribution_of_each_dimension():
    config = HeadsConfig(kind="linear", dimensions_loss="evidential", output_deviation=1.0)
    head = DimensionHead(5, 2, config, key=jax.random.key(2))
    raw = linear(head)
    values, evidence = head.both(X)
    np.testing.assert_allclose(values, expit(raw[:, :2]), **FP32)
    np.testing.assert_allclose(head(X), values, **FP32)
    nu, alpha, beta = np.log1p(np.exp(raw[:, 2:])).reshape(6, 3, 2).transpose(1, 0, 2)
    np.testing.assert_allclose(evidence, np.stack([nu, alpha + 1, beta], -1), **FP32)
    found = doubt(evidence)
    np.testing.assert_allclose(found["aleatoric"] ** 2, beta / alpha, rtol=1e-3)
    np.testing.assert_allclose(found["epistemic"] ** 2, beta / alpha / nu, rtol=1e-3)
