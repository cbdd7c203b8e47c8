"""The embedded corpus: synthetic speech with exact emotion labels, for tests and first runs.

Every utterance has a place in the space of arousal, dominance and valence; the place moves the
acoustic cues of `CUES`, the categories are regions of the space, and intensity is the distance
from neutral. Directions follow the literature, sizes are ours:

| cue | with arousal | with dominance | with valence | source |
|---|---|---|---|---|
| F0 mean | rises | falls | - | [BS96] [JL03] [Sch01] |
| F0 range | widens | - | widens | [BS96] [JL03] [S03] |
| final F0 movement | rises | - | rises | [JL03]: rising contours of happiness, falling of sadness |
| loudness | rises | rises | - | [BS96] [JL03] [GS10] |
| speech rate | rises | - | - | [JL03] [S03] [Sch01] |
| pause duration | falls | - | falls | [JL03] [Sch01] |
| prominence of stress | rises | rises | falls | [JL03] [Sch01] |
| spectral tilt | flattens | flattens | - | [BS96] [GS10] [Sch01]; alpha ratio of [E16] |
| open quotient | falls (tense) | falls | rises (lax) | [GN03] [S03] |
| aspiration noise | falls | falls | - | [GN03] [GS10] |
| jitter and shimmer | rises | falls | falls | [JL03] microstructural regularity; [E16] |
| rise time of vowels | falls | falls | - | [JL03] |
| formant frequencies | - | falls | rises | [T80] smiling; [O84] large bodies sound low |
| precision of vowels | rises | - | rises | [JL03] [S03] |

[BS96] Banse & Scherer, J. Pers. Soc. Psychol. 70(3). [JL03] Juslin & Laukka, Psychol. Bull. 129(5).
[S03] Scherer, Speech Commun. 40. [Sch01] Schröder et al., Eurospeech 2001. [GS10] Goudbeek &
Scherer, JASA 128(3). [E16] Eyben et al. (GeMAPS), IEEE Trans. Affect. Comput. 7(2). [GN03] Gobl &
Ní Chasaide, Speech Commun. 40. [T80] Tartter, Percept. Psychophys. 27(1). [O84] Ohala, Phonetica
41. Places of the categories: signs as in Russell & Mehrabian 1977, J. Res. Pers. 11(3).

Speakers differ in pitch, vocal tract, rate, voice and in how strongly they use each cue; every
utterance has its own room, microphone, noise and recording level, so loudness is a weak cue.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from scipy.signal import fftconvolve, lfilter

from sersl.core.errors import UserError
from sersl.core.lengths import SAMPLE_RATE
from sersl.core.seeds import generator
from sersl.corpora.synthetic.voice import Delivery, speak

# Directions (arousal, dominance, valence) from neutral, made unit vectors below.
_DIRECTIONS = {
    "angry": (0.60, 0.60, -0.55),
    "happy": (0.60, 0.25, 0.75),
    "sad": (-0.65, -0.40, -0.60),
    "fear": (0.60, -0.70, -0.45),
    "calm": (-0.70, 0.20, 0.65),
}
CATEGORIES = ("angry", "happy", "sad", "neutral", "fear", "calm")
NEUTRAL = 0.5  # the middle of each 0..1 dimension
RADIUS = 0.55  # distance from neutral at intensity 1; keeps every dimension inside 0..1
STRENGTH = (0.4, 1.0)  # least and largest intensity of an utterance that is not neutral
NEUTRAL_INTENSITY = 0.22  # weaker than this is neutral, whatever the direction


@dataclass(frozen=True)
class Cue:
    """Change of one acoustic cue with each dimension; 1 is its full range."""

    arousal: float
    dominance: float
    valence: float


CUES = {
    "pitch": Cue(0.8, -0.4, 0.0),
    "range": Cue(0.6, 0.0, 0.5),
    "final": Cue(0.2, 0.0, 0.8),
    "loudness": Cue(0.7, 0.3, 0.0),
    "rate": Cue(0.9, 0.0, 0.0),
    "pause": Cue(-0.6, 0.0, -0.5),
    "prominence": Cue(0.4, 0.3, -0.3),
    "tilt": Cue(-0.7, -0.6, 0.0),
    "open_quotient": Cue(-0.4, -0.6, 0.3),
    "breath": Cue(-0.5, -0.6, 0.0),
    "irregularity": Cue(0.3, -0.3, -0.8),
    "attack": Cue(-0.7, -0.3, 0.0),
    "formants": Cue(0.0, -0.5, 0.8),
    "vowels": Cue(0.7, 0.0, 0.3),
}
_CUE_NOISE = 0.2  # standard deviation of a cue per utterance


@dataclass(frozen=True)
class SyntheticUtterance:
    """One utterance and its labels."""

    utterance_id: str
    speaker: str
    gender: str  # "female" or "male"
    text: str  # made-up words
    category: str  # one of CATEGORIES
    intensity: float  # 0..1, distance from neutral over RADIUS
    arousal: float  # 0..1
    dominance: float  # 0..1
    valence: float  # 0..1
    waveform: np.ndarray  # float32 [N] in [-1, 1], 16 kHz, on the grid of 16-bit samples


@dataclass(frozen=True)
class _Speaker:
    name: str
    gender: str
    pitch: float  # Hz, when neutral
    formant_scale: float  # 17.5 cm over the length of the vocal tract
    rate: float  # syllables per second, when neutral
    habits: dict[str, float]  # constant offset of each cue
    gains: dict[str, float]  # how strongly each cue is used


def utterances(
    *, num_speakers: int = 12, utterances_per_speaker: int = 60, seed: int = 0
) -> Iterator[SyntheticUtterance]:
    """Makes the corpus, speaker by speaker.

    Args:
      num_speakers: voices, female and male in turn.
      utterances_per_speaker: a multiple of six has the same number of every category.
      seed: another seed is another corpus with other speakers.

    Yields:
      `synthesize(speaker, number, seed=seed)` for every speaker and number.

    Raises:
      UserError: a count below 1.
    """
    if num_speakers < 1 or utterances_per_speaker < 1:
        raise UserError(
            f"the synthetic corpus needs at least 1 speaker and 1 utterance per speaker, not "
            f"{num_speakers} and {utterances_per_speaker}"
        )
    for speaker in range(num_speakers):
        for number in range(utterances_per_speaker):
            yield synthesize(speaker, number, seed=seed)


def synthesize(
    speaker: int,
    number: int,
    *,
    seed: int = 0,
    category: str = "",
    strength: tuple[float, float] = STRENGTH,
) -> SyntheticUtterance:
    """Makes one utterance, which depends only on the arguments.

    Args:
      speaker: 0, 1, ...; even ones are female.
      number: 0, 1, ... within the speaker; six in a row are one of each category.
      seed: of the corpus.
      category: one of CATEGORIES; "": that of the number.
      strength: least and largest intensity of a category that is not neutral.

    Returns:
      1.0 to 3.5 s of speech with its labels.
    """
    who = _speaker(speaker, seed)
    block = generator(seed, "synthetic category", speaker, number // len(CATEGORIES))
    own = CATEGORIES[block.permutation(len(CATEGORIES))[number % len(CATEGORIES)]]
    category = category or own
    rng = generator(seed, "synthetic utterance", speaker, number)
    place = _place(category, rng, strength)
    words = _sentence(int(rng.integers(_NUM_SENTENCES)))
    cues = {
        name: who.habits[name]
        + who.gains[name] * float(np.dot(place, (cue.arousal, cue.dominance, cue.valence)))
        + _CUE_NOISE * float(rng.standard_normal())
        for name, cue in CUES.items()
    }
    speech = speak(words, _delivery(who, cues), rng)
    waveform = _record(speech, loudness=3.5 * cues["loudness"], rng=rng)
    arousal, dominance, valence = (round(float(NEUTRAL + RADIUS * x), 6) for x in place)
    return SyntheticUtterance(
        utterance_id=f"synthetic-{speaker:02d}-{number:03d}",
        speaker=who.name,
        gender=who.gender,
        text=" ".join(words),
        category=category,
        intensity=round(float(np.linalg.norm(place)), 6),
        arousal=arousal,
        dominance=dominance,
        valence=valence,
        waveform=waveform,
    )


def _region(place: np.ndarray) -> str:
    if np.linalg.norm(place) < NEUTRAL_INTENSITY:
        return "neutral"
    return max(_UNIT, key=lambda name: float(place @ _UNIT[name]))


_UNIT = {name: np.array(d) / np.linalg.norm(d) for name, d in _DIRECTIONS.items()}


def _place(category: str, rng: np.random.Generator, strength: tuple[float, float]) -> np.ndarray:
    """Draws a point in the category's region: [3], arousal, dominance and valence from neutral."""
    while True:
        if category == "neutral":
            direction = rng.standard_normal(3)
            intensity = rng.uniform(0.0, 0.9 * NEUTRAL_INTENSITY)
        else:
            direction = _UNIT[category] + 0.2 * rng.standard_normal(3)
            intensity = rng.uniform(*strength)
        place = direction * (intensity / np.linalg.norm(direction))
        if _region(place) == category and np.abs(place).max() * RADIUS <= NEUTRAL:
            return place


