"""Speech is told from noise, tones, beeps and silence, and found within a recording."""

import numpy as np
import pytest

from sersl.audio.voice_activity import has_speech, speech_frames, speech_segments
from sersl.core import lengths
from tests.fake_speech import RATE, make_voice


def _noises(seconds=4.0, seed=0):
    random = np.random.default_rng(seed)
    num_samples = round(seconds * RATE)
    time = np.arange(num_samples) / RATE
    white = random.normal(size=num_samples)
    spectrum = np.fft.rfft(white)
    hertz = np.maximum(np.fft.rfftfreq(num_samples, 1 / RATE), 20)
    hum = sum(np.sin(2 * np.pi * 50 * k * time) / k for k in range(1, 20))
    tone = np.sin(2 * np.pi * 440 * time)
    swell = 0.5 + 0.5 * np.sin(2 * np.pi * 3 * time)
    return {
        "silence": np.zeros(num_samples),
        "dither": white * 2**-16,
        "white": white,
        "pink": np.fft.irfft(spectrum / np.sqrt(hertz), num_samples),
        "swelling noise": white * swell,
        "bursts": white * (np.sin(2 * np.pi * 2 * time) > 0.3),
        "hum": hum + 0.01 * white,
        "tone": tone,
        "swelling tone": tone * swell,
        "beeps": tone * (np.sin(2 * np.pi * 2 * time) > 0),
        "sweep": np.sin(2 * np.pi * np.cumsum(100 * 20 ** (time / seconds)) / RATE),
    }


@pytest.mark.parametrize("name", _noises(0.5))
def test_speech_when_there_is_none_then_none_is_found(name):
    noise = _noises()[name]
    loudest = np.abs(noise).max(initial=0)
    for level in (0.5, 0.01):
        scaled = (noise / loudest * level if loudest > 1e-3 else noise).astype(np.float32)
        assert not has_speech(scaled)
        assert not speech_segments(scaled)


@pytest.mark.parametrize("gain", [0.02, 1.0, 5.0])
def test_speech_when_there_is_a_voice_then_it_is_found_at_any_level(gain):
    for seed in range(3):
        assert has_speech(gain * make_voice(2.0, seed))


def test_segments_when_a_voice_is_between_pauses_then_they_hold_it():
    pause = 0.0005 * np.random.default_rng(0).normal(size=2 * RATE).astype(np.float32)
    waveform = np.concatenate([pause, make_voice(3.0), pause, make_voice(2.0, 1), pause])
    found = [(s.start / RATE, s.stop / RATE) for s in speech_segments(waveform)]
    assert len(found) == 2
    np.testing.assert_allclose(found, [(2, 5), (7, 9)], atol=0.4)


@pytest.mark.parametrize("num_samples", [0, 1, 79, 400, 1600, 16_001])
def test_frames_when_audio_has_any_length_then_one_mark_per_frame(num_samples):
    waveform = make_voice(2.0)[:num_samples]
    assert len(speech_frames(waveform)) == lengths.num_frames(num_samples)
    assert not has_speech(np.zeros(num_samples, np.float32))
