"""Every descriptor against plain NumPy, on real speech; pitch against the loader's."""

import csv

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.fft

from sersl.audio.decode import read_audio
from sersl.audio.features import mel_filters
from sersl.audio.prosody import log_rms, pitch
from sersl.core.lengths import num_frames
from sersl.models.acoustic import descriptors as d
from tests.tolerances import FP32, FP32_DEEP

FREQUENCIES = np.arange(257) * 16000 / 512


def voice(seconds=1.0, f0=150.0, level=0.05):
    t = np.arange(int(16000 * seconds)) / 16000
    return level * sum(np.cos(2 * np.pi * f0 * k * t) / k for k in range(1, 20))


def describe(*waveforms, size=None):
    """Descriptors of waveforms side by side, and the names' places."""
    size = max(len(w) for w in waveforms) if size is None else size
    batch = np.zeros((len(waveforms), size), np.float32)
    for row, waveform in enumerate(waveforms):
        batch[row, : len(waveform)] = waveform
    return d.describe(batch, np.array([len(w) for w in waveforms]))


@pytest.fixture(scope="module")
def speech():
    """Two actors of RAVDESS, loud and quiet; a male and a female voice."""
    from tests.conftest import CORPORA

    with open(CORPORA / "ravdess/manifest.csv", newline="") as file:
        rows = [r for r in csv.DictReader(file) if r["emotion"] in ("calm", "angry")]
    return [read_audio(CORPORA / "ravdess" / row["path"]) for row in (rows[0], rows[-1], rows[300])]


def numpy_power(waveform):
    """[T, 257] in float64."""
    frames = np.stack([waveform[320 * t :][:400] for t in range(num_frames(len(waveform)))])
    window = np.sin(np.pi * (np.arange(400) + 0.5) / 400) ** 2
    return np.abs(np.fft.rfft(frames.astype(np.float64) * window, 512)) ** 2 + 1e-8


def reference(waveform):
    """Every descriptor that needs no pitch, frame by frame in NumPy."""
    power = numpy_power(waveform)
    bands = power @ mel_filters(26).astype(np.float64)
    centre = 2 * np.pi * FREQUENCIES[mel_filters(26).argmax(0)]
    weight = (centre**2 + 56.8e6) * centre**4 / (centre**2 + 6.3e6) ** 2 / (centre**2 + 0.38e9)
    magnitude = np.sqrt(power)
    share = magnitude / magnitude.sum(1, keepdims=True)
    inside = lambda low, high: (low <= FREQUENCIES) & (high > FREQUENCIES)  # noqa: E731
    decibel = 10 * np.log10(power)
    fit = lambda low, high: np.polyfit(  # noqa: E731
        FREQUENCIES[inside(low, high)] / 1000, decibel[:, inside(low, high)].T, 1
    )[0]
    cepstrum = scipy.fft.dct(np.log(bands), axis=1, norm="ortho")[:, 1:5]
    number = np.arange(1, 5)
    cepstrum *= 1 + 11 * np.sin(np.pi * number / 22)
    return {
        "level": 20 / np.log(10) * np.maximum(log_rms(waveform), -0.5 * np.log(1e10)),
        "loudness": np.cbrt(bands * weight / weight.max()).sum(1),
        "flux": np.concatenate([[0], np.abs(np.diff(share, axis=0)).sum(1)]),
        "alpha_ratio": 10
        * np.log10(power[:, inside(50, 1000)].sum(1) / power[:, inside(1000, 5000)].sum(1)),
        "hammarberg": 10
        * np.log10(power[:, inside(0, 2000)].max(1) / power[:, inside(2000, 5000)].max(1)),
        "slope_0_500": fit(0, 500),
        "slope_500_1500": fit(500, 1500),
        "centroid": power @ (FREQUENCIES / 1000) / power.sum(1),
        **{f"mfcc{i + 1}": cepstrum[:, i] for i in range(4)},
    }


@pytest.mark.corpora
def test_descriptors_of_real_speech_are_those_of_plain_numpy(speech):
    found = describe(*speech)
    for row, waveform in enumerate(speech):
        loud = log_rms(waveform) > np.log(1.1e-4)  # below, the loader's level has another floor
        for name, expected in reference(waveform).items():
            got = np.asarray(found.values[row, : len(expected), d.NAMES.index(name)])
            # Values are of some tens, and ratios of sums in float32.
            kept = loud if name == "level" else slice(None)
            np.testing.assert_allclose(
                got[kept], expected[kept], rtol=1e-4, atol=2e-3, err_msg=name
            )


