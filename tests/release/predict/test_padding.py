"""Batches hold every stretch once, waste little, and need few shapes."""

import itertools

import numpy as np
import pytest

from sersl.core import lengths
from sersl.release.predict.padding import Planner, grid_frames

BASE, SMALL = 95_000_000, 200_000  # parameters


def _cost(batches):
    return sum(b.shape.rows * b.shape.frames for b in batches)


def _check(batches, num_samples):
    assert sorted(i for b in batches for i in b.indices) == list(range(len(num_samples)))
    for batch in batches:
        assert len(batch.indices) <= batch.shape.rows
        assert max(num_samples[i] for i in batch.indices) <= batch.shape.num_samples


def _ravdess(count):
    return np.random.default_rng(0).integers(48_000, 82_000, count).tolist()


def test_grid_when_rounded_then_even_close_and_long_enough():
    sizes = sorted({grid_frames(n) for n in range(1600, 480_001, 300)})
    assert all(frames % 2 == 0 for frames in sizes) and sizes[-1] == 1500
    assert len(sizes) < 100
    for num_samples in (1600, 10_320, 10_321, 64_000, 480_000):
        assert num_samples <= lengths.num_samples(grid_frames(num_samples))
    beyond = [frames for frames in sizes if frames >= 32]
    assert max(b / a for a, b in itertools.pairwise(beyond)) < 1.07


@pytest.mark.parametrize("num_devices", [1, 8])
@pytest.mark.parametrize("platform", ["cpu", "gpu"])
@pytest.mark.parametrize("count", [1, 3, 37, 500])
def test_plan_when_made_then_every_stretch_is_in_one_batch_that_holds_it(
    count, platform, num_devices
):
    planner = Planner(num_parameters=BASE, platform=platform, num_devices=num_devices)
    for _ in range(3):
        num_samples = np.random.default_rng(count).integers(1600, 480_001, count).tolist()
        batches = planner.plan(num_samples)
        _check(batches, num_samples)
        assert all(batch.shape.rows % num_devices == 0 for batch in batches)
    assert planner.plan([]) == []


def test_plan_when_there_are_many_files_then_padding_is_small():
    planner = Planner(num_parameters=BASE)
    num_samples = _ravdess(1000)
    batches = planner.plan(num_samples)
    _check(batches, num_samples)
    real = sum(lengths.num_frames(n) for n in num_samples)
    assert real < _cost(batches) < 1.08 * real
    assert len({batch.shape for batch in batches}) <= 16


def test_plan_when_the_network_is_small_then_it_compiles_few_shapes():
    batches = Planner(num_parameters=SMALL).plan(_ravdess(1000))
    assert len({batch.shape for batch in batches}) <= 2


def test_plan_when_files_come_one_by_one_then_a_new_shape_is_made_only_when_it_pays():
    planner = Planner(num_parameters=BASE)
    shapes = [planner.plan([n])[0].shape for n in sorted(_ravdess(200), reverse=True)]
    assert 2 <= len(set(shapes)) <= 8
    assert all(shape.rows == 1 for shape in shapes)


def test_plan_when_more_work_is_expected_then_more_shapes_pay():
    few = Planner(num_parameters=BASE).plan(_ravdess(60))
    many = Planner(num_parameters=BASE).plan(_ravdess(60), share=0.01)
    assert len({b.shape for b in few}) < len({b.shape for b in many})
    assert _cost(many) < _cost(few)
