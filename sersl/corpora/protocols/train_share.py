"""Parts of a training side, for scores over the number of labels: the same share of each class."""

import dataclasses

import numpy as np

from sersl.core.seeds import generator
from sersl.corpora.protocols.division import Fold


def with_train_share(
    fold: Fold, share: float, *, classes: np.ndarray, speakers: np.ndarray, seed: int
) -> Fold:
    """Keeps a share of the training and of the validation side of a fold.

    Of each class the nearest number of utterances is kept, at least one, and of its speakers as
    equal a share as that allows. Smaller shares are parts of larger ones of the same seed.

    Args:
      fold: of a protocol.
      share: above 0, up to 1; 1 keeps everything.
      classes: str [all], of every row of the run; "" for none.
      speakers: str [all], with their corpus.
      seed: of the draws.

    Returns:
      The fold, with a note in its checks; the test side is as before.
    """
    if share == 1:
        return fold
    sides = {}
    for name, rows in (("train", fold.train), ("validation", fold.validation)):
        random = generator(seed, f"train share {fold.name} {name}")
        kept = [np.zeros(0, np.int64)]
        for one in sorted(set(classes[rows].tolist())):
            own = _spread(rows[classes[rows] == one], speakers, random)
            kept.append(own[: max(1, round(share * len(own)))])
        sides[name] = np.sort(np.concatenate(kept))
    note = (
        f"{len(sides['train'])} of {len(fold.train)} training utterances and "
        f"{len(sides['validation'])} of {len(fold.validation)} that validate "
        f"(protocol.train_share={share:g}), by class and speaker, drawn by the seed"
    )
    checks = {**fold.checks, "notes": [*fold.checks.get("notes", ()), note]}
    return dataclasses.replace(
        fold, train=sides["train"], validation=sides["validation"], checks=checks
    )


def _spread(rows: np.ndarray, speakers: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Orders rows so that every prefix has nearly the same share of each speaker."""
    place = np.zeros(len(rows))
    for speaker in sorted(set(speakers[rows].tolist())):
        own = np.flatnonzero(speakers[rows] == speaker)
        place[random.permutation(own)] = (np.arange(len(own)) + random.random()) / len(own)
    return rows[np.argsort(place, kind="stable")]
