import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sersl.config.schema import PoolingConfig
from sersl.core.errors import UserError
from sersl.models.pooling.moments import LOCAL_FRAMES
from sersl.models.pooling.pooling import KINDS, Pooling, gives_frames
from tests.models.small import compiled
from tests.tolerances import FP32

L, B, T, D = 2, 3, 70, 6
STATES = np.random.default_rng(0).normal(size=(L + 1, B, T, D)).astype(np.float32) * 2 + 1
VALID = np.arange(T) < np.array([70, 40, 1])[:, None]


def pooling(kind, layers):
    config = PoolingConfig(kind=kind, layers=layers, hidden=5, num_heads=2, num_tokens=3)
    return compiled(Pooling(L, D, config, key=jax.random.key(0)))


def reference(params, kind, layers, frames):
    """Pools the chosen frames of STATES [L + 1, n, D] in float64."""
    frames = frames.astype(np.float64)
    if layers == "last":
        x = frames[-1]
    else:
        weights = np.exp(params["layer_weights"])
        mean, var = frames.mean(-1, keepdims=True), frames.var(-1, keepdims=True)
        x = np.tensordot(weights / weights.sum(), (frames - mean) / np.sqrt(var + 1e-5), 1)
    if kind == "mean":
        return x.mean(0)
    if kind == "statistics":
        each, shares = frames[-1:], np.ones(1)
        if layers == "weighted":
            each, shares = (frames - mean) / np.sqrt(var + 1e-5), weights / weights.sum()
        deviation = np.sqrt(each.var(1) + 1e-5)
        return shares @ np.concatenate([each.mean(1), deviation], axis=1)
    if kind == "max":
        if layers == "last":
            return x.max(0)
        standardized = (frames - mean) / np.sqrt(var + 1e-5)
        return weights / weights.sum() @ standardized.max(1)
    if kind == "multi_head_attention":
        slices = x.reshape(len(x), 2, -1)
        return np.concatenate(
            [
                softmax(slices[:, h] @ query / np.sqrt(len(query))) @ slices[:, h]
                for h, query in enumerate(params["weights"]["queries"])
            ]
        )
    if kind == "tokens":
        linear = {n: params["weights"][n] for n in ("key", "value", "output")}
        keys, values = (
            (x @ linear[n]["kernel"] + linear[n]["bias"]).reshape(len(x), 2, -1)
            for n in ("key", "value")
        )
        vectors = []
        for token in params["weights"]["tokens"]:
            heads = [
                softmax(keys[:, h] @ token[h] / np.sqrt(len(token[h]))) @ values[:, h]
                for h in range(2)
            ]
            vectors.append(
                np.concatenate(heads) @ linear["output"]["kernel"] + linear["output"]["bias"]
            )
        return np.concatenate(vectors)
    hidden, score = params["attention_hidden"], params["attention_score"]
    scores = np.tanh(x @ hidden["kernel"] + hidden["bias"]) @ score["kernel"] + score["bias"]
    share = softmax(np.log(np.exp(scores).sum(1)))[:, None]
    mean = (share * x).sum(0)
    if kind == "attention":
        return mean
    if kind == "attentive_correlation":
        covariance = (share * (x - mean)).T @ (x - mean)
        deviation = np.sqrt(np.diag(covariance) + 1e-5)
        return (covariance / np.outer(deviation, deviation))[np.triu_indices(x.shape[1], 1)]
    deviation = np.sqrt((share * (x - mean) ** 2).sum(0) + 1e-5)
    return np.concatenate([mean, deviation])


def softmax(x):
    return np.exp(x) / np.exp(x).sum()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("layers", ["weighted", "last"])
