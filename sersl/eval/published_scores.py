"""Scores that EmoBox published for the folds that sersl has built in, in percent.

Source: EmoBox (Ma et al., Interspeech 2024, arXiv:2406.07162), intra-corpus leaderboard on
https://emo-box.github.io/leaderboard1.html, with the last row of SAVEE from the paper's table. The
head is theirs (two linear layers on the frames of the last layer of a frozen encoder), and how they
choose the epoch that they report is not stated. Facts, cited with their source; EmoBox's repository
has no licence file.
"""

from typing import NamedTuple


class Published(NamedTuple):
    """One row: the encoder, and UAR (UA), accuracy (WA) and macro F1 as shares of 1."""

    model: str
    uar: float
    accuracy: float
    macro_f1: float


_PERCENT: dict[str, tuple[tuple[str, float, float, float], ...]] = {
    "emovo": (
        ("wav2vec 2.0 base", 31.07, 31.07, 27.24),
        ("HuBERT base", 46.10, 46.10, 41.28),
        ("HuBERT large", 45.74, 45.74, 40.56),
        ("WavLM base", 42.39, 42.39, 37.33),
        ("WavLM large", 48.82, 48.82, 44.16),
        ("data2vec base", 32.47, 32.47, 29.22),
        ("data2vec large", 35.66, 35.66, 33.59),
        ("data2vec 2.0 base", 42.96, 42.96, 41.01),
        ("data2vec 2.0 large", 45.88, 45.88, 43.63),
        ("Whisper large v3", 57.82, 57.82, 56.06),
    ),
    "iemocap": (
        ("wav2vec 2.0 base", 58.27, 57.73, 57.83),
        ("HuBERT base", 63.87, 63.10, 63.45),
        ("HuBERT large", 67.42, 66.69, 67.24),
        ("WavLM base", 62.92, 63.94, 63.40),
        ("WavLM large", 69.47, 69.07, 69.29),
        ("data2vec base", 54.19, 53.20, 53.76),
        ("data2vec large", 52.56, 51.11, 51.71),
        ("data2vec 2.0 base", 54.40, 53.19, 53.71),
        ("data2vec 2.0 large", 57.30, 56.23, 56.70),
        ("Whisper large v3", 73.54, 72.86, 73.11),
    ),
    "ravdess": (
        ("wav2vec 2.0 base", 54.33, 55.40, 53.99),
        ("HuBERT base", 65.43, 66.21, 65.31),
        ("HuBERT large", 70.00, 70.29, 69.54),
        ("WavLM base", 61.56, 62.10, 61.18),
        ("WavLM large", 72.00, 72.22, 71.42),
        ("data2vec base", 51.92, 52.22, 51.10),
        ("data2vec large", 59.30, 59.50, 58.74),
        ("data2vec 2.0 base", 64.66, 64.84, 64.18),
        ("data2vec 2.0 large", 71.15, 71.63, 70.94),
        ("Whisper large v3", 75.32, 75.87, 75.19),
    ),
    "savee": (
        ("wav2vec 2.0 base", 44.89, 49.83, 42.07),
        ("HuBERT base", 58.90, 59.85, 64.05),
        ("HuBERT large", 71.91, 75.05, 71.83),
        ("WavLM base", 63.57, 67.05, 62.83),
        ("WavLM large", 66.74, 70.80, 66.37),
        ("data2vec base", 75.65, 78.25, 78.38),
        ("data2vec large", 68.01, 71.45, 71.08),
        ("data2vec 2.0 base", 72.65, 75.50, 75.59),
        ("data2vec 2.0 large", 75.75, 78.59, 78.24),
        ("Whisper large v3", 74.07, 77.24, 75.31),
    ),
}


def published_scores(corpus: str) -> list[Published]:
    """Lists the published rows of a corpus for EmoBox's folds; [] where there are none."""
    return [
        Published(model, *(round(score / 100, 4) for score in scores))
        for model, *scores in _PERCENT.get(corpus, ())
    ]


def has_published(corpus: str) -> bool:
    """Tells whether EmoBox's folds of a corpus are built in and have published scores."""
    return corpus in _PERCENT
