import jax
import numpy as np
import pytest

from sersl.config.objectives import ContrastiveConfig
from sersl.core.errors import UserError
from sersl.objectives.contrastive import (
    contrastive,
    diversity,
    draw_negatives,
    feature_penalty,
    info_nce,
)
from tests.objectives.gradients import check_gradient
from tests.tolerances import FP32

B, T, W, G, V, K = 4, 12, 6, 2, 5, 7
KEY = jax.random.key(0)


def example(seed=0):
    rng = np.random.default_rng(seed)
    masked = rng.random((B, T)) < 0.5
    masked[2] = False
    masked[2, 3] = True  # one masked frame: no negatives
    masked[3] = False
    codes = rng.integers(0, 2, (B, T, G))
    probabilities = rng.dirichlet(np.ones(V), (B, T, G))
    return rng.normal(size=(B, T, W)), rng.normal(size=(B, T, W)), codes, probabilities, masked


def reference(context, quantized, codes, masked, drawn, temperature):
    losses, correct, duplicates = [], [], []
    for b in range(B):
        if masked[b].sum() < 2:
            continue
        for t in np.flatnonzero(masked[b]):

            def cosine(s, b=b, t=t):
                x, y = context[b, t], quantized[b, s]
                return x @ y / np.linalg.norm(x) / np.linalg.norm(y)

            usable = [s for s in drawn[b, t] if (codes[b, s] != codes[b, t]).any()]
            others = [cosine(s) / temperature for s in usable]
            positive = cosine(t) / temperature
            losses.append(np.log(np.exp([positive, *others]).sum()) - positive)
            correct.append(bool(others) and positive > max(others))
            duplicates.append(1 - len(usable) / K)
    return np.mean(losses), np.mean(correct), np.mean(duplicates)


def test_info_nce_when_compared_with_loops_then_equal():
    context, quantized, codes, _, masked = example()
    drawn = np.asarray(draw_negatives(masked, num_negatives=K, key=KEY))
    loss, metrics = info_nce(
        context, quantized, codes=codes, masked=masked, temperature=0.1, num_negatives=K, key=KEY
    )
    expected = reference(context, quantized, codes, masked, drawn, 0.1)
    names = ("contrastive", "contrastive_accuracy", "duplicate_negatives")
    np.testing.assert_allclose(loss, expected[0], **FP32)
    np.testing.assert_allclose([metrics[n].value() for n in names], expected, **FP32)
    assert metrics["rows_without_negatives"].value() == 0.5


def test_draw_negatives_when_drawn_then_other_masked_frames_of_the_row_evenly():
    masked = example()[-1]
    drawn = np.asarray(draw_negatives(masked, num_negatives=5000, key=KEY))
    for b in (0, 1):
        frames = np.flatnonzero(masked[b])
        for t in frames:
            counts = np.bincount(drawn[b, t], minlength=T)
            assert counts[t] == 0
            others = frames[frames != t]
            assert counts[others].sum() == 5000
            # Four standard deviations of a binomial around an even share.
            share = 5000 / len(others)
            assert np.abs(counts[others] - share).max() < 4 * np.sqrt(share)


def test_info_nce_when_every_code_is_the_same_then_no_negatives_and_no_credit():
    context, quantized, codes, _, masked = example()
    loss, metrics = info_nce(
        context,
        quantized,
        codes=np.zeros_like(codes),
        masked=masked,
        temperature=0.1,
        num_negatives=K,
        key=KEY,
    )
    assert loss == 0.0
    assert metrics["contrastive_accuracy"].value() == 0.0
    assert metrics["duplicate_negatives"].value() == 1.0


def test_info_nce_when_frames_are_not_masked_then_they_have_no_effect():
    context, quantized, codes, _, masked = example()
    rng = np.random.default_rng(9)
    noise = rng.normal(size=context.shape) * ~masked[..., None]

    def loss(c, q):
        return info_nce(
            c, q, codes=codes, masked=masked, temperature=0.1, num_negatives=K, key=KEY
        )[0]

    np.testing.assert_allclose(
        loss(context + noise, quantized + noise), loss(context, quantized), **FP32
    )