@pytest.mark.corpora
def test_pitch_and_harmonics_of_real_speech_are_those_of_the_loader_and_of_plain_numpy(speech):
    found = describe(*speech)
    column = lambda name: np.asarray(found.values[..., d.NAMES.index(name)])  # noqa: E731
    for row, waveform in enumerate(speech):
        f0, voicing = pitch(waveform)
        frames = len(f0)
        voiced = np.asarray(found.voiced[row, :frames])
        assert (voiced == np.isfinite(f0)).mean() > 0.995  # ties may fall either way
        both = voiced & np.isfinite(f0)
        assert 0.1 < both.mean() < 0.9
        semitones = 12 * np.log2(f0[both] / 27.5)
        assert (np.abs(column("f0")[row, :frames][both] - semitones) < 1e-3).mean() > 0.99
        np.testing.assert_allclose(column("voicing")[row, :frames][both], voicing[both], atol=2e-3)
        assert (column("f0")[row, :frames][~voiced] == 0).all()
        r = np.clip(voicing[both], 0.001, 0.999)
        harmonic = 10 * np.log10(r / (1 - r))
        sure = np.abs(harmonic) < 20  # beyond, a rounding of r is a dB
        np.testing.assert_allclose(
            column("hnr")[row, :frames][both][sure], harmonic[sure], atol=0.1
        )
        window = np.sin(np.pi * (np.arange(640) + 0.5) / 640) ** 2
        padded = np.pad(waveform.astype(np.float64), (120, 640))
        for t in np.flatnonzero(both)[::7]:
            frame = padded[320 * t : 320 * t + 640] * window
            power = np.abs(np.fft.rfft(frame, 1024)) ** 2 + 1e-8
            at = [round(k * f0[t] / (16000 / 1024)) for k in (1, 2)]
            first, second = (power[i - 1 : i + 2].max() for i in at)
            assert column("h1_h2")[row, t] == pytest.approx(10 * np.log10(first / second), abs=0.05)


def test_descriptors_do_not_depend_on_padding_or_on_the_other_rows():
    one, two = voice(0.61).astype(np.float32), voice(1.2, 220.0).astype(np.float32)
    alone = describe(one)
    beside = describe(one, two, size=32000)
    frames = num_frames(len(one))
    np.testing.assert_allclose(beside.values[0, :frames], alone.values[0], **FP32_DEEP)
    np.testing.assert_array_equal(beside.voiced[0, :frames], alone.voiced[0])
    assert not beside.voiced[0, frames:].any() and not beside.values[0, frames:].any()
    assert beside.valid.sum(1).tolist() == [frames, num_frames(len(two))]
    # What lies behind the row's samples is ignored.
    dirty = np.full((1, 32000), 0.5, np.float32)
    dirty[0, : len(one)] = one
    again = d.describe(dirty, np.array([len(one)]))
    np.testing.assert_allclose(again.values[0, :frames], alone.values[0], **FP32_DEEP)


def test_descriptors_of_a_steady_voice_have_known_values():
    values = describe(voice().astype(np.float32)).values[0, 5:-5]
    column = lambda name: np.asarray(values[:, d.NAMES.index(name)])  # noqa: E731
    np.testing.assert_allclose(column("f0"), 12 * np.log2(150 / 27.5), atol=0.02)
    np.testing.assert_allclose(column("h1_h2"), 20 * np.log10(2), atol=0.3)  # amplitudes 1 and 1/2
    assert (column("hnr") > 20).all() and (column("slope_500_1500") < 0).all()
    assert (column("flux") < 0.1).all()
    power = 0.05**2 / 2 * sum(k**-2 for k in range(1, 20))
    np.testing.assert_allclose(column("level").mean(), 10 * np.log10(power), atol=0.2)


def test_descriptors_of_silence_and_noise_are_finite_and_unvoiced():
    noise = np.random.default_rng(0).standard_normal(16000).astype(np.float32)
    found = describe(np.zeros(16000, np.float32), noise, 1e-6 * noise, noise[:500])
    assert np.isfinite(found.values).all()
    assert not found.voiced[0].any() and np.asarray(found.voiced[1]).mean() < 0.1
    np.testing.assert_allclose(found.values[0, :, d.NAMES.index("level")], -100, **FP32)


def test_descriptors_can_be_differentiated_in_power():
    power = jnp.asarray(numpy_power(voice(0.1).astype(np.float32)), jnp.float32)
    for function in (d.loudness, d.alpha_ratio, d.centroid, lambda p: d.slope(p, 0, 500)):
        gradient = jax.grad(lambda p, f=function: f(p).sum())(power)
        assert np.isfinite(gradient).all() and np.abs(gradient).max() > 0