def test_pooling_when_it_pools_what_outputs_gave_then_as_on_the_hidden_states(kind, layers):
    config = PoolingConfig(kind=kind, layers=layers, hidden=5, num_heads=2)
    model = Pooling(L, D, config, key=jax.random.key(0))
    outputs = jax.jit(model.outputs)(STATES, VALID)
    count = model.count_vectors or T
    assert outputs.shape == (B, L + 1 if layers == "weighted" else 1, count, D)
    expected, _ = model(STATES, VALID)
    np.testing.assert_allclose(model.of_outputs(outputs, VALID), expected, **FP32)


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"kind": "statistics", "projection": 4}, r"pooling\.projection=4 maps frames"),
        ({"kind": "max", "projection": 4}, r"pooling\.projection=4 maps frames"),
        ({"kind": "attention", "layers": "all"}, "set pooling.kind to 'mean', 'max' or 'stat"),
        (
            {"kind": "mean", "projection": 4, "standardize_outputs": True},
            "pooling.standardize_outputs does not go with pooling.kind='mean' and a projection",
        ),
        ({"kind": "mean", "layers": "all", "projection": 4}, "'mean' and a projection, which"),
        ({"kind": "multi_head_attention"}, r"num_heads=4 does not divide the 6 channels"),
        ({"kind": "mean", "layers": "2-1"}, r"pooling.layers='2-1' is neither weighted, last nor"),
        (
            {"kind": "mean", "layers": "9"},
            "write one of 0 to 2, such as 2, or a range",
        ),
        ({"kind": "attention", "layers": "1"}, "set pooling.kind to 'mean', 'max'"),
        ({"kind": "tokens"}, r"num_heads=4 does not divide the 6 channels"),
        ({"kind": "attentive_correlation", "projection": 1}, r"projection=1 leaves one"),
    ],
)
def test_pooling_when_settings_do_not_go_with_the_kind_then_user_error(settings, sentence):
    with pytest.raises(UserError, match=sentence):
        Pooling(L, D, PoolingConfig(**settings), key=jax.random.key(0))


def test_pooling_when_outputs_are_standardized_then_each_number_whole_and_local():
    config = PoolingConfig(kind="statistics", layers="all", standardize_outputs=True)
    params, pool = compiled(Pooling(L, D, config, key=jax.random.key(0)))
    plain_params, plain = compiled(
        Pooling(L, D, PoolingConfig(kind="statistics", layers="all"), key=jax.random.key(0))
    )
    rng = np.random.default_rng(1)
    params["center"], params["scale"] = rng.uniform(0.5, 2, (2, L + 1, 2, D)).astype(np.float32)
    for found, expected in zip(
        pool(params, STATES, VALID), plain(plain_params, STATES, VALID), strict=True
    ):
        assert found.shape[-1] == (L + 1) * 2 * D
        expected = (expected - params["center"].ravel()) / params["scale"].ravel()
        np.testing.assert_allclose(found, expected, **FP32)


