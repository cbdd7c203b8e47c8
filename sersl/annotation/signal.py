"""Intensity from the signal: how loud and how voiced speech is at each frame, nothing learned.

Intensity of an acted or spontaneous emotion shows in vocal effort, and effort in level (Banse and
Scherer 1996, "Acoustic profiles in vocal emotion expression"; Juslin and Laukka 2001 for intensity
within an emotion). Level is taken between 300 and 3400 Hz: the first formants and little hum,
handling noise and codec damage. Scales are absolute, in dB of full scale, so that a loud rendition
is more intense than a soft one of the same words.

Limits: it follows the distance and gain of the microphone, and misses whispered anger. See
docs/benchmarks/intensity.md for how well it ranks renditions of RAVDESS; bands of 500-2000 and
500-4000 Hz gave the same within 0.01.
"""

import numpy as np

from sersl.audio.prosody import Track, band_energy, pitch

SIGNAL_VERSION = 1  # of the algorithm; a change here makes new sidecars necessary
LOW_HZ, HIGH_HZ = 300.0, 3400.0  # the telephone band
# dB of mean square at intensity 0 and 1. They hold the speech of RAVDESS (95 % of frames below
# -28 dB) and of LibriSpeech (99 % below -15 dB), quiet and loud recordings.
SILENT_DB, LOUD_DB = -60.0, -15.0
NOISE_QUANTILE = 0.1  # of the frames' power: the noise that is subtracted
MAX_NOISE_DB = -40.0  # subtracted at most: without pauses the quantile is speech
VOICING_SHARE = 0.5  # an unvoiced frame counts half of a voiced one of the same level


def signal_intensity(waveform: np.ndarray, *, track: Track | None = None) -> np.ndarray:
    """Measures how intense speech is at each frame.

    Level in the band above the utterance's noise floor (power subtraction), mapped linearly from
    dB to 0..1, times 1/2 + voicing / 2.

    Args:
      waveform: [N] float32 at 16 kHz, an utterance (the noise floor is taken from all of it).
      track: of `audio.prosody.pitch`, which takes most of the time, if known.

    Returns:
      [T] float32 in 0..1, T = num_frames(N).
    """
    level = band_energy(waveform, LOW_HZ, HIGH_HZ)
    if not len(level):
        return np.zeros(0, np.float32)
    power = 10 ** (level / 10)
    noise = min(np.quantile(power, NOISE_QUANTILE), 10 ** (MAX_NOISE_DB / 10))
    clean = 10 * np.log10(np.maximum(power - noise, 1e-10))
    loudness = np.clip((clean - SILENT_DB) / (LOUD_DB - SILENT_DB), 0.0, 1.0)
    _, voicing = pitch(waveform) if track is None else track
    return (loudness * (1 - VOICING_SHARE + VOICING_SHARE * voicing)).astype(np.float32)
