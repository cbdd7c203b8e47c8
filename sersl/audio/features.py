"""Log-mel features in jnp; the only file of this package that needs jax.

They have the frame geometry of `sersl.core.lengths` (50 frames a second). Each frame holds two
25-ms windows, 10 ms apart, so that it has all of the usual 100-Hz spectrogram.
"""

import functools
import math
from collections.abc import Callable
from typing import TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import PartitionSpec

from sersl.core import lengths
from sersl.core.errors import UserError

Rows = TypeVar("Rows")
Result = TypeVar("Result")

FFT_LENGTH = 512  # samples; the power of two above a window of 400
LOW_HZ, HIGH_HZ = 20.0, 8000.0  # Kaldi's lower edge, and half the sample rate
# Added to the mel power. The rounding noise of 16-bit audio gives 1e-8 to 1e-7 per filter; RAVDESS,
# which is quiet, a median of 1.4e-5: the floor hides only the former.
FLOOR = 1e-6
WINDOWS_PER_FRAME = 2
_SHIFT = lengths.HOP // WINDOWS_PER_FRAME  # 160 samples = 10 ms between windows
_PADDING = _SHIFT // 2  # zeros in front and behind, so that the two windows straddle the centre


@functools.lru_cache
def mel_filters(num_mels: int) -> np.ndarray:
    """Builds the triangular filters, equally wide and spaced in mel.

    Args:
      num_mels: filters between 20 and 8000 Hz.

    Returns:
      Float32 [257, num_mels], weights 0..1 of a power spectrum.

    Raises:
      UserError: so many filters that one of them contains no bin of the spectrum.

    Source: HTK book 3.4, sec. 5.4: mel(f) = 1127 ln(1 + f / 700), triangles linear in mel, peak 1.
    """

    def mel(hz):
        return 1127.0 * np.log1p(np.asarray(hz) / 700.0)

    edges = np.linspace(mel(LOW_HZ), mel(HIGH_HZ), num_mels + 2)
    bins = mel(np.arange(FFT_LENGTH // 2 + 1) * lengths.SAMPLE_RATE / FFT_LENGTH)[:, None]
    rising = (bins - edges[:-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[2:] - bins) / (edges[2:] - edges[1:-1])
    weights = np.maximum(0.0, np.minimum(rising, falling))
    if not (weights.sum(0) > 0).all():
        raise UserError(
            f"{num_mels} mel filters are too many for a {FFT_LENGTH}-point spectrum, where some "
            "would be empty: set frontend.num_mels to 80 or fewer"
        )
    return weights.astype(np.float32)


def log_mel(waveform: jax.Array, *, num_mels: int = 80) -> jax.Array:
    """Computes log mel power, two windows side by side in each frame.

    Frame t holds the windows of 400 samples that start at samples 320 t - 80 and 320 t + 80, so it
    is centred on sample 320 t + 200 as every frame in sersl; the waveform is padded with 80 zeros
    on both sides. Always in float32.

    Args:
      waveform: [B, N] in [-1, 1], 16 kHz, at least 400 samples.
      num_mels: filters.

    Returns:
      Float32 [B, T, 2 * num_mels] with T = num_frames(N): first the earlier window's filters.
    """
    num_frames = lengths.num_frames(waveform.shape[1])
    windows = _frames(waveform.astype(jnp.float32), num_windows=WINDOWS_PER_FRAME * num_frames)
    # Hann, periodic: the DFT-even form that spectral analysis uses.
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(lengths.WINDOW) / lengths.WINDOW)
    spectrum = rfft_of_rows(windows * hann.astype(np.float32), length=FFT_LENGTH)
    power = jnp.square(spectrum.real) + jnp.square(spectrum.imag)
    # Powers span ten decades, so bfloat16 passes (the default on TPU) would not do.
    mel = jnp.matmul(power, mel_filters(num_mels), precision=jax.lax.Precision.HIGHEST)
    return jnp.log(mel + FLOOR).reshape(waveform.shape[0], num_frames, -1)


def rfft_of_rows(frames: jax.Array, *, length: int) -> jax.Array:
    """Transforms real frames; every device transforms its own rows.

    Args:
      frames: [B, ..., n], rows as in `on_own_rows`.
      length: of the transform; shorter frames are padded with zeros.

    Returns:
      Complex [B, ..., length / 2 + 1].
    """
    return on_own_rows(functools.partial(jnp.fft.rfft, n=length), frames)


def on_own_rows(function: Callable[..., Result], rows: Rows, *shared: jax.Array) -> Result:
    """Applies a function to the rows of a batch; every device computes its own rows.

    XLA does not partition a Fourier transform or the gradient of a grouped convolution's kernel:
    by itself, every device of a mesh gathers the whole batch and computes all of it.

    Args:
      function: of rows and shared; its result for a row depends on no other row.
      rows: one or several arrays [B, ...], rows over the mesh axes data and fsdp where a mesh is
        set.
      *shared: arrays that every row needs whole; gradients are summed over the devices.

    Returns:
      The result of the function, one or several arrays [B, ...].
    """
    mesh = jax.sharding.get_abstract_mesh()
    axes = tuple(
        axis
        for axis in ("data", "fsdp")
        if axis in mesh.axis_names and axis not in mesh.manual_axes  # inside of another call
    )
    parts = math.prod(mesh.shape[axis] for axis in axes)
    if parts == 1 or jax.tree.leaves(rows)[0].shape[0] % parts:
        return function(rows, *shared)

    def own(rows, *shared):
        # Custom gradients must vary over the same axes as their inputs.
        return function(rows, *(jax.lax.pcast(x, axes, to="varying") for x in shared))

    return jax.shard_map(
        own,
        in_specs=(PartitionSpec(axes), *(PartitionSpec() for _ in shared)),
        out_specs=PartitionSpec(axes),
    )(rows, *shared)


def _frames(waveform: jax.Array, *, num_windows: int) -> jax.Array:
    """Cuts [B, N] into [B, num_windows, 400] every 160 samples, by slices: no gather."""
    # A window is two blocks of 160 samples and half of a third.
    num_blocks = num_windows + 2
    padded = jnp.pad(waveform, ((0, 0), (_PADDING, num_blocks * _SHIFT)))
    blocks = padded[:, : num_blocks * _SHIFT].reshape(waveform.shape[0], num_blocks, _SHIFT)
    half = lengths.WINDOW - 2 * _SHIFT
    return jnp.concatenate([blocks[:, :-2], blocks[:, 1:-1], blocks[:, 2:, :half]], axis=-1)
