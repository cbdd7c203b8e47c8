"""The embedded corpus: exact, fast, speech-like, learnable across speakers and not trivial."""

import hashlib
import time

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import recall_score
from sklearn.model_selection import GroupKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sersl.core.errors import UserError
from sersl.corpora.synthetic.speech import (
    CATEGORIES,
    CUES,
    NEUTRAL,
    NEUTRAL_INTENSITY,
    RADIUS,
    synthesize,
    utterances,
)
from sersl.corpora.synthetic.voice import CONSONANTS, VOWELS, Delivery, speak

CHANCE = 1 / len(CATEGORIES)


# --- a listener made of plain numpy ---------------------------------------------------------------


def _windows(waveform, size=640, hop=320):
    return np.lib.stride_tricks.sliding_window_view(waveform.astype(np.float64), size)[::hop]


def _mel_weights(num_mels=26, size=640):
    edges = 700 * (10 ** (np.linspace(0, 2595 * np.log10(1 + 8000 / 700), num_mels + 2) / 2595) - 1)
    frequency = np.fft.rfftfreq(size, 1 / 16000)[:, None]
    up = (frequency - edges[:-2]) / (edges[1:-1] - edges[:-2])
    down = (edges[2:] - frequency) / (edges[2:] - edges[1:-1])
    return np.clip(np.minimum(up, down), 0, None)


def _log_mel(waveform):
    power = np.abs(np.fft.rfft(_windows(waveform) * np.hanning(640))) ** 2
    return np.log(power @ _mel_weights() + 1e-9)


def _energy(waveform):
    return 10 * np.log10((_windows(waveform) ** 2).mean(axis=1) + 1e-10)


def _pitch(waveform):
    """F0 in Hz (NaN where unvoiced) and periodicity per 20 ms, by normalised autocorrelation."""
    frames = _windows(waveform) * np.hanning(640)
    correlation = np.fft.irfft(np.abs(np.fft.rfft(frames, 2048)) ** 2)
    window = np.fft.irfft(np.abs(np.fft.rfft(np.hanning(640), 2048)) ** 2)
    ratio = correlation[:, :300] / (correlation[:, :1] + 1e-9) / (window[:300] / window[0])
    lags = np.arange(32, 230)  # 70 to 500 Hz
    best = ratio[:, lags] - 0.0008 * lags  # the shortest of equal periods
    lag = lags[best.argmax(axis=1)]
    periodicity = ratio[np.arange(len(lag)), lag]
    return np.where(periodicity > 0.6, 16000 / lag, np.nan), periodicity


def _loudness_features(waveform):
    energy = _energy(waveform)
    rms = 10 * np.log10(np.mean(waveform.astype(np.float64) ** 2) + 1e-10)
    return np.array([rms, energy.mean(), energy.max(), energy.min(), energy.std()])


