"""The frontend that gives every frame the functionals of its utterance."""

import dataclasses

import jax
import numpy as np
import pytest

from sersl.config.schema import EncoderConfig, FrontendConfig
from sersl.core.errors import UserError
from sersl.models.acoustic.functional_scales import CENTRES, SCALES
from sersl.models.acoustic.functionals import FUNCTIONALS, utterance_functionals
from sersl.models.encoder import SpeechEncoder
from tests.models.small import pad, utterances
from tests.tolerances import FP32_DEEP

CONFIG = FrontendConfig(kind="functionals", projection=False)
FEATURES = EncoderConfig(
    kind="features", num_layers=1, width=len(FUNCTIONALS), positions="none", dropout=0.0
)
KEY = jax.random.key(0)


def test_functionals_when_given_by_the_frontend_then_standardized_and_blind_to_padding():
    waveforms = utterances()[:2]
    encoder = SpeechEncoder(CONFIG, FEATURES, key=KEY)
    output = encoder(*pad(waveforms, 16_080))
    longer = encoder(*pad(waveforms, 20_000))
    for row, waveform in enumerate(waveforms):
        found = utterance_functionals(waveform[None], np.array([len(waveform)]))[0]
        expected = (np.asarray(found) - CENTRES) / SCALES
        for each in (output, longer):
            frames = np.asarray(each.features[row])
            real = np.asarray(each.valid[row])
            np.testing.assert_allclose(
                frames[real], np.tile(expected, (real.sum(), 1)), **FP32_DEEP
            )
            assert not frames[~real].any()


def test_functionals_when_an_encoder_should_learn_from_them_then_user_error():
    encoder = EncoderConfig(num_layers=1, width=32, num_heads=2, mlp_width=64)  # a projection
    with pytest.raises(UserError, match=r"fusion\.views=functionals=functionals"):
        SpeechEncoder(dataclasses.replace(CONFIG, projection=True), encoder, key=KEY)
