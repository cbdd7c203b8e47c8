"""Statistics of the descriptors over an utterance, on the device.

As in eGeMAPS (Eyben et al. 2016): statistics over voiced and over unvoiced frames, and the rate of
segments and loudness peaks. All exclude silence, so that the pauses around an utterance do not
matter.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from sersl.audio.features import on_own_rows
from sersl.core.lengths import FRAME_RATE
from sersl.models.acoustic.descriptors import NAMES, Descriptors, describe

FUNCTIONALS_VERSION = 1  # of everything below
_ACTIVE_DB = 30.0  # a frame this far below the loud ones (95 %) is silence
_PEAK_SHARE = 0.3  # of the largest loudness: lower peaks do not count
_STATISTICS = ("mean", "std", "p20", "p50", "p80")
_SPECTRUM = ("alpha_ratio", "hammarberg", "slope_0_500", "slope_500_1500", "centroid")
_CEPSTRUM = ("mfcc1", "mfcc2", "mfcc3", "mfcc4")
# Which descriptors are summed up over which frames.
_GROUPS = {
    "active": ("level", "loudness", "flux", "voicing"),
    "voiced": ("f0", "hnr", "h1_h2", *_SPECTRUM, *_CEPSTRUM),
    "unvoiced": _SPECTRUM,
}
# Absolute changes from frame to frame, over pairs of frames that are both in the group.
_CHANGES = {"active": ("level", "loudness"), "voiced": ("f0",)}
_SCALARS = (
    "duration",  # s from the first active frame to the last
    "active_share",
    "voiced_share",  # of active frames
    "voiced_per_second",  # voiced segments
    "voiced_length",  # s, mean
    "unvoiced_length",  # s, mean of the gaps between voiced segments, silence included
    "peaks_per_second",  # of loudness
    "equivalent_level",  # dB of the mean power
    "top_level",  # dB, 95 % of frames are below
)
FUNCTIONALS = (
    *(f"{d}_{g}_{s}" for g, names in _GROUPS.items() for d in names for s in _STATISTICS),
    *(f"{d}_change_{g}_{s}" for g, names in _CHANGES.items() for d in names for s in _STATISTICS),
    *_SCALARS,
)


class _Frames(NamedTuple):
    """Which frames are what, bool [B, T]."""

    active: jax.Array
    voiced: jax.Array
    unvoiced: jax.Array


@jax.jit
def utterance_functionals(waveform: jax.Array, num_samples: jax.Array) -> jax.Array:
    """Computes the functionals of a batch of utterances.

    Args:
      waveform: [B, N] in [-1, 1] at 16 kHz.
      num_samples: int [B], real samples of each row.

    Returns:
      float32 [B, F], always finite, in the order of `FUNCTIONALS`.
    """
    return on_own_rows(lambda rows: functionals(describe(*rows)), (waveform, num_samples))


def functionals(descriptors: Descriptors) -> jax.Array:
    """Sums descriptors up over the utterance.

    Args:
      descriptors: of a batch.

    Returns:
      float32 [B, F] in the order of `FUNCTIONALS`; statistics over fewer than two frames are 0.
    """
    values, voiced, valid = descriptors
    level = values[..., NAMES.index("level")]
    top = masked_statistics(level[..., None], valid[..., None], percentiles=(95,))[:, 0, 2]
    active = valid & (level > top[:, None] - _ACTIVE_DB)
    frames = _Frames(active, active & voiced, active & ~voiced)
    columns, chosen = [], []
    for group, names in _GROUPS.items():
        columns.append(_columns(values, names))
        chosen.append(_repeated(getattr(frames, group), names))
    for group, names in _CHANGES.items():
        inside = getattr(frames, group)
        change = jnp.abs(jnp.diff(_columns(values, names), axis=1))
        columns.append(jnp.pad(change, ((0, 0), (1, 0), (0, 0))))
        both = jnp.pad(inside[:, 1:] & inside[:, :-1], ((0, 0), (1, 0)))
        chosen.append(_repeated(both, names))
    # All at once: one sort takes a sixth of the time to compile that six do.
    statistics = masked_statistics(jnp.concatenate(columns, -1), jnp.concatenate(chosen, -1))
    scalars = _scalars(values, frames, valid)
    flat = statistics.reshape(len(values), -1)
    return jnp.concatenate([flat, scalars, top[:, None]], axis=-1)


def masked_statistics(
    values: jax.Array, where: jax.Array, *, percentiles: tuple[int, ...] = (20, 50, 80)
) -> jax.Array:
    """Gives mean, deviation and percentiles over chosen frames.

    Args:
      values: [B, T, D].
      where: bool [B, T, D], or [B, T, 1] for all columns.
      percentiles: 0..100, with linear interpolation.

    Returns:
      float32 [B, D, 2 + len(percentiles)]; 0 where fewer than two frames are chosen.
    """
    chosen = jnp.broadcast_to(where, values.shape)
    count = chosen.sum(1)
    safe = jnp.maximum(count, 1)
    mean = jnp.where(chosen, values, 0.0).sum(1) / safe
    spread = jnp.square(jnp.where(chosen, values - mean[:, None], 0.0)).sum(1) / safe
    ranked = jnp.sort(jnp.where(chosen, values, jnp.inf), axis=1)
    found = [mean, jnp.sqrt(spread)]
    for percentile in percentiles:
        at = percentile / 100 * (safe - 1)
        low = jnp.floor(at).astype(jnp.int32)
        high = jnp.minimum(low + 1, safe - 1)
        below, above = (jnp.take_along_axis(ranked, i[:, None], 1)[:, 0] for i in (low, high))
        found.append(below + (above - below) * (at - low))
    # Where nothing is chosen the smallest is infinite.
    return jnp.where(count[..., None] >= 2, jnp.stack(found, axis=-1), 0.0)


def _columns(values: jax.Array, names: tuple[str, ...]) -> jax.Array:
    return values[..., np.array([NAMES.index(name) for name in names])]


def _repeated(where: jax.Array, names: tuple[str, ...]) -> jax.Array:
    """Gives [B, T] for each name, [B, T, D]."""
    return jnp.broadcast_to(where[..., None], (*where.shape, len(names)))


def _scalars(values: jax.Array, frames: _Frames, valid: jax.Array) -> jax.Array:
    """Gives [B, 8]: `_SCALARS` but the last."""
    number = functools.partial(jnp.sum, axis=1, dtype=jnp.float32)
    active = number(frames.active)
    place = jnp.arange(valid.shape[1])
    first = jnp.where(frames.active, place, valid.shape[1]).min(1)
    last = jnp.where(frames.active, place, -1).max(1)
    inside = jnp.maximum(last - first + 1, 0).astype(jnp.float32)
    seconds = jnp.maximum(inside, 1) / FRAME_RATE
    voiced = number(frames.voiced)
    before = jnp.pad(frames.voiced, ((0, 0), (1, 0)))[:, :-1]
    segments = number(frames.voiced & ~before)
    loudness = values[..., NAMES.index("loudness")]
    middle, left, right = loudness[:, 1:-1], loudness[:, :-2], loudness[:, 2:]
    high = middle > _PEAK_SHARE * loudness.max(1, keepdims=True)
    peaks = number((middle > left) & (middle >= right) & high & valid[:, 2:])
    power = jnp.where(valid, 10 ** (values[..., NAMES.index("level")] / 10), 0.0)
    mean_power = number(power) / jnp.maximum(number(valid), 1)
    scalars = (
        inside / FRAME_RATE,
        active / jnp.maximum(number(valid), 1),
        voiced / jnp.maximum(active, 1),
        segments / seconds,
        voiced / jnp.maximum(segments, 1) / FRAME_RATE,
        (inside - voiced) / jnp.maximum(segments, 1) / FRAME_RATE,
        peaks / seconds,
        10 * jnp.log10(jnp.maximum(mean_power, 1e-10)),
    )
    return jnp.stack(scalars, axis=-1)
