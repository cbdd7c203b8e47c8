import jax
import numpy as np
import pytest

from sersl.audio.prosody import pitch
from sersl.config.schema import AugmentConfig, EncoderConfig, FrontendConfig
from sersl.core.lengths import num_frames
from sersl.models.acoustic.descriptor_frontend import (
    STANDARD,
    DescriptorFrontend,
    standard_descriptors,
)
from sersl.models.acoustic.descriptors import NAMES, describe
from sersl.models.encoder import SpeechEncoder
from sersl.models.frontend import LogMelFrontend, augment_features
from tests.models.small import LENGTHS, compiled, pad, utterances
from tests.tolerances import FP32_DEEP

CONFIG = FrontendConfig(kind="descriptors", num_mels=20)
KEY = jax.random.key(0)


def voice():
    """A pulse train at 120 Hz that starts after a third of a second of silence."""
    waveform = np.zeros(16_080, np.float32)
    waveform[5_000::133] = 0.5
    return waveform


def test_descriptor_features_when_computed_then_log_mel_and_standardized_descriptors():
    batch = pad([voice(), *utterances()[:1]], 16_080)
    frontend = DescriptorFrontend(CONFIG, width=8, dtype="float32", key=KEY)
    features, valid = jax.jit(frontend.features)(*batch)
    mels, _ = LogMelFrontend(CONFIG, width=8, dtype="float32", key=KEY).features(*batch)
    assert features.shape[-1] == DescriptorFrontend.count_features(CONFIG) == 40 + 17
    np.testing.assert_allclose(features[..., :40], mels, **FP32_DEEP)
    described = np.asarray(features[..., 40:])
    assert not described[~np.asarray(valid)].any()
    found = describe(batch[0], batch[1].sum(1))
    voiced = np.asarray(found.voiced)
    np.testing.assert_array_equal(described[..., -1], voiced)
    for number, name in enumerate(NAMES):
        centre, scale = STANDARD[name]
        real = voiced if name in ("f0", "hnr", "h1_h2") else np.asarray(valid)
        expected = np.where(real, (found.values[..., number] - centre) / scale, 0.0)
        np.testing.assert_allclose(described[..., number], expected, **FP32_DEEP)


def test_descriptor_features_when_the_pitch_is_known_then_they_have_it():
    waveform = voice()
    f0, _ = pitch(waveform)
    values = np.asarray(standard_descriptors(*pad([waveform], 16_080)))[0]
    centre, scale = STANDARD["f0"]
    voiced = values[:, -1] > 0
    assert voiced[20:].mean() > 0.9
    assert not voiced[:10].any()
    hertz = 27.5 * 2 ** ((values[voiced, 0] * scale + centre) / 12)
    np.testing.assert_allclose(hertz, 16_000 / 133, rtol=0.01)
    np.testing.assert_allclose(hertz, f0[voiced], rtol=0.01)


def test_small_convolution_encoder_when_padded_with_noise_then_no_real_frame_changes():
    config = EncoderConfig(kind="convolution", num_layers=2, width=8, frame_stride=2)
    params, run = compiled(SpeechEncoder(CONFIG, config, key=KEY))
    noise = np.random.default_rng(1).normal(size=(3, 24_080))
    clean = run(params, *pad(utterances(), 24_080)).hidden_states
    noisy = run(params, *pad(utterances(), 24_080, filler=noise)).hidden_states
    alone = run(params, *pad(utterances()[:1], LENGTHS[0])).hidden_states
    for row, length in enumerate(LENGTHS):
        frames = num_frames(length)
        np.testing.assert_array_equal(noisy[:, row, :frames], clean[:, row, :frames])
    np.testing.assert_allclose(clean[:, 0, : num_frames(LENGTHS[0])], alone[:, 0], **FP32_DEEP)


def test_band_mask_when_features_hold_descriptors_then_only_mel_filters_are_masked():
    features = np.ones((64, 5, 40 + 17), np.float32)
    masked = augment_features(features, AugmentConfig(band_mask_width=8), num_mels=20, key=KEY)
    np.testing.assert_array_equal(masked[..., 40:], 1.0)
    np.testing.assert_array_equal(masked[..., :20], masked[..., 20:40])
    assert 0.05 < 1 - np.asarray(masked[..., :20]).mean() < 0.4


@pytest.mark.parametrize("name", NAMES)
def test_descriptor_when_standardized_then_its_scale_is_positive(name):
    assert STANDARD[name][1] > 0
