import jax
import numpy as np
import pytest
import soundfile

from sersl.audio.features import log_mel
from sersl.config.schema import AugmentConfig, FrontendConfig
from sersl.core.errors import UserError
from sersl.core.lengths import num_frames
from sersl.models.frontend import (
    LogMelFrontend,
    augment_features,
    augment_waveform,
    band_mask,
    time_mask,
    valid_frames,
)
from sersl.models.layers import standardize
from sersl.models.waveform import NormOverTime, WaveformFrontend
from tests.models.small import LENGTHS, pad, utterances
from tests.tolerances import FP32, FP32_DEEP

KEY = jax.random.key(0)


def frontend(normalize):
    return LogMelFrontend(
        FrontendConfig(normalize=normalize, num_mels=40), width=8, dtype="float32", key=KEY
    )


def test_valid_frames_when_ragged_then_counts_follow_the_length_arithmetic():
    _, valid = pad(utterances(), 16080)
    frames = np.asarray(valid_frames(valid))
    np.testing.assert_array_equal(frames.sum(1), [num_frames(n) for n in LENGTHS])
    assert not (np.diff(frames.astype(int), axis=1) > 0).any()


def test_features_when_normalised_by_utterance_then_bands_are_standard_over_real_frames():
    features, valid = frontend("utterance").features(*pad(utterances(), 16080))
    for row in range(3):
        real = np.asarray(features[row])[np.asarray(valid[row])]
        np.testing.assert_allclose(real.mean(0), 0.0, atol=1e-4)
        assert (real.std(0) < 1.0).all()
        assert (real.std(0) > 0.9).all()
    assert not np.asarray(features)[~np.asarray(valid)].any()


def test_features_when_normalised_by_utterance_then_gain_has_no_effect():
    waveform, valid = pad(utterances(), 16080)
    first, _ = frontend("utterance").features(waveform, valid)
    second, _ = frontend("utterance").features(waveform * 0.5, valid)
    np.testing.assert_allclose(first, second, atol=1e-3)


def test_features_when_fixed_then_one_affine_map():
    waveform, valid = pad(utterances()[1:2], 16080)
    features, _ = frontend("fixed").features(waveform, valid)
    expected = (np.asarray(log_mel(waveform, num_mels=40)) + 7.6) / 4.7
    np.testing.assert_allclose(features, expected, **FP32_DEEP)


@pytest.mark.corpora
def test_features_when_speech_is_real_then_about_standard(corpora_dir):
    values = []
    for file in sorted(corpora_dir.glob("ravdess/*/*.flac"))[::60]:
        waveform = soundfile.read(file, dtype="float32")[0][None, :40000]
        values.append(frontend("fixed").features(waveform, np.ones_like(waveform, bool))[0])
    values = np.concatenate(values, 1)
    # RAVDESS alone lies below the common mean: -9.8 against -7.6, by half a deviation.
    assert -1.0 < values.mean() < 0.0
    assert 0.7 < values.std() < 1.2


def test_time_mask_when_drawn_then_hides_the_fraction_in_spans():
    hidden = np.asarray(time_mask((500, 200), fraction=0.3, span=10, key=KEY))
    assert hidden.shape == (500, 200)
    assert abs(hidden.mean() - 0.3) < 0.01
    assert abs(hidden[:, :5].mean() - hidden[:, -5:].mean()) < 0.05
    # A stretch that touches neither end is a span or several that overlap.
    for row in hidden:
        edges = np.flatnonzero(np.diff(row.astype(int)))
        starts, ends = edges[row[edges + 1]], edges[~row[edges + 1]]
        for start in starts:
            later = ends[ends > start]
            assert len(later) == 0 or later[0] - start >= 10


def test_band_mask_when_drawn_then_one_band_of_up_to_the_width():
    hidden = np.asarray(band_mask(2000, num_mels=40, width=8, key=KEY))
    assert set(hidden.sum(1)) == set(range(9))
    starts = np.abs(np.diff(np.pad(hidden, ((0, 0), (1, 1))).astype(int), axis=1)).sum(1)
    assert set(starts) == {0, 2}
    assert hidden.any(0).all()


def test_augment_features_when_off_then_unchanged_and_when_on_then_zeros():
    features = np.random.default_rng(0).normal(size=(4, 50, 80)).astype(np.float32) + 9
    off = augment_features(features, AugmentConfig(), num_mels=40, key=KEY)
    np.testing.assert_array_equal(off, features)
    config = AugmentConfig(time_mask_fraction=0.2, band_mask_width=20)
    on = np.asarray(augment_features(features, config, num_mels=40, key=KEY))
    hidden = on == 0
    assert 0.1 < hidden.mean() < 0.7
    np.testing.assert_array_equal(on[~hidden], features[~hidden])
    # A frame's two windows lose the same filters.
    np.testing.assert_array_equal(hidden[..., :40], hidden[..., 40:])


def test_augment_waveform_when_on_then_gain_is_within_bounds():
    waveform = np.ones((1000, 3), np.float32)
    gain = 20 * np.log10(augment_waveform(waveform, AugmentConfig(gain_db=6.0), key=KEY))
    assert np.ptp(gain, axis=1).max() == 0.0
    assert 5.5 < np.abs(gain).max() <= 6.001
    assert augment_waveform(waveform, AugmentConfig(), key=KEY) is waveform


def test_frontend_when_normalisation_is_unknown_then_user_error():
    with pytest.raises(UserError, match="did you mean 'fixed'"):
        frontend("fixd")


def test_norms_when_values_do_not_vary_then_zeros_without_gradient_and_else_as_ever():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(2, 5, 6)).astype(np.float32)
    x[0] = 0.0
    num_real = np.array([5, 4])
    over_time = NormOverTime(6)

    def reference(values, axis):
        centred = values - values.mean(axis, keepdims=True)
        return centred / np.sqrt(np.square(centred).mean(axis, keepdims=True) + 1e-5)

    np.testing.assert_allclose(standardize(x), reference(x, -1), **FP32)
    np.testing.assert_allclose(over_time(x, num_real)[1, :4], reference(x[1, :4], 0), **FP32)
    for norm in (standardize, lambda x: over_time(x, num_real)):
        gradient = jax.grad(lambda x, f=norm: (f(x) ** 3 + f(x)).sum())(x)
        assert not np.asarray(gradient[0]).any() and np.asarray(gradient[1]).any()


@pytest.mark.parametrize("norm", ["group", "layer"])
def test_convolutions_when_computed_row_by_row_then_as_for_the_whole_batch(norm):
    config = FrontendConfig(
        kind="waveform", conv_width=8, conv_norm=norm, conv_bias=True, normalize="utterance"
    )
    model = WaveformFrontend(config, width=8, dtype="float32", key=KEY)
    given = pad(utterances(), 16080)
    whole, valid = jax.jit(model.features)(*given)
    model.row_by_row = True
    rows, valid_rows = jax.jit(lambda *pair: model.features(*pair))(*given)
    np.testing.assert_array_equal(valid_rows, valid)
    np.testing.assert_allclose(rows, whole, **FP32)
