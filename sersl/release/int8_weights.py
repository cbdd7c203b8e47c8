"""Kernels of an encoder as int8 with a scale for each output, in a quarter of the bytes.

In model.safetensors a kernel "encoder.a.kernel" is then an int8 tensor of that name and a float32
tensor "encoder.a.kernel.scale" of its last dimension. A model is computed from their products.
"""

import functools
from collections.abc import Mapping

import numpy as np

from sersl.release.tensors import StoredTensor

WEIGHT_FORMS = ("float32", "int8")  # of `sersl export --weights`
SCALE = ".scale"
_LEAST_QUANTIZED = 256  # values; smaller arrays stay in float32
_LARGEST = 127


def quantized(array: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
    """Rounds a kernel [..., outputs] of any rank above 1 to 255 levels per output.

    Returns:
      (int8 like `array`, float32 scales [outputs]), whose product is the nearest to `array`; None
      where it is small or not a kernel.
    """
    if array.ndim < 2 or array.size < _LEAST_QUANTIZED:
        return None
    largest = np.abs(array).max(axis=tuple(range(array.ndim - 1)))
    scale = np.where(largest > 0, largest / _LARGEST, 1).astype(np.float32)
    return np.round(array / scale).astype(np.int8), scale


def packed(flat: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Gives the tensors of a file, those of 32 bits first so that they stay aligned.

    Args:
      flat: {name: float32 array} of all parameters; kernels of the encoder are rounded.
    """
    whole, rounded = {}, {}
    for name in sorted(flat):
        parts = quantized(flat[name]) if name.startswith("encoder.") else None
        if parts is None:
            whole[name] = flat[name]
        else:
            rounded[name], whole[name + SCALE] = parts
    return whole | rounded


def unpacked(stored: Mapping[str, StoredTensor]) -> dict[str, StoredTensor]:
    """Gives the tensors of a file as if all were stored in float32."""
    found = {}
    for name, tensor in stored.items():
        scale = stored.get(name + SCALE)
        if tensor.dtype == np.int8 and scale is not None and scale.shape == tensor.shape[-1:]:
            read = functools.partial(_product, tensor, scale)
            found[name] = StoredTensor(tensor.shape, np.dtype(np.float32), tensor.file, read)
        elif not (name.endswith(SCALE) and _is_int8(stored.get(name.removesuffix(SCALE)))):
            found[name] = tensor
    return found


def _is_int8(tensor: StoredTensor | None) -> bool:
    return tensor is not None and tensor.dtype == np.int8


def _product(tensor: StoredTensor, scale: StoredTensor) -> np.ndarray:
    return tensor.read().astype(np.float32) * scale.read().astype(np.float32)