def test_contrastive_when_differentiated_then_equals_central_differences():
    context, quantized, codes, probabilities, masked = example()
    config = ContrastiveConfig(num_negatives=K)

    shapes = [x.shape for x in (context, quantized, probabilities)]
    ends = np.cumsum([np.prod(shape) for shape in shapes])

    def loss(x):
        c, q, p = (
            part.reshape(shape)
            for part, shape in zip(jax.numpy.split(x, ends[:-1]), shapes, strict=True)
        )
        return contrastive(
            c, q, codes=codes, probabilities=p, masked=masked, config=config, key=KEY
        )[0]

    x = np.concatenate([x.ravel() for x in (context, quantized, probabilities)])
    check_gradient(loss, x, num_values=90)


def test_contrastive_when_nothing_is_masked_then_zero_and_finite_gradient():
    context, quantized, codes, probabilities, masked = example()

    def loss(c):
        return contrastive(
            c,
            quantized,
            codes=codes,
            probabilities=probabilities,
            masked=np.zeros_like(masked),
            config=ContrastiveConfig(),
            key=KEY,
        )[0]

    value, gradient = jax.value_and_grad(loss)(context)
    assert value == 0.0
    assert not np.asarray(gradient).any()


def test_diversity_when_compared_with_numpy_then_equal():
    _, _, codes, probabilities, masked = example()
    penalty, metrics = diversity(codes, probabilities, masked=masked)
    average = probabilities[masked].mean(0)
    soft = np.exp(-(average * np.log(average)).sum(-1)).mean()
    usage = np.stack([np.bincount(codes[masked][:, g], minlength=V) for g in range(G)])
    usage = usage / masked.sum()
    terms = usage * np.log(usage, where=usage > 0, out=np.zeros_like(usage))
    np.testing.assert_allclose(metrics["probability_perplexity"].value(), soft, **FP32)
    np.testing.assert_allclose(
        metrics["code_perplexity"].value(), np.exp(-terms.sum(-1)).mean(), **FP32
    )
    np.testing.assert_allclose(penalty, 1 - soft / V, **FP32)


def test_diversity_when_one_code_is_used_then_perplexity_is_one_and_when_all_then_v():
    masked = np.ones((1, V), bool)
    even = np.broadcast_to(np.arange(V)[None, :, None], (1, V, G))
    onehot = np.eye(V)[even]
    _, all_used = diversity(even, onehot, masked=masked)
    _, one_used = diversity(even * 0, onehot[:, :1].repeat(V, 1), masked=masked)
    np.testing.assert_allclose(all_used["code_perplexity"].value(), V, **FP32)
    np.testing.assert_allclose(all_used["diversity"].value(), 0.0, **FP32)
    np.testing.assert_allclose(one_used["probability_perplexity"].value(), 1.0, **FP32)


def test_info_nce_when_no_negatives_are_asked_for_then_user_error():
    context, quantized, codes, _, masked = example()
    with pytest.raises(UserError, match="num_negatives"):
        info_nce(
            context, quantized, codes=codes, masked=masked, temperature=1, num_negatives=0, key=KEY
        )


def test_feature_penalty_when_compared_with_numpy_then_mean_square_of_real_frames():
    features = np.random.default_rng(0).normal(size=(B, T, W))
    valid = np.arange(T) < np.array([12, 5, 1, 0])[:, None]
    loss, metrics = feature_penalty(features, valid=valid)
    np.testing.assert_allclose(loss, np.square(features[valid]).mean(), **FP32)
    np.testing.assert_allclose(metrics["penalty"].value(), loss, **FP32)
    check_gradient(lambda x: feature_penalty(x, valid=valid)[0], features)
