import jax
import numpy as np

from sersl.objectives.code_prediction import (
    code_prediction,
    code_usage,
    cosine_logits,
    random_codes,
    random_projection,
)
from tests.objectives.gradients import check_gradient
from tests.tolerances import FP32

B, T, W = 3, 8, 5
SIZES = {"k4": 4, "k7": 7}


def example():
    rng = np.random.default_rng(0)
    projected = rng.normal(size=(B, T, W))
    codewords = {book: rng.normal(size=(size, W)) for book, size in SIZES.items()}
    codes = {book: rng.integers(-1, size, (B, T)) for book, size in SIZES.items()}
    weights = rng.random((B, T)) * (rng.random((B, T)) < 0.6)
    return projected, codewords, codes, weights


def loss_of(projected, codewords, codes, weights):
    logits = {b: cosine_logits(projected, e, temperature=0.1) for b, e in codewords.items()}
    return code_prediction(logits, codes, weights=weights, name="clusters")


def test_code_prediction_when_compared_with_loops_then_equal():
    projected, codewords, codes, weights = example()
    expected = 0.0
    loss, metrics = loss_of(projected, codewords, codes, weights)
    for book, words in codewords.items():
        losses, counts, correct = [], [], []
        for b, t in zip(*np.nonzero((codes[book] >= 0) & (weights > 0)), strict=True):
            x = projected[b, t]
            scores = words @ x / np.linalg.norm(x) / np.linalg.norm(words, axis=1) / 0.1
            p = np.exp(scores) / np.exp(scores).sum()
            losses.append(-np.log(p[codes[book][b, t]]))
            counts.append(weights[b, t])
            correct.append(p.argmax() == codes[book][b, t])
        expected += np.average(losses, weights=counts)
        np.testing.assert_allclose(
            metrics[f"clusters_accuracy_{book}"].value(), np.mean(correct), **FP32
        )
    np.testing.assert_allclose(loss, expected, **FP32)
    np.testing.assert_allclose(metrics["clusters"].value(), expected, **FP32)


def test_code_prediction_when_differentiated_then_equals_central_differences():
    projected, codewords, codes, weights = example()
    check_gradient(lambda x: loss_of(x, codewords, codes, weights)[0], projected)
    other = {"k4": codewords["k4"]}
    check_gradient(
        lambda x: loss_of(projected, other | {"k7": x}, codes, weights)[0], codewords["k7"]
    )


def test_code_prediction_when_no_frame_has_a_code_then_zero_and_finite_gradient():
    projected, codewords, codes, weights = example()
    none = {book: np.full((B, T), -1) for book in codes}
    value, gradient = jax.value_and_grad(lambda x: loss_of(x, codewords, none, weights)[0])(
        np.zeros_like(projected)
    )
    assert value == 0.0 and not np.asarray(gradient).any()


def test_random_codes_when_compared_with_loops_then_the_nearest_unit_codeword():
    rng = np.random.default_rng(1)
    features = rng.normal(size=(B, T, 6)) * 3 + 2
    valid = np.arange(T) < np.array([8, 5, 0])[:, None]
    projections, codewords = random_projection(
        6, num_books=2, num_codes=9, width=4, key=jax.random.key(0)
    )
    codes = np.asarray(random_codes(features, projections, codewords, valid=valid))
    p, c = np.asarray(projections), np.asarray(codewords)
    np.testing.assert_allclose(np.linalg.norm(c, axis=-1), 1.0, **FP32)
    assert np.abs(p).max() <= np.sqrt(6 / 10) and p.std() > 0.3
    for b, t in zip(*np.nonzero(valid), strict=True):
        real = features[b, valid[b]]
        x = (features[b, t] - real.mean(0)) / real.std(0)
        for q in range(2):
            y = x @ p[q]
            y = y / np.linalg.norm(y)
            assert codes[b, t, q] == np.linalg.norm(c[q] - y, axis=1).argmin()
    assert (codes[~valid] == -1).all()


def test_random_codes_when_all_is_silent_then_one_code_and_no_nan():
    projections, codewords = random_projection(
        6, num_books=1, num_codes=9, width=4, key=jax.random.key(0)
    )
    valid = np.ones((1, T), bool)
    codes = random_codes(np.full((1, T, 6), -1.3), projections, codewords, valid=valid)
    assert len(set(np.asarray(codes).ravel())) == 1
    np.testing.assert_allclose(code_usage(codes, num_codes=9).value(), 1.0, **FP32)


def test_code_usage_when_compared_with_numpy_then_the_mean_perplexity():
    codes = np.array([[[0, 1], [0, 2], [1, 3], [-1, -1]]])
    shares = np.array([2 / 3, 1 / 3])
    expected = (np.exp(-(shares * np.log(shares)).sum()) + 3) / 2
    np.testing.assert_allclose(code_usage(codes, num_codes=4).value(), expected, **FP32)
    assert code_usage(np.full((1, 2, 1), -1), num_codes=4).weight == 0
