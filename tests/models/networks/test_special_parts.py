"""The part that sets each network apart, against plain NumPy or torch."""

import jax
import numpy as np
import pytest
import torch

from sersl.models.networks.capsules import route, squash
from sersl.models.networks.emohrnet import Exchange, resample
from sersl.models.networks.mstr import SCALES, WINDOW, MultiScaleLayer
from sersl.models.networks.multiscale_cnn import MultiScaleCnn
from sersl.models.networks.planes import pool_2d
from sersl.models.networks.quaternion_cnn import QuaternionConvolution
from sersl.models.networks.relational_graph import FUTURE, PAST, edges, mean_over
from sersl.models.networks.stc_attention import TAPS, StcAttention
from sersl.models.networks.two_stream import attend
from tests.models.networks.test_all_networks import config_of
from tests.tolerances import FP32

RNG = np.random.default_rng(0)
KEY = jax.random.key(3)
B, T, F = 2, 9, 5
REAL = np.arange(T) < np.array([9, 6])[:, None]


def arrays(*shape):
    return RNG.normal(size=shape).astype(np.float32)


def hamilton(w, x):
    """The product of two quaternions [4]."""
    a, b, c, d = w
    e, f, g, h = x
    return np.array(
        [
            a * e - b * f - c * g - d * h,
            a * f + b * e + c * h - d * g,
            a * g - b * h + c * e + d * f,
            a * h + b * g - c * f + d * e,
        ]
    )


def test_quaternion_convolution_when_compared_with_hamilton_products_then_equal():
    layer = QuaternionConvolution(2, 3, (3, 3), key=KEY)
    layer.bias[...] = jax.numpy.arange(12.0)
    x = arrays(1, 4, F, 8)
    found = np.asarray(layer(x))
    kernel = np.asarray(layer.kernel[...])
    padded = np.pad(x[0], ((1, 1), (1, 1), (0, 0))).reshape(6, F + 2, 4, 2)
    expected = np.zeros((4, F, 4, 3))
    for t, f, to in np.ndindex(4, F, 3):
        for u, v, at in np.ndindex(3, 3, 2):
            expected[t, f, :, to] += hamilton(kernel[:, u, v, at, to], padded[t + u, f + v, :, at])
    np.testing.assert_allclose(found[0], expected.reshape(4, F, 12) + np.arange(12.0), **FP32)


def test_two_streams_when_scored_by_a_linear_head_then_second_order_attention_pooling():
    y, attention, category = arrays(1, T, F, 6), arrays(6), arrays(6)
    pooled = np.asarray(attend(y, y @ attention[:, None])).mean(1)[0]
    top_down, bottom_up = y[0] @ category, y[0] @ attention
    np.testing.assert_allclose(pooled @ category, (top_down * bottom_up).mean(), **FP32)


