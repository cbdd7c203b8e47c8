"""Fundamental frequency and voicing of a batch on the device: `audio.prosody.pitch` in jnp.

The same method with the same constants (Boersma 1993; see there for what differs), for many
utterances at once, padded to one length.
"""

import jax
import jax.numpy as jnp
import numpy as np

from sersl.audio.prosody import (
    MAX_F0,
    MIN_F0,
    NUM_CANDIDATES,
    OCTAVE_COST,
    OCTAVE_JUMP_COST,
    PITCH_FFT,
    PITCH_GAIN,
    PITCH_WINDOW,
    SILENCE_RMS,
    VOICING_COST,
    VOICING_THRESHOLD,
    hann,
)
from sersl.core.lengths import HOP, SAMPLE_RATE, WINDOW
from sersl.core.lengths import num_frames as frames_of

_SHORTEST, _LONGEST = int(SAMPLE_RATE / MAX_F0), int(SAMPLE_RATE / MIN_F0) + 1  # lags, samples
_BEFORE = (PITCH_WINDOW - WINDOW) // 2  # samples by which the window starts before the frame's


def track_pitch(waveform: jax.Array, valid: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Tracks the fundamental frequency of a batch.

    Args:
      waveform: [B, N] in [-1, 1] at 16 kHz, zero where it is padding.
      valid: bool [B, T], the real frames, true ones first; T = num_frames(N).

    Returns:
      f0: float32 [B, T] in Hz, 0 where unvoiced or padding.
      voicing: float32 [B, T], 0..1: height of the autocorrelation's peak at f0, or of the best one
        where unvoiced.
    """
    lags, heights = _candidates(pitch_frames(waveform))
    chosen = _cheapest_path(lags, heights, valid)
    voiced = (chosen < NUM_CANDIDATES) & valid
    at = jnp.minimum(chosen, NUM_CANDIDATES - 1)[..., None]
    lag = jnp.take_along_axis(lags, at, -1)[..., 0]
    height = jnp.where(voiced, jnp.take_along_axis(heights, at, -1)[..., 0], heights.max(-1))
    f0 = jnp.where(voiced, SAMPLE_RATE / lag, 0.0)
    return f0, jnp.where(valid, jnp.clip(height, 0.0, 1.0), 0.0)


def pitch_frames(waveform: jax.Array) -> jax.Array:
    """Cuts a batch into windows of 40 ms around the centres of the frames.

    Args:
      waveform: [B, N].

    Returns:
      [B, T, 640]; zeros before and after the waveform.
    """
    count = frames_of(waveform.shape[1])
    padded = jnp.pad(waveform, ((0, 0), (_BEFORE, PITCH_WINDOW)))[:, : (count + 1) * HOP]
    blocks = padded.reshape(waveform.shape[0], count + 1, HOP)
    return jnp.concatenate([blocks[:, :-1], blocks[:, 1:]], axis=-1)


def _candidates(frames: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Finds the peaks of the normalised autocorrelation of [B, T, 640].

    Returns lags [B, T, 6] in samples and heights [B, T, 6], -inf if there is no further peak.
    """
    window = hann(PITCH_WINDOW)
    windowed = (frames - frames.mean(-1, keepdims=True)) * window
    spectrum = jnp.fft.rfft(windowed, PITCH_FFT)
    power = (jnp.square(spectrum.real) + jnp.square(spectrum.imag)) * PITCH_GAIN
    correlation = jnp.fft.irfft(power, PITCH_FFT)[..., : _LONGEST + 2]
    shape = np.fft.irfft(np.abs(np.fft.rfft(window, PITCH_FFT)) ** 2, PITCH_FFT)[: _LONGEST + 2]
    floor = SILENCE_RMS**2 * shape[0]
    bias = (shape / shape[0]).astype(np.float32)
    normal = correlation / (bias * (correlation[..., :1] + floor))
    left, middle, right = (normal[..., _SHORTEST + i : _LONGEST + 1 + i] for i in (-1, 0, 1))
    lags = np.arange(_SHORTEST, _LONGEST + 1, dtype=np.float32)
    peak = (middle > left) & (middle >= right) & (middle > 0)
    score = jnp.where(peak, middle + OCTAVE_COST * np.log2(lags[0] / lags), -jnp.inf)
    best = _largest(score)
    a, b, c, is_peak = (jnp.take_along_axis(x, best, -1) for x in (left, middle, right, peak))
    bend = jnp.where(is_peak, a - 2 * b + c, -1.0)
    offset = jnp.where(is_peak, 0.5 * (a - c) / bend, 0.0)
    height = jnp.where(is_peak, b - 0.25 * (a - c) * offset, -jnp.inf)
    return jnp.asarray(lags)[best] + offset, height


def _largest(score: jax.Array) -> jax.Array:
    """Finds the six largest of [B, T, lags], int32 [B, T, 6]; six passes beat a sort on CPU."""
    found = []
    places = jnp.arange(score.shape[-1])
    for _ in range(NUM_CANDIDATES):
        at = score.argmax(-1)
        found.append(at)
        score = jnp.where(places == at[..., None], -jnp.inf, score)
    return jnp.stack(found, axis=-1)


def _cheapest_path(lags: jax.Array, heights: jax.Array, valid: jax.Array) -> jax.Array:
    """Chooses one candidate per frame, or 6 for "unvoiced": few jumps, tall peaks (Viterbi).

    Padding neither gains nor costs, so that it changes nothing before it. All of [B, T, ...].
    """
    K = NUM_CANDIDATES
    octaves = jnp.log2(SAMPLE_RATE / lags / MIN_F0)
    gain = heights - OCTAVE_COST * (np.log2(MAX_F0 / MIN_F0) - octaves)
    unvoiced = jnp.full((*gain.shape[:-1], 1), VOICING_THRESHOLD, gain.dtype)
    gain = jnp.concatenate([gain, unvoiced], axis=-1)
    switch = np.full((K + 1, K + 1), VOICING_COST, np.float32)
    switch[K, K] = 0.0
    stay = np.where(np.eye(K + 1, dtype=bool), np.float32(0), -np.inf)

    def forward(state, frame):
        total, before = state
        now, gains, real = frame
        jump = OCTAVE_JUMP_COST * jnp.abs(before[:, :, None] - now[:, None, :])
        cost = jnp.broadcast_to(switch, (len(total), K + 1, K + 1)).at[:, :K, :K].set(jump)
        reached = total[:, :, None] + jnp.where(real[:, None, None], -cost, stay)
        best = reached.argmax(1)
        total = reached.max(1) + jnp.where(real[:, None], gains, 0.0)
        return (total, jnp.where(real[:, None], now, before)), best

    frames = [jnp.swapaxes(x, 0, 1) for x in (octaves, gain, valid)]
    first = (frames[1][0], frames[0][0])
    (total, _), came_from = jax.lax.scan(forward, first, [x[1:] for x in frames])

    def backward(state, best):
        before = jnp.take_along_axis(best, state[:, None], 1)[:, 0]
        return before, before

    last = total.argmax(-1)
    _, path = jax.lax.scan(backward, last, came_from, reverse=True)
    return jnp.concatenate([path, last[None]], axis=0).swapaxes(0, 1)
