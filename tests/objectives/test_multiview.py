import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

from sersl.core.errors import UserError
from sersl.objectives.multiview import (
    bootstrap,
    close_intensity,
    contrast,
    multiview,
    nt_xent,
    same_category,
    supervised_contrast,
    utterance_intensity,
)
from tests.objectives.gradients import check_gradient
from tests.tolerances import FP32, LOSS_ACROSS_MESHES

IDENTITY = np.array([0, 1, 2, 1, 3, -1, -1])  # rows 1 and 3 are crops of one utterance
TAU = 0.2


def vectors(number, rows=7):
    return np.random.default_rng(number).normal(size=(rows, 5))


def cosine(a, b):
    return a @ b / np.linalg.norm(a) / np.linalg.norm(b)


def contrast_loops(a, b):
    losses, hits = [], []
    for i in range(len(a)):
        others = [j for j in range(len(a)) if IDENTITY[j] >= 0 and IDENTITY[j] != IDENTITY[i]]
        if IDENTITY[i] < 0 or not others:
            continue
        own = cosine(a[i], b[i]) / TAU
        rest = [cosine(a[i], b[j]) / TAU for j in others]
        losses.append(-own + np.log(np.exp([own, *rest]).sum()))
        hits.append(own > max(rest))
    return np.mean(losses), np.mean(hits)


def test_contrast_when_compared_with_loops_then_equal():
    a, b = vectors(0), vectors(1)
    loss, metrics = contrast(a, b, identity=IDENTITY, temperature=TAU)
    expected, accuracy = contrast_loops(a, b)
    np.testing.assert_allclose(loss, expected, **FP32)
    np.testing.assert_allclose(metrics["accuracy"].value(), accuracy, **FP32)
    check_gradient(lambda x: contrast(x, b, identity=IDENTITY, temperature=TAU)[0], a)
    check_gradient(lambda x: contrast(a, x, identity=IDENTITY, temperature=TAU)[0], b)


def test_multiview_when_compared_with_loops_then_equal():
    views = {"speech": vectors(0), "mel": vectors(1), "functionals": vectors(2)}
    loss, metrics = multiview(views, identity=IDENTITY, temperature=TAU)
    expected = 0.0
    for a, b in itertools.combinations(views, 2):
        there, back = (contrast_loops(views[x], views[y])[0] for x, y in ((a, b), (b, a)))
        expected += 0.5 * (there + back)
        np.testing.assert_allclose(
            metrics[f"multiview_{a}_{b}"].value(), 0.5 * (there + back), **FP32
        )
    np.testing.assert_allclose(loss, expected, **FP32)


def test_multiview_when_one_view_then_user_error():
    with pytest.raises(UserError, match="two or more"):
        multiview({"mel": vectors(0)}, identity=IDENTITY, temperature=TAU)


def test_nt_xent_when_compared_with_loops_then_equal():
    a, b = vectors(0), vectors(1)
    both, twice = np.concatenate([a, b]), np.concatenate([IDENTITY, IDENTITY])
    losses = []
    for i in range(14):
        positive = (i + 7) % 14
        others = [j for j in range(14) if twice[j] >= 0 and twice[j] != twice[i]]
        if twice[i] < 0:
            continue
        own = cosine(both[i], both[positive]) / TAU
        rest = [cosine(both[i], both[j]) / TAU for j in others]
        losses.append(-own + np.log(np.exp([own, *rest]).sum()))
    loss, _ = nt_xent(a, b, identity=IDENTITY, temperature=TAU)
    np.testing.assert_allclose(loss, np.mean(losses), **FP32)
    check_gradient(
        lambda x: nt_xent(x[0], x[1], identity=IDENTITY, temperature=TAU)[0], np.stack([a, b])
    )


def test_supervised_contrast_when_compared_with_loops_then_equal():
    z, category = vectors(0), np.array([0, 1, 0, 1, 0, 0, -1])
    losses, alone = [], 0
    for i in range(5):
        # Rows 1 and 3 are crops of one utterance, and take no part in each other's loss.
        others = [j for j in range(5) if IDENTITY[j] != IDENTITY[i]]
        positive = [j for j in others if category[j] == category[i]]
        total = np.log(np.exp([cosine(z[i], z[j]) / TAU for j in others]).sum())
        alone += not positive
        if positive:
            losses.append(np.mean([total - cosine(z[i], z[j]) / TAU for j in positive]))
    loss, metrics = supervised_contrast(
        z, same_category(category), identity=IDENTITY, temperature=TAU
    )
    np.testing.assert_allclose(loss, np.mean(losses), **FP32)
    np.testing.assert_allclose(metrics["rows_without_positives"].value(), alone / 5, **FP32)
    check_gradient(
        lambda x: supervised_contrast(
            x, same_category(category), identity=IDENTITY, temperature=TAU
        )[0],
        z,
    )


