import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sersl.config.schema import CombineConfig
from sersl.models.combine import combine_rows, copy_paste
from sersl.parallel.random import run_key
from tests.tolerances import FP32

B, N, C = 6, 100, 3
LENGTHS = np.array([100, 30, 80, 40, 100, 60])
CATEGORY = np.array([0, 1, 0, 1, -1, 2])


def batch():
    rng = np.random.default_rng(0)
    valid = np.arange(N) < LENGTHS[:, None]
    dimensions = rng.random((B, 3)).astype(np.float32)
    dimensions[[1, 3], 1] = np.nan
    return {
        "waveform": jnp.asarray(rng.normal(size=(B, N)) * valid, jnp.float32),
        "valid": jnp.asarray(valid),
        "category": jnp.asarray(CATEGORY),
        "dimensions": jnp.asarray(dimensions),
    }


def mixed(seed=0, **settings):
    config = CombineConfig(**settings)
    return combine_rows(batch(), config, num_categories=C, key=run_key(seed, "rows"))


def test_combine_rows_when_nothing_is_on_then_only_categories_become_probabilities():
    before, after = batch(), mixed()
    for name in before:
        np.testing.assert_array_equal(after[name], before[name])
    expected = np.where(CATEGORY[:, None] >= 0, np.eye(C)[CATEGORY], np.nan)
    np.testing.assert_array_equal(after["category_probabilities"], expected)


@pytest.mark.parametrize("by_length", [False, True])
def test_mixup_when_rows_are_mixed_then_waveform_and_labels_are_shares_of_two(by_length):
    before = {name: np.asarray(array, np.float64) for name, array in batch().items()}
    onehot = np.where(CATEGORY[:, None] >= 0, np.eye(C)[CATEGORY], np.nan)
    changed = 0
    for seed in range(6):
        after = mixed(seed, mixup_probability=1.0, mixup_alpha=1.0, mixup_by_length=by_length)
        for i in range(B):
            x = np.asarray(after["waveform"][i], np.float64)
            own = before["waveform"][i]
            fits = []
            for j in range(B):
                # The share that explains the row best, if row j is the other.
                difference = own - before["waveform"][j]
                if j == i:
                    continue
                share = (x - before["waveform"][j]) @ difference / (difference @ difference)
                mix = share * own + (1 - share) * before["waveform"][j]
                fits.append((np.abs(mix - x).max(), j, share))
            if np.array_equal(x, own.astype(np.float32)):
                continue
            error, j, share = min(fits)
            assert error < 1e-5 and 0 <= share <= 1
            assert (CATEGORY[i] >= 0) == (CATEGORY[j] >= 0)
            weight = share
            if by_length:
                weight = share * LENGTHS[i] / (share * LENGTHS[i] + (1 - share) * LENGTHS[j])
            expected = weight * onehot[i] + (1 - weight) * onehot[j]
            np.testing.assert_allclose(
                after["category_probabilities"][i], expected, rtol=1e-3, atol=1e-4
            )
            expected = weight * before["dimensions"][i] + (1 - weight) * before["dimensions"][j]
            np.testing.assert_allclose(after["dimensions"][i], expected, rtol=1e-3, atol=1e-4)
            length = max(LENGTHS[i], LENGTHS[j])
            np.testing.assert_array_equal(after["valid"][i], np.arange(N) < length)
            changed += 1
    assert changed > 15


def test_copy_paste_when_pasted_then_the_other_of_its_category_follows():
    before = {name: np.asarray(array) for name, array in batch().items()}
    after = copy_paste(batch(), probability=1.0, key=run_key(0, "paste"))
    for i, j in ((0, 2), (2, 0), (1, 3), (3, 1)):
        own = min(LENGTHS[i], N - min(LENGTHS[j], N // 2))
        pasted = min(LENGTHS[j], N - own)
        expected = np.zeros(N, np.float32)
        expected[:own] = before["waveform"][i, :own]
        expected[own : own + pasted] = before["waveform"][j, :pasted]
        np.testing.assert_array_equal(after["waveform"][i], expected)
        np.testing.assert_array_equal(after["valid"][i], np.arange(N) < own + pasted)
        share = own / (own + pasted)
        dimensions = share * before["dimensions"][i] + (1 - share) * before["dimensions"][j]
        np.testing.assert_allclose(after["dimensions"][i], dimensions, **FP32)
    for i in (4, 5):  # no other row of that category
        for name in before:
            np.testing.assert_array_equal(after[name][i], before[name][i])


def test_combine_rows_when_probability_is_a_half_then_about_half_are_changed():
    changed = 0
    for seed in range(40):
        after = mixed(seed, copy_paste_probability=0.5)
        changed += int((after["waveform"] != batch()["waveform"]).any(1).sum())
    assert 55 < changed < 105  # of 4 rows with a partner, 40 times


def test_combine_rows_when_compiled_then_shapes_stay():
    config = CombineConfig(mixup_probability=0.5, copy_paste_probability=0.5)
    run = jax.jit(lambda b: combine_rows(b, config, num_categories=C, key=run_key(0, "rows")))
    after = run(batch())
    assert after["waveform"].shape == (B, N) and after["category_probabilities"].shape == (B, C)
    assert np.isfinite(np.asarray(after["waveform"])).all()


@pytest.mark.parametrize("pairs", ["same", "emix"])
def test_mixup_when_pairs_are_chosen_then_no_row_gets_another_category(pairs):
    onehot = np.where(CATEGORY[:, None] >= 0, np.eye(C)[CATEGORY], np.nan)
    config = CombineConfig(mixup_probability=1.0, mixup_alpha=1.0, mixup_pairs=pairs)
    changed = np.zeros(B, int)
    for seed in range(6):
        after = combine_rows(
            batch(), config, num_categories=C, key=run_key(seed, "rows"), neutral=2
        )
        np.testing.assert_allclose(after["category_probabilities"], onehot, atol=1e-6)
        changed += (np.asarray(after["waveform"]) != np.asarray(batch()["waveform"])).any(1)
    assert changed[:4].all() and changed[4] == 0
    # The only neutral row has no other neutral one.
    assert changed[5] == 0


def test_mixup_when_a_neutral_row_is_there_then_emotional_rows_are_mixed_with_it():
    alone = {name: values[jnp.array([0, 5])] for name, values in batch().items()}
    config = CombineConfig(mixup_probability=1.0, mixup_pairs="emix")
    after = combine_rows(alone, config, num_categories=C, key=run_key(0, "rows"), neutral=2)
    assert (after["waveform"][0] != alone["waveform"][0]).any()
    np.testing.assert_array_equal(after["category_probabilities"], np.eye(C)[[0, 2]])
    same = combine_rows(alone, config, num_categories=C, key=run_key(0, "rows"))
    np.testing.assert_array_equal(same["waveform"], alone["waveform"])
