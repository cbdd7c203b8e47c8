import glob

import jax
import numpy as np
import pytest
import soundfile

from sersl.audio.features import FLOOR, log_mel, mel_filters, on_own_rows, rfft_of_rows
from sersl.config.schema import MeshConfig
from sersl.core.errors import UserError
from sersl.core.lengths import num_frames
from sersl.parallel.mesh import make_mesh
from tests.own_rows import kinds_sent
from tests.tolerances import FP32_DEEP


def reference(waveform, num_mels):
    """Log-mel by loops in float64, filters from their definition."""

    def mel(hz):
        return 1127 * np.log(1 + hz / 700)

    edges = np.linspace(mel(20.0), mel(8000.0), num_mels + 2)
    padded = np.concatenate([np.zeros(80), waveform.astype(np.float64), np.zeros(80)])
    frames = []
    for t in range((len(waveform) - 80) // 320):
        values = []
        for start in (320 * t - 80, 320 * t + 80):
            window = padded[start + 80 : start + 480]
            hann = [0.5 - 0.5 * np.cos(2 * np.pi * n / 400) for n in range(400)]
            power = np.abs(np.fft.fft(window * hann, 512)[:257]) ** 2
            for m in range(num_mels):
                low, centre, high = edges[m : m + 3]
                total = 0.0
                for k in range(257):
                    at = mel(k * 16000 / 512)
                    if low < at <= centre:
                        total += power[k] * (at - low) / (centre - low)
                    elif centre < at < high:
                        total += power[k] * (high - at) / (high - centre)
                values.append(np.log(total + FLOOR))
        frames.append(values)
    return np.array(frames)


@pytest.mark.parametrize("num_samples", [400, 719, 720, 1600, 2399])
def test_log_mel_when_compared_with_loops_then_equal(num_samples):
    waveform = np.random.default_rng(0).uniform(-1, 1, num_samples).astype(np.float32)
    features = log_mel(waveform[None], num_mels=40)
    assert features.shape == (1, num_frames(num_samples), 80)
    assert features.dtype == np.float32
    np.testing.assert_allclose(features[0], reference(waveform, 40), **FP32_DEEP)


@pytest.mark.corpora
def test_log_mel_when_given_real_speech_then_equals_loops(corpora_dir):
    for folder in ("ravdess", "librispeech_mini", "nemo"):
        file = sorted(glob.glob(f"{corpora_dir}/{folder}/**/*.[fo][lg][ag]*", recursive=True))[5]
        waveform = soundfile.read(file, dtype="float32")[0][16000:21000]
        features = np.asarray(log_mel(waveform[None]))
        np.testing.assert_allclose(features[0], reference(waveform, 80), **FP32_DEEP)
        assert features.std() > 1.0


def test_log_mel_when_tone_given_then_its_filter_is_loudest():
    time = np.arange(16000) / 16000
    for hz in (200.0, 1000.0, 5000.0):
        features = np.asarray(log_mel(np.sin(2 * np.pi * hz * time)[None], num_mels=80))[0]
        centres = np.linspace(1127 * np.log(1 + 20 / 700), 1127 * np.log(1 + 8000 / 700), 82)[1:-1]
        loudest = features[10].reshape(2, 80).argmax(1)
        np.testing.assert_allclose(centres[loudest], 1127 * np.log(1 + hz / 700), atol=25.0)


def test_log_mel_when_silence_given_then_log_of_floor():
    features = log_mel(np.zeros((2, 800), np.float32))
    np.testing.assert_allclose(features, np.log(FLOOR), rtol=1e-6)


def test_log_mel_when_input_is_bfloat16_then_computed_in_float32():
    waveform = jax.numpy.zeros((1, 800), jax.numpy.bfloat16)
    assert log_mel(waveform).dtype == np.float32


def test_mel_filters_when_too_many_then_user_error():
    assert (mel_filters(80).sum(0) > 0).all()
    with pytest.raises(UserError, match=r"frontend\.num_mels"):
        mel_filters(200)


def test_log_mel_when_rows_are_on_eight_devices_then_no_communication():
    waveform = np.random.default_rng(0).normal(size=(16, 4000)).astype(np.float32)
    assert kinds_sent(log_mel, waveform) == set()


def test_on_own_rows_when_inside_of_itself_or_rows_do_not_divide_then_equal():
    rows = np.random.default_rng(0).normal(size=(16, 20)).astype(np.float32)

    def twice(rows):
        return on_own_rows(lambda x: rfft_of_rows(x, length=32).real, rows)

    assert kinds_sent(twice, rows) == set()
    with jax.set_mesh(make_mesh(MeshConfig(data=2, fsdp=4))):
        found = jax.jit(twice)(rows[:9])
    np.testing.assert_allclose(found, np.fft.rfft(rows[:9], n=32).real, **FP32_DEEP)
