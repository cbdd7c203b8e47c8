import numpy as np
import pytest

from sersl.data.shares import Shares

SHARES = [
    [1.0],
    [1, 1],
    [0.7, 0.3],
    [0.5, 0.0, 0.5],
    [3, 1, 1, 1, 2],
    list(range(1, 12)),
    [1, 1e-3],
]


@pytest.mark.parametrize("shares", SHARES)
def test_deal_when_any_prefix_is_counted_then_shares_are_exact_to_rounding(shares):
    wanted = np.array(shares) / np.sum(shares)
    receiver, ordinal = Shares(shares).deal(np.arange(3000))
    taken = np.cumsum(receiver[:, None] == np.arange(len(shares)), axis=0)
    depth = (len(shares) - 1).bit_length()
    assert np.abs(taken - np.arange(1, 3001)[:, None] * wanted).max() <= max(depth, 1) / 2 + 1e-6
    # The ordinal counts the receiver's earlier positions.
    np.testing.assert_array_equal(ordinal, taken[np.arange(3000), receiver] - 1)


@pytest.mark.parametrize("shares", SHARES)
def test_counts_when_far_along_then_agree_with_dealing_and_do_not_drift(shares):
    dealer, far = Shares(shares), 10**12
    before, after = dealer.counts(far), dealer.counts(far + 500)
    assert before.sum() == far
    receiver, ordinal = dealer.deal(far + np.arange(500))
    np.testing.assert_array_equal(np.bincount(receiver, minlength=len(shares)), after - before)
    assert ordinal[0] == before[receiver[0]]
    wanted = np.array(shares) / np.sum(shares) * far
    assert np.abs(before - wanted).max() < 1000  # 1e-9 of a share is its resolution


def test_deal_when_a_share_is_zero_then_it_receives_nothing():
    receiver, _ = Shares([0, 2, 0, 1]).deal(np.arange(1000))
    assert set(receiver.tolist()) == {1, 3}
