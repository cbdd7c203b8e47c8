import jax
import numpy as np
import pytest

from sersl.core.errors import UserError
from sersl.objectives.mutual_information import discriminate, draw_pairs, take_chunks
from tests.objectives.gradients import check_gradient
from tests.tolerances import FP32

LENGTHS = np.array([9, 5, 12, 2, 12])
VALID = np.arange(12) < LENGTHS[:, None]


def test_draw_pairs_when_drawn_often_then_every_allowed_place_and_no_other():
    identity = np.array([0, 1, 2, 3, 2])  # rows 2 and 4 are crops of one utterance
    seen_other = [set() for _ in identity]
    positives, negatives = ([set() for _ in identity] for _ in range(2))
    anchors = np.arange(20)[None] % np.maximum(LENGTHS - 2, 1)[:, None]
    for seed in range(60):
        pairs = draw_pairs(VALID, identity, anchors=anchors, chunk=3, key=jax.random.key(seed))
        np.testing.assert_array_equal(pairs.counted, [True, True, True, False, True])
        counted = np.asarray(pairs.counted)
        assert (np.asarray(pairs.positive)[counted] != anchors[counted]).all()
        for b in (0, 1, 2, 4):
            other = int(pairs.other[b])
            seen_other[b].add(other)
            positives[b] |= set(np.asarray(pairs.positive[b]).tolist())
            negatives[other] |= set(np.asarray(pairs.negative[b]).tolist())
    assert seen_other == [{1, 2, 4}, {0, 2, 4}, {0, 1}, set(), {0, 1}]
    for b in (0, 1, 2, 4):
        assert positives[b] == negatives[b] == set(range(LENGTHS[b] - 2))


def test_draw_pairs_when_no_anchor_is_given_then_one_per_row_that_is_not_its_positive():
    seen = [set() for _ in LENGTHS]
    for seed in range(60):
        pairs = draw_pairs(VALID, np.arange(5), chunk=5, key=jax.random.key(seed))
        # One chunk fits into row 1, which has no other to be paired with.
        np.testing.assert_array_equal(pairs.counted, [True, False, True, False, True])
        assert pairs.anchor.shape == pairs.positive.shape == (5, 1)
        for b in (0, 2, 4):
            seen[b].add((int(pairs.anchor[b, 0]), int(pairs.positive[b, 0])))
            assert int(pairs.other[b]) in {0, 1, 2, 4} - {b}
    assert seen[0] == {(i, j) for i in range(5) for j in range(5) if i != j}
    assert all(i != j and max(i, j) < 8 for i, j in seen[2] | seen[4])


def test_draw_pairs_when_all_rows_are_one_utterance_then_nothing_is_counted():
    pairs = draw_pairs(VALID, np.zeros(5, int), key=jax.random.key(0))
    assert not np.asarray(pairs.counted).any()


def test_draw_pairs_when_a_row_is_padding_then_it_is_neither_anchor_nor_negative():
    identity = np.array([0, -1, 1, -1, -1])
    pairs = draw_pairs(VALID, identity, key=jax.random.key(0))
    np.testing.assert_array_equal(pairs.counted, identity >= 0)
    assert int(pairs.other[0]) == 2 and int(pairs.other[2]) == 0


def test_draw_pairs_when_batch_has_one_row_then_user_error():
    with pytest.raises(UserError, match="one row"):
        draw_pairs(VALID[:1], np.zeros(1, int), key=jax.random.key(0))


def test_take_chunks_when_compared_with_loops_then_equal():
    hidden = np.random.default_rng(0).normal(size=(5, 12, 4))
    first = np.array([0, 3, 9, 1, 2])
    expected = np.stack([hidden[b, s : s + 3].mean(0) for b, s in enumerate(first)])
    np.testing.assert_allclose(take_chunks(hidden, first, chunk=3), expected, **FP32)


def test_discriminate_when_compared_with_numpy_then_equal():
    rng = np.random.default_rng(1)
    positive, negative = rng.normal(size=(2, 4, 6)) * 3
    counted = rng.random((4, 1)) < 0.7

    def sigmoid(x):
        return 1 / (1 + np.exp(-x))

    losses = -np.log(sigmoid(positive)) - np.log(1 - sigmoid(negative))
    rows = counted[:, 0]
    loss, metrics = discriminate(positive, negative, counted=counted, name="local")
    np.testing.assert_allclose(loss, losses[rows].mean(), **FP32)
    right = np.concatenate([positive[rows] > 0, negative[rows] < 0]).mean()
    np.testing.assert_allclose(metrics["local_accuracy"].value(), right, **FP32)
    check_gradient(
        lambda x: discriminate(x[0], x[1], counted=counted, name="local")[0],
        np.stack([positive, negative]),
    )


def test_discriminate_when_it_knows_nothing_then_two_log_two():
    loss, _ = discriminate(np.zeros(3), np.zeros(3), counted=np.ones(3, bool), name="local")
    np.testing.assert_allclose(loss, 2 * np.log(2), **FP32)
