import jax
import numpy as np
import pytest
import torch

from sersl.models.networks.planes import (
    Convolution2d,
    MaskedGroupNorm,
    SqueezeExcite,
    fold_windows,
    pool_2d,
    unfold_windows,
)
from tests.tolerances import FP32

B, T, F, C = 2, 9, 7, 4
RNG = np.random.default_rng(0)
REAL = np.arange(T) < np.array([9, 5])[:, None]
X = np.where(REAL[:, :, None, None], RNG.normal(size=(B, T, F, C)), 0.0).astype(np.float32)
KEY = jax.random.key(0)


def as_torch(x):
    """One utterance [T, F, C] as torch's [1, C, T, F]."""
    return torch.tensor(np.asarray(x)).permute(2, 0, 1)[None]


def from_torch(x):
    return x[0].permute(1, 2, 0).detach().numpy()


@pytest.mark.parametrize("stride", [(1, 1), (3, 1)])
def test_convolution_when_compared_with_torch_then_equal_on_the_utterance_alone(stride):
    layer = Convolution2d(C, 6, (4, 3), key=KEY, stride=stride)
    layer.bias[...] = jax.numpy.arange(6.0)
    found = np.asarray(layer(X))
    kernel = torch.tensor(np.asarray(layer.kernel[...])).permute(3, 2, 0, 1)
    for row in range(B):
        alone = as_torch(X[row, REAL[row]])
        padded = torch.nn.functional.pad(alone, (1, 1, 1, 2))
        expected = torch.nn.functional.conv2d(padded, kernel, torch.arange(6.0), stride=stride)
        expected = from_torch(expected)
        np.testing.assert_allclose(found[row, : len(expected)], expected, **FP32)


def test_group_norm_when_compared_with_torch_then_equal_and_zero_at_padding():
    norm = MaskedGroupNorm(12)
    norm.scale[...] = jax.numpy.linspace(0.5, 2.0, 12)
    norm.bias[...] = jax.numpy.linspace(-1.0, 1.0, 12)
    x = np.where(REAL[:, :, None, None], RNG.normal(2.0, 3.0, (B, T, F, 12)), 9.0)
    found = np.asarray(norm(x.astype(np.float32), REAL))
    assert norm.num_groups == 4
    assert not found[~REAL].any()
    scale, bias = (torch.tensor(np.asarray(p[...])) for p in (norm.scale, norm.bias))
    for row in range(B):
        alone = as_torch(x[row, REAL[row]].astype(np.float32))
        expected = from_torch(torch.nn.functional.group_norm(alone, 4, scale, bias, eps=1e-5))
        np.testing.assert_allclose(found[row, REAL[row]], expected, **FP32)


@pytest.mark.parametrize("maximum", [False, True])
@pytest.mark.parametrize("size", [(2, 2), (4, 3)])
def test_pooling_when_compared_with_loops_then_over_real_values_only(size, maximum):
    found, real = (np.asarray(array) for array in pool_2d(X, REAL, size, maximum=maximum))
    assert found.shape == (B, -(-T // size[0]), -(-F // size[1]), C)
    for row in range(B):
        alone = X[row, REAL[row]]
        assert real[row].sum() == -(-len(alone) // size[0])
        for t in range(real[row].sum()):
            for f in range(found.shape[2]):
                area = alone[t * size[0] : (t + 1) * size[0], f * size[1] : (f + 1) * size[1]]
                expected = area.max((0, 1)) if maximum else area.mean((0, 1))
                np.testing.assert_allclose(found[row, t, f], expected, **FP32)
    assert not found[~real].any()


def test_squeeze_excite_when_compared_with_numpy_then_means_are_over_real_frames():
    layer = SqueezeExcite(C, reduction=2, key=KEY)
    found = np.asarray(layer(X, REAL))
    first, second = (
        (np.asarray(part.kernel[...]), np.asarray(part.bias[...]))
        for part in (layer.squeeze, layer.excite)
    )
    for row in range(B):
        mean = X[row, REAL[row]].mean((0, 1))
        hidden = np.maximum(mean @ first[0] + first[1], 0)
        scale = 1 / (1 + np.exp(-(hidden @ second[0] + second[1])))
        np.testing.assert_allclose(found[row], X[row] * scale, **FP32)


def test_windows_when_unfolded_and_folded_then_every_frame_gets_what_covers_it():
    x = np.arange(2 * 3 * 4, dtype=np.float32).reshape(2, 3, 4)
    valid = np.array([[True] * 3, [True, False, False]])
    spectra, real = (np.asarray(array) for array in unfold_windows(x, valid, 2))
    np.testing.assert_array_equal(spectra[0], x[0].reshape(6, 2))
    np.testing.assert_array_equal(real[1], [True, True, False, False, False, False])
    assert not spectra[1, 2:].any()
    folded = np.asarray(fold_windows(spectra, 3, windows=2))
    np.testing.assert_allclose(folded[0], x[0].reshape(3, 2, 2).mean(1))
    coarse = np.asarray(fold_windows(spectra[:, ::4], 3, windows=2, stride=4))
    np.testing.assert_allclose(coarse[0], spectra[0, [0, 0, 4]])
