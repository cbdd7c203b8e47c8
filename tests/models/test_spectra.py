import jax
import numpy as np
import pytest

from sersl.audio.decode import read_audio
from sersl.core.lengths import num_frames
from sersl.models.spectra import (
    DESCRIPTORS,
    deltas,
    describe_frames,
    gammatone_weights,
    mel_weights,
    num_values,
    power_spectrum,
)
from tests.tolerances import FP32

N = 320 * 12 + 80
RNG = np.random.default_rng(0)
WAVEFORM = (0.1 * RNG.standard_normal((2, N))).astype(np.float32)


def windows(waveform, length):
    """Samples around 320 t + 200 of each frame, zeros beyond the ends."""
    padded = np.pad(waveform, ((0, 0), (length, length)))
    starts = length + 320 * np.arange(num_frames(N)) + 200 - length // 2
    return np.stack([padded[:, s : s + length] for s in starts], axis=1).astype(np.float64)


def power(waveform, length, fft):
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(length) / length)
    return np.abs(np.fft.rfft(windows(waveform, length) * hann, fft)) ** 2 * 400 / length


@pytest.mark.parametrize(("length", "fft"), [(400, 512), (1024, 1024), (2048, 2048)])
def test_power_spectrum_when_compared_with_numpy_then_equal(length, fft):
    expected = power(WAVEFORM, length, fft)
    found = power_spectrum(WAVEFORM, length)
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-3)


def test_power_spectrum_when_noise_then_windows_of_any_length_give_one_level():
    noise = RNG.standard_normal((1, 16000)).astype(np.float32)
    levels = [np.mean(power_spectrum(noise, length)) for length in (400, 1024)]
    np.testing.assert_allclose(levels[0], levels[1], rtol=0.05)


def test_waveform_when_described_then_the_hop_around_each_centre():
    found = describe_frames("waveform", WAVEFORM)
    np.testing.assert_allclose(found, windows(WAVEFORM, 320) / 0.044, **FP32)


def test_filters_when_built_then_each_adds_up_to_one_and_peaks_rise():
    for weights in (mel_weights(40, 512), gammatone_weights(40, 512), mel_weights(40, 1024)):
        assert (weights >= 0).all()
        np.testing.assert_allclose(weights.sum(0), 1.0, rtol=1e-5)
        assert (np.diff(weights.argmax(0)) >= 0).all()


def test_gammatone_when_a_tone_then_the_filter_of_its_frequency_answers_most():
    erb = 21.4 * np.log10(1 + 4.37e-3 * np.array([50.0, 7500.0]))
    centres = (10 ** (np.linspace(*erb, 40) / 21.4) - 1) / 4.37e-3
    for band in (10, 20, 30):
        tone = np.sin(2 * np.pi * centres[band] * np.arange(N) / 16000)[None]
        answer = np.asarray(describe_frames("gammatone", tone))[0, 6]
        assert abs(answer.argmax() - band) <= 1


def test_mfcc_when_compared_with_numpy_then_equal():
    bands = np.log(power(WAVEFORM, 400, 512) @ mel_weights(40, 512).astype(np.float64) + 1e-6)
    basis = np.array(
        [
            [np.sqrt((1 if k == 0 else 2) / 40) * np.cos(np.pi * k * (n + 0.5) / 40)
             for k in range(13)]
            for n in range(40)
        ]
    )  # fmt: skip
    found = DESCRIPTORS["mfcc"]
    expected = (bands @ basis - np.array(found.centre)) / np.array(found.scale)
    np.testing.assert_allclose(describe_frames("mfcc", WAVEFORM), expected, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("name", DESCRIPTORS)
def test_describe_frames_when_silent_or_short_then_finite_and_of_the_told_width(name):
    compute = jax.jit(describe_frames, static_argnums=0)
    for samples in (400, N):
        found = compute(name, np.zeros((1, samples), np.float32))
        assert found.shape == (1, num_frames(samples), num_values(name))
        assert np.isfinite(np.asarray(found)).all()


def test_deltas_when_compared_with_loops_then_equal():
    values = RNG.normal(size=(2, 12, 3))
    valid = np.arange(12) < np.array([12, 9])[:, None]
    found = np.asarray(deltas(values, valid))

    def slope(x, b, t):
        if not (2 <= t < 10) or not valid[b, t - 2 : t + 3].all():
            return np.full(3, np.nan)
        return sum(d * x[b, t + d] for d in range(-2, 3)) / 10

    first = np.stack([[slope(values, b, t) for t in range(12)] for b in range(2)])
    second = np.stack([[slope(first, b, t) for t in range(12)] for b in range(2)])
    np.testing.assert_allclose(found[..., 3:6], first, **FP32)
    np.testing.assert_allclose(found[..., 6:], second, **FP32)
    np.testing.assert_array_equal(np.isnan(found[..., 0]), ~valid)


@pytest.mark.corpora
def test_describe_frames_when_real_speech_then_about_standard(corpora_dir):
    files = sorted((corpora_dir / "librispeech_mini" / "audio").iterdir())[:3]
    speech = np.stack([read_audio(file)[: 16000 * 2] for file in files])
    for name in ("mel", "gammatone", "mfcc", "waveform", "power"):
        values = np.asarray(jax.jit(describe_frames, static_argnums=0)(name, speech))
        assert abs(values.mean()) < 1.2 and 0.3 < values.std() < 2.5, name