_NUM_SENTENCES = 40
_SHAPES = ((2, 2), (3, 2), (2, 2, 2), (2, 3, 2), (2, 1, 2, 2), (1, 3, 2, 2), (2, 3, 2, 2))


def _sentence(number: int) -> list[str]:
    """Makes sentence `number`: two to four made-up words, 4 to 9 syllables; the same for all."""
    rng = generator(0, "synthetic sentence", number)
    words = []
    for syllables in rng.permutation(_SHAPES[number % len(_SHAPES)]):
        word = "".join(
            rng.choice(list("sfhptkbdgmnlwyz")) + rng.choice(list("aeiou"))
            for _ in range(syllables)
        )
        words.append(word + rng.choice(["", "", "n", "s"]))
    return words


def _speaker(number: int, seed: int) -> _Speaker:
    rng = generator(seed, "synthetic speaker", number)
    female = number % 2 == 0
    # Hz and cm: women 165 to 240 Hz and about 14.5 cm, men 90 to 145 Hz and about 17 cm
    # (Titze 1989, JASA 85(4); Peterson & Barney 1952).
    pitch = rng.uniform(170, 235) if female else rng.uniform(92, 140)
    tract = rng.normal(14.6, 0.5) if female else rng.normal(17.0, 0.6)
    return _Speaker(
        name=f"speaker_{number:02d}",
        gender="female" if female else "male",
        pitch=float(pitch),
        formant_scale=float(17.5 / np.clip(tract, 13.4, 18.4)),
        rate=float(rng.uniform(4.2, 5.4)),  # syllables per second of read speech
        habits={name: 0.12 * float(rng.standard_normal()) for name in CUES},
        gains={name: float(rng.uniform(0.8, 1.5)) for name in CUES},
    )


