import dataclasses

import jax
import numpy as np
import pytest
import scipy.fft

from sersl.config.schema import EncoderConfig, FrontendConfig
from sersl.core.errors import UserError
from sersl.models.acoustic.mfcc_frontend import MfccFrontend
from sersl.models.encoder import SpeechEncoder
from sersl.models.frontend import LogMelFrontend
from tests.models.small import pad, utterances
from tests.tolerances import FP32_DEEP

CONFIG = FrontendConfig(kind="mfcc", num_mels=20, num_coefficients=13, projection=False)
FEATURES = EncoderConfig(kind="features", num_layers=1, width=26, positions="none", dropout=0.0)
KEY = jax.random.key(0)


def test_mfcc_when_compared_with_scipy_then_the_first_cosine_coefficients_of_both_windows():
    batch = pad(utterances()[:2], 16_080)
    found, valid = MfccFrontend(CONFIG, width=26, dtype="float32", key=KEY).features(*batch)
    mels, _ = LogMelFrontend(CONFIG, width=40, dtype="float32", key=KEY).features(*batch)
    windows = np.asarray(mels, np.float64).reshape(*mels.shape[:2], 2, 20)
    expected = scipy.fft.dct(windows, type=2, norm="ortho")[..., :13].reshape(*mels.shape[:2], 26)
    np.testing.assert_allclose(found, np.where(valid[..., None], expected, 0), **FP32_DEEP)


def test_features_when_the_encoder_has_no_layers_then_the_hidden_states_are_the_features():
    encoder = SpeechEncoder(dataclasses.replace(CONFIG, normalize="utterance"), FEATURES, key=KEY)
    output = encoder(*pad(utterances()[:2], 16_080))
    np.testing.assert_array_equal(output.hidden_states[0], output.features)
    np.testing.assert_array_equal(output.hidden_states[1], output.features)
    real = np.asarray(output.features[0])[np.asarray(output.valid[0])]
    np.testing.assert_allclose(real.mean(0), 0.0, atol=1e-4)


@pytest.mark.parametrize(
    ("frontend", "encoder", "words"),
    [
        ({"num_coefficients": 21}, {}, "lower it to at most 20"),
        ({}, {"width": 32}, "set encoder.width to 26"),
        ({"kind": "waveform"}, {}, "always projects its features"),
        ({}, {"num_layers": 2}, "set encoder.num_layers to 1"),
        ({}, {"positions": "rotary"}, "set encoder.positions to 'none'"),
    ],
)
def test_features_when_settings_do_not_fit_then_user_error(frontend, encoder, words):
    with pytest.raises(UserError, match=words):
        SpeechEncoder(
            dataclasses.replace(CONFIG, **frontend),
            dataclasses.replace(FEATURES, **encoder),
            key=KEY,
        )