def test_supervised_contrast_when_rows_are_repeated_then_copies_are_not_positives():
    rows, category = vectors(0, rows=3), np.array([0, 0, 1])
    z, identity = np.repeat(rows, 2, axis=0), np.repeat(np.arange(3), 2)
    loss, metrics = supervised_contrast(
        z, same_category(np.repeat(category, 2)), identity=identity, temperature=TAU
    )
    # The row of category 1 has its own copy only. A copy adds its twin to the negatives.
    np.testing.assert_allclose(metrics["rows_without_positives"].value(), 1 / 3, **FP32)
    expected = []
    for i, j in ((0, 1), (1, 0)):
        similar = [cosine(rows[i], rows[k]) / TAU for k in (j, 2)]
        expected.append(np.log(2 * np.exp(similar).sum()) - similar[0])
    np.testing.assert_allclose(loss, np.mean(expected), **FP32)


def test_pairs_when_marked_then_those_of_one_category_or_about_one_intensity():
    category = np.array([0, 1, 0, -1, -1])
    expected = [[a == b >= 0 for b in category] for a in category]
    np.testing.assert_array_equal(same_category(category), expected)
    intensity = np.array([0.1, 0.15, 0.9, np.nan])
    expected = [[abs(a - b) <= 0.1 for b in intensity] for a in intensity]
    np.testing.assert_array_equal(close_intensity(intensity, tolerance=0.1), expected)


def test_utterance_intensity_when_frames_are_unknown_then_mean_of_the_others():
    frames = np.array([[0.2, np.nan, 0.6, 9.0], [np.nan, np.nan, 1.0, 1.0]])
    valid = np.array([[True, True, True, False], [True, True, False, False]])
    np.testing.assert_allclose(utterance_intensity(frames, valid), [0.4, np.nan], **FP32)


def test_bootstrap_when_compared_with_numpy_then_equal():
    a, b = vectors(0), vectors(1)
    expected = np.mean([2 - 2 * cosine(a[i], b[i]) for i in range(5)])
    loss, _ = bootstrap(a, b, identity=IDENTITY)
    np.testing.assert_allclose(loss, expected, **FP32)
    check_gradient(lambda x: bootstrap(x, b, identity=IDENTITY)[0], a)
    gradient = jax.grad(lambda x: bootstrap(a, x, identity=IDENTITY)[0])(b)
    assert not np.asarray(gradient).any()


LOSSES = {
    "contrast": lambda x, i: contrast(x, x[::-1], identity=i, temperature=TAU)[0],
    "nt_xent": lambda x, i: nt_xent(x, x[::-1], identity=i, temperature=TAU)[0],
    "supervised": lambda x, i: supervised_contrast(
        x, same_category(i % 2), identity=i, temperature=TAU
    )[0],
}


@pytest.mark.parametrize("name", LOSSES)
def test_contrast_when_rows_are_spread_over_devices_then_all_of_them_are_negatives(name):
    """The batch under jit is the global one: eight devices compute the loss of one."""
    z, identity = jnp.asarray(vectors(3, rows=16), jnp.float32), jnp.arange(16)
    step = jax.jit(jax.value_and_grad(LOSSES[name]))
    loss, gradient = step(z, identity)
    mesh = jax.make_mesh((8,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
    rows = NamedSharding(mesh, P("data"))
    spread, spread_gradient = step(jax.device_put(z, rows), jax.device_put(identity, rows))
    assert spread_gradient.shape == z.shape
    np.testing.assert_allclose(spread, loss, **LOSS_ACROSS_MESHES)
    np.testing.assert_allclose(spread_gradient, gradient, **LOSS_ACROSS_MESHES)
    # Were each device to look at its own two rows alone, the loss would be another.
    alone = np.mean([LOSSES[name](z[i : i + 2], identity[i : i + 2]) for i in range(0, 16, 2)])
    assert abs(alone - loss) > 0.1


@pytest.mark.parametrize("name", LOSSES)
def test_contrast_when_batch_has_one_row_then_user_error(name):
    with pytest.raises(UserError, match="one row"):
        LOSSES[name](vectors(0)[:1], np.arange(1))


@pytest.mark.parametrize("name", LOSSES)
def test_contrast_when_all_rows_are_alike_or_padding_then_finite(name):
    for identity in (np.zeros(4, int), np.full(4, -1)):
        value, gradient = jax.value_and_grad(LOSSES[name])(np.zeros((4, 3), np.float32), identity)
        assert np.isfinite(value) and np.isfinite(np.asarray(gradient)).all()
