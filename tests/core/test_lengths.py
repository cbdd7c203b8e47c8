"""The length arithmetic against counting windows one by one."""

import math
from fractions import Fraction

import jax
import numpy as np
import pytest

from sersl.core import lengths


def count_windows(num_samples: int) -> int:
    """Counts the windows of 400 samples, 320 apart, that fit."""
    count = 0
    while 320 * count + 400 <= num_samples:
        count += 1
    return count


def conv_stack(num_samples: int) -> int:
    """Runs the lengths through the seven convolutions of wav2vec 2.0 (sec. 2 and appendix A)."""
    for width, stride in zip((10, 3, 3, 3, 3, 2, 2), (5, 2, 2, 2, 2, 2, 2), strict=True):
        num_samples = (num_samples - width) // stride + 1
    return num_samples


def test_num_frames_when_any_length_then_counts_the_windows_that_fit():
    for n in [*range(2000), 15_999, 16_000, 16_001, 57_600_000]:
        expected = count_windows(n) if n < 20_000 else (n - 400) // 320 + 1
        assert lengths.num_frames(n) == expected, n


def test_num_frames_when_compared_with_the_conv_stack_then_is_the_same():
    for n in range(400, 5000):
        assert lengths.num_frames(n) == conv_stack(n), n


def test_num_frames_when_given_int_numpy_or_traced_then_agree():
    n = np.arange(0, 3000, 7, dtype=np.int32)
    expected = [lengths.num_frames(int(x)) for x in n]
    assert lengths.num_frames(n).tolist() == expected
    assert lengths.num_frames(n).dtype == np.int32
    assert jax.jit(lengths.num_frames)(n).tolist() == expected
    assert isinstance(lengths.num_frames(16_000), int)


def test_num_samples_when_one_sample_less_then_one_frame_less():
    for t in range(1, 400):
        n = lengths.num_samples(t)
        assert (lengths.num_frames(n), lengths.num_frames(n - 1)) == (t, t - 1)


@pytest.mark.parametrize("rate", [8000, 11_025, 16_000, 22_050, 44_100, 48_000, 96_000])
def test_resampled_length_when_any_rate_then_is_the_exact_ceiling(rate):
    for n in [*range(500), 57_599_999, 172_800_001]:
        expected = math.ceil(Fraction(n) * 16_000 / rate)
        assert lengths.resampled_length(n, rate) == expected


def test_constants_when_read_then_are_20_and_25_ms():
    assert lengths.HOP / lengths.SAMPLE_RATE == 0.020
    assert lengths.WINDOW / lengths.SAMPLE_RATE == 0.025
    assert lengths.FRAME_RATE == 50
