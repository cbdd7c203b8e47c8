"""Positions and relative bias against NumPy; the geometry of the conv stack."""

import dataclasses
import math

import jax
import numpy as np
import pytest

from sersl.core.lengths import CONVOLUTIONS, convolved, num_frames
from sersl.models.positions import RelativeBias, distance_buckets, sinusoids
from sersl.models.whisper import slaney_filters
from tests.models import plain
from tests.models.small import ENCODER
from tests.tolerances import FP32


def test_lengths_when_convolved_through_the_stack_then_the_frames_of_the_waveform():
    samples = np.arange(400, 5000)
    frames = samples
    for kernel, stride in CONVOLUTIONS:
        frames = convolved(frames, kernel, stride)
    np.testing.assert_array_equal(frames, num_frames(samples))
    assert convolved(1, 3, 2) == 0


@pytest.mark.parametrize(("num_buckets", "max_distance"), [(320, 800), (32, 100), (16, 30)])
def test_buckets_when_compared_with_one_distance_at_a_time_then_equal(num_buckets, max_distance):
    config = dataclasses.replace(
        ENCODER, relative_buckets=num_buckets, relative_distance=max_distance
    )
    distances = np.arange(-1500, 1501)
    found = distance_buckets(distances, num_buckets=num_buckets, max_distance=max_distance)
    np.testing.assert_array_equal(found, [plain.bucket(int(d), config) for d in distances])
    assert found.min() == 0
    assert found.max() == num_buckets - 1


def test_relative_bias_when_looked_up_then_by_distance_of_other_from_own_frame():
    config = dataclasses.replace(ENCODER, relative_buckets=16, relative_distance=30)
    bias = RelativeBias(config, key=jax.random.key(0))
    found = np.asarray(jax.jit(lambda: bias(40))())
    table = np.asarray(bias.table[...])
    for t in range(40):
        for s in range(40):
            np.testing.assert_array_equal(found[:, t, s], table[plain.bucket(s - t, config)])


def test_sinusoids_when_compared_with_the_formula_then_sines_before_cosines():
    found = sinusoids(50, 8)
    for t in range(50):
        for i in range(4):
            angle = t * 10_000 ** (-i / 3)
            np.testing.assert_allclose(found[t, i], math.sin(angle), **FP32)
            np.testing.assert_allclose(found[t, i + 4], math.cos(angle), **FP32)


@pytest.mark.parametrize("num_mels", [80, 128])
def test_slaney_filters_when_compared_with_a_loop_then_equal(num_mels):
    np.testing.assert_allclose(slaney_filters(num_mels), plain.slaney_filters(num_mels), **FP32)
