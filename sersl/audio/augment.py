"""Random distortions of a waveform; NumPy only, for the workers of the loader."""

from collections.abc import Callable, Mapping
from types import MappingProxyType

import numpy as np
import scipy.fft

from sersl.audio.surroundings import (
    NOISE_EXPONENTS,
    add_noise,
    coloured_noise,
    made_up_room,
    recorded_room,
    reverberate,
)
from sersl.audio.warp import change_speed, shift_pitch, warp_vocal_tract
from sersl.config.schema import DistortionConfig
from sersl.core.errors import UserError, unknown_name
from sersl.core.lengths import HOP, SAMPLE_RATE

ANY_COLOUR = "any"
# Draws a recording: this number of its samples, or (None) all of them.
Recording = Callable[[np.random.Generator, int | None], np.ndarray]
_EDGE_HZ = 100.0  # width of a band's soft edges: steep ones would ring


def check_distortion(config: DistortionConfig, *, keep_time: bool) -> None:
    """Checks the settings of distortions.

    Args:
      config: the settings.
      keep_time: whether the targets belong to frames, so that frames must keep their time.

    Raises:
      UserError: a lower bound above its upper bound, an unknown colour, recordings with
        probability 0, or a change of time with `keep_time`.
    """
    if config.noise_colour not in (*NOISE_EXPONENTS, ANY_COLOUR):
        raise unknown_name(
            "distortion.noise_colour", config.noise_colour, (*NOISE_EXPONENTS, ANY_COLOUR)
        )
    for low, high in _BOUNDS:
        if getattr(config, low) > getattr(config, high):
            raise UserError(
                f"distortion.{low}={getattr(config, low):g} is above "
                f"distortion.{high}={getattr(config, high):g}: swap them"
            )
    for name in RECORDED:
        if getattr(config, f"{name}_corpora") and not getattr(config, f"{name}_probability"):
            raise UserError(
                f"distortion.{name}_corpora is given, but distortion.{name}_probability is 0: "
                "set the probability, or leave the corpora out"
            )
    moving = [name for name in MOVING if keep_time and getattr(config, f"{name}_probability")]
    if moving:
        raise UserError(
            f"distortion.{moving[0]}_probability moves sounds in time, but pretraining compares "
            "frames with targets of the undistorted waveform: set it to 0, or use it in fine-tuning"
        )


def distort(
    waveform: np.ndarray,
    config: DistortionConfig,
    generator: np.random.Generator,
    *,
    recordings: Mapping[str, Recording] = MappingProxyType({}),
) -> np.ndarray:
    """Applies each distortion with its probability, in the order of DISTORTIONS.

    The draws of one distortion do not depend on whether another is on.

    Args:
      waveform: [N] float32 at 16 kHz; it is not changed.
      config: their settings and probabilities.
      generator: of this utterance in this step, see `sersl.core.seeds`.
      recordings: sources of "noise" and "reverb" (responses of rooms); others are synthetic.

    Returns:
      [N'] float32; N' = N unless the speed was changed.
    """
    if not len(waveform):
        return waveform
    streams = generator.spawn(len(DISTORTIONS))
    for (name, change), stream in zip(DISTORTIONS.items(), streams, strict=True):
        if stream.random() < getattr(config, f"{name}_probability"):
            given = (recordings[name],) if name in recordings else ()
            waveform = change(waveform, config, stream, *given).astype(np.float32)
    return waveform


def is_on(config: DistortionConfig) -> bool:
    """Whether any distortion that the loader makes has a probability above 0."""
    return any(getattr(config, f"{name}_probability") for name in DISTORTIONS)


def drop_band(waveform: np.ndarray, low_hz: float, high_hz: float) -> np.ndarray:
    """Removes a band of frequencies, with soft edges of 100 Hz outside of it.

    Args:
      waveform: [N] at 16 kHz.
      low_hz: lower edge.
      high_hz: upper edge; 8000 or more removes everything above the lower.

    Returns:
      [N].
    """
    size = scipy.fft.next_fast_len(len(waveform), real=True)
    hz = np.fft.rfftfreq(size, 1 / SAMPLE_RATE)
    distance = np.maximum(low_hz - hz, hz - high_hz)  # of a frequency to the band
    gain = np.clip(distance / _EDGE_HZ, 0.0, 1.0)
    return scipy.fft.irfft(scipy.fft.rfft(waveform, size) * gain, size)[: len(waveform)]


def clip(waveform: np.ndarray, share: float) -> np.ndarray:
    """Clips the peaks, as an overloaded microphone does.

    Args:
      waveform: [N].
      share: of the highest peak, 0..1, at which to clip.

    Returns:
      [N].
    """
    limit = share * np.abs(waveform).max(initial=0.0)
    return np.clip(waveform, -limit, limit)


