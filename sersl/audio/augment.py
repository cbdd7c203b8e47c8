"""Distortions of a waveform, each drawn by chance; NumPy only, for the workers of the loader."""

import numpy as np
import scipy.fft

from sersl.audio.warp import change_speed, shift_pitch, warp_vocal_tract
from sersl.config.schema import DistortionConfig
from sersl.core.errors import UserError, unknown_name
from sersl.core.lengths import HOP, SAMPLE_RATE

# Power falls as 1 / f^exponent.
NOISE_EXPONENTS = {"white": 0.0, "pink": 1.0, "brown": 2.0}
ANY_COLOUR = "any"
_EDGE_HZ = 100.0  # width of a band's soft edges: a brick wall would ring
_GAP_SECONDS = 0.0025  # between the direct sound and the first reverberation
_FLOOR = 1e-5  # RMS = -100 dB of full scale: below is silence, which has no SNR


def check_distortion(config: DistortionConfig, *, keep_time: bool) -> None:
    """Refuses settings of distortions that make no sense.

    Args:
      config: the settings.
      keep_time: whether frame t must still be about the same moment after it.

    Raises:
      UserError: bounds that are the wrong way round, an unknown colour, or a change of time where
        targets belong to frames.
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
    moving = [name for name in MOVING if keep_time and getattr(config, f"{name}_probability")]
    if moving:
        raise UserError(
            f"distortion.{moving[0]}_probability moves sounds in time, but pretraining compares "
            "frames with targets of the undistorted waveform: set it to 0, or use it in fine-tuning"
        )


def distort(
    waveform: np.ndarray, config: DistortionConfig, generator: np.random.Generator
) -> np.ndarray:
    """Applies each distortion with its probability, in the order of DISTORTIONS.

    The draws of one distortion do not depend on whether another is switched on.

    Args:
      waveform: [N] float32 at 16 kHz; it is not changed.
      config: what and how likely.
      generator: of this utterance in this step, see `sersl.core.seeds`.

    Returns:
      [N'] float32; N' = N unless the speed was changed.
    """
    if not len(waveform):
        return waveform
    streams = generator.spawn(len(DISTORTIONS))
    for (name, change), stream in zip(DISTORTIONS.items(), streams, strict=True):
        if stream.random() < getattr(config, f"{name}_probability"):
            waveform = change(waveform, config, stream).astype(np.float32)
    return waveform


def is_on(config: DistortionConfig) -> bool:
    """Tells whether any distortion that the loader makes has a probability."""
    return any(getattr(config, f"{name}_probability") for name in DISTORTIONS)


def add_noise(
    waveform: np.ndarray, *, snr_db: float, colour: str, generator: np.random.Generator
) -> np.ndarray:
    """Adds noise at a signal-to-noise ratio over the whole waveform.

    Args:
      waveform: [N].
      snr_db: 10 log10 of signal power over noise power.
      colour: a key of NOISE_EXPONENTS.
      generator: of the noise.

    Returns:
      [N]; unchanged where the signal is silence.
    """
    level = _rms(waveform)
    if level < _FLOOR:
        return waveform
    noise = coloured_noise(len(waveform), NOISE_EXPONENTS[colour], generator)
    return waveform + noise * (level / _rms(noise) * 10 ** (-snr_db / 20))


def coloured_noise(num_samples: int, exponent: float, generator: np.random.Generator) -> np.ndarray:
    """Makes noise whose power falls with frequency.

    Args:
      num_samples: N.
      exponent: power goes as 1 / f^exponent above 20 Hz, and is constant below.
      generator: of the noise.

    Returns:
      [N] float64, deviation about 1.
    """
    size = scipy.fft.next_fast_len(num_samples, real=True)
    spectrum = scipy.fft.rfft(generator.standard_normal(size))
    hz = np.maximum(np.fft.rfftfreq(size, 1 / SAMPLE_RATE), 20.0)
    noise = scipy.fft.irfft(spectrum * hz ** (-exponent / 2), size)[:num_samples]
    return noise / max(noise.std(), 1e-12)


def reverberate(
    waveform: np.ndarray,
    *,
    seconds: float,
    direct_db: float,
    generator: np.random.Generator,
) -> np.ndarray:
    """Adds the decaying echoes of a made-up room.

    The room's response is the direct sound and, 2.5 ms later, white noise that decays by 60 dB in
    `seconds`.

    Args:
      waveform: [N].
      seconds: reverberation time T60.
      direct_db: power of the direct sound over that of the reverberation.
      generator: of the room.

    Returns:
      [N], without delay, at the level of the input.

    Source: Polack (1988): late reverberation as exponentially decaying noise.
    """
    time = np.arange(int(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    tail = generator.standard_normal(len(time)) * 10 ** (-3 * time / seconds)
    tail[: int(_GAP_SECONDS * SAMPLE_RATE)] = 0.0
    energy = np.square(tail).sum()
    if energy == 0.0:
        return waveform
    response = tail * (10 ** (-direct_db / 20) / np.sqrt(energy))
    response[0] = 1.0
    size = scipy.fft.next_fast_len(len(waveform) + len(response), real=True)
    spectrum = scipy.fft.rfft(waveform, size) * scipy.fft.rfft(response, size)
    wet = scipy.fft.irfft(spectrum, size)[: len(waveform)]
    return wet * (_rms(waveform) / max(_rms(wet), 1e-12))


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
    """Cuts the peaks off, as an overloaded microphone would.

    Args:
      waveform: [N].
      share: of the highest peak, at which is cut.

    Returns:
      [N].
    """
    limit = share * np.abs(waveform).max(initial=0.0)
    return np.clip(waveform, -limit, limit)


def chop(
    waveform: np.ndarray, *, pieces: int, seconds: float, generator: np.random.Generator
) -> np.ndarray:
    """Silences short pieces, as lost packets would.

    Args:
      waveform: [N] at 16 kHz.
      pieces: how many; they may overlap.
      seconds: mean length of one; the deviation is half of it.
      generator: of places and lengths.

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
    """Cuts a waveform into pieces of random length and puts them in another order.

    Args:
      waveform: [N].
      pieces: how many; cuts lie on multiples of 320 samples.
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


def _reverb(waveform, config, generator):
    seconds = _uniform(generator, config.reverb_min_seconds, config.reverb_max_seconds)
    return reverberate(
        waveform, seconds=seconds, direct_db=config.reverb_direct_db, generator=generator
    )


def _noise(waveform, config, generator):
    colour = config.noise_colour
    if colour == ANY_COLOUR:
        colour = generator.choice(list(NOISE_EXPONENTS))
    snr_db = _uniform(generator, config.noise_min_snr_db, config.noise_max_snr_db)
    return add_noise(waveform, snr_db=snr_db, colour=colour, generator=generator)


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


def _rms(waveform: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.square(waveform, dtype=np.float64)))) if len(waveform) else 0.0


# First the voice, then the room, then the noise in it, then the microphone and the line.
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
MOVING = ("speed", "shuffle")  # after which frame t is another moment
_BOUNDS = (
    ("reverb_min_seconds", "reverb_max_seconds"),
    ("noise_min_snr_db", "noise_max_snr_db"),
    ("clip_min", "clip_max"),
)
