"""What is assumed of `transformers`, compared with the installed one."""

import pytest
import transformers

from sersl.config.schema import EncoderConfig, FrontendConfig
from sersl.release.huggingface.json_files import config_json, family_of, preprocessor_json
from sersl.release.huggingface.settings import DEFAULTS, complete, settings
from sersl.release.huggingface.tensor_names import Layout

CLASSES = {
    "wav2vec2": transformers.Wav2Vec2Config,
    "hubert": transformers.HubertConfig,
    "wavlm": transformers.WavLMConfig,
    "data2vec-audio": transformers.Data2VecAudioConfig,
    "whisper": transformers.WhisperConfig,
}


@pytest.mark.parametrize("family", DEFAULTS)
def test_defaults_when_compared_with_transformers_then_equal(family):
    config = CLASSES[family]()
    assert config.model_type == family
    for key, value in DEFAULTS[family].items():
        theirs = getattr(config, key)
        assert (tuple(theirs) if isinstance(theirs, list) else theirs) == value, key


@pytest.mark.parametrize("family", DEFAULTS)
def test_settings_when_written_and_read_again_then_the_same(family, tmp_path):
    sizes = {"whisper": ("d_model", 64)}
    key, width = sizes.get(family, ("hidden_size", 96))
    config = complete({"model_type": family, key: width}, where="config.json")
    config["layerdrop" if family != "whisper" else "encoder_layerdrop"] = 0.07
    heads = "encoder_attention_heads" if family == "whisper" else "num_attention_heads"
    config[heads] = 4
    frontend, encoder = settings(config, {"do_normalize": False}, where="config.json")
    assert encoder.width == width and encoder.layer_drop == 0.07
    expected = "wav2vec2" if family == "hubert" else family  # the same computation
    assert family_of(frontend, encoder) == expected
    written = config_json(Layout(model_type=family), frontend, encoder, weighted=False, width=0)
    again = complete(written, where="config.json")
    assert settings(again, preprocessor_json(frontend, encoder), where="config.json") == (
        frontend,
        encoder,
    )
    # And transformers takes every key for one of its own.
    theirs = CLASSES[family](**{k: v for k, v in written.items() if k != "model_type"})
    assert {k: getattr(theirs, k) for k in ("attention_dropout", "activation_dropout")} == {
        k: written[k] for k in ("attention_dropout", "activation_dropout")
    }


@pytest.mark.parametrize(
    ("frontend", "encoder"),
    [
        ({}, {}),
        ({"kind": "waveform"}, {}),
        ({"kind": "waveform"}, {"kind": "gru", "positions": "convolution"}),
        ({"kind": "waveform"}, {"positions": "convolution_stack", "norm": "pre"}),
        ({"kind": "whisper"}, {"positions": "learned", "norm": "pre"}),
    ],
)
def test_family_when_transformers_has_no_such_model_then_none(frontend, encoder):
    assert family_of(FrontendConfig(**frontend), EncoderConfig(**encoder)) is None
