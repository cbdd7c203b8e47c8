import time

import numpy as np
import pytest

from sersl.audio import prosody as prosody_file
from sersl.audio.decode import read_audio
from sersl.audio.prosody import PROSODY_NAMES, band_energy, log_rms, pitch, prosody
from sersl.core import lengths

LOG_F0, VOICING, ENERGY, D_LOG_F0, D_VOICING, D_ENERGY = range(6)


def harmonics(f0, seconds=1.0, power=1.0, level=0.1):
    """A band-limited pulse train (power 0) or a duller tone; f0 in Hz, one or one per sample."""
    phase = 2 * np.pi * np.cumsum(np.broadcast_to(f0, int(16000 * seconds)) / 16000)
    count = int(7000 / np.max(f0))
    return level * sum(np.cos(k * phase) / k**power for k in range(1, count + 1))


def noise(seconds=1.0, level=0.1, seed=0):
    return level * np.random.default_rng(seed).standard_normal(int(16000 * seconds))


@pytest.mark.parametrize("f0", [62, 75, 100, 147.3, 220, 333, 440, 495])
@pytest.mark.parametrize("kind", ["pulses", "dull", "sine", "noisy", "no fundamental", "formant"])
def test_pitch_when_a_voice_is_steady_then_right_within_one_percent(f0, kind):
    sound = {
        "pulses": lambda: harmonics(f0, power=0.0, level=0.02),
        "dull": lambda: harmonics(f0),
        "sine": lambda: 0.2 * np.sin(2 * np.pi * f0 * np.arange(16000) / 16000),
        "noisy": lambda: harmonics(f0) + noise(level=0.02),
        "no fundamental": lambda: (
            harmonics(f0) - 0.1 * np.cos(2 * np.pi * f0 * np.arange(1, 16001) / 16000)
        ),
        "formant": lambda: _resonate(harmonics(f0, power=0.5), 500.0, 80.0),
    }[kind]()
    found, voicing = pitch(sound.astype(np.float32))
    inner = slice(2, -2)  # windows of outer frames reach beyond the sound
    assert np.isfinite(found[inner]).all()
    np.testing.assert_allclose(found[inner], f0, rtol=0.01)
    assert voicing[inner].min() > 0.5


def _resonate(sound, frequency, bandwidth):
    radius = np.exp(-np.pi * bandwidth / 16000)
    a1, a2 = -2 * radius * np.cos(2 * np.pi * frequency / 16000), radius**2
    out = np.zeros(len(sound) + 2)
    for i, value in enumerate(sound):
        out[i + 2] = value - a1 * out[i + 1] - a2 * out[i]
    return 0.05 * out[2:]


def test_pitch_when_it_glides_then_followed_at_the_frames_centre():
    f0 = np.geomspace(120, 300, 32000)
    found, _ = pitch(harmonics(f0, 2.0).astype(np.float32))
    centres = 320 * np.arange(len(found)) + 200
    np.testing.assert_allclose(found[1:-1], f0[centres][1:-1], rtol=0.01)


@pytest.mark.parametrize(
    "sound", [noise(), np.zeros(16000), noise(level=3e-5), np.full(16000, 0.3)]
)
def test_pitch_when_noise_or_silence_then_unvoiced(sound):
    f0, voicing = pitch(sound.astype(np.float32))
    assert np.isnan(f0).all()
    assert voicing.max() < 0.6
    assert np.isnan(prosody(sound.astype(np.float32))[:, [LOG_F0, D_LOG_F0]]).all()


def test_pitch_when_a_voice_is_between_noises_then_voiced_only_there():
    sound = np.concatenate([noise(0.5, 0.01), harmonics(180, 0.5), noise(0.5, 0.01, 1)])
    voiced = np.isfinite(pitch(sound.astype(np.float32))[0])
    assert voiced[27:47].all()  # frames wholly within 0.5 s to 1 s
    assert not voiced[:23].any() and not voiced[52:].any()


def test_log_rms_when_a_square_wave_then_its_level_with_a_floor():
    sound = np.where(np.arange(8000) % 40 < 20, 0.25, -0.25).astype(np.float32)
    np.testing.assert_allclose(log_rms(sound), np.log(0.25), rtol=1e-6)
    np.testing.assert_allclose(log_rms(np.zeros(8000, np.float32)), np.log(1e-4))


def test_log_rms_when_one_sample_is_loud_then_only_frames_with_it_change():
    sound = np.zeros(3 * 320 + 80, np.float32)
    sound[320 + 399] = 1.0  # last sample of frame 1, sample 79 of frame 2
    energy = log_rms(sound)
    np.testing.assert_allclose(energy[1:], 0.5 * np.log(1 / 400), rtol=1e-6)
    np.testing.assert_allclose(energy[0], np.log(1e-4))


