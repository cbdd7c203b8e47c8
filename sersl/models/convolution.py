"""Convolutions over time in several equivalent formulations, and the choice for each platform.

XLA's convolution is fast on GPU and TPU. On CPU its gradients are slow, those of grouped
convolutions most of all; docs/benchmarks/convolution.md has the measurements behind CHOICES.
"""

import functools

import jax
import jax.numpy as jnp
from scipy.fft import next_fast_len

from sersl.audio.features import on_own_rows


def convolve(x: jax.Array, kernel: jax.Array, *, stride: int) -> jax.Array:
    """Convolves without padding, every `stride` frames.

    Args:
      x: [B, T, I].
      kernel: [K, I, O], tap 0 at the earliest frame; computed in the dtype of x.
      stride: frames between outputs.

    Returns:
      [B, (T - K) // stride + 1, O].
    """
    return _by_platform("strided", stride, x, kernel.astype(x.dtype))


def convolve_groups(x: jax.Array, kernel: jax.Array, *, groups: int) -> jax.Array:
    """Convolves groups of channels with zero padding that keeps the number of frames.

    Args:
      x: [B, T, D].
      kernel: [K, D / groups, D]; output channels in the order of the groups.
      groups: divides D.

    Returns:
      [B, T, D]; frame t depends on frames t - K // 2 to t + (K - 1) // 2.
    """
    convolve_rows = functools.partial(_by_platform, "grouped", groups)
    return on_own_rows(convolve_rows, x, kernel.astype(x.dtype))


def _lax_strided(stride, x, kernel):
    return jax.lax.conv_general_dilated(
        x, kernel, (stride,), "VALID", dimension_numbers=("NWC", "WIO", "NWC")
    )


def _lax_strided_ncw(stride, x, kernel):
    out = jax.lax.conv_general_dilated(
        x.swapaxes(1, 2), kernel, (stride,), "VALID", dimension_numbers=("NCW", "WIO", "NCW")
    )
    return out.swapaxes(1, 2)


def _lax_strided_2d(stride, x, kernel):
    out = jax.lax.conv_general_dilated(
        x[:, None],
        kernel[None],
        (1, stride),
        "VALID",
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )
    return out[:, 0]


def _patches_strided(stride, x, kernel):
    """Concatenates all patches, then computes one product."""
    taps, _, outputs = kernel.shape
    num_rows, num_frames = x.shape[0], (x.shape[1] - taps) // stride + 1
    last = (num_frames - 1) * stride + 1
    patches = jnp.concatenate([x[:, k : k + last : stride] for k in range(taps)], axis=-1)
    out = patches.reshape(num_rows * num_frames, -1) @ kernel.reshape(-1, outputs)
    return out.reshape(num_rows, num_frames, outputs)


