import jax
import jax.numpy as jnp
import numpy as np

from sersl.models.networks.window_transformers import (
    LONGEST,
    DeformableAttention,
    split_windows,
)
from tests.models.small import compiled
from tests.tolerances import FP32_DEEP

B, T, D, H = 2, 12, 8, 2
X = np.random.default_rng(0).normal(size=(B, T, D)).astype(np.float32)
VALID = np.arange(T) < np.array([12, 7])[:, None]


def windows_by_loop(importance):
    """Cuts one utterance as the public code does, frame by frame."""
    high = importance >= np.sort(importance)[len(importance) // 2]
    cuts = [high[t] != high[t + 1] for t in range(len(high) - 1)]
    kept = [cut and not (t and cuts[t - 1]) for t, cut in enumerate(cuts)]
    return high, np.cumsum([0, *kept])


def test_windows_when_importance_crosses_its_median_then_cut_as_the_loop_does():
    rng = np.random.default_rng(3)
    for _ in range(5):
        importance = rng.normal(size=(B, T)).astype(np.float32)
        high, window = (np.asarray(array) for array in split_windows(importance, VALID))
        for row in range(B):
            real = VALID[row]
            expected = windows_by_loop(importance[row, real])
            np.testing.assert_array_equal(high[row, real], expected[0])
            np.testing.assert_array_equal(window[row, real], expected[1])


def deformable_by_loop(layer, x):
    """One utterance [T, D], head by head and frame by frame, in float64."""
    p = {
        name: (np.asarray(part.kernel[...], np.float64), np.asarray(part.bias[...], np.float64))
        for name, part in (
            ("qkv", layer.attention.qkv),
            ("window", layer.window),
            ("output", layer.attention.output),
        )
    }
    q, k, v = np.split(x @ p["qkv"][0] + p["qkv"][1], 3, axis=1)
    offset, half = np.split(q @ p["window"][0] + p["window"][1], 2, axis=1)
    mixed = np.zeros_like(x)
    for h in range(H):
        part = slice(h * D // H, (h + 1) * D // H)
        for t in range(len(x)):
            centre = t + np.tanh(offset[t, h]) * LONGEST
            reach = LONGEST / (1 + np.exp(-half[t, h]))
            low, high, left = np.floor(centre - reach), np.ceil(centre + reach), np.floor(centre)
            scores = np.full(len(x), -1e8)
            for s in range(len(x)):
                if low <= s <= high:
                    factor = 1.0
                    factor += (s == low) * (low - (centre - reach))
                    factor += (s == high) * (centre + reach - high)
                    factor += (s == left) * (1 - (centre - left))
                    factor += (s == left + 1) * (centre - left)
                    scores[s] = q[t, part] @ k[s, part] / np.sqrt(D / H) * factor
            share = np.exp(scores - scores.max())
            mixed[t, part] = share / share.sum() @ v[:, part]
    return mixed @ p["output"][0] + p["output"][1]


def test_deformable_attention_when_compared_with_loops_then_equal_beside_padding():
    layer = DeformableAttention(D, H, key=jax.random.key(0))
    rng = np.random.default_rng(1)
    layer.window.kernel[...] = jnp.asarray(0.01 * rng.normal(size=(D, 2 * H)), jnp.float32)
    found = np.asarray(layer(np.where(VALID[..., None], X, 5.0), VALID))
    for row in range(B):
        expected = deformable_by_loop(layer, X[row, VALID[row]].astype(np.float64))
        # float32 places of windows are exact to 326 * 2^-24
        np.testing.assert_allclose(found[row, VALID[row]], expected, **FP32_DEEP)


def test_deformable_attention_when_trained_then_place_and_length_of_windows_get_a_gradient():
    params, run = compiled(DeformableAttention(D, H, key=jax.random.key(0)))
    gradient = jax.grad(lambda p: jnp.square(run(p, X, VALID)).sum())(params)
    bias = np.asarray(gradient["window"]["bias"])
    assert np.isfinite(bias).all() and (np.abs(bias) > 0).all()
