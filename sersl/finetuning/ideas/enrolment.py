"""Utterances by which a speaker is known before prediction."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from sersl.config.schema import FinetuneConfig
from sersl.core.errors import UserError
from sersl.core.seeds import generator
from sersl.corpora.index import CorpusIndex
from sersl.corpora.label_columns import words
from sersl.corpora.protocols.protocol import Fold


def enrolled(config: FinetuneConfig, index: CorpusIndex) -> np.ndarray:
    """Draws the enrolment utterances of every speaker of a corpus, the same in every fold.

    Args:
      config: `enrolment`, and the seed.
      index: of the corpus.

    Returns:
      bool [n], all False without enrolment.

    Raises:
      UserError: a speaker is unknown or has too few such utterances.
    """
    wanted, found = config.enrolment, np.zeros(len(index), bool)
    if not wanted.utterances:
        return found
    speakers = index.column("speaker")
    suited = np.ones(len(index), bool)
    if wanted.category:
        suited = words(index) == wanted.category
    for number, speaker in enumerate(sorted(set(speakers))):
        rows = np.flatnonzero(suited & (speakers == speaker))
        if not speaker or len(rows) < wanted.utterances:
            kind = f" of category {wanted.category!r}" if wanted.category else ""
            who = f"speaker {speaker!r} has {len(rows)}" if speaker else "a speaker is unknown"
            raise UserError(
                f"enrolment.utterances={wanted.utterances}: {who}{kind} in corpus "
                f"{index.corpus!r}: lower it, or choose another enrolment.category"
            )
        draw = generator(config.train.seed, "enrolment", number)
        found[draw.choice(rows, size=wanted.utterances, replace=False)] = True
    return found


def without_enrolled(
    config: FinetuneConfig, folds: Sequence[Fold], indexes: Sequence[CorpusIndex]
) -> list[Fold]:
    """Takes the enrolment utterances out of the validation and test sides, and says so.

    Args:
      config: of the run.
      folds: of the protocol.
      indexes: of the corpora, in order.

    Returns:
      The folds, whose warnings results.json, the report and the model card repeat.

    Raises:
      UserError: a speaker is unknown or has too few such utterances.
    """
    wanted = config.enrolment
    if not wanted.utterances:
        return list(folds)
    if config.domain.normalize != "none":
        raise UserError(
            "enrolment.utterances and domain.normalize both set where outputs are centred: leave "
            "one of them out"
        )
    known = np.concatenate([enrolled(config, index) for index in indexes])
    kind = f"{wanted.category} " if wanted.category else ""
    line = (
        f"outputs are relative to the mean of {wanted.utterances} {kind}utterances of each "
        "speaker, which are not tested: this uses information about the test speakers"
        + (" and the category of these utterances" if kind else "")
    )
    return [
        dataclasses.replace(
            fold,
            validation=fold.validation[~known[fold.validation]],
            test=fold.test[~known[fold.test]],
            checks={**fold.checks, "warnings": [*fold.checks["warnings"], line]},
        )
        for fold in folds
    ]
