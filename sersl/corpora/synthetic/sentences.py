"""Sentences for utterances of the embedded corpus, whose words carry a part of the emotion.

The sounds have no words; these are made beside them, from the id and the category of an utterance
alone. Words tell pleasant from unpleasant and from neither, but not angry from sad or fear, nor
happy from calm: what they lack is in the voice.
"""

import hashlib
from collections.abc import Sequence

import numpy as np

NUM_WORDS = 6
_SHARE = 0.3  # of words that carry the tone
_TONES = {
    "angry": "unpleasant",
    "sad": "unpleasant",
    "fear": "unpleasant",
    "happy": "pleasant",
    "calm": "pleasant",
}
_WORDS = {
    "pleasant": ("lovely", "thanks", "glad", "wonderful", "friend", "warm", "easy", "smile"),
    "unpleasant": ("wrong", "never", "awful", "lost", "alone", "trouble", "hurt", "leave"),
}
_COMMON = (
    *("the", "we", "it", "they", "today", "there", "house", "train", "table", "window", "said"),
    *("will", "come", "go", "street", "paper", "water", "little", "morning", "again", "with", "on"),
)


def sentence(utterance_id: str, category: str) -> list[str]:
    """Makes the words of an utterance, the same for the same id and category."""
    rng = _generator(f"sentence {utterance_id}")
    own = _WORDS.get(_TONES.get(category, ""), ())
    carries = rng.random(NUM_WORDS) < _SHARE
    drawn = rng.integers(2**31, size=NUM_WORDS)
    lists = [own if one and own else _COMMON for one in carries]
    return [words[number % len(words)] for words, number in zip(lists, drawn, strict=True)]


def recognized(words: Sequence[str], utterance_id: str, *, error_rate: float) -> list[str]:
    """Changes words as a recogniser would: each is wrong with this probability.

    A wrong word is another one of the vocabulary, or, in one of three, missing.
    """
    rng = _generator(f"errors {utterance_id}")
    vocabulary = sorted({*_COMMON, *(word for own in _WORDS.values() for word in own)})
    found = []
    for word in words:
        wrong, kind, other = rng.random(), rng.random(), rng.integers(len(vocabulary))
        if wrong >= error_rate:
            found.append(word)
        elif kind >= 1 / 3:
            found.append(vocabulary[other])
    return found


def word_vectors(words: Sequence[str], *, width: int = 32) -> np.ndarray:
    """Gives each word a vector that depends on its letters alone: float32 [words, width]."""
    rows = [_generator(f"word {word}").standard_normal(width) for word in words]
    return np.array(rows, np.float32).reshape(len(rows), width)


def _generator(address: str) -> np.random.Generator:
    digest = hashlib.sha256(address.encode()).digest()
    return np.random.default_rng(int.from_bytes(digest[:8], "little"))
