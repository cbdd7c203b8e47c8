import numpy as np
import pytest
import soxr

from sersl.audio.resample import resample, resample_blocks
from sersl.core import lengths


@pytest.mark.parametrize("rate", [8000, 11025, 22050, 44100, 48000, 96000, 7999])
@pytest.mark.parametrize("num_samples", [1, 2, 159, 12345])
def test_resample_when_at_any_rate_then_exactly_the_promised_length(rate, num_samples):
    waveform = np.ones(num_samples, np.float32)
    resampled = resample(waveform, rate)
    assert len(resampled) == lengths.resampled_length(num_samples, rate)
    assert resampled.dtype == np.float32


@pytest.mark.parametrize("rate", [8000, 22050, 44100, 48000])
def test_resample_when_a_tone_then_level_pitch_and_time_are_kept(rate):
    tone = 0.5 * np.sin(2 * np.pi * 440 * np.arange(rate) / rate)
    resampled = resample(tone.astype(np.float32), rate)
    expected = 0.5 * np.sin(2 * np.pi * 440 * np.arange(16000) / 16000)
    middle = slice(1000, 15000)  # away from the edges, where the tone begins at once
    np.testing.assert_allclose(resampled[middle], expected[middle], atol=1e-4)


def test_resample_when_above_the_new_nyquist_then_silence():
    tone = np.sin(2 * np.pi * 12_000 * np.arange(48_000) / 48_000).astype(np.float32)
    assert np.abs(resample(tone, 48_000)[1000:15000]).max() < 1e-4


def test_resample_when_the_rate_is_the_same_then_unchanged():
    waveform = np.random.default_rng(0).standard_normal(1000).astype(np.float32)
    np.testing.assert_array_equal(resample(waveform, 16_000), waveform)
    assert resample(waveform[:0], 48_000).shape == (0,)


@pytest.mark.parametrize("rate", [1_000, 8_000, 11_025, 44_100, 48_000, 768_000])
@pytest.mark.parametrize("block", [1, 777, 100_000])
def test_resample_when_in_blocks_then_the_same_samples_bit_by_bit(rate, block):
    waveform = np.random.default_rng(0).standard_normal(5_003).astype(np.float32)
    parts = (waveform[i : i + block] for i in range(0, len(waveform), block))
    got = np.concatenate(list(resample_blocks(parts, rate)))
    np.testing.assert_array_equal(got, resample(waveform, rate))
    at_once = soxr.resample(waveform, rate, 16_000, quality="HQ")
    np.testing.assert_array_equal(got[: len(at_once)], at_once)