def chop(
    waveform: np.ndarray, *, pieces: int, seconds: float, generator: np.random.Generator
) -> np.ndarray:
    """Silences short pieces, as lost packets do.

    Args:
      waveform: [N] at 16 kHz.
      pieces: how many; they may overlap.
      seconds: mean length of one; the deviation is half of it.
      generator: of positions and lengths.

    Returns:
      [N].

    Source: PASE+ (2001.09239), sec. 3.1.
    """
    waveform = waveform.copy()
    for _ in range(pieces):
        length = int(max(generator.normal(seconds, seconds / 2), 0.0) * SAMPLE_RATE)
        start = generator.integers(max(len(waveform) - length, 0) + 1)
        waveform[start : start + length] = 0.0
    return waveform


def shuffle(waveform: np.ndarray, *, pieces: int, generator: np.random.Generator) -> np.ndarray:
    """Cuts a waveform into pieces of random length and reorders them.

    Args:
      waveform: [N].
      pieces: how many; cuts are at multiples of 320 samples.
      generator: of cuts and order.

    Returns:
      [N], the same samples.

    Source: the segment permutation of ShuffleAugment; the length of pieces is ours.
    """
    places = np.arange(1, len(waveform) // HOP)
    num_cuts = min(pieces - 1, len(places))
    cuts = np.sort(generator.choice(places, num_cuts, replace=False)) * HOP
    parts = np.split(waveform, cuts)
    order = generator.permutation(len(parts))
    if (np.diff(order) > 0).all():
        order = order[::-1]
    return np.concatenate([parts[i] for i in order])


def _uniform(generator, low, high):
    return low + (high - low) * generator.random()


def _speed(waveform, config, generator):
    return change_speed(waveform, 1 + _uniform(generator, -1, 1) * config.speed_range)


def _pitch(waveform, config, generator):
    return shift_pitch(waveform, _uniform(generator, -1, 1) * config.pitch_semitones)


def _vtlp(waveform, config, generator):
    return warp_vocal_tract(waveform, 1 + _uniform(generator, -1, 1) * config.vtlp_range)


def _shuffle(waveform, config, generator):
    return shuffle(waveform, pieces=config.shuffle_pieces, generator=generator)


def _reverb(waveform, config, generator, recording=None):
    if recording is not None:
        return reverberate(waveform, recorded_room(recording(generator, None)))
    seconds = _uniform(generator, config.reverb_min_seconds, config.reverb_max_seconds)
    response = made_up_room(seconds, direct_db=config.reverb_direct_db, generator=generator)
    return reverberate(waveform, response)


def _noise(waveform, config, generator, recording=None):
    colour = config.noise_colour
    if recording is None and colour == ANY_COLOUR:
        colour = generator.choice(list(NOISE_EXPONENTS))
    snr_db = _uniform(generator, config.noise_min_snr_db, config.noise_max_snr_db)
    if recording is None:
        noise = coloured_noise(len(waveform), NOISE_EXPONENTS[colour], generator)
    else:
        noise = recording(generator, len(waveform))
    return add_noise(waveform, noise, snr_db=snr_db)


def _band_drop(waveform, config, generator):
    width = _uniform(generator, 0.0, config.band_drop_hz)
    low = _uniform(generator, 0.0, SAMPLE_RATE / 2 - width)
    return drop_band(waveform, low, low + width)


def _downsample(waveform, config, generator):
    return drop_band(waveform, config.downsample_hz / 2, SAMPLE_RATE)


def _clip(waveform, config, generator):
    return clip(waveform, _uniform(generator, config.clip_min, config.clip_max))


def _chop(waveform, config, generator):
    return chop(
        waveform, pieces=config.chop_pieces, seconds=config.chop_seconds, generator=generator
    )


def _gain(waveform, config, generator):
    return waveform * 10 ** (_uniform(generator, -config.gain_db, config.gain_db) / 20)


# In the order of a recording: the voice, the room, its noise, the microphone, the line.
DISTORTIONS = {
    "speed": _speed,
    "pitch": _pitch,
    "vtlp": _vtlp,
    "shuffle": _shuffle,
    "reverb": _reverb,
    "noise": _noise,
    "band_drop": _band_drop,
    "downsample": _downsample,
    "clip": _clip,
    "chop": _chop,
    "gain": _gain,
}
RECORDED = ("noise", "reverb")  # synthetic, or from recordings
MOVING = ("speed", "shuffle")  # change the time of frames
_BOUNDS = (
    ("reverb_min_seconds", "reverb_max_seconds"),
    ("noise_min_snr_db", "noise_max_snr_db"),
    ("clip_min", "clip_max"),
)
