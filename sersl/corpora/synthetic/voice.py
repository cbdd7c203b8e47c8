"""A small source-filter speech synthesiser: from letters and a way of speaking to a waveform.

Glottal pulses with their own open quotient, jitter, shimmer and breath excite a vocal tract of six
formants that glide from sound to sound; fricatives and bursts are shaped noise. It carries the
acoustic cues of emotion and does not sound natural.

Source: Klatt 1980, "Software for a cascade/parallel formant synthesizer", JASA 67(3);
Klatt & Klatt 1990, "Analysis, synthesis, and perception of voice quality variations", JASA 87(2).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.signal import lfilter

from sersl.core.lengths import SAMPLE_RATE

# F1, F2, F3 in Hz of a man's vowels (Peterson & Barney 1952, JASA 24(2), table II).
VOWELS = {
    "a": (730, 1090, 2440),
    "e": (530, 1840, 2480),
    "i": (270, 2290, 3010),
    "o": (570, 840, 2410),
    "u": (300, 870, 2240),
}
_UPPER_FORMANTS = (3500, 4500, 5500)  # Hz, odd multiples of 500 Hz: a 17.5-cm tube (Fant 1960)
_BANDWIDTHS = np.array([70, 100, 150, 220, 300, 400.0])  # Hz (Klatt 1980, table I, widened)
_CENTRAL = np.array([500, 1500, 2500.0])  # Hz, the neutral tube: where lazy vowels drift

# Where the formants start from after a consonant, by place of articulation (Klatt 1980, table III).
_LABIAL, _ALVEOLAR, _VELAR = (300, 900, 2200), (300, 1750, 2600), (300, 2000, 2300)


@dataclass(frozen=True)
class _Consonant:
    locus: tuple[float, float, float] | None  # Hz; None: the vowel's own formants
    voice: float  # voicing while the consonant lasts, relative to a vowel
    breath: float = 0.0  # noise through the vocal tract
    hiss: float = 0.0  # noise above 4 kHz, made at the teeth
    flat: float = 0.0  # weak broad noise, made at the lips
    stop: bool = False  # closed, then released with a burst of `hiss` and `flat`


CONSONANTS = {
    "s": _Consonant(_ALVEOLAR, 0.0, hiss=0.30),
    "z": _Consonant(_ALVEOLAR, 0.35, hiss=0.15),
    "f": _Consonant(_LABIAL, 0.0, flat=0.12),
    "h": _Consonant(None, 0.05, breath=0.5),
    "p": _Consonant(_LABIAL, 0.0, flat=0.3, stop=True),
    "t": _Consonant(_ALVEOLAR, 0.0, hiss=0.4, flat=0.2, stop=True),
    "k": _Consonant(_VELAR, 0.0, hiss=0.05, flat=0.5, stop=True),
    "b": _Consonant(_LABIAL, 0.12, flat=0.15, stop=True),
    "d": _Consonant(_ALVEOLAR, 0.12, hiss=0.15, flat=0.1, stop=True),
    "g": _Consonant(_VELAR, 0.12, flat=0.25, stop=True),
    "m": _Consonant((280, 1000, 2200), 0.35),
    "n": _Consonant((280, 1600, 2500), 0.35),
    "l": _Consonant((360, 1300, 2700), 0.50),
    "w": _Consonant((310, 720, 2200), 0.50),
    "y": _Consonant((280, 2250, 3000), 0.50),
}

_BLOCK = 80  # samples = 5 ms, the frame in which formants are constant (Klatt 1980)
_BURST = 0.012  # s, release burst of a stop (Klatt 1980: 5 to 15 ms)
_SHORTEST, _LONGEST = 0.85, 3.2  # s of speech; with the silence around it 1.0 to 3.5 s


@dataclass(frozen=True, kw_only=True)
class Delivery:
    """Acoustic settings of one utterance."""

    pitch: float  # Hz, mean F0
    range_semitones: float  # height of the pitch accents
    final_semitones: float  # pitch movement on the last syllable; negative falls
    syllables_per_second: float
    pause: float  # s, pause between the two halves of the sentence
    prominence: float  # dB by which a stressed vowel stands out
    open_quotient: float  # share of the period in which the glottis is open, 0..1
    tilt: float  # dB lost at 3 kHz, beyond the glottal pulse itself
    breath: float  # aspiration noise relative to voicing
    jitter: float  # relative deviation of a period's length
    shimmer: float  # relative deviation of a period's amplitude
    attack: float  # s in which a vowel reaches its level
    formant_scale: float  # formants relative to a 17.5-cm vocal tract
    vowel_space: float  # 1: full vowels; less: drifting to the central one


@dataclass(frozen=True)
class _Score:
    """Breakpoints of every control over time, and the times of the pitch accents."""

    points: np.ndarray  # [P, 8]: time, F1, F2, F3, voice, breath, hiss, flat
    accents: np.ndarray  # [A] s, middles of the stressed vowels
    final: float  # s, where the last vowel begins
    duration: float  # s


def speak(words: Sequence[str], delivery: Delivery, rng: np.random.Generator) -> np.ndarray:
    """Synthesises a sentence.

    Args:
      words: made of the letters of VOWELS and CONSONANTS; every word begins with a consonant and
        its first vowel is stressed.
      delivery: acoustic settings.
      rng: for timing, period-to-period irregularity and noise.

    Returns:
      float64 [N], 16 kHz, of arbitrary level, 0.85 to 3.2 s.
    """
    score = _compose(words, delivery, rng)
    num_samples = int(score.duration * SAMPLE_RATE) // _BLOCK * _BLOCK
    time = np.arange(num_samples) / SAMPLE_RATE
    column = score.points.T
    voice, breath, hiss, flat = (np.interp(time, column[0], c) for c in column[4:])
    source = _glottal_source(_pitch_track(score, delivery, time, rng), voice, delivery, rng)
    noise = rng.standard_normal(num_samples)
    source += lfilter([1.0, -0.7], [1.0], noise) * breath * 0.15
    block_time = time[::_BLOCK]
    formants = np.stack([np.interp(block_time, column[0], c) for c in column[1:4]], axis=1)
    speech = _vocal_tract(source, formants, scale=delivery.formant_scale)
    # Two poles and two zeros lift the noise of the teeth above 4 kHz; that of the lips is flat.
    frication = lfilter([1.0, -2.0, 1.0], [1.0, 0.9, 0.5], noise) * hiss * 0.35
    frication += lfilter([1.0, -0.5], [1.0], noise) * flat * 0.5
    # Vocal effort raises frication too: noise follows the spectral tilt.
    return speech + frication * 10 ** (-delivery.tilt / 40)


def _compose(words: Sequence[str], delivery: Delivery, rng: np.random.Generator) -> _Score:
    """Places the sounds of a sentence in time."""
    unit = 1.0 / delivery.syllables_per_second
    points, accents = [], []
    now, final = 0.0, 0.0
    half = (len(words) - 1) // 2
    for number, word in enumerate(words):
        syllables = _syllables(word)
        for position, (onset, vowel, coda) in enumerate(syllables):
            stressed = position == 0
            last = position == len(syllables) - 1
            stretch = 1.2 if stressed else 0.85
            if last and number in (half, len(words) - 1):
                stretch *= 1.35  # lengthening before a boundary (Klatt 1976, JASA 59(5))
            stretch *= rng.uniform(0.88, 1.12)
            level = 10 ** (delivery.prominence * (0.5 if stressed else -0.5) / 20)
            target = _CENTRAL + delivery.vowel_space * (np.array(VOWELS[vowel]) - _CENTRAL)
            consonant = CONSONANTS[onset]
            start = now + 0.38 * unit * stretch
            points += _consonant_points(consonant, now, start, target)
            end = start + 0.62 * unit * stretch
            attack = min(delivery.attack, 0.5 * (end - start))
            hold = end - 0.3 * (end - start)
            points.append((start + attack, *target, level, 0, 0, 0))
            points.append((hold, *target, level * 0.9, 0, 0, 0))
            if stressed:
                accents.append(0.5 * (start + end))
            if last and number == len(words) - 1:
                final = start
            now = end
            if coda:
                now = end + 0.3 * unit * stretch
                points += _consonant_points(CONSONANTS[coda], end, now, target)
        if number == half and len(words) > 1 and delivery.pause > 0:
            points.append((now + 0.02, *target, 0, 0, 0, 0))
            now += delivery.pause
            points.append((now, *target, 0, 0, 0, 0))
    now += 0.05
    points.append((now, *target, 0, 0, 0, 0))
    table = np.array(points)
    stretch = float(np.clip(now, _SHORTEST, _LONGEST)) / now
    table[:, 0] *= stretch
    return _Score(table, np.array(accents) * stretch, final * stretch, now * stretch)


def _syllables(word: str) -> list[tuple[str, str, str]]:
    """Cuts a word into (onset, vowel, coda); a consonant before a vowel is an onset."""
    vowels = [i for i, letter in enumerate(word) if letter in VOWELS]
    ends = [i - 1 for i in vowels[1:]] + [len(word)]
    return [(word[i - 1], word[i], word[i + 1 : e]) for i, e in zip(vowels, ends, strict=True)]


def _consonant_points(c: _Consonant, start: float, end: float, vowel: np.ndarray) -> list[tuple]:
    locus = vowel if c.locus is None else c.locus
    if not c.stop:
        held = (*locus, c.voice, c.breath, c.hiss, c.flat)
        edge = min(0.012, 0.2 * (end - start))
        return [(start + edge, *held), (end - edge, *held)]
    delay = 0.008 if c.voice else 0.03  # s of aspiration before the voice (Lisker & Abramson 1964)
    release = max(end - _BURST - delay, 0.5 * (start + end))
    closed = (*locus, c.voice, 0, 0, 0)
    return [
        (start + 0.008, *closed),
        (release - 0.002, *closed),
        (release, *locus, c.voice, 0.2, c.hiss, c.flat),
        (release + _BURST, *locus, c.voice, 0.0 if c.voice else 0.25, 0, 0),
        (end, *(0.5 * (np.array(locus) + vowel)), c.voice, 0, 0, 0),
    ]


def _pitch_track(
    score: _Score, delivery: Delivery, time: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """Draws F0 in Hz at every sample [N]: declination, accents, a final movement, a slow drift."""
    knots = np.arange(0.0, score.duration + 0.1, 0.02)
    heights = delivery.range_semitones * rng.uniform(0.6, 1.4, len(score.accents))
    # Each later accent is a little lower (declination; Pierrehumbert 1979, JASA 66(2)).
    heights *= np.linspace(1.15, 0.85, len(heights))
    distance = (knots[:, None] - score.accents) / 0.09  # s, half width of an accent
    semitones = (heights * np.exp(-0.5 * distance**2)).sum(axis=1)
    semitones -= 0.35 * delivery.range_semitones * knots / score.duration
    semitones -= semitones.mean()
    ending = np.clip((knots - score.final) / (score.duration - score.final), 0, 1)
    semitones += delivery.final_semitones * ending
    semitones += lfilter([0.3], [1.0, -0.9], rng.standard_normal(len(knots)))
    pitch = np.clip(delivery.pitch * 2 ** (semitones / 12), 60.0, 550.0)  # Hz, human extremes
    return np.interp(time, knots, pitch)


def _glottal_source(
    pitch: np.ndarray, voice: np.ndarray, delivery: Delivery, rng: np.random.Generator
) -> np.ndarray:
    """Makes the derivative of the glottal flow with the breath that leaks through it, [N].

    Source: the pulse x**2 - x**3 of Rosenberg 1971, JASA 49(2), as in KLGLOTT88 (Klatt & Klatt
    1990, eq. 1). Differences of the exact flow, so that the closing edge does not alias.
    """
    periods = int(pitch.sum() / SAMPLE_RATE * 1.3) + 8
    lengths = np.clip(1 + delivery.jitter * rng.standard_normal(periods), 0.7, 1.3)
    heights = np.clip(1 + delivery.shimmer * rng.standard_normal(periods), 0.3, 1.7)
    step = pitch / SAMPLE_RATE
    step = step * lengths[np.cumsum(step).astype(int)]
    phase = np.cumsum(step)
    period = phase.astype(int)
    opening = np.minimum((phase - period) / delivery.open_quotient, 1.0)
    flow = heights[period] * 6.75 * (opening**2 - opening**3)  # peak 1 at two thirds
    pulses = np.diff(flow, prepend=0.0) / step
    noise = rng.standard_normal(len(pitch)) * (0.3 + flow)  # breath comes while open
    return lfilter(*_tilt_filter(delivery.tilt), pulses * voice) + delivery.breath * noise * voice


def _tilt_filter(tilt: float) -> tuple[list[float], list[float]]:
    """Gives the one-pole low-pass that loses `tilt` dB at 3 kHz (Klatt & Klatt 1990, TL)."""
    kept = 10 ** (-tilt / 10)
    inner = 1 - kept * np.cos(2 * np.pi * 3000 / SAMPLE_RATE)
    pole = (inner - np.sqrt(inner**2 - (1 - kept) ** 2)) / (1 - kept)
    return [1 - pole], [1.0, -pole]


def _vocal_tract(source: np.ndarray, formants: np.ndarray, *, scale: float) -> np.ndarray:
    """Filters [N] through six resonances in cascade that change every 5 ms.

    Each block continues from the last twelve output samples, as in linear-prediction synthesis, so
    a change of coefficients makes no click.
    """
    blocks = len(formants)
    upper = np.broadcast_to(_UPPER_FORMANTS, (blocks, 3))
    frequencies = np.concatenate([formants, upper], axis=1) * scale
    radius = np.exp(-np.pi * _BANDWIDTHS * scale / SAMPLE_RATE)
    denominators = np.ones((blocks, 1))
    for k in range(6):
        a1 = -2 * radius[k] * np.cos(2 * np.pi * frequencies[:, k] / SAMPLE_RATE)
        a2 = radius[k] ** 2
        grown = np.zeros((blocks, denominators.shape[1] + 2))
        grown[:, :-2] += denominators
        grown[:, 1:-1] += a1[:, None] * denominators
        grown[:, 2:] += a2 * denominators
        denominators = grown
    gains = denominators.sum(axis=1)  # unity at 0 Hz (Klatt 1980, eq. 1)
    order = 12
    # State of the transposed filter from past outputs: z[m] = -sum_k a[m+1+k] y[-1-k].
    padded = np.concatenate([denominators[:, 1:], np.zeros((blocks, order - 1))], axis=1)
    hankel = -np.lib.stride_tricks.sliding_window_view(padded, order, axis=1)
    excitation = source.reshape(blocks, _BLOCK) * gains[:, None]
    speech = np.zeros((blocks, _BLOCK))
    past = np.zeros(order)
    for b in range(blocks):
        speech[b], _ = lfilter([1.0], denominators[b], excitation[b], zi=hankel[b] @ past)
        past = speech[b, : -order - 1 : -1]
    return speech.reshape(-1)
