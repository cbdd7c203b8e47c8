import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
from flax import nnx

from sersl.config.schema import AugmentConfig, HeadsConfig
from sersl.core.errors import UserError
from sersl.core.lengths import num_frames
from sersl.models.heads.head import Head
from tests.models.small import BUCKETS, LENGTHS, compiled, emotion_model, pad, utterances
from tests.tolerances import FP32, FP32_DEEP


@pytest.mark.parametrize("normalize", ["fixed", "utterance"])
@pytest.mark.parametrize("pooling", ["mean", "attentive_statistics"])
def test_emotion_model_when_padded_to_any_bucket_then_answers_as_alone(normalize, pooling):
    params, predict = compiled(emotion_model(normalize=normalize, pooling=pooling))
    alone = [predict(params, *pad([waveform], len(waveform))) for waveform in utterances()]
    rng = np.random.default_rng(1)
    for bucket in BUCKETS:
        # Whatever stands in the padding must not be heard.
        filler = rng.normal(size=(len(LENGTHS), bucket))
        batch = predict(params, *pad(utterances(), bucket, filler=filler))
        for row, single in enumerate(alone):
            frames = num_frames(LENGTHS[row])
            for name in ("category", "dimensions", "embedding"):
                np.testing.assert_allclose(
                    getattr(batch, name)[row], getattr(single, name)[0], **FP32_DEEP
                )
            np.testing.assert_allclose(
                batch.frames[row, :frames], single.frames[0, :frames], **FP32_DEEP
            )
            assert not np.asarray(batch.frames[row, frames:]).any()


@pytest.mark.parametrize("pooling", ["mean", "attentive_statistics"])
def test_emotion_model_when_row_is_all_padding_then_values_and_gradients_are_finite(pooling):
    model = emotion_model(pooling=pooling, normalize="utterance")
    params, predict = compiled(model)
    waveform, valid = pad([*utterances(), np.zeros(0, np.float32)], 16080)
    output = predict(params, waveform, valid)
    assert all(np.isfinite(x).all() for x in jax.tree.leaves(output))
    assert not np.asarray(output.frames[-1]).any()

    def loss(params):
        output = predict(params, waveform, valid, key=jax.random.key(0))
        return sum(jnp.square(x).sum() for x in jax.tree.leaves(output))

    assert all(np.isfinite(x).all() for x in jax.tree.leaves(jax.grad(loss)(params)))


def test_emotion_model_when_nothing_is_asked_for_then_empty_and_without_parameters():
    params, predict = compiled(emotion_model(num_categories=0, num_dimensions=0))
    output = predict(params, *pad(utterances(), 16080))
    assert output.category.shape == (3, 0)
    assert output.dimensions.shape == (3, 0)
    assert output.frames.shape == (3, 0, 0)
    assert output.embedding.shape == (3, 32)
    assert set(params) == {"encoder", "pooling"}


def test_emotion_model_when_key_is_given_then_random_and_otherwise_not():
    augment = AugmentConfig(
        time_mask_fraction=0.2, time_mask_span=5, band_mask_width=10, gain_db=6.0
    )
    params, predict = compiled(emotion_model(augment=augment))
    batch = pad(utterances(), 16080)
    first = predict(params, *batch, key=jax.random.key(1)).category
    np.testing.assert_array_equal(first, predict(params, *batch, key=jax.random.key(1)).category)
    other = predict(params, *batch, key=jax.random.key(2)).category
    assert np.abs(np.asarray(first - other)).max() > 1e-4
    plain_params, plain = compiled(emotion_model())
    without = plain(plain_params, *batch).category
    np.testing.assert_array_equal(predict(params, *batch).category, without)


def test_emotion_model_when_only_shapes_are_wanted_then_every_parameter_names_its_axes():
    state = nnx.eval_shape(lambda: nnx.split(emotion_model(pooling="attentive_statistics"))[1])
    paths = set()
    for path, param in nnx.to_flat_state(state):
        axes = param.get_metadata()["axes"]
        assert len(axes) == len(param.shape), path
        named = [axis for axis in axes if axis is not None]
        assert len(set(named)) == len(named), path
        paths.add(path[0])
    assert paths == {"encoder", "pooling", "category", "dimensions"}


def test_emotion_model_when_dimensions_are_predicted_then_between_zero_and_one():
    params, predict = compiled(emotion_model())
    dimensions = np.asarray(predict(params, *pad(utterances(), 16080)).dimensions)
    assert ((dimensions > 0) & (dimensions < 1)).all()


@pytest.mark.parametrize("kind", ["gelu", "tanh", "linear"])
def test_head_when_compared_with_numpy_then_equal(kind):
    head = Head(5, 3, HeadsConfig(kind=kind, hidden=4), key=jax.random.key(0))
    x = np.random.default_rng(0).normal(size=(2, 5)).astype(np.float32) * 3 + 1
    expected = x.astype(np.float64)
    if kind == "gelu":
        expected = (expected - expected.mean(-1, keepdims=True)) / np.sqrt(
            expected.var(-1, keepdims=True) + 1e-5
        )
    if kind != "linear":
        expected = expected @ np.asarray(head.hidden.kernel[...]) + head.hidden.bias[...]
        erf = scipy.special.erf(expected / np.sqrt(2))
        expected = np.tanh(expected) if kind == "tanh" else expected * (1 + erf) / 2
    expected = expected @ np.asarray(head.output.kernel[...]) + head.output.bias[...]
    np.testing.assert_allclose(head(x), expected, **FP32)


def test_head_when_its_kind_is_unknown_then_said():
    with pytest.raises(UserError, match=r"unknown heads\.kind 'liner': did you mean 'linear'"):
        Head(5, 3, HeadsConfig(kind="liner"), key=jax.random.key(0))


def test_emotion_model_when_dimensions_are_not_bounded_then_they_leave_0_to_1():
    batch = pad(utterances(), 16080)
    found = {}
    for bounded in (True, False):
        model = emotion_model(bounded=bounded)
        model.dimensions.output.bias[...] = jnp.array([-2.0, 0.0, 2.0])
        params, predict = compiled(model)
        found[bounded] = np.asarray(predict(params, *batch).dimensions)
    np.testing.assert_allclose(found[True], scipy.special.expit(found[False]), **FP32)
    assert found[False].min() < -1 < 1 < found[False].max()
