"""Named recording conditions that a model is tested under: noise, rooms, telephone and codecs."""

import io
from collections.abc import Callable, Collection
from dataclasses import dataclass

import numpy as np
import scipy.signal
import soundfile

from sersl.audio.resample import resample
from sersl.audio.surroundings import (
    NOISE_EXPONENTS,
    add_noise,
    coloured_noise,
    made_up_room,
    reverberate,
)
from sersl.core.errors import UserError, unknown_name
from sersl.core.lengths import SAMPLE_RATE

# Draws [N] samples of noise at any level.
Noise = Callable[[np.random.Generator, int], np.ndarray]

SNRS_DB = (20, 15, 10, 5, 0, -5)
ROOMS_SECONDS = (0.3, 0.6, 1.0)  # reverberation times T60
BABBLE, RECORDED = "babble", "recorded"  # noise that comes from recordings
NOISES = ("white", "pink", BABBLE, RECORDED)
_TELEPHONE_RATE = 8_000
_TELEPHONE_HZ = (300.0, 3400.0)  # ITU-T G.712
_ROOM_DIRECT_DB = 0.0  # as much power in the direct sound as in the reverberation
# (format, subtype, rate) of what libsndfile writes.
_CODECS = {
    "mu_law": ("WAV", "ULAW", _TELEPHONE_RATE),
    "gsm": ("WAV", "GSM610", _TELEPHONE_RATE),
    "mp3": ("MP3", "MPEG_LAYER_III", SAMPLE_RATE),
    "vorbis": ("OGG", "VORBIS", SAMPLE_RATE),
    "opus": ("OGG", "OPUS", SAMPLE_RATE),
}
# Compression level and mode of about 20 and 10 kbit/s, of about 30 that libsndfile chooses. MP3 of
# a constant rate would delay the sound, because it does not note the delay of the encoder.
_LOW: dict[str, tuple[float, str | None]] = {"mp3": (0.99, "VARIABLE"), "opus": (0.99, None)}


@dataclass(frozen=True, kw_only=True)
class Condition:
    """One way to change recordings.

    Attributes:
      name: e.g. "white_-5dB"; also the name of a file.
      group: "clean", "noise", "room" or "line".
      kind: of noise or of line; "" otherwise.
      level: SNR in dB, or T60 in seconds; 0 otherwise.
      low: whether a codec has a low bit rate instead of the one that libsndfile chooses.
    """

    name: str
    group: str
    kind: str = ""
    level: float = 0.0
    low: bool = False


def _all() -> dict[str, Condition]:
    found = [Condition(name="clean", group="clean")]
    found += [
        Condition(name=f"{kind}_{snr}dB", group="noise", kind=kind, level=float(snr))
        for kind in NOISES
        for snr in SNRS_DB
    ]
    found += [
        Condition(name=f"room_{seconds:g}s", group="room", level=seconds)
        for seconds in ROOMS_SECONDS
    ]
    found.append(Condition(name="telephone", group="line", kind="telephone"))
    found += [Condition(name=kind, group="line", kind=kind) for kind in _CODECS]
    found += [Condition(name=f"{kind}_low", group="line", kind=kind, low=True) for kind in _LOW]
    return {one.name: one for one in found}


CONDITIONS = _all()


def chosen_conditions(names: Collection[str]) -> list[Condition]:
    """Finds conditions by name; "clean" always comes first.

    Args:
      names: keys of CONDITIONS, or the part before "_" of several, e.g. "white"; none: all.

    Raises:
      UserError: an unknown name.
    """
    starts = {name.split("_", 1)[0] for name in CONDITIONS} - {"mu"}
    for name in names:
        if name not in CONDITIONS and name not in starts:
            raise unknown_name("--conditions", name, sorted({*CONDITIONS, *starts}))
    wanted = set(names)
    return [
        one
        for one in CONDITIONS.values()
        if not wanted or one.group == "clean" or {one.name, one.name.split("_", 1)[0]} & wanted
    ]


