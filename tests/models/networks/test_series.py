import jax
import numpy as np
import pytest
import torch

from sersl.core.errors import UserError
from sersl.models.networks.frame_layers import highest, shift_channels
from sersl.models.networks.planes import slopes_of
from sersl.models.networks.series import (
    BidirectionalLstm,
    CausalConvolution,
    SelfAttention,
    check_heads,
    reverse_real,
)
from tests.tolerances import FP32

B, T, D = 2, 8, 6
X = np.random.default_rng(0).normal(size=(B, T, D)).astype(np.float32)
VALID = np.arange(T) < np.array([8, 5])[:, None]
KEY = jax.random.key(1)


def test_bidirectional_lstm_when_compared_with_torch_then_equal_on_the_utterance_alone():
    layer = BidirectionalLstm(D, 5, key=KEY)
    found = np.asarray(layer(np.where(VALID[..., None], X, 7.0), VALID))
    theirs = torch.nn.LSTM(D, 5, bidirectional=True, batch_first=True)
    with torch.no_grad():
        for own, suffix in ((layer.forward, ""), (layer.backward, "_reverse")):
            values = {
                f"weight_ih_l0{suffix}": np.asarray(own.input.kernel[...]).T,
                f"bias_ih_l0{suffix}": np.asarray(own.input.bias[...]),
                f"weight_hh_l0{suffix}": np.asarray(own.kernel[...]).T,
                f"bias_hh_l0{suffix}": np.zeros(20, np.float32),
            }
            for name, value in values.items():
                getattr(theirs, name).copy_(torch.tensor(value))
        for row in range(B):
            expected = theirs(torch.tensor(X[row : row + 1, VALID[row]]))[0][0].numpy()
            np.testing.assert_allclose(found[row, VALID[row]], expected, **FP32)


def test_causal_convolution_when_compared_with_loops_then_equal():
    layer = CausalConvolution(D, 3, kernel=2, dilation=3, key=KEY)
    kernel = np.asarray(layer.map.kernel[...]).reshape(2, D, 3)
    found = np.asarray(layer(X))
    for t in range(T):
        expected = X[:, t] @ kernel[1] + (X[:, t - 3] @ kernel[0] if t >= 3 else 0)
        np.testing.assert_allclose(found[:, t], expected, **FP32)


def test_self_attention_when_compared_with_torch_then_equal():
    layer = SelfAttention(D, 2, key=KEY)
    seen = np.repeat(VALID[:, None], T, axis=1)
    found, weights = layer.with_weights(X, seen)
    theirs = torch.nn.MultiheadAttention(D, 2, batch_first=True)
    with torch.no_grad():
        theirs.in_proj_weight.copy_(torch.tensor(np.asarray(layer.qkv.kernel[...]).T))
        theirs.out_proj.weight.copy_(torch.tensor(np.asarray(layer.output.kernel[...]).T))
        x = torch.tensor(X)
        expected, shares = theirs(
            x, x, x, key_padding_mask=torch.tensor(~VALID), average_attn_weights=False
        )
    np.testing.assert_allclose(np.asarray(found)[VALID], expected.numpy()[VALID], **FP32)
    np.testing.assert_allclose(weights, shares.numpy(), **FP32)


def test_real_frames_when_reversed_then_padding_stays_behind_them():
    found = np.asarray(reverse_real(X, VALID))
    np.testing.assert_array_equal(found[1, :5], X[1, :5][::-1])
    np.testing.assert_array_equal(found[1, 5:], X[1, 5:])


def test_slopes_when_compared_with_the_formula_then_the_last_real_spectrum_is_repeated():
    found = np.asarray(slopes_of(X, VALID))
    for row in range(B):
        x = np.pad(X[row, VALID[row]], ((2, 2), (0, 0)), mode="edge")
        expected = (x[3:-1] - x[1:-3] + 2 * (x[4:] - x[:-4])) / 10
        np.testing.assert_allclose(found[row, VALID[row]], expected, **FP32)
    assert not found[~VALID].any()


def test_channels_when_shifted_then_a_quarter_moves_each_way():
    x = np.arange(4 * 8, dtype=np.float32).reshape(1, 4, 8)
    found = np.asarray(shift_channels(x))
    np.testing.assert_array_equal(found[0, 1:, :2], x[0, :-1, :2])
    np.testing.assert_array_equal(found[0, :-1, 2:4], x[0, 1:, 2:4])
    np.testing.assert_array_equal(found[0, :, 4:], x[0, :, 4:])
    assert not found[0, 0, :2].any() and not found[0, -1, 2:4].any()


def test_frames_when_selected_then_half_of_those_that_are_left_with_the_highest_scores():
    score = np.array([[3.0, 9.0, 1.0, 9.0, 5.0, 99.0], [1.0, 2.0, 0.0, 0.0, 0.0, 0.0]])
    kept = np.array([[True] * 5 + [False], [True, True, False, False, False, False]])
    found = np.asarray(highest(score, kept, share=0.5))
    np.testing.assert_array_equal(found[0], [False, True, False, True, True, False])
    np.testing.assert_array_equal(found[1], [False, True, False, False, False, False])


def test_heads_when_they_do_not_divide_then_user_error():
    assert check_heads(12, 4) == 4
    with pytest.raises(UserError, match=r"set pooling\.network\.num_heads"):
        check_heads(10, 4)
