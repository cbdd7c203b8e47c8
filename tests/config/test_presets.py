"""Encoder sizes by name."""

import pytest

from sersl.config.load import from_mapping
from sersl.config.presets import ENCODERS, encoder_preset
from sersl.config.schema import EncoderConfig
from sersl.core.errors import UserError


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
    sizes = [e.num_layers * e.width * (4 * e.width + 2 * e.mlp_width) for e in ENCODERS.values()]
    assert sizes == sorted(sizes)
    assert list(ENCODERS)[:3] == ["nano", "tiny", "small"]