def apply_condition(
    condition: Condition,
    waveform: np.ndarray,
    generator: np.random.Generator,
    *,
    noise: Noise | None = None,
) -> np.ndarray:
    """Changes a recording.

    Args:
      condition: to apply.
      waveform: float32 [N] at 16 kHz; it is not changed.
      generator: of noise and room.
      noise: for "babble" and "recorded".

    Returns:
      float32 [N] at 16 kHz.

    Raises:
      UserError: a codec cannot write the recording.
    """
    match condition.group:
        case "clean":
            found = waveform
        case "noise":
            make = noise or _coloured(condition.kind)
            found = add_noise(waveform, make(generator, len(waveform)), snr_db=condition.level)
        case "room":
            response = made_up_room(condition.level, direct_db=_ROOM_DIRECT_DB, generator=generator)
            found = reverberate(waveform, response)
        case "line":
            found = through_line(waveform, condition.kind, low=condition.low)
        case _:
            raise ValueError(condition.group)
    return found.astype(np.float32)


def _coloured(kind: str) -> Noise:
    if kind not in NOISE_EXPONENTS:
        raise ValueError(f"{kind} noise needs recordings")
    return lambda generator, length: coloured_noise(length, NOISE_EXPONENTS[kind], generator)


def through_line(waveform: np.ndarray, kind: str, *, low: bool = False) -> np.ndarray:
    """Sends a recording through a telephone band or a codec of libsndfile.

    What is louder than full scale is turned down for the codec, and up again after it.

    Args:
      waveform: [N] at 16 kHz.
      kind: "telephone" (300 to 3400 Hz at 8 kHz, without a codec); "mu_law" or "gsm" (the same
        band, then G.711 or GSM 06.10), "mp3", "vorbis", "opus".
      low: about 20 kbit/s for mp3, 10 for opus, instead of what libsndfile chooses.

    Returns:
      float64 [N] at 16 kHz.

    Raises:
      UserError: libsndfile cannot write it.
    """
    if not len(waveform):
        return waveform
    samples = np.asarray(waveform, np.float64)
    codec = _CODECS.get(kind)
    if codec is None or codec[2] == _TELEPHONE_RATE:
        samples = telephone_band(samples)
    if codec is not None:
        scale = max(float(np.abs(samples).max()), 1.0)
        samples = scale * _encoded(samples / scale, kind, low=low)
    if codec is None or codec[2] == _TELEPHONE_RATE:
        samples = resample(samples.astype(np.float32), _TELEPHONE_RATE).astype(np.float64)
    return _of_length(samples, len(waveform))


def telephone_band(waveform: np.ndarray) -> np.ndarray:
    """Keeps 300 to 3400 Hz (Butterworth, order 8, zero phase): [N] at 16 kHz to [M] at 8 kHz."""
    sections = scipy.signal.butter(4, _TELEPHONE_HZ, "bandpass", fs=SAMPLE_RATE, output="sos")
    size = min(3 * 27, len(waveform) - 1)
    narrow = scipy.signal.sosfiltfilt(sections, waveform, padlen=size)
    return resample(narrow.astype(np.float32), SAMPLE_RATE, _TELEPHONE_RATE).astype(np.float64)


def _encoded(samples: np.ndarray, kind: str, *, low: bool) -> np.ndarray:
    """Encodes and decodes [N] in -1..1."""
    container, subtype, rate = _CODECS[kind]
    level, mode = _LOW[kind] if low else (None, None)
    buffer = io.BytesIO()
    try:
        soundfile.write(
            buffer,
            samples,
            rate,
            subtype=subtype,
            format=container,
            compression_level=level,
            bitrate_mode=mode,
        )
        buffer.seek(0)
        decoded, found_rate = soundfile.read(buffer, dtype="float32")
    except (soundfile.SoundFileError, ValueError, TypeError) as error:
        raise UserError(
            f"libsndfile cannot write {kind} ({error}): install soundfile 0.13 or newer, or leave "
            "the condition out with --conditions"
        ) from error
    if found_rate != rate:  # an encoder may choose a lower one for a low bit rate
        decoded = resample(decoded, found_rate, rate)
    return _of_length(decoded.astype(np.float64), len(samples))


def _of_length(samples: np.ndarray, length: int) -> np.ndarray:
    """Cuts what a codec added at the end, or fills up with zeros."""
    return np.pad(samples[:length], (0, max(length - len(samples), 0)))
