import jax
import numpy as np

from sersl.pretraining.intensity_input import IntensityInput, frame_weights
from tests.tolerances import FP32

VALID = np.arange(6) < np.array([6, 4, 5])[:, None]
INTENSITY = np.array(
    [[0.2, 0.4, np.nan, 0.6, 0.8, 1.0], [0.5, 0.1, 0.0, 0.2, 9.0, 9.0], [np.nan] * 6], np.float32
)


def weights_of_row(intensity, share):
    """The same for the real frames of one row."""
    known = intensity[~np.isnan(intensity)]
    mean = known.mean() if len(known) else 0.0
    relative = [value / mean if mean > 0 and not np.isnan(value) else 1.0 for value in intensity]
    return 1.0 - share + share * np.array(relative)


def test_frame_weights_when_share_is_given_then_follow_intensity_with_mean_one():
    for share in (0.0, 0.3, 1.0):
        found = np.asarray(frame_weights(VALID, INTENSITY, loss_weight=share))
        assert (found[~VALID] == 0).all()
        for row, real in enumerate((6, 4, 5)):
            wanted = weights_of_row(INTENSITY[row, :real], share)
            np.testing.assert_allclose(found[row, :real], wanted, **FP32)
            np.testing.assert_allclose(found[row, :real].mean(), 1.0, **FP32)


def test_frame_weights_when_all_is_silent_then_all_alike():
    found = np.asarray(frame_weights(VALID, np.zeros((3, 6), np.float32), loss_weight=1.0))
    np.testing.assert_array_equal(found, VALID)


def test_intensity_input_when_frames_are_masked_or_unknown_then_adds_nothing_there():
    add = IntensityInput(4, key=jax.random.key(0))
    masked = np.zeros((3, 6), bool)
    masked[0, :2] = True
    found = add(INTENSITY, masked=masked, clones=1, dropout=0.0, key=jax.random.key(1))
    seen = np.where(masked | np.isnan(INTENSITY), 0.0, INTENSITY)
    np.testing.assert_allclose(found, seen[..., None] * add.direction[...], **FP32)


def test_intensity_input_when_rows_go_without_then_those_are_unchanged():
    add = IntensityInput(4, key=jax.random.key(0))
    intensity = np.ones((400, 5), np.float32)
    key = jax.random.key(1)
    found = np.asarray(add(intensity, masked=None, clones=1, dropout=0.25, key=key))
    shown = np.any(found != 0, axis=(1, 2))
    assert 0.7 < shown.mean() < 0.8
    assert (found[shown] != 0).all()
    # All copies of a row go with it or without.
    copies = np.asarray(add(intensity, masked=None, clones=2, dropout=0.25, key=key))
    np.testing.assert_array_equal(copies, np.repeat(found, 2, axis=0))
