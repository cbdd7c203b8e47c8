"""What the weights that training starts from have heard of the test side already.

Audio without labels is what self-supervised pretraining is for; it is told. Labels are a leak.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np

from sersl.core.errors import UserError
from sersl.corpora.catalog.registry import CORPORA
from sersl.corpora.protocols.protocol import Fold
from sersl.data.sources import CorpusSource
from sersl.runs.initial_weights import InitialWeights


def check_origin(
    folds: Sequence[Fold],
    sources: Sequence[CorpusSource],
    weights: InitialWeights,
    *,
    allow: bool,
) -> list[Fold]:
    """Finds tested corpora among those that the weights were trained on.

    A corpus is the same when its records are, or when it is known by the same name.

    Args:
      folds: of the protocol.
      sources: corpora that their rows count through.
      weights: to start from.
      allow: tell of labels too, rather than stop.

    Returns:
      The folds; their checks have `start`: {"from", "heard": {corpus: tested utterances that were
      trained on}, "labelled": those of them whose labels were used}.

    Raises:
      UserError: a fold tests a corpus whose labels the weights have seen, and `allow` is False.
    """
    indexes = [source.index for source in sources]
    heard, labelled = set(), set()
    for index in indexes:
        for corpus in weights.corpora:
            same = corpus["fingerprint"] == index.fingerprint
            if same or (index.corpus in CORPORA and corpus["corpus"] == index.corpus):
                heard.add(index.corpus)
                if corpus["labels_used"]:
                    labelled.add(index.corpus)
    names = np.concatenate([np.full(len(i), i.corpus, dtype=object) for i in indexes])
    return [_tell(fold, names, weights.source, heard, labelled, allow) for fold in folds]


def _tell(
    fold: Fold, names: np.ndarray, source: str, heard: set[str], labelled: set[str], allow: bool
) -> Fold:
    tested, counts = np.unique(names[fold.test].astype(str), return_counts=True)
    count = {n: c for n, c in zip(tested.tolist(), counts.tolist(), strict=True) if n in heard}
    leaks = sorted(labelled & set(count))
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
                "protocol.allow_speaker_overlap to true to score what is known already"
            )
        leak = f"LEAK: {sentence}; scores say nothing of new speakers"
        checks["warnings"] = [*checks["warnings"], leak]
    elif count:
        told = ", ".join(f"{n} utterances of {corpus}" for corpus, n in count.items())
        note = f"the weights of {source} have heard {told} of the test side, without labels"
        checks["notes"] = [*checks["notes"], note]
    return dataclasses.replace(fold, checks=checks)