def _functionals(waveform):
    mel = _log_mel(waveform)
    mel = mel - mel.mean()  # the level says nothing
    pitch, periodicity = _pitch(waveform)
    is_voiced = np.isfinite(pitch)
    pitch, clear = np.log(pitch[is_voiced]), periodicity[is_voiced]
    if len(pitch) < 3:
        pitch, clear = np.log([150.0, 150.0, 150.0]), np.full(3, 0.6)
    ending = pitch[-max(3, len(pitch) // 6) :].mean() - pitch.mean()
    extra = [pitch.mean(), pitch.std(), np.abs(np.diff(pitch)).mean(), ending, is_voiced.mean()]
    extra += [clear.mean(), clear.std()]
    return np.concatenate([mel.mean(axis=0), mel.std(axis=0), np.diff(mel, axis=0).std(0), extra])


def _linear():
    return make_pipeline(StandardScaler(), LogisticRegression(C=0.05, max_iter=2000))


def _uar(features, corpus, *, folds):
    labels = np.array([u.category for u in corpus])
    speakers = np.array([u.speaker for u in corpus])
    said = cross_val_predict(_linear(), features, labels, groups=speakers, cv=GroupKFold(folds))
    return recall_score(labels, said, average="macro")


def _ccc(features, corpus, name, *, folds):
    truth = np.array([getattr(u, name) for u in corpus])
    speakers = np.array([u.speaker for u in corpus])
    model = make_pipeline(StandardScaler(), Ridge(alpha=100.0))
    said = cross_val_predict(model, features, truth, groups=speakers, cv=GroupKFold(folds))
    spread = truth.var() + said.var() + (truth.mean() - said.mean()) ** 2
    return 2 * np.cov(truth, said, bias=True)[0, 1] / spread


@pytest.fixture(scope="module")
def corpus():
    return list(utterances(num_speakers=6, utterances_per_speaker=30))


@pytest.fixture(scope="module")
def functionals(corpus):
    return np.stack([_functionals(u.waveform) for u in corpus])


# --- what is promised -----------------------------------------------------------------------------


def test_synthesize_when_called_again_in_another_order_then_bits_are_equal(corpus):
    by_id = {u.utterance_id: u for u in corpus}
    for speaker, number in ((5, 29), (0, 0), (3, 7)):
        again = synthesize(speaker, number, seed=0)
        first = by_id[again.utterance_id]
        np.testing.assert_array_equal(again.waveform, first.waveform)
        assert (again.category, again.intensity, again.text) == (
            first.category,
            first.intensity,
            first.text,
        )


def test_synthesize_when_run_on_another_machine_then_bits_are_equal():
    samples = (synthesize(1, 2, seed=0).waveform * 32768).astype("<i2")
    assert hashlib.sha256(samples.tobytes()).hexdigest()[:16] == "d47eb0c77ae69224"


def test_synthesize_when_seed_differs_then_speaker_and_waveform_differ():
    one, other = synthesize(0, 0, seed=0), synthesize(0, 0, seed=1)
    assert len(one.waveform) != len(other.waveform) or not np.array_equal(
        one.waveform, other.waveform
    )


def test_waveform_when_made_then_is_16_bit_audio_of_one_to_three_and_a_half_seconds(corpus):
    durations = np.array([len(u.waveform) / 16000 for u in corpus])
    for u in corpus:
        assert u.waveform.dtype == np.float32 and u.waveform.ndim == 1
        assert np.isfinite(u.waveform).all() and np.abs(u.waveform).max() <= 1.0
        np.testing.assert_array_equal(u.waveform * 32768, np.round(u.waveform * 32768))
    assert durations.min() >= 1.0 and durations.max() <= 3.5
    assert np.percentile(durations, 90) > 1.5 * np.percentile(durations, 10)


# Arousal, dominance and valence of each category, from neutral.
DIRECTIONS = {
    "angry": (0.60, 0.60, -0.55),
    "happy": (0.60, 0.25, 0.75),
    "sad": (-0.65, -0.40, -0.60),
    "fear": (0.60, -0.70, -0.45),
    "calm": (-0.70, 0.20, 0.65),
}
CENTERS = {name: np.array(place) / np.linalg.norm(place) for name, place in DIRECTIONS.items()}


def test_labels_when_made_then_category_is_the_region_and_intensity_the_distance(corpus):
    for u in corpus:
        place = np.array([u.arousal, u.dominance, u.valence])
        assert place.min() >= 0 and place.max() <= 1
        direction = (place - NEUTRAL) / RADIUS
        nearest = max(CENTERS, key=lambda name: direction @ CENTERS[name])
        assert u.category in ("neutral", nearest)
        distance = np.linalg.norm(direction)
        assert u.intensity == pytest.approx(distance, abs=1e-5)
        assert (u.intensity < NEUTRAL_INTENSITY) == (u.category == "neutral")


def test_corpus_when_a_multiple_of_six_then_is_balanced_with_unique_ids(corpus):
    assert len({u.utterance_id for u in corpus}) == len(corpus)
    for speaker in {u.speaker for u in corpus}:
        mine = [u.category for u in corpus if u.speaker == speaker]
        assert {c: mine.count(c) for c in CATEGORIES} == dict.fromkeys(CATEGORIES, 5)
    assert {u.gender for u in corpus} == {"female", "male"}
    # The same sentence is said by several speakers in several emotions: text tells nothing.
    assert len({u.text for u in corpus}) <= 40


def test_corpus_when_a_count_is_zero_then_says_so():
    with pytest.raises(UserError, match="at least 1 speaker"):
        next(utterances(num_speakers=0))


def test_module_when_read_then_its_docstring_has_a_row_for_every_cue():
    rows = synthesize.__globals__["__doc__"].split("|---|---|---|---|---|\n")[1].split("\n\n")[0]
    assert len(rows.splitlines()) == len(CUES)


# --- does it sound like speech --------------------------------------------------------------------


PLAIN = Delivery(
    pitch=110.0,
    range_semitones=2.0,
    final_semitones=-2.0,
    syllables_per_second=2.0,
    pause=0.15,
    prominence=3.0,
    open_quotient=0.6,
    tilt=6.0,
    breath=0.02,
    jitter=0.005,
    shimmer=0.03,
    attack=0.02,
    formant_scale=1.0,
    vowel_space=1.0,
)


def _formants(frame):
    """The two lowest resonances in Hz by linear prediction (autocorrelation method)."""
    frame = np.append(frame[0], np.diff(frame)) * np.hanning(len(frame))
    r = np.correlate(frame, frame, "full")[len(frame) - 1 :][:17]
    r[0] *= 1.0001
    matrix = r[np.abs(np.subtract.outer(np.arange(16), np.arange(16)))]
    poles = np.roots(np.append(1.0, -np.linalg.solve(matrix, r[1:])))
    poles = poles[(poles.imag > 0) & (np.abs(poles) > 0.85)]
    frequencies = np.sort(np.angle(poles) * 16000 / 2 / np.pi)
    return frequencies[frequencies > 200][:2]


@pytest.mark.parametrize("vowel", ["a", "e", "i"])
def test_vowel_when_spoken_then_has_its_formants(vowel):
    speech = speak(["h" + vowel], PLAIN, np.random.default_rng(0))
    middle = int(0.62 * len(speech))
    found = _formants(speech[middle - 400 : middle + 400])
    np.testing.assert_allclose(found, VOWELS[vowel][:2], rtol=0.15)


@pytest.mark.parametrize("consonant", sorted(CONSONANTS))
def test_consonant_when_spoken_then_is_finite_and_lasts(consonant):
    speech = speak([consonant + "a", consonant + "in"], PLAIN, np.random.default_rng(1))
    assert np.isfinite(speech).all() and 0.85 * 16000 <= len(speech) + 80 <= 3.21 * 16000
    assert np.abs(speech).max() < 1e3


def test_pitch_when_speaking_then_is_plausible_and_higher_for_women(corpus):
    medians = {}
    for gender in ("female", "male"):
        values = np.concatenate([_pitch(u.waveform)[0] for u in corpus if u.gender == gender])
        values = values[np.isfinite(values)]
        medians[gender] = np.median(values)
        assert np.percentile(values, 1) > 60 and np.percentile(values, 99) < 550
    assert 85 < medians["male"] < 155 and 165 < medians["female"] < 255


def test_speech_when_looked_at_then_has_voiced_unvoiced_and_silent_parts(corpus):
    voiced = np.array([np.isfinite(_pitch(u.waveform)[0]).mean() for u in corpus])
    assert 0.4 < voiced.mean() < 0.9
    spread = np.array([np.ptp(_energy(u.waveform)) for u in corpus])
    assert np.median(spread) > 20  # dB between the loudest vowel and the quietest moment


def test_cues_when_arousal_rises_then_pitch_and_high_frequencies_rise(corpus, functionals):
    arousal = np.array([u.arousal for u in corpus])
    speaker = np.array([u.speaker for u in corpus])
    pitch, bands = functionals[:, -7].copy(), functionals[:, :26]
    balance = bands[:, 12:20].mean(axis=1) - bands[:, 2:8].mean(axis=1)  # about 1.5-4 kHz, 0.2-1
    for name in np.unique(speaker):
        pitch[speaker == name] -= pitch[speaker == name].mean()
    assert np.corrcoef(pitch, arousal)[0, 1] > 0.4
    assert np.corrcoef(balance, arousal)[0, 1] > 0.3


# --- learnable, not trivial -----------------------------------------------------------------------


def test_loudness_when_it_is_all_one_hears_then_categories_stay_near_chance(corpus):
    features = np.stack([_loudness_features(u.waveform) for u in corpus])
    assert _uar(features, corpus, folds=6) < CHANCE + 0.08


def test_functionals_when_speakers_are_new_then_emotion_is_heard_but_not_perfectly(
    corpus, functionals
):
    assert 2 * CHANCE < _uar(functionals, corpus, folds=6) < 0.85
    assert _ccc(functionals, corpus, "arousal", folds=6) > 0.4


@pytest.mark.slow
def test_whole_corpus_when_measured_then_is_quick_learnable_and_not_trivial():
    start = time.process_time()
    corpus = list(utterances())
    seconds = time.process_time() - start
    assert len(corpus) == 720 and len({u.speaker for u in corpus}) == 12
    assert seconds < 40
    loudness = np.stack([_loudness_features(u.waveform) for u in corpus])
    features = np.stack([_functionals(u.waveform) for u in corpus])
    assert _uar(loudness, corpus, folds=12) < CHANCE + 0.08
    assert 0.5 < _uar(features, corpus, folds=12) < 0.75
    assert _ccc(features, corpus, "arousal", folds=12) > 0.6
    assert _ccc(features, corpus, "valence", folds=12) > 0.4
