"""Whether weights were trained on what a test side holds.

Audio without labels is what self-supervised pretraining is for, so it is only reported. Labels are
a leak.
"""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from sersl.core.errors import UserError
from sersl.corpora.catalog.registry import CORPORA
from sersl.corpora.index import CorpusIndex
from sersl.corpora.protocols.protocol import Fold
from sersl.data.sources import CorpusSource
from sersl.runs.initial_weights import InitialWeights


class Seen(NamedTuple):
    """Whether weights were trained on a corpus, and whether with its labels."""

    audio: bool
    labels: bool


def seen_of(index: CorpusIndex, corpora: Iterable[Mapping[str, Any]]) -> Seen:
    """Finds a corpus among those that weights were trained on.

    It is the same corpus when its records are, or when it has the same name in the catalog.

    Args:
      index: of the corpus.
      corpora: {"corpus", "fingerprint", "labels_used", ...} of each that was trained on.

    Returns:
      What of it was seen.
    """
    same = [
        one
        for one in corpora
        if one["fingerprint"] == index.fingerprint
        or (index.corpus in CORPORA and one["corpus"] == index.corpus)
    ]
    return Seen(bool(same), any(one["labels_used"] for one in same))


def check_leaks(
    folds: Sequence[Fold],
    sources: Sequence[CorpusSource],
    weights: InitialWeights,
    *,
    allow: bool,
) -> list[Fold]:
    """Finds tested corpora among those that the weights were trained on.

    Args:
      folds: of the protocol.
      sources: corpora in the order in which rows count through them.
      weights: to start from.
      allow: report labels too, rather than stop.

    Returns:
      The folds; their checks have `start`: {"from", "heard": {corpus: tested utterances that were
      trained on}, "labelled": those of them whose labels were used}.

    Raises:
      UserError: a fold tests a corpus whose labels the weights have seen, and `allow` is False.
    """
    indexes = [source.index for source in sources]
    seen = {index.corpus: seen_of(index, weights.corpora) for index in indexes}
    names = np.concatenate([np.full(len(i), i.corpus, dtype=object) for i in indexes])
    return [_checked(fold, names, weights.source, seen, allow) for fold in folds]


def _checked(
    fold: Fold, names: np.ndarray, source: str, seen: Mapping[str, Seen], allow: bool
) -> Fold:
    tested, counts = np.unique(names[fold.test].astype(str), return_counts=True)
    numbers = zip(tested.tolist(), counts.tolist(), strict=True)
    count = {name: number for name, number in numbers if seen[name].audio}
    leaks = sorted(name for name in count if seen[name].labels)
    checks = dict(fold.checks)
    checks["start"] = {"from": source, "heard": count, "labelled": leaks}
    if leaks:
        sentence = (
            f"the weights of {source} were trained with labels of {', '.join(leaks)}, which is "
            "tested here"
        )
        if not allow:
            raise UserError(
                f"init_from: {sentence}: start from weights that have not seen them, or set "
                "protocol.allow_speaker_overlap to true to test on them all the same"
            )
        leak = f"LEAK: {sentence}; scores do not hold for new speakers"
        checks["warnings"] = [*checks["warnings"], leak]
    elif count:
        listed = ", ".join(f"{n} utterances of {corpus}" for corpus, n in count.items())
        note = f"the weights of {source} were trained without labels on {listed} of the test side"
        checks["notes"] = [*checks["notes"], note]
    return dataclasses.replace(fold, checks=checks)
