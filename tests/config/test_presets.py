"""Presets are complete, valid, and have the sizes of their names."""

import functools
import math

import jax
import pytest
from flax import nnx

from sersl.config.load import from_mapping
from sersl.config.presets import ENCODERS, encoder_preset, frontend_preset
from sersl.config.schema import EncoderConfig, FrontendConfig
from sersl.core.errors import UserError
from sersl.models.encoder import SpeechEncoder


@pytest.mark.parametrize("name", ENCODERS)
def test_preset_when_taken_then_is_a_whole_valid_encoder(name):
    encoder = from_mapping(EncoderConfig, encoder_preset(name).to_dict())
    assert encoder == ENCODERS[name]
    assert encoder.width % encoder.num_heads == 0


def test_preset_when_changed_by_a_config_then_the_table_stays():
    encoder_preset("tiny").num_layers = 99
    assert ENCODERS["tiny"].num_layers != 99


def test_preset_when_unknown_then_nearest_is_named():
    with pytest.raises(UserError, match="unknown preset 'tinny': did you mean 'tiny'"):
        encoder_preset("tinny")


def test_presets_when_listed_then_grow():
    transformers = [e for e in ENCODERS.values() if e.kind == "transformer"]
    sizes = [e.num_layers * e.width * (4 * e.width + 2 * e.mlp_width) for e in transformers]
    assert sizes == sorted(sizes)
    assert list(ENCODERS)[:4] == ["nano", "light", "tiny", "small"]


@pytest.mark.parametrize(
    ("name", "frontend", "millions"),
    [
        ("base", "waveform", 94.4),  # wav2vec 2.0 BASE without quantiser and heads
        ("large", "waveform", 315.4),
        ("xlarge", "waveform", 962.5),
        ("light", "log_mel", 0.05),
        ("base", "log_mel", 85.2),
        ("large", "log_mel", 302.5),
        ("xlarge", "log_mel", 944.8),
    ],
)
def test_preset_when_built_then_has_the_parameters_of_its_name(name, frontend, millions):
    make = functools.partial(
        SpeechEncoder,
        from_mapping(FrontendConfig, frontend_preset(name, frontend=frontend).to_dict()),
        from_mapping(EncoderConfig, encoder_preset(name, frontend=frontend).to_dict()),
    )
    state = nnx.split(nnx.eval_shape(lambda: make(key=jax.random.key(0))))[1]
    count = sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(state))
    assert count / 1e6 == pytest.approx(millions, abs=0.1 if millions > 1 else 0.01)


@pytest.mark.parametrize("preset", [encoder_preset, frontend_preset])
def test_preset_when_frontend_is_unknown_then_nearest_is_named(preset):
    with pytest.raises(UserError, match="did you mean 'waveform'"):
        preset("base", frontend="wavform")


@pytest.mark.parametrize("preset", [encoder_preset, frontend_preset])
def test_preset_when_it_has_its_own_frontend_then_the_waveform_is_refused(preset):
    assert frontend_preset("light").kind == "descriptors"
    with pytest.raises(UserError, match="preset light has its own frontend"):
        preset("light", frontend="waveform")