def test_band_energy_when_a_sine_then_minus_3_db_inside_and_little_outside():
    tone = np.sin(2 * np.pi * 1000 * np.arange(16000) / 16000).astype(np.float32)
    np.testing.assert_allclose(band_energy(tone, 300, 3400), -3.01, atol=0.02)
    np.testing.assert_allclose(band_energy(0.1 * tone, 300, 3400), -23.01, atol=0.02)
    assert band_energy(tone, 2000, 6000).max() < -60
    np.testing.assert_allclose(band_energy(0 * tone, 300, 3400), -100)


def reference_slope(values):
    """Regression over 2 frames on each side, by numpy's polynomial fit."""
    slopes = np.full(len(values), np.nan)
    for t in range(len(values)):
        near = np.arange(max(0, t - 2), min(len(values), t + 3))
        near = near[np.isfinite(values[near])]
        if np.isfinite(values[t]) and len(near) > 1:
            slopes[t] = np.polyfit(near / 50, values[near], 1)[0]
    return slopes


def test_prosody_when_speech_then_the_documented_map_of_its_parts():
    sound = np.concatenate([noise(0.3, 0.003), harmonics(np.geomspace(150, 250, 8000), 0.5)])
    sound = np.concatenate([sound, noise(0.2, 0.01, 1)]).astype(np.float32)
    found = prosody(sound)
    f0, voicing = pitch(sound)
    parts = np.stack([np.log(f0), voicing, log_rms(sound)], axis=1)
    centred = (parts - prosody_file._CENTRES) / prosody_file._SCALES
    slopes = np.stack([reference_slope(column) for column in parts.T], axis=1)
    expected = np.concatenate([centred, slopes / prosody_file._SLOPE_SCALES], axis=1)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)
    assert found.dtype == np.float32 and found.shape == (lengths.num_frames(len(sound)), 6)
    assert np.isfinite(found[:, [VOICING, ENERGY, D_VOICING, D_ENERGY]]).all()
    assert np.isnan(found[np.isnan(found[:, LOG_F0]), D_LOG_F0]).all()


def test_prosody_when_twice_as_loud_then_only_energy_changes():
    sound = harmonics(200, level=0.1).astype(np.float32)
    quiet, loud = prosody(sound), prosody(2 * sound)
    np.testing.assert_allclose(
        loud[:, ENERGY] - quiet[:, ENERGY], np.log(2) / prosody_file._SCALES[2], rtol=1e-4
    )
    np.testing.assert_allclose(loud[:, LOG_F0], quiet[:, LOG_F0], atol=1e-3)


@pytest.mark.parametrize("num_samples", [0, 1, 399, 400, 719, 720, 1234])
def test_prosody_when_audio_is_very_short_then_the_promised_frames(num_samples):
    found = prosody(harmonics(200)[:num_samples].astype(np.float32))
    assert found.shape == (lengths.num_frames(num_samples), len(PROSODY_NAMES))
    assert np.isfinite(found[:, [VOICING, ENERGY, D_VOICING, D_ENERGY]]).all()


def test_prosody_when_audio_is_long_then_independent_of_the_blocks(monkeypatch):
    sound = harmonics(np.geomspace(100, 400, 32000), 2.0).astype(np.float32)
    whole = prosody(sound)
    monkeypatch.setattr(prosody_file, "_BLOCK", 7)
    np.testing.assert_allclose(prosody(sound), whole, rtol=1e-4, atol=1e-4)


@pytest.mark.corpora
def test_prosody_when_real_speech_then_about_unit_range_and_plausible_voices(corpora_dir):
    level, f0 = [], {}
    for actor in ("01", "02"):  # a man, a woman
        paths = sorted((corpora_dir / "ravdess" / f"Actor_{actor}").glob("03-01-0[1-5]*.flac"))
        waveforms = [read_audio(path) for path in paths[::4]]
        level += [prosody(waveform) for waveform in waveforms]
        f0[actor] = np.nanmedian(np.concatenate([pitch(w)[0] for w in waveforms]))
    values = np.concatenate(level)
    assert (np.abs(np.nanmean(values, axis=0)) < 1.2).all()
    assert ((np.nanstd(values, axis=0) > 0.4) & (np.nanstd(values, axis=0) < 1.6)).all()
    assert 90 < f0["01"] < 200 < f0["02"] < 350


@pytest.mark.slow
def test_prosody_when_a_minute_then_faster_than_150_times_real_time():
    sound = harmonics(np.geomspace(80, 450, 960_000), 60.0).astype(np.float32)
    started = time.process_time()
    prosody(sound)
    assert time.process_time() - started < 60 / 150
