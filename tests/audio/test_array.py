import jax.numpy as jnp
import numpy as np
import pytest
import torch

from sersl.audio.array import mono_waveform
from sersl.core.errors import UserError
from tests.audio.odd_files import tone

FLOATS = tone()[:, 0].astype(np.float32)
RATE = 16_000


@pytest.mark.parametrize(
    ("samples", "tolerance"),
    [
        (FLOATS.astype(np.float64), 0),
        (FLOATS.astype(np.float16), 1e-3),
        (np.rint(FLOATS * 32768).astype(np.int16), 2**-15),
        (np.rint(FLOATS * 2.0**31).astype(np.int32), 2**-24),
        (np.rint(FLOATS * 128 + 128).astype(np.uint8), 2**-7),
        (FLOATS[:, None], 0),
        (np.stack([FLOATS, FLOATS], axis=1), 0),
        (FLOATS[::-1][::-1], 0),
        (jnp.asarray(FLOATS), 0),
        (jnp.asarray(FLOATS, jnp.bfloat16), 1e-2),
        (torch.from_numpy(FLOATS), 0),
        (torch.from_numpy(np.rint(FLOATS * 32768).astype(np.int16)), 2**-15),
    ],
)
def test_waveform_when_any_array_of_known_scale_then_floats_of_full_scale_one(samples, tolerance):
    waveform = mono_waveform(samples, jnp.float32(RATE))
    assert waveform.dtype == np.float32
    np.testing.assert_allclose(waveform, FLOATS, rtol=0, atol=tolerance)


def test_waveform_when_at_another_rate_then_resampled():
    assert len(mono_waveform(FLOATS, 8000)) == 2 * len(FLOATS)


def test_waveform_when_empty_then_empty():
    assert mono_waveform(np.zeros(0, np.float32), RATE).shape == (0,)


@pytest.mark.parametrize(
    ("samples", "message"),
    [
        (32768 * FLOATS, "samples up to .* 16-bit integers stored as floats"),
        (2.0**31 * FLOATS, "32-bit integers stored as floats"),
        (1e38 * FLOATS, "leave it out"),
        (1e300 * FLOATS.astype(np.float64), "NaN or infinite"),
        (np.where(FLOATS > 0, np.nan, FLOATS), "NaN or infinite"),
        (np.full(RATE, 3000, np.int32), "peak of 3000"),
        (np.zeros(RATE, np.int64), "int64 has no known scale"),
        (np.zeros(RATE, bool), "bool has no known scale"),
        (np.zeros(RATE, complex), "complex128 has no known scale"),
        (np.array(["a"] * RATE), "has no known scale"),
        (np.zeros((2, RATE)), "more channels than samples"),
        (np.zeros((RATE, 0)), "or none"),
        (np.zeros((RATE, 300)), "more than 256 channels"),
        (np.zeros((2, 2, 2)), "is not a recording"),
        (np.float32(0.5), "is not a recording"),
        (np.stack([FLOATS, -FLOATS], axis=1), "2 channels that cancel each other"),
        (np.stack([FLOATS, -0.95 * FLOATS], axis=1), "2 channels that cancel each other"),
        (torch.from_numpy(FLOATS).requires_grad_(), "cannot be read as a NumPy array"),
    ],
)
def test_waveform_when_it_cannot_be_meant_then_one_sentence(samples, message):
    with pytest.raises(UserError, match=message) as raised:
        mono_waveform(samples, RATE)
    assert "\n" not in str(raised.value)


def test_waveform_when_channels_differ_but_do_not_cancel_then_their_mean():
    rng = np.random.default_rng(0)
    samples = 0.1 * rng.standard_normal((RATE, 8)).astype(np.float32)
    np.testing.assert_allclose(mono_waveform(samples, RATE), samples.mean(axis=1), atol=1e-7)
    left = np.stack([FLOATS, 0 * FLOATS], axis=1)
    np.testing.assert_allclose(mono_waveform(left, RATE), FLOATS / 2, atol=1e-7)
