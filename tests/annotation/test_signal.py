import csv

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from sersl.annotation.signal import signal_intensity
from sersl.audio.decode import read_audio
from sersl.core import lengths


def voice(level, seconds=1.0, f0=150.0):
    t = np.arange(int(16000 * seconds)) / 16000
    return level * sum(np.cos(2 * np.pi * f0 * k * t) / np.sqrt(k) for k in range(1, 40))


def noise(level, seconds=1.0):
    return level * np.random.default_rng(0).standard_normal(int(16000 * seconds))


def of(*parts):
    return signal_intensity(np.concatenate(parts).astype(np.float32))


def test_signal_intensity_of_any_audio_is_in_0_to_1_with_one_value_per_frame():
    for sound in (voice(2.0), noise(1.0), noise(1e-6), np.zeros(16000)):
        found = signal_intensity(sound.astype(np.float32))
        assert found.shape == (lengths.num_frames(16000),) and found.dtype == np.float32
        assert ((found >= 0) & (found <= 1)).all()
    for num_samples in (0, 1, 399, 400, 1234):
        found = signal_intensity(voice(0.1)[:num_samples].astype(np.float32))
        assert found.shape == (lengths.num_frames(num_samples),)


def test_signal_intensity_of_silence_and_steady_noise_is_zero_and_of_a_voice_is_not():
    assert of(np.zeros(16000)).max() == 0
    found = of(noise(1e-3), voice(0.02), np.zeros(8000))
    assert found[:48].max() < 0.05
    assert found[52:98].min() > 0.4
    assert found[102:].max() == 0


def test_signal_intensity_of_a_louder_voice_is_higher_on_an_absolute_scale():
    pause = np.zeros(4000)
    levels = [of(pause, voice(level)).mean() for level in (0.003, 0.01, 0.03)]
    assert levels[0] < levels[1] < levels[2]
    # 10.5 dB of the 45 dB between 0 and 1, over the 4 of 5 frames that are voice
    assert levels[2] - levels[1] == pytest.approx(9.54 / 45 * 0.8, rel=0.05)


def test_signal_intensity_of_a_hiss_is_less_than_of_a_voice_as_loud():
    pause = np.zeros(8000)
    hiss = noise(0.05)
    both = of(pause, voice(0.02), pause, hiss, pause)
    assert both[77:120].mean() < 0.8 * both[27:72].mean()


def test_signal_intensity_of_hum_below_the_band_is_near_zero():
    hum = 0.05 * np.sin(2 * np.pi * 50 * np.arange(16000) / 16000)
    assert of(np.zeros(4000), hum)[20:].mean() < 0.1


@pytest.mark.corpora
def test_signal_intensity_of_strong_renditions_is_higher_than_of_normal_ones(corpora_dir):
    with (corpora_dir / "ravdess/manifest.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["emotion"] != "neutral"]
    rows = [row for row in rows if row["speaker"] in ("03", "08")]
    means = [
        signal_intensity(read_audio(corpora_dir / "ravdess" / row["path"])).mean() for row in rows
    ]
    strong = [row["intensity"] == "strong" for row in rows]
    assert roc_auc_score(strong, means) > 0.65
