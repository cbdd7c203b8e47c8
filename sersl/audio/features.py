"""Log-mel features in jnp, row by row: the only file of this room that needs jax.

They have the frame geometry of `sersl.core.lengths` (50 frames a second), and look at 25-ms
windows every 10 ms, two to a frame, so that nothing of the usual 100-Hz spectrogram is lost.
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
LOW_HZ, HIGH_HZ = 20.0, 8000.0  # Kaldi's lower edge, and half of the sample rate
# Added to the mel power. Over the rounding noise of 16-bit audio a filter sums to 1e-8 to 1e-7;
# over RAVDESS, which is quiet, to 1.4e-5 at the median: the floor hides the former only.
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
      Float32 [257, num_mels], weights 0..1 by which to multiply a power spectrum.

    Raises:
      UserError: so many filters that one of them has no bin of the spectrum.

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
    is centred on sample 320 t + 200 as every frame in sersl; 80 zeros stand before the waveform
    and behind it. Always in float32.

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
    """Transforms real frames, every device those of its own rows.

    Args:
      frames: [B, ..., n], rows as in `on_own_rows`.
      length: of the transform; shorter frames are filled up with zeros.

    Returns:
      Complex [B, ..., length / 2 + 1].
    """
    return on_own_rows(functools.partial(jnp.fft.rfft, n=length), frames)


def on_own_rows(function: Callable[..., Result], rows: Rows, *shared: jax.Array) -> Result:
    """Computes something of each row of a batch, every device for its own rows.

    XLA cuts neither a Fourier transform nor the gradient of a grouped convolution's kernel: left to
    itself on a mesh, every device gathers the whole batch and works on all of it.

    Args:
      function: of rows and shared; what it gives of a row depends on no other row.
      rows: one or several arrays [B, ...], rows over the mesh axes data and fsdp where a mesh is
        set.
      *shared: arrays that every row needs whole; gradients are summed over the devices.

    Returns:
      What the function gives, one or several arrays [B, ...].
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
        # Said for the sake of gradients by a rule of its own, which must vary as their inputs do.
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
