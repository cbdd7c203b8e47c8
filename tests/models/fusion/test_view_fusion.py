"""Fusions of several views: formulas against NumPy, blind to padding and to what is missing."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from sersl.config.fusion import FusionConfig, ViewConfig
from sersl.config.schema import (
    EncoderConfig,
    FrontendConfig,
    HeadsConfig,
    PoolingConfig,
)
from sersl.core.errors import UserError
from sersl.models.emotion_model import EmotionModel
from sersl.models.fusion.decisions import Decisions
from sersl.models.fusion.view_fusion import FUSIONS, _left_out
from sersl.models.fusion.view_parts import Part, ViewInput

FRONTEND = FrontendConfig(num_mels=8)
ENCODER = EncoderConfig(num_layers=1, width=8, num_heads=2, mlp_width=8, dropout=0.0)
FEATURES = FrontendConfig(kind="mfcc", num_mels=8, num_coefficients=4, projection=False)
MFCC = EncoderConfig(kind="features", num_layers=1, positions="none", width=8)
ATTENTION = PoolingConfig(kind="attention", layers="last", hidden=4)
TOKENS = 3
SAME = 1e-5


def model_of(kind, *, pooling=ATTENTION, seed=0, **settings) -> EmotionModel:
    views = (
        ViewConfig(name="mfcc", frontend=FEATURES, encoder=MFCC, pooling=pooling, width=8),
        ViewConfig(name="text", kind="table", pooling=ATTENTION, width=5, num_vectors=TOKENS),
    )
    return EmotionModel(
        FRONTEND,
        ENCODER,
        pooling,
        HeadsConfig(hidden=4, dropout=0.0, output_deviation=1.0),
        num_categories=3,
        num_dimensions=2,
        key=jax.random.key(seed),
        fusion=FusionConfig(kind=kind, width=8, **settings),
        views=views,
    )


def batch(rows=3, samples=4000, seed=0):
    rng = np.random.default_rng(seed)
    waveform = 0.1 * rng.normal(size=(rows, samples)).astype(np.float32)
    missing = np.resize([0, 900, 1700], rows)[:, None]
    valid = np.arange(samples) < samples - missing
    tokens = rng.normal(size=(rows, 1, TOKENS, 5)).astype(np.float32)
    real = np.arange(TOKENS) < np.resize([3, 1, 0], rows)[:, None]  # every third has no text
    return waveform * valid, valid, ViewInput(jnp.asarray(tokens), jnp.asarray(real))


def answers_of(model):
    graph, state = nnx.split(model)

    @jax.jit
    def answers(waveform, valid, views):
        output = nnx.merge(graph, state)(waveform, valid, views=views)
        return jnp.concatenate([output.category, output.dimensions, output.embedding], axis=-1)

    return lambda waveform, valid, text: np.asarray(answers(waveform, valid, {"text": text}))


@pytest.mark.parametrize("kind", FUSIONS)
def test_fusion_when_padding_or_what_is_missing_changes_then_no_answer_does(kind):
    answers = answers_of(model_of(kind))
    waveform, valid, text = batch()
    expected = answers(waveform, valid, text)
    assert np.isfinite(expected).all()
    filled = jnp.where(text.valid[:, None, :, None], text.outputs, 77.0)
    found = answers(waveform, valid, text._replace(outputs=filled))
    np.testing.assert_allclose(found, expected, atol=SAME)
    longer = np.pad(waveform, [(0, 0), (0, 1600)], constant_values=0.3)
    more = np.pad(valid, [(0, 0), (0, 1600)])
    wider = ViewInput(
        jnp.pad(filled, [(0, 0), (0, 0), (0, 2), (0, 0)], constant_values=9.0),
        jnp.pad(text.valid, [(0, 0), (0, 2)]),
    )
    np.testing.assert_allclose(answers(longer, more, wider), expected, atol=SAME)
    # A row alone has the answer that it has in the batch; and text matters where there is some.
    alone = answers(waveform[1:2], valid[1:2], jax.tree.map(lambda x: x[1:2], text))
    np.testing.assert_allclose(alone, expected[1:2], atol=SAME)
    other = answers(waveform, valid, text._replace(outputs=-text.outputs))
    assert np.abs(other - expected)[:2].max(1).min() > 1e-4
    np.testing.assert_allclose(other[2], expected[2], atol=SAME)
    # A table that is not given is missing in every row.
    none = answers(waveform, valid, text._replace(valid=jnp.zeros_like(text.valid)))
    output = model_of(kind)(waveform[:1], valid[:1])
    np.testing.assert_allclose(none[:1, :3], output.category, atol=SAME)


@pytest.mark.parametrize("kind", FUSIONS)
def test_fusion_when_it_trains_then_every_parameter_of_it_does_and_eight_rows_are_learned(kind):
    graph, state = nnx.split(model_of(kind, dropout=0.0))
    waveform, valid, text = batch(rows=8)
    category = jnp.arange(8) % 3
    optimizer = optax.adam(0.01)

    def loss(params):
        output = nnx.merge(graph, params)(waveform, valid, views={"text": text})
        losses = optax.softmax_cross_entropy_with_integer_labels(output.category, category)
        return losses.mean() + jnp.square(output.dimensions[:, 0] - category / 2).mean()

    @jax.jit
    def step(params, opt_state):
        value, gradients = jax.value_and_grad(loss)(params)
        updates, opt_state = optimizer.update(gradients, opt_state)
        return value, gradients, optax.apply_updates(params, updates), opt_state

    opt_state = optimizer.init(state)
    first, gradients, state, opt_state = step(state, opt_state)
    for path, leaf in jax.tree_util.tree_flatten_with_path(nnx.to_pure_dict(gradients)["fusion"])[
        0
    ]:
        name = jax.tree_util.keystr(path)
        # Encoders never train, and a fusion of frames reads no pooled vectors of the views.
        if name.startswith(("['network']", "['decisions']")):
            assert np.abs(leaf).max() > 0, name
    for _ in range(200):
        value, _, state, opt_state = step(state, opt_state)
    assert value < 0.2 * first


def test_decisions_when_weights_are_given_then_the_mean_is_over_present_views():
    rng = np.random.default_rng(0)
    heads = HeadsConfig(kind="linear", bounded=False, dropout=0.0, output_deviation=1.0)
    made = Decisions(
        ["main", "a", "b"],
        [4, 5],
        FusionConfig(kind="late", weights=(1.0, 3.0, 0.0)),
        heads,
        num_categories=3,
        num_dimensions=2,
        key=jax.random.key(0),
    )
    own = rng.normal(size=(4, 3)).astype(np.float32)
    vectors = [rng.normal(size=(4, width)).astype(np.float32) for width in (4, 5)]
    present = np.array([[1, 1, 1], [1, 0, 1], [0, 1, 0], [0, 0, 1]], bool)
    found = made.category(own, vectors, present, key=None)
    logits = [own]
    for name, vector in zip("ab", vectors, strict=True):
        head = getattr(made, f"category_{name}").output
        logits.append(vector @ head.kernel[...] + head.bias[...])
    weights = np.array([1.0, 3.0, 0.0]) * present
    weights[3] = present[3]  # only a view of weight 0 is there
    weights /= weights.sum(1, keepdims=True)
    expected = np.einsum("bv,vbc->bc", weights, np.stack(logits))
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


def test_views_when_left_out_at_random_then_every_row_keeps_one_that_it_has():
    rows = 2000
    present = np.ones((rows, 2), bool)
    present[1000:, 1] = False
    parts = [
        Part(jnp.ones((rows, 1)), None, jnp.asarray(one)[:, None], jnp.asarray(one))
        for one in present.T
    ]
    left = _left_out(parts, 0.5, key=jax.random.key(0))
    kept = np.stack([part.present for part in left], axis=1)
    assert kept.any(1).all() and not (kept & ~present).any() and kept[1000:, 0].all()
    # A view is left out in half of the rows, but not where all would be: 0.5 - 0.25.
    assert abs((~kept[:1000]).mean() - 0.25) < 0.03
    for part in left:
        np.testing.assert_array_equal(np.asarray(part.vector)[:, 0] == 0, ~np.asarray(part.present))


def test_fusion_when_settings_do_not_fit_then_user_error():
    with pytest.raises(UserError, match=r"fusion\.kind"):
        model_of("erly")
    with pytest.raises(UserError, match=r"fusion\.weights has 2 values .* main, mfcc, text"):
        model_of("late", weights=(1.0, 1.0))
    heads = HeadsConfig(category_loss="evidential")
    with pytest.raises(UserError, match="category_loss='evidential' has another head"):
        Decisions(
            ["main"], [], FusionConfig(kind="late"), heads,
            num_categories=3, num_dimensions=0, key=jax.random.key(0),
        )  # fmt: skip
