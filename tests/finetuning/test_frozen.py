"""An encoder that never trains comes from given weights and is a fixed function."""

import jax
import numpy as np
import pytest
from flax import nnx

from sersl.config.load import load_config
from sersl.config.schema import EncoderConfig, FinetuneConfig, FrontendConfig
from sersl.core.errors import UserError
from sersl.finetuning.frozen import check_frozen, settle_dropout
from sersl.finetuning.task import FinetuneTask
from sersl.models.transformer import unstack_layers
from sersl.runs.initial_weights import InitialWeights
from sersl.training.optimizer import by_pattern
from sersl.training.step import param_shapes
from tests.tiny_runs import ROOT

FROZEN = str(ROOT / "configs" / "finetune" / "from_huggingface.py") + ":frozen"
SMALL = (
    *("encoder.num_layers=2", "encoder.width=16", "encoder.num_heads=2", "encoder.mlp_width=16"),
    *("frontend.num_mels=16", "pooling.projection=8"),
)


def frozen(*settings):
    config = load_config(FinetuneConfig, FROZEN, [*SMALL, *settings])
    task = FinetuneTask(config, num_categories=3)
    shapes = param_shapes(task)
    return config, task, shapes, by_pattern(config.unfreeze, shapes, setting="unfreeze")


def weights_of(task, leave_out=()):
    params = unstack_layers(jax.device_get(nnx.to_pure_dict(nnx.split(task.make_model())[1])))
    encoder = {name: tree for name, tree in params["encoder"].items() if name not in leave_out}
    config = task.config
    return InitialWeights({"encoder": encoder}, config.frontend, config.encoder, "runs/first")


@pytest.mark.parametrize("settings", [(), ("encoder.scan_layers=true",)])
def test_frozen_when_there_are_no_weights_to_start_from_then_refused(settings):
    _, task, shapes, starts = frozen(*settings)
    with pytest.raises(UserError, match=r"random initial values: give .* --config.init_from=DIR"):
        check_frozen(starts, shapes, None)
    check_frozen(starts, shapes, weights_of(task))
    with pytest.raises(UserError, match=r"encoder/frontend.* runs/first does not have them"):
        check_frozen(starts, shapes, weights_of(task, leave_out=("frontend",)))


def test_frozen_when_settings_have_dropout_then_the_encoder_is_the_same_function_at_every_step():
    settings = ("encoder.dropout=0.3", "encoder.layer_drop=0.5", "frontend.dropout=0.2")
    config, task, _, starts = frozen(*settings, "encoder.attention_dropout=0.2")
    told = []
    quiet = settle_dropout(config, starts, None, say=told.append)
    assert len(told) == 4 and "encoder.layer_drop is off" in " ".join(told)
    model = FinetuneTask(quiet, num_categories=3).make_model()
    waveform = 0.1 * np.random.default_rng(0).normal(size=(2, 8000)).astype(np.float32)
    valid = np.ones(waveform.shape, bool)
    plain = model(waveform, valid).embedding
    for seed in range(2):
        shaken = model(waveform, valid, key=jax.random.key(seed)).embedding
        np.testing.assert_array_equal(shaken, plain)
    trained = by_pattern(((r".*", 0),), param_shapes(task), setting="unfreeze")
    assert settle_dropout(config, trained, None, say=told.append) is config


@pytest.mark.parametrize(("theirs", "warned"), [(0.0, True), (0.1, False)])
def test_dropout_when_an_encoder_that_was_trained_without_trains_with_it_then_a_warning(
    theirs, warned
):
    weights = InitialWeights({}, FrontendConfig(), EncoderConfig(dropout=theirs), "runs/whisper")
    config, told = FinetuneConfig(encoder=EncoderConfig(dropout=0.1)), []
    assert settle_dropout(config, {"encoder": {"w": 0}}, weights, say=told.append) is config
    assert [("encoder.dropout=0.1" in line, "runs/whisper" in line) for line in told] == [
        (True, True)
    ] * warned
