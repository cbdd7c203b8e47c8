import numpy as np
import pytest

from sersl.data.permutation import draw, permute


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 7, 16, 17, 100, 1023, 5000])
def test_permute_when_all_positions_are_asked_then_every_element_comes_once(size):
    for key in range(5):
        elements = permute(np.arange(size), size, np.uint64(key))
        np.testing.assert_array_equal(np.sort(elements), np.arange(size))


def test_permute_when_sizes_and_keys_differ_by_row_then_each_row_is_as_if_alone():
    size = np.array([3, 50, 7, 1000, 1])
    key = np.arange(5).astype(np.uint64)
    position = np.array([2, 41, 0, 999, 0])
    together = permute(position, size, key)
    alone = [int(permute([p], s, k)[0]) for p, s, k in zip(position, size, key, strict=True)]
    assert together.tolist() == alone


@pytest.mark.parametrize("size", [2, 3, 5, 12, 40])
def test_permute_when_keys_vary_then_every_element_is_as_likely_everywhere(size):
    num_keys = 4000
    keys = np.arange(num_keys, dtype=np.uint64)[:, None]
    elements = permute(
        np.broadcast_to(np.arange(size), (num_keys, size)).copy().reshape(-1),
        size,
        np.repeat(keys[:, 0], size),
    ).reshape(num_keys, size)
    counts = np.zeros((size, size))
    np.add.at(counts, (np.broadcast_to(np.arange(size), elements.shape), elements), 1)
    expected = num_keys / size
    chi_square = ((counts - expected) ** 2 / expected).sum()
    freedom = (size - 1) ** 2
    assert chi_square < freedom + 5 * np.sqrt(2 * freedom)


def test_permute_when_ten_thousand_then_neighbours_are_unrelated():
    elements = permute(np.arange(10_000), 10_000, np.uint64(3)).astype(float)
    assert abs(np.corrcoef(elements[:-1], elements[1:])[0, 1]) < 0.04
    assert abs(np.corrcoef(elements, np.arange(10_000))[0, 1]) < 0.04


def test_draw_when_the_address_changes_then_half_the_bits_change():
    base = draw(np.uint64(1), 2, np.arange(1000))
    other = draw(np.uint64(1), 3, np.arange(1000))
    changed = np.unpackbits((base ^ other).view(np.uint8)).mean()
    assert 0.49 < changed < 0.51
    assert len(np.unique(base)) == 1000


def test_draw_when_run_anywhere_then_gives_these_numbers():
    # Fixed for good: a changed number changes the batches of everybody's resumed runs.
    # First output of SplitMix64 with seed 0 (reference implementation, Vigna 2015).
    assert int(draw(np.uint64(0), 0)) == 0xE220A8397B1DCDAF