def _blocks_strided(stride, x, kernel):
    """Divides frames into blocks of `stride`; one product per block of a patch, then a sum."""
    taps, inputs, outputs = kernel.shape
    num_rows, num_frames = x.shape[0], (x.shape[1] - taps) // stride + 1
    per_patch = -(-taps // stride)
    num_blocks = num_frames - 1 + per_patch
    missing = max(0, num_blocks * stride - x.shape[1])
    x = jnp.pad(x, ((0, 0), (0, missing), (0, 0)))[:, : num_blocks * stride]
    blocks = x.reshape(num_rows, num_blocks, stride * inputs)
    kernel = jnp.pad(kernel, ((0, per_patch * stride - taps), (0, 0), (0, 0)))
    parts = kernel.reshape(per_patch, stride * inputs, outputs)

    def product(i):
        flat = blocks[:, i : i + num_frames].reshape(-1, stride * inputs)
        return (flat @ parts[i]).reshape(num_rows, num_frames, outputs)

    return functools.reduce(jnp.add, map(product, range(per_patch)))


def _padding(kernel):
    """Returns the zeros before and after; one fewer after for an even kernel."""
    return kernel.shape[0] // 2, (kernel.shape[0] - 1) // 2


def _lax_grouped(groups, x, kernel):
    return jax.lax.conv_general_dilated(
        x,
        kernel,
        (1,),
        [_padding(kernel)],
        dimension_numbers=("NWC", "WIO", "NWC"),
        feature_group_count=groups,
    )


def _patches_grouped(groups, x, kernel):
    """Concatenates the patches of one group at a time, then computes one product."""
    (taps, inputs, _), (num_rows, num_frames, _) = kernel.shape, x.shape
    padded = jnp.pad(x, ((0, 0), _padding(kernel), (0, 0)))
    by_group = padded.reshape(num_rows, -1, groups, inputs).transpose(2, 0, 1, 3)
    kernels = kernel.reshape(taps * inputs, groups, -1).swapaxes(0, 1)

    def one(x_and_kernel):
        group, flat_kernel = x_and_kernel
        patches = jnp.concatenate([group[:, k : k + num_frames] for k in range(taps)], axis=-1)
        return patches.reshape(num_rows * num_frames, -1) @ flat_kernel

    out = jax.lax.map(one, (by_group, kernels))
    return out.reshape(groups, num_rows, num_frames, -1).transpose(1, 2, 0, 3).reshape(x.shape)


def _fft_grouped(groups, x, kernel):
    """Multiplies spectra, with enough zeros that the ends do not wrap around."""
    (taps, inputs, width), (num_rows, num_frames, _) = kernel.shape, x.shape
    length = next_fast_len(num_frames + taps - 1, real=True)
    spectrum = jnp.fft.rfft(x.astype(jnp.float32), n=length, axis=1)
    spectrum = spectrum.reshape(num_rows, -1, groups, inputs)
    # Conjugate, because the convolution of a network is a correlation.
    response = jnp.conj(jnp.fft.rfft(kernel.astype(jnp.float32), n=length, axis=0))
    response = response.reshape(-1, inputs, groups, width // groups)
    product = jnp.einsum("btgi,tigo->btgo", spectrum, response)
    out = jnp.fft.irfft(product.reshape(num_rows, -1, width), n=length, axis=1)
    # Frame t of the correlation depends on later frames only; centre it.
    return jnp.roll(out, _padding(kernel)[0], axis=1)[:, :num_frames].astype(x.dtype)


# Each takes (stride or groups, x, kernel).
FORMULATIONS = {
    "strided": {
        "lax": _lax_strided,
        "lax_ncw": _lax_strided_ncw,
        "lax_2d": _lax_strided_2d,
        "patches": _patches_strided,
        "blocks": _blocks_strided,
    },
    "grouped": {"lax": _lax_grouped, "patches": _patches_grouped, "fft": _fft_grouped},
}
# (forward, backward) by the platform that the program is compiled for, which may differ from the
# one that compiles it.
CHOICES = {
    "strided": {"cpu": ("lax", "patches"), "default": ("lax", "lax")},
    "grouped": {"cpu": ("lax", "fft"), "default": ("lax", "lax")},
}


# A custom rule stores the input for the backward pass rather than patches or spectra, and lets the
# platform choose the formulation of the backward pass too.
@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def _by_platform(family, size, x, kernel):
    return _choose(family, 0, lambda form: functools.partial(form, size))(x, kernel)


def _forward(family, size, x, kernel):
    return _by_platform(family, size, x, kernel), (x, kernel)


def _backward(family, size, kept, gradient):
    def pull_back(form):
        def run(x, kernel, gradient):
            return jax.vjp(functools.partial(form, size), x, kernel)[1](gradient)

        return run

    return _choose(family, 1, pull_back)(*kept, gradient)


_by_platform.defvjp(_forward, _backward)


def _choose(family, part, make):
    """Returns a function that lowers to the formulation of the target platform."""
    forms = {
        platform: make(FORMULATIONS[family][names[part]])
        for platform, names in CHOICES[family].items()
    }
    return functools.partial(jax.lax.platform_dependent, **forms)
