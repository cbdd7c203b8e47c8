import jax
import numpy as np

from sersl.objectives.supervised import concordance, cross_entropy
from tests.objectives.gradients import check_gradient
from tests.tolerances import FP32

NAMES = ("arousal", "dominance", "valence")


def test_cross_entropy_when_compared_with_loops_then_equal():
    rng = np.random.default_rng(0)
    logits, category = rng.normal(size=(9, 4)), rng.integers(-1, 4, 9)
    class_weights = rng.uniform(0.5, 2.0, 4)
    for smoothing in (0.0, 0.1):
        total = weight = hits = 0.0
        for row, label in zip(logits, category, strict=True):
            if label < 0:
                continue
            p = np.exp(row) / np.exp(row).sum()
            q = np.full(4, smoothing / 4)
            q[label] += 1 - smoothing
            total += class_weights[label] * -(q * np.log(p)).sum()
            weight += class_weights[label]
            hits += row.argmax() == label
        loss, metrics = cross_entropy(
            logits, category, class_weights=class_weights, label_smoothing=smoothing
        )
        np.testing.assert_allclose(loss, total / weight, **FP32)
        np.testing.assert_allclose(metrics["category_loss"].value(), total / weight, **FP32)
        accuracy = hits / (category >= 0).sum()
        np.testing.assert_allclose(metrics["category_accuracy"].value(), accuracy, **FP32)


def test_cross_entropy_when_some_rows_have_votes_then_equal_to_loops():
    rng = np.random.default_rng(5)
    logits, category = rng.normal(size=(8, 3)), np.array([0, -1, 2, 1, -1, 0, 2, -1])
    votes = rng.dirichlet(np.ones(3), 8)
    votes[[0, 3, 4]] = np.nan  # 0 and 3 have a category, 4 has nothing
    class_weights = np.array([0.5, 1.0, 2.0])
    total = weight = hits = 0.0
    for row, label, shares in zip(logits, category, votes, strict=True):
        if label < 0 and np.isnan(shares[0]):
            continue
        y = np.eye(3)[label] if np.isnan(shares[0]) else shares
        p = np.exp(row) / np.exp(row).sum()
        total += (y @ class_weights) * -((0.9 * y + 0.1 / 3) * np.log(p)).sum()
        weight += y @ class_weights
        hits += label >= 0 and row.argmax() == label

    def loss_of(x, probabilities=votes):
        return cross_entropy(
            x,
            category,
            probabilities=probabilities,
            class_weights=class_weights,
            label_smoothing=0.1,
        )

    loss, metrics = loss_of(logits)
    np.testing.assert_allclose(loss, total / weight, **FP32)
    np.testing.assert_allclose(metrics["category_accuracy"].value(), hits / 5, **FP32)
    check_gradient(lambda x: loss_of(x)[0], logits)
    # Votes that all agree are the category itself.
    onehot = np.where(category[:, None] >= 0, np.eye(3)[category], np.nan)
    np.testing.assert_allclose(loss_of(logits, onehot)[0], loss_of(logits, None)[0], **FP32)


def test_cross_entropy_when_differentiated_then_equals_central_differences():
    rng = np.random.default_rng(1)
    logits, category = rng.normal(size=(6, 3)), np.array([0, -1, 2, 1, -1, 0])
    weights = np.array([0.5, 1.0, 2.0])
    check_gradient(
        lambda x: cross_entropy(x, category, class_weights=weights, label_smoothing=0.1)[0], logits
    )


def test_cross_entropy_when_no_row_has_a_category_then_zero_and_no_gradient():
    def loss(x):
        return cross_entropy(x, np.full(3, -1))[0]

    value, gradient = jax.value_and_grad(loss)(np.ones((3, 4), np.float32))
    assert value == 0.0
    assert not np.asarray(gradient).any()


def labels():
    rng = np.random.default_rng(2)
    target = rng.uniform(size=(10, 3))
    predicted = 0.5 * target + 0.5 * rng.uniform(size=(10, 3))
    target[rng.random((10, 3)) < 0.3] = np.nan
    return predicted, target


def reference(predicted, target):
    values = []
    for d in range(3):
        known = ~np.isnan(target[:, d])
        x, y = predicted[known, d], target[known, d]
        covariance = np.mean((x - x.mean()) * (y - y.mean()))
        values.append(2 * covariance / (x.var() + y.var() + (x.mean() - y.mean()) ** 2))
    return np.array(values)


def test_concordance_when_compared_with_numpy_then_equal():
    predicted, target = labels()
    loss, metrics = concordance(predicted, target, names=NAMES)
    ccc = reference(predicted, target)
    np.testing.assert_allclose([metrics[f"ccc_{n}"].value() for n in NAMES], ccc, **FP32)
    np.testing.assert_allclose(loss, 1 - ccc.mean(), **FP32)


def test_concordance_when_differentiated_then_equals_central_differences():
    predicted, target = labels()
    check_gradient(lambda x: concordance(x, target, names=NAMES)[0], predicted)


def test_concordance_when_a_dimension_has_one_label_then_it_is_left_out():
    predicted, target = labels()
    target[1:, 1] = np.nan
    target[0, 1] = 0.5
    loss, metrics = concordance(predicted, target, names=NAMES)
    ccc = reference(predicted, target)
    np.testing.assert_allclose(loss, 1 - ccc[[0, 2]].mean(), **FP32)
    assert metrics["ccc_dominance"].weight == 0


def test_concordance_when_constant_or_unlabelled_then_finite():
    predicted, target = np.full((4, 3), 0.5), np.full((4, 3), 0.5)
    loss, _ = concordance(predicted, target, names=NAMES)
    np.testing.assert_allclose(loss, 1.0, **FP32)
    check_gradient(lambda x: concordance(x, target * np.nan, names=NAMES)[0], predicted)
    loss, metrics = concordance(predicted, target * np.nan, names=NAMES)
    assert loss == 0.0
    assert metrics["dimensions_loss"].weight == 0


def test_concordance_when_perfect_then_loss_is_zero():
    _, target = labels()
    np.testing.assert_allclose(concordance(target, target, names=NAMES)[0], 0.0, atol=1e-5)
