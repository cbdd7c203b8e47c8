import numpy as np
import pytest

from sersl.audio.resample import resample
from sersl.core import lengths


@pytest.mark.parametrize("rate", [8000, 11025, 22050, 44100, 48000, 96000, 7999])
@pytest.mark.parametrize("num_samples", [1, 2, 159, 12345])
def test_resample_at_any_rate_gives_exactly_the_promised_length(rate, num_samples):
    waveform = np.ones(num_samples, np.float32)
    resampled = resample(waveform, rate)
    assert len(resampled) == lengths.resampled_length(num_samples, rate)
    assert resampled.dtype == np.float32


@pytest.mark.parametrize("rate", [8000, 22050, 44100, 48000])
def test_resample_of_a_tone_keeps_level_pitch_and_time(rate):
    tone = 0.5 * np.sin(2 * np.pi * 440 * np.arange(rate) / rate)
    resampled = resample(tone.astype(np.float32), rate)
    expected = 0.5 * np.sin(2 * np.pi * 440 * np.arange(16000) / 16000)
    middle = slice(1000, 15000)  # away from the edges, where the tone begins at once
    np.testing.assert_allclose(resampled[middle], expected[middle], atol=1e-4)


def test_resample_above_the_new_nyquist_leaves_nothing():
    tone = np.sin(2 * np.pi * 12_000 * np.arange(48_000) / 48_000).astype(np.float32)
    assert np.abs(resample(tone, 48_000)[1000:15000]).max() < 1e-4


def test_resample_at_the_same_rate_changes_no_sample():
    waveform = np.random.default_rng(0).standard_normal(1000).astype(np.float32)
    np.testing.assert_array_equal(resample(waveform, 16_000), waveform)
    assert resample(waveform[:0], 48_000).shape == (0,)
