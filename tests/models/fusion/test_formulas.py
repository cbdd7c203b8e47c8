"""Fusions against plain NumPy, and co-attention against PyTorch's interpolation."""

import jax
import jax.numpy as jnp
import numpy as np
import torch

from sersl.config.fusion import FusionConfig
from sersl.models.fusion.attention_layers import CrossAttention
from sersl.models.fusion.co_attention import CoAttention, stretched
from sersl.models.fusion.gated import Gated
from sersl.models.fusion.view_graph import ViewGraph
from sersl.models.fusion.view_parts import Part, Widths

CLOSE = 1e-4
CONFIG = FusionConfig(kind="gated", width=6, layers=1, dropout=0.0)
WIDTHS = [Widths(4, 3), Widths(5, 5)]


def parts_of(present, *, frames=None, valid=None, seed=0):
    rng = np.random.default_rng(seed)
    found = []
    for number, width in enumerate(WIDTHS):
        own = np.asarray(present)[:, number]
        vector = rng.normal(size=(len(own), width.vector)).astype(np.float32)
        part = Part(
            jnp.asarray(vector),
            None if number or frames is None else jnp.asarray(frames),
            jnp.ones((len(own), 1), bool) if number or valid is None else jnp.asarray(valid),
            jnp.asarray(np.ones(len(own), bool)),
        )
        found.append(part.only(jnp.asarray(own)))
    return found


def norm(x):
    centred = x - x.mean(-1, keepdims=True)
    variance = np.square(centred).mean(-1, keepdims=True)
    return np.where(variance > 0, centred / np.sqrt(variance + 1e-5), 0)


def linear(layer, x):
    return x @ np.asarray(layer.kernel[...]) + (
        np.asarray(layer.bias[...]) if layer.has_bias else 0
    )


def softmax(x):
    odds = np.exp(x - x.max(-1, keepdims=True))
    return odds / odds.sum(-1, keepdims=True)


def test_gates_when_a_view_is_missing_then_the_others_share_all_of_it():
    made = Gated(WIDTHS, CONFIG, key=jax.random.key(0))
    parts = parts_of([[True, True], [True, False]])
    x = [norm(np.asarray(part.vector)) for part in parts]
    units = [np.tanh(linear(getattr(made, f"map_{i}"), one)) for i, one in enumerate(x)]
    scores = linear(made.gate, np.concatenate(x, 1)).reshape(2, 2, 6)
    gates = softmax(scores.swapaxes(1, 2)).swapaxes(1, 2)
    expected = (gates * np.stack(units, 1)).sum(1)
    expected[1] = units[0][1]
    np.testing.assert_allclose(made(parts), expected, atol=CLOSE)


def test_graph_when_a_view_is_missing_then_the_mean_is_over_the_others():
    made = ViewGraph(WIDTHS, CONFIG, key=jax.random.key(0))
    parts = parts_of([[True, True], [True, False]])
    nodes = np.stack(
        [
            linear(getattr(made, f"map_{i}"), norm(np.asarray(p.vector)))
            for i, p in enumerate(parts)
        ],
        axis=1,
    )
    message = linear(made.message_0, nodes)
    to, of = np.asarray(made.score_0[...])
    scores = (message @ to)[:, :, None] + (message @ of)[:, None]
    scores = np.where(scores > 0, scores, 0.2 * scores)
    scores[1, :, 1] = -np.inf
    found = np.einsum("bvu,buw->bvw", softmax(scores), message)
    nodes = nodes + np.where(found > 0, found, np.expm1(np.minimum(found, 0)))
    expected = np.stack([nodes[0].mean(0), nodes[1, 0]])
    np.testing.assert_allclose(made(parts), expected, atol=CLOSE)


def test_cross_attention_when_frames_are_padding_then_as_without_them():
    made = CrossAttention(6, 2, rate=0.0, key=jax.random.key(0))
    rng = np.random.default_rng(0)
    x, y = (rng.normal(size=(2, n, 6)).astype(np.float32) for n in (3, 4))
    valid = np.array([[True, True, False, False], [False] * 4])
    found = made(x, y, valid)
    query, keys, values = (
        linear(layer, norm(one)).reshape(-1, 2, 3)
        for layer, one in ((made.query, x[0]), (made.key, y[0, :2]), (made.value, y[0, :2]))
    )
    weights = softmax(np.einsum("thd,shd->hts", query, keys) / np.sqrt(3))
    attended = np.einsum("hts,shd->thd", weights, values).reshape(3, 6)
    np.testing.assert_allclose(found[0], x[0] + linear(made.output, attended), atol=CLOSE)
    np.testing.assert_array_equal(found[1], x[1])


def test_co_attention_when_an_utterance_is_149_frames_then_a_frame_has_its_own_weight():
    rng = np.random.default_rng(0)
    values = rng.normal(size=(3, 149)).astype(np.float32)
    valid = np.arange(149) < np.array([149, 50, 1])[:, None]
    found = np.asarray(stretched(values, valid))
    np.testing.assert_allclose(found[0], values[0], atol=CLOSE)
    expected = torch.nn.functional.interpolate(
        torch.from_numpy(values[1:2, None]), size=50, mode="linear", align_corners=True
    )
    np.testing.assert_allclose(found[1, :50], expected[0, 0], atol=CLOSE)
    np.testing.assert_allclose(found[2, 0], values[2, 0], atol=CLOSE)

    frames = rng.normal(size=(3, 149, 3)).astype(np.float32)
    made = CoAttention(WIDTHS, CONFIG, key=jax.random.key(0))
    parts = parts_of([[True, True], [True, True], [True, False]], frames=frames, valid=valid)
    units = np.maximum(linear(made.map_1, norm(np.asarray(parts[1].vector))), 0)
    units[2] = 0
    weights = np.maximum(linear(made.weights, units), 0)
    weights = np.where(valid, np.asarray(stretched(weights, valid)), 0)
    pooled = np.einsum("bt,btd->bd", weights, frames) / valid.sum(1, keepdims=True)
    own = np.maximum(linear(made.frame_map, norm(pooled)), 0)
    np.testing.assert_allclose(made(parts), np.concatenate([own, units], 1), atol=CLOSE)
