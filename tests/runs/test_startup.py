"""What a run takes from the weights it starts from."""

import dataclasses

import pytest

from sersl.config.presets import ENCODERS
from sersl.config.schema import EncoderConfig, FinetuneConfig, FrontendConfig
from sersl.runs.initial_weights import InitialWeights, with_sizes


@pytest.mark.parametrize(("kind", "scanned"), [("transformer", True), ("gru", False)])
def test_with_sizes_when_the_preset_scans_then_layers_that_can_be_are(kind, scanned):
    encoder = EncoderConfig(kind=kind, num_layers=3, width=24)
    weights = InitialWeights({}, FrontendConfig(num_mels=17), encoder, "runs/first")
    config = with_sizes(FinetuneConfig(encoder=ENCODERS["base"]), weights)
    assert config.frontend == weights.frontend
    assert config.encoder == dataclasses.replace(encoder, scan_layers=scanned)