def test_stc_attention_when_compared_with_plain_numpy_then_equal_on_the_utterance_alone():
    layer = StcAttention(4, key=KEY)
    x = np.where(REAL[:, :, None, None], arrays(B, T, F, 4), 0.0).astype(np.float32)
    found = np.asarray(layer(x, REAL))

    def sigmoid(z):
        return 1 / (1 + np.exp(-z))

    def smooth(values, kernel, bias):
        padded = np.pad(values, (TAPS - 1) // 2)
        return np.array([padded[i : i + TAPS] @ kernel for i in range(len(values))]) + bias

    def weights(part):
        return np.asarray(part.kernel[...]).reshape(-1), np.asarray(part.bias[...])

    def linear(part, z):
        return z @ np.asarray(part.kernel[...]) + np.asarray(part.bias[...])

    for row in range(B):
        alone = x[row, REAL[row]]
        bands = sigmoid(smooth(alone.mean((0, 2)), *weights(layer.bands)))
        frames = sigmoid(smooth(alone.mean((1, 2)), *weights(layer.frames)))
        hidden = np.maximum(linear(layer.channels.squeeze, alone.mean((0, 1))), 0)
        channels = sigmoid(linear(layer.channels.excite, hidden))
        scale = bands[None, :, None] + frames[:, None, None] + channels
        np.testing.assert_allclose(found[row, REAL[row]], alone * scale / 3, **FP32)
    assert not found[~REAL].any()


def test_multi_scale_convolutions_when_compared_with_torch_then_equal():
    network = MultiScaleCnn(2 * F, config_of("multiscale_cnn", dropout=0.0), key=KEY)
    x = arrays(1, 4, 2 * F)
    found = np.asarray(network(x, np.ones((1, 4), bool)))
    spectra = torch.tensor(x.reshape(1, 8, F)).transpose(1, 2)
    expected = [
        torch.nn.functional.conv1d(
            spectra,
            torch.tensor(np.asarray(scale.kernel[...]))[:, 0].permute(2, 1, 0),
            torch.tensor(np.asarray(scale.bias[...])),
            padding="same",
        )
        for scale in network.scales
    ]
    together = torch.relu(torch.cat(expected, 1))[0].T.numpy()
    np.testing.assert_allclose(found[0], together.reshape(4, 2, -1).mean(1), **FP32)


def test_branches_when_resampled_then_means_of_real_values_and_repetition():
    x = np.where(REAL[:, :, None, None], arrays(B, T, F, 2), 0.0).astype(np.float32)
    half = np.asarray(resample(x, REAL, like=np.zeros((B, 5, 3, 1)), by=1))
    np.testing.assert_allclose(half[0, 4, 2], x[0, 8, 4], **FP32)
    np.testing.assert_allclose(half[1, 1, 0], x[1, 2:4, :2].mean((0, 1)), **FP32)
    back = np.asarray(resample(half, REAL[:, ::2], like=x, by=-1))
    assert back.shape == x.shape
    np.testing.assert_array_equal(back[0, 3, 3], half[0, 1, 1])


def test_branches_when_they_exchange_then_each_is_the_normalized_sum_of_all():
    layer = Exchange(2, key=KEY)
    real = np.ones((1, 8), bool)
    branches = [arrays(1, 8 // 2**i, 4 // 2**i, 2 * 2**i) for i in range(3)]
    reals = [real, real[:, ::2], real[:, ::4]]
    found = layer(branches, reals)
    for to in range(3):
        total = sum(
            np.asarray(
                resample(
                    branches[at] @ np.asarray(layer.maps[to][at].kernel[...]),
                    reals[at],
                    like=branches[to],
                    by=to - at,
                )
            )
            for at in range(3)
        )
        groups = torch.nn.functional.group_norm(
            torch.tensor(total).permute(0, 3, 1, 2), layer.norms[to].num_groups, eps=1e-5
        )
        expected = torch.relu(groups).permute(0, 2, 3, 1).numpy()
        np.testing.assert_allclose(np.asarray(found[to]), expected, **FP32)


def routed_by_loop(votes):
    """Routes votes [N, K, D] of one utterance as the public code of CTL-MTNet does."""
    n, k, d = votes.shape
    logits = np.zeros((n, k))
    for turn in range(3):
        share = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
        total = np.zeros((k, d))
        for i, j in np.ndindex(n, k):
            total[j] += share[i, j] * votes[i, j]
        if turn < 2:
            unit = total / np.sqrt(np.square(total).sum(1, keepdims=True))
            logits = np.array([[unit[j] @ votes[i, j] for j in range(k)] for i in range(n)])
    square = np.square(total).sum(1, keepdims=True)
    return total * np.sqrt(square) / (1 + square)


def test_capsules_when_routed_then_equal_to_loops_over_the_capsules_that_count():
    votes = arrays(B, 7, 3, 4)
    real = np.arange(7) < np.array([7, 4])[:, None]
    found = np.asarray(route(votes, real, num_routings=3))
    for row in range(B):
        expected = routed_by_loop(votes[row, real[row]].astype(np.float64))
        np.testing.assert_allclose(found[row], expected, **FP32)
    assert np.linalg.norm(found, axis=-1).max() < 1
    long = np.asarray(squash(np.full((1, 4), 50.0, np.float32)))
    np.testing.assert_allclose(np.linalg.norm(long), 1e4 / (1 + 1e4), **FP32)


def test_multi_scale_attention_when_computed_window_by_window_then_equal():
    frames, width = 2 * WINDOW + 3, 4
    layer = MultiScaleLayer(width, 2, key=KEY)
    x, valid = arrays(1, frames, width), np.ones((1, frames), bool)
    found = np.asarray(layer(x, valid, rate=0.0, key=None))
    scales = []
    for scale in SCALES:
        means = np.asarray(pool_2d(x[:, :, None], valid, (scale, 1))[0])[:, :, 0]
        parts = [means[:, at : at + WINDOW] for at in range(0, means.shape[1], WINDOW)]
        seen = [np.ones((1, part.shape[1], part.shape[1]), bool) for part in parts]
        y = np.concatenate(
            [np.asarray(layer.attention(*pair)) for pair in zip(parts, seen, strict=True)], axis=1
        )
        scales.append(np.repeat(y, scale, axis=1)[:, :frames])
    mixed = np.asarray(layer.mix(np.concatenate(scales, axis=-1)))
    expected = layer.forward(layer.norm(x + mixed), rate=0.0, key=None)
    np.testing.assert_allclose(found, np.asarray(expected), **FP32)


@pytest.mark.parametrize(("which", "low", "high"), [(0, -PAST, -1), (1, 1, FUTURE)])
def test_neighbours_when_averaged_then_equal_to_loops_over_real_frames(which, low, high):
    valid = np.arange(14) < np.array([14, 6])[:, None]
    x = arrays(B, 14, 3)
    found = np.asarray(mean_over(edges(valid)[which], x))
    for row in range(B):
        count = valid[row].sum()
        for t in range(14):
            around = [t + step for step in range(low, high + 1) if 0 <= t + step < count]
            around = around if t < count else []
            expected = x[row, around].mean(0) if around else np.zeros(3)
            np.testing.assert_allclose(found[row, t], expected, **FP32)
