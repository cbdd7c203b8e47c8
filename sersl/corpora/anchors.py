"""Positions of categories on the arousal-valence plane, for dimensions learned from categories.

Such dimensions have names of their own, because they were not rated.
"""

import numpy as np

# (valence, arousal), each -1..1. Zhou et al. 2024 ("Learning arousal-valence representation from
# categorical emotion labels of speech", ICASSP), code AVLearner.py, values for IEMOCAP, and for the
# categories that IEMOCAP lacks those of its other corpora; after Russell & Mehrabian 1977.
ANCHORS: dict[str, tuple[float, float]] = {
    "angry": (-0.51, 0.59),
    "happy": (0.81, 0.51),
    "neutral": (0.0, 0.0),
    "sad": (-0.63, -0.27),
    "disgust": (-0.60, 0.35),
    "fear": (-0.64, 0.60),
    "surprise": (0.0, 0.60),
    "excited": (0.62, 0.75),
    "frustrated": (-0.64, 0.52),
    "boredom": (-0.65, -0.62),
}
_PLACES = {"arousal_from_category": 1, "valence_from_category": 0}
ANCHORED = tuple(_PLACES)


def anchored(categories: np.ndarray, name: str) -> np.ndarray:
    """Looks up where categories are on one axis of the plane.

    Args:
      categories: [n] str, "" where there is none.
      name: one of `ANCHORED`.

    Returns:
      float64 [n] in 0..1; NaN where a category has no anchor.
    """
    place = _PLACES[name]
    unique, inverse = np.unique(np.asarray(categories, dtype=str), return_inverse=True)
    nowhere = (np.nan, np.nan)
    table = np.array([ANCHORS.get(word, nowhere)[place] for word in unique.tolist()], np.float64)
    return (table[inverse.reshape(-1)] + 1.0) / 2.0
