"""The objective on kept statistics of teachers, as a term of pretraining."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from sersl.config.load import from_mapping
from sersl.config.schema import EncoderConfig, FrontendConfig, PretrainConfig
from sersl.core.errors import UserError
from sersl.parallel.random import run_key
from sersl.pretraining.task import PretrainTask
from sersl.runs.initial_weights import InitialWeights
from sersl.training.task import StepContext
from tests.pretraining.terms.spread import assert_same_on_eight_devices
from tests.pretraining.terms.test_terms_utterances import SMALL, B, batch_of
from tests.tolerances import FP32

WIDTHS = (6, 4)  # of two teachers
LAYERS = (2, 0)
CONFIG = {
    **SMALL,
    "kept_teachers": ("one", "two"),
    "objectives": {"statistics": {"weight": 1.0, "layers": LAYERS}},
}


def teachers() -> list[InitialWeights]:
    encoders = [EncoderConfig(num_layers=3, width=w, num_heads=2, mlp_width=8) for w in WIDTHS]
    return [InitialWeights({}, FrontendConfig(), encoder, "a test") for encoder in encoders]


def task_of(**more) -> PretrainTask:
    return PretrainTask(from_mapping(PretrainConfig, {**CONFIG, **more}), kept=teachers())


@pytest.fixture(scope="module")
def run():
    task = task_of()
    params = nnx.to_pure_dict(nnx.split(task.make_model())[1])

    def loss(params, batch):
        value, metrics = task.loss(params, batch, StepContext(None, {}, 0, run_key(1, "s")))
        return value, metrics["statistics"]

    return task, params, jax.jit(jax.value_and_grad(loss, has_aux=True))


@pytest.fixture(scope="module")
def batch():
    """Statistics of four layers, some far from the mean; the last row is padding."""
    rng = np.random.default_rng(0)
    found = dict(batch_of())
    for number, width in enumerate(WIDTHS):
        values = rng.normal(scale=3.0, size=(B, 4, 2, width)).astype(np.float16)
        found[f"view/teacher{number}"] = values
    index = np.array(found["utterance_index"])
    index[-1] = -1
    found["utterance_index"] = index
    return {name: jnp.asarray(array) for name, array in found.items()}


def test_statistics_when_compared_with_numpy_then_equal(run, batch):
    task, params, loss = run
    (value, mean), _ = loss(params, batch)
    model = nnx.merge(task.graph, nnx.State(params))
    output = model.encoder(batch["waveform"], batch["valid"])
    states, valid = np.asarray(output.hidden_states), np.asarray(output.valid)
    kernel, bias = (np.asarray(params["statistics"]["linear"][n]) for n in ("kernel", "bias"))
    errors = []
    for row in range(B - 1):
        real = states[:, row, valid[row]]
        own = np.concatenate(
            [
                np.concatenate([layer.mean(0), np.sqrt(layer.var(0) + 1e-5)])
                for layer in real.astype(np.float64)
            ]
        )
        kept = [np.asarray(batch[f"view/teacher{n}"][row], np.float64) for n in range(2)]
        target = np.concatenate([one[layer].ravel() for one in kept for layer in LAYERS])
        errors.append((own @ kernel + bias - np.clip(target, -5, 5)) ** 2)
    np.testing.assert_allclose(value, np.mean(errors), rtol=1e-4)
    np.testing.assert_allclose(mean.value(), value, **FP32)


def test_statistics_when_padding_or_a_row_without_utterance_changes_then_equal(run, batch):
    _, params, loss = run
    (value, _), _ = loss(params, batch)
    waveform = jnp.where(batch["valid"], batch["waveform"], 0.7).at[-1].set(0.3)
    teacher = batch["view/teacher0"].at[-1].set(9.0)
    (other, _), _ = loss(params, {**batch, "waveform": waveform, "view/teacher0": teacher})
    np.testing.assert_allclose(other, value, **FP32)


def test_statistics_when_rows_are_spread_over_eight_devices_then_the_loss_of_one(run, batch):
    _, params, loss = run
    assert_same_on_eight_devices(loss, params, batch)


@pytest.mark.parametrize(
    ("layers", "kept", "words"),
    [
        ((), 2, r"layers=\[\] must name one or more hidden states"),
        ((1, 1), 2, r"layers=\[1, 1\] must name one or more"),
        ((4,), 2, "uses hidden state 4 of kept teacher 0, which has 0 to 3"),
        ((1,), 0, "objectives.statistics needs a teacher: set kept_teachers"),
    ],
)
def test_statistics_when_settings_make_no_sense_then_one_sentence(layers, kept, words):
    objectives = {"statistics": {"weight": 1.0, "layers": layers}}
    config = from_mapping(PretrainConfig, {**CONFIG, "objectives": objectives})
    with pytest.raises(UserError, match=words) as caught:
        PretrainTask(config, kept=teachers()[:kept])
    assert "\n" not in str(caught.value)