@pytest.mark.parametrize("layers", ["weighted", "last"])
@pytest.mark.parametrize("projection", [0, 4])
def test_pooling_when_frames_are_standardized_then_each_channel_of_each_layer(layers, projection):
    common = {"kind": "attention", "hidden": 5, "projection": projection}
    config = PoolingConfig(layers=layers, standardize_outputs=True, **common)
    params, pool = compiled(Pooling(L, D, config, key=jax.random.key(0)))
    rng = np.random.default_rng(1)
    params["center"], params["scale"] = rng.uniform(0.5, 2, (2, *params["center"].shape))
    # A pooling of the layer that it mixes: standardized by hand, and nothing is left to do.
    plain = PoolingConfig(layers="last", **common)
    plain_params, by_hand = compiled(Pooling(L, D, plain, key=jax.random.key(0)))
    states = STATES.astype(np.float64)
    if layers == "weighted":
        params["layer_weights"] = jnp.array([0.3, -0.5, 0.9])
        mean, var = states.mean(-1, keepdims=True), states.var(-1, keepdims=True)
        states, shares = (states - mean) / np.sqrt(var + 1e-5), softmax(params["layer_weights"])
    else:
        states, shares = states[-1:], np.ones(1)
    states = (states - params["center"][:, None]) / params["scale"][:, None]
    mixed = np.tensordot(shares, states, 1)[None].astype(np.float32)
    plain_params = {name: params[name] for name in plain_params}
    for found, expected in zip(
        pool(params, STATES, VALID), by_hand(plain_params, mixed, VALID), strict=True
    ):
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("layers", ["weighted", "last"])
def test_pooling_when_compared_with_numpy_then_equal_whole_and_local(kind, layers):
    params, pool = pooling(kind, layers)
    if layers == "weighted":
        params["layer_weights"] = jnp.array([0.3, -0.5, 0.9])
    plain = jax.tree.map(np.asarray, params)
    whole, local = pool(params, STATES, VALID)
    assert (local is not None) == gives_frames(PoolingConfig(kind=kind))
    for b in range(B):
        real = np.flatnonzero(VALID[b])
        expected = reference(plain, kind, layers, STATES[:, b, real])
        np.testing.assert_allclose(whole[b], expected, **FP32)
        if local is None:
            continue
        for t in real[::13]:
            near = real[np.abs(real - t) <= LOCAL_FRAMES // 2]
            expected = reference(plain, kind, layers, STATES[:, b, near])
            # A variance as a difference of squares keeps a digit less, and 0 becomes 1e-5.
            np.testing.assert_allclose(local[b, t], expected, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("kind", KINDS)
def test_pooling_when_padding_changes_then_no_vector_does(kind):
    params, pool = pooling(kind, "weighted")
    changed = np.where(VALID[None, :, :, None], STATES, 1e3)
    for found, expected in zip(
        pool(params, changed, VALID), pool(params, STATES, VALID), strict=True
    ):
        if found is not None:
            real = VALID if found.ndim == 3 else slice(None)
            np.testing.assert_array_equal(found[real], expected[real])


@pytest.mark.parametrize(("layers", "first", "last"), [("1", 1, 1), ("1-2", 1, 2)])
def test_pooling_when_layers_are_chosen_then_their_part_of_all(layers, first, last):
    config = PoolingConfig(kind="statistics", layers=layers, standardize_outputs=True)
    params, pool = compiled(Pooling(L, D, config, key=jax.random.key(0)))
    rng = np.random.default_rng(1)
    params["center"], params["scale"] = rng.uniform(0.5, 2, (2, L + 1, 2, D)).astype(np.float32)
    every, whole = compiled(
        Pooling(L, D, dataclasses.replace(config, layers="all"), key=jax.random.key(0))
    )
    every = {name: params[name] for name in every}
    part = slice(first * 2 * D, (last + 1) * 2 * D)
    for found, expected in zip(
        pool(params, STATES, VALID), whole(every, STATES, VALID), strict=True
    ):
        np.testing.assert_allclose(found, expected[..., part], **FP32)


@pytest.mark.parametrize("kind", ["mean", "max"])
def test_pooling_when_all_layers_are_lined_up_then_one_vector_for_each(kind):
    config = PoolingConfig(kind=kind, layers="all", standardize_layers=False)
    model = Pooling(L, D, config, key=jax.random.key(0))
    whole, local = model(STATES, VALID)
    real = [STATES[:, b, VALID[b]] for b in range(B)]
    expected = [(x.mean(1) if kind == "mean" else x.max(1)).ravel() for x in real]
    np.testing.assert_allclose(whole, np.stack(expected), **FP32)
    assert local.shape == (B, T, (L + 1) * D) == (B, T, model.num_outputs)


@pytest.mark.parametrize("kind", KINDS)
def test_pooling_when_frame_is_constant_then_gradient_is_finite(kind):
    params, pool = pooling(kind, "weighted")
    constant = np.ones_like(STATES)

    def loss(params, states):
        return sum(jnp.sum(x) for x in pool(params, states, VALID) if x is not None)

    gradients = jax.grad(loss, argnums=(0, 1))(params, constant)
    assert all(np.isfinite(x).all() for x in jax.tree.leaves(gradients))


def test_pooling_when_name_is_unknown_then_user_error():
    with pytest.raises(UserError, match=r"pooling\.kind"):
        pooling("median", "last")
    with pytest.raises(UserError, match=r"pooling\.layers"):
        pooling("mean", "first")


@pytest.mark.parametrize("kind", ["mean", "attentive_statistics"])
def test_pooling_when_layers_are_summed_as_they_are_and_projected_then_equal_to_numpy(kind):
    config = PoolingConfig(kind=kind, standardize_layers=False, projection=4, hidden=5)
    params, pool = compiled(Pooling(L, D, config, key=jax.random.key(0)))
    params["layer_weights"] = jnp.array([0.3, -0.5, 0.9])
    plain = jax.tree.map(np.asarray, params)
    whole, local = pool(params, STATES, VALID)
    assert whole.shape == (B, 4 if kind == "mean" else 8)
    assert local.shape == (B, T, *whole.shape[1:])
    weights = np.exp(plain["layer_weights"])
    mixed = np.tensordot(weights / weights.sum(), STATES.astype(np.float64), 1)
    projected = mixed @ plain["projection"]["kernel"] + plain["projection"]["bias"]
    for b in range(B):
        expected = reference(plain, kind, "last", projected[None, b, VALID[b]])
        np.testing.assert_allclose(whole[b], expected, **FP32)