def _delivery(who: _Speaker, cues: dict[str, float]) -> Delivery:
    """Turns cues (0 is neutral, 1 the full range) into physical settings of the voice."""
    x = {name: float(np.clip(value, -1.5, 1.5)) for name, value in cues.items()}
    return Delivery(
        pitch=who.pitch * 2 ** (5.5 * x["pitch"] / 12),
        range_semitones=3.5 * float(np.exp(0.8 * x["range"])),
        final_semitones=-2.0 + 6.0 * x["final"],
        syllables_per_second=who.rate * float(np.exp(0.28 * x["rate"])),
        pause=0.16 * float(np.exp(0.8 * x["pause"])),
        prominence=4.0 + 2.0 * x["prominence"],
        open_quotient=0.6 + 0.16 * x["open_quotient"],
        tilt=9.0 + 7.0 * x["tilt"],
        breath=0.08 * float(np.exp(1.2 * x["breath"])),
        jitter=0.010 * float(np.exp(1.0 * x["irregularity"])),
        shimmer=0.06 * float(np.exp(1.0 * x["irregularity"])),
        attack=0.03 * float(np.exp(0.7 * x["attack"])),
        formant_scale=who.formant_scale * float(np.exp(0.11 * x["formants"])),
        vowel_space=0.9 + 0.15 * x["vowels"],
    )


def _record(speech: np.ndarray, *, loudness: float, rng: np.random.Generator) -> np.ndarray:
    """Simulates a room, a microphone and a recording level.

    Args:
      speech: float64 [N], any level.
      loudness: dB of the speaker's own effort.
      rng: for the room, the microphone, the noise and the level.

    Returns:
      float32 [M] in [-1, 1] on the 16-bit grid, with a little silence before and after.
    """
    before, after = (rng.uniform(0.06, 0.14, 2) * SAMPLE_RATE).astype(int)
    dry = np.pad(speech / np.sqrt(np.mean(speech**2)), (before, after))
    reverberation = rng.uniform(0.1, 0.4)  # s, RT60 from a booth to a living room
    time = np.arange(int(0.6 * reverberation * SAMPLE_RATE)) / SAMPLE_RATE
    tail = rng.standard_normal(len(time)) * 10 ** (-3 * time / reverberation)
    tail *= 10 ** (rng.uniform(-22, -10) / 20) / np.linalg.norm(tail)  # dB re direct sound
    tail[0] = 1.0
    wet = fftconvolve(dry, tail)[: len(dry)]
    # Microphone and distance tilt the spectrum by a few dB, so tilt alone is a weak cue.
    wet = lfilter([1.0, -rng.uniform(-0.15, 0.15)], [1.0], wet)
    hum = lfilter([1.0], [1.0, -rng.uniform(0.5, 0.95)], rng.standard_normal(len(dry)))
    noise = hum / np.sqrt(np.mean(hum**2)) * 10 ** (-rng.uniform(22, 45) / 20)  # dB SNR
    recording = wet / np.sqrt(np.mean(wet**2)) + noise
    level = 10 ** ((rng.uniform(-42, -18) + loudness) / 20)  # dB re full scale; RMS
    recording *= min(level, 0.98 / np.abs(recording).max())
    return (np.round(recording * 32767) / 32768).astype(np.float32)
