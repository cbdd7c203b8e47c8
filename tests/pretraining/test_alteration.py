import jax
import numpy as np
import pytest

from sersl.config.schema import AlterationConfig
from sersl.core.errors import UserError
from sersl.pretraining.alteration import alter_features

B, T, M = 2000, 12, 5
VALID = np.arange(T) < np.where(np.arange(B) % 2, 12, 7)[:, None]


def example():
    rng = np.random.default_rng(0)
    features = rng.normal(size=(B, T, 2 * M)).astype(np.float32) * VALID[..., None]
    masked = (rng.random((B, T)) < 0.4) & VALID
    masked[:, 0] = True
    return features, masked


def alter(features, masked, **settings):
    altered, sought = alter_features(
        features,
        valid=VALID,
        masked=masked,
        config=AlterationConfig(**settings),
        num_mels=M,
        key=jax.random.key(0),
    )
    return np.asarray(altered), np.asarray(sought)


def test_alter_features_when_rows_are_counted_then_eighty_ten_ten():
    features, masked = example()
    altered, sought = alter(features, masked)
    np.testing.assert_array_equal(sought, np.broadcast_to(masked[..., None], sought.shape))
    np.testing.assert_array_equal(altered[~masked], features[~masked])
    kinds = {"zero": 0, "kept": 0, "swapped": 0}
    for row in range(B):
        hidden = altered[row, masked[row]]
        if not hidden.any():
            kinds["zero"] += 1
        elif np.array_equal(hidden, features[row, masked[row]]):
            kinds["kept"] += 1
        else:
            kinds["swapped"] += 1
            n = VALID[row].sum()
            distances = [
                d
                for d in range(1, n)
                if np.array_equal(hidden, np.roll(features[row, :n], -d, 0)[masked[row, :n]])
            ]
            assert len(distances) == 1
    np.testing.assert_allclose([kinds["zero"] / B, kinds["swapped"] / B], [0.8, 0.1], atol=0.03)


def test_alter_features_when_a_band_is_asked_for_then_zero_in_all_frames_and_sought():
    features, masked = example()
    altered, sought = alter(
        features, np.zeros_like(masked), zero_share=0.0, swap_share=0.0, band_share=0.6
    )
    bands = sought[:, 0]
    np.testing.assert_array_equal(sought, bands[:, None] & VALID[..., None])
    np.testing.assert_array_equal(bands[:, :M], bands[:, M:])
    widths = bands[:, :M].sum(1)
    assert set(widths) == {0, 1, 2, 3}
    assert not altered[sought].any()
    np.testing.assert_array_equal(altered[~sought], features[~sought])


def test_alter_features_when_noise_is_asked_for_then_in_its_share_of_rows_and_not_sought():
    features, masked = example()
    altered, sought = alter(
        features, np.zeros_like(masked), zero_share=0.0, noise_share=0.3, noise_std=0.5
    )
    noise = altered - features
    noisy = noise[:, 0].any(1)
    np.testing.assert_allclose(noisy.mean(), 0.3, atol=0.03)
    np.testing.assert_allclose(noise[noisy][VALID[noisy]].std(), 0.5, atol=0.01)
    assert not noise[~VALID].any() and not sought.any()


def test_alter_features_when_settings_make_no_sense_then_user_error():
    features, masked = example()
    with pytest.raises(UserError, match="more than 1"):
        alter(features, masked, zero_share=0.9, swap_share=0.2)
    with pytest.raises(UserError, match="log_mel"):
        alter(features[..., :7], masked)
