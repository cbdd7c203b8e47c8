"""What a run takes from the weights it starts from."""

import dataclasses

import pytest

from sersl.config.presets import ENCODERS
from sersl.config.schema import EncoderConfig, FinetuneConfig, FrontendConfig
from sersl.runs.initial_weights import InitialWeights, describe_sizes, with_sizes


@pytest.mark.parametrize(("kind", "scanned"), [("transformer", True), ("gru", False)])
def test_with_sizes_when_the_preset_scans_then_layers_that_can_be_are(kind, scanned):
    encoder = EncoderConfig(kind=kind, num_layers=3, width=24)
    weights = InitialWeights({}, FrontendConfig(num_mels=17), encoder, "runs/first")
    config = with_sizes(FinetuneConfig(encoder=ENCODERS["base"]), weights)
    assert config.frontend == weights.frontend
    assert config.encoder == dataclasses.replace(encoder, scan_layers=scanned)


def test_with_sizes_when_the_source_was_trained_otherwise_then_the_config_decides_and_it_is_said():
    theirs = EncoderConfig(
        num_layers=3, width=24, dropout=0.3, attention_dropout=0.2, layer_drop=0.1, remat="full"
    )
    frontend = FrontendConfig(kind="waveform", dropout=0.1, gradient_scale=0.1, conv_width=32)
    weights = InitialWeights({}, frontend, theirs, "runs/first")
    own = FinetuneConfig(
        encoder=EncoderConfig(dropout=0.0, activation_dropout=0.4),
        frontend=FrontendConfig(gradient_scale=0.5),
    )
    config = with_sizes(own, weights)
    assert config.encoder == dataclasses.replace(
        theirs,
        dropout=0.0,
        attention_dropout=0.0,
        activation_dropout=0.4,
        layer_drop=0.0,
        remat="none",
    )
    assert config.frontend == dataclasses.replace(frontend, dropout=0.0, gradient_scale=0.5)
    sizes, trained = describe_sizes(own, weights)
    assert "encoder.num_layers=3 (config 4)" in sizes and "frontend.conv_width=32" in sizes
    assert "dropout" not in sizes and "remat" not in sizes + trained
    assert "encoder.layer_drop=0.0 (there 0.1)" in trained
    assert "frontend.gradient_scale=0.5 (there 0.1)" in trained
    assert describe_sizes(config, weights)[0] == trained  # sizes agree now
