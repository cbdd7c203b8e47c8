"""Folds that keep dialogues whole."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from sersl.core.errors import UserError
from sersl.core.seeds import generator
from sersl.corpora.dialogues import Dialogues, groups_of_speakers, read_dialogues
from sersl.corpora.index import CorpusIndex
from sersl.corpora.protocols.division import (
    Division,
    Fold,
    Request,
    check_overlap,
    name_speakers,
    rows_where,
)


def k_fold_by_dialogue(request: Request) -> list[Division]:
    """Divides groups of speakers who talk with each other, the largest into the smallest fold."""
    if request.num_folds < 2:
        raise UserError(f"protocol.num_folds is {request.num_folds}; it must be at least 2")
    groups = groups_of_speakers(read_dialogues(request.indexes), request.speakers)
    counts = np.bincount(groups)
    if len(counts) < request.num_folds:
        raise UserError(
            f"protocol 'k-fold-by-dialogue': {request.num_folds} folds need as many groups of "
            f"speakers who talk with each other only, and there are {len(counts)}: lower "
            "protocol.num_folds, or choose 'official' or 'file' with whole dialogues on each side"
        )
    shuffled = generator(request.seed, "folds").permutation(len(counts))
    order = sorted(shuffled.tolist(), key=lambda i: -counts[i])  # stable: ties stay shuffled
    fold_of_group = np.zeros(len(counts), np.int64)
    sizes = [0] * request.num_folds
    for group in order:
        fold_of_group[group] = int(np.argmin(sizes))
        sizes[fold_of_group[group]] += int(counts[group])
    folds = fold_of_group[groups]
    divisions = []
    for number in range(request.num_folds):
        rest = rows_where(folds != number)
        train, validation = _drawn(
            rest,
            groups[rest],
            fraction=request.validation_fraction,
            rng=generator(request.seed, "validation dialogues", number),
            where=f"fold {number + 1} of protocol 'k-fold-by-dialogue'",
        )
        test = rows_where(folds == number)
        divisions.append(Division(f"fold{number + 1}", test, train=train, validation=validation))
    return divisions


def keep_dialogues(
    folds: Sequence[Fold],
    dialogues: Dialogues,
    indexes: Sequence[CorpusIndex],
    *,
    validation_fraction: float,
    seed: int,
    allow_speaker_overlap: bool = False,
) -> list[Fold]:
    """Checks that no dialogue is on two sides of a fold.

    Where drawn validation speakers cut dialogues in two, groups of speakers who talk with each
    other are drawn from the training side instead.

    Args:
      folds: of a protocol.
      dialogues: of the run.
      indexes: of the corpora.
      validation_fraction: of the groups, at least one.
      seed: of the draws.
      allow_speaker_overlap: of the protocol.

    Returns:
      Folds with whole dialogues on each side.

    Raises:
      UserError: the test side shares a dialogue with another, or one group alone is left to train.
    """
    found = []
    for number, fold in enumerate(folds):
        rest = np.concatenate([fold.train, fold.validation])
        name = _shared(dialogues, fold.test, rest)
        if name:
            raise UserError(
                f"fold {fold.name!r}: {name} is on the training and on the test side, and context "
                "would leak: set protocol.name to 'k-fold-by-dialogue', or choose sessions or a "
                "protocol file with whole dialogues on each side"
            )
        if _shared(dialogues, fold.train, fold.validation):
            fold = _redrawn(
                fold,
                np.sort(rest),
                dialogues,
                indexes,
                number=number,
                fraction=validation_fraction,
                seed=seed,
                allow=allow_speaker_overlap,
            )
        found.append(fold)
    return found


def _shared(dialogues: Dialogues, one: np.ndarray, other: np.ndarray) -> str:
    """Names a dialogue that two sides, int64 rows each, share; "" for none."""
    both = np.intersect1d(dialogues.of_row[one], dialogues.of_row[other])
    return dialogues.names[both[0]] if len(both) else ""


def _redrawn(
    fold: Fold,
    rest: np.ndarray,
    dialogues: Dialogues,
    indexes: Sequence[CorpusIndex],
    *,
    number: int,
    fraction: float,
    seed: int,
    allow: bool,
) -> Fold:
    """Draws validation groups from int64 [n] rows of the training side."""
    speakers = name_speakers(indexes)
    train, validation = _drawn(
        rest,
        groups_of_speakers(dialogues, speakers)[rest],
        fraction=fraction,
        rng=generator(seed, "validation dialogues", number),
        where=f"fold {fold.name!r}",
    )
    sides = {"train": train, "validation": validation, "test": fold.test}
    checks = check_overlap(
        sides,
        speakers=speakers,
        audio=np.concatenate([index.column("sha256") for index in indexes]),
        texts=np.concatenate([index.column("text") for index in indexes]),
        allow=allow,
        where=f"fold {fold.name!r}",
    )
    note = "validation has whole dialogues, of speakers who talk with each other"
    checks |= {
        "notes": [*fold.checks["notes"], note],
        "warnings": fold.checks["warnings"],
    }
    return dataclasses.replace(
        fold, train=sides["train"], validation=sides["validation"], checks=checks
    )


def _drawn(
    rest: np.ndarray,
    groups: np.ndarray,
    *,
    fraction: float,
    rng: np.random.Generator,
    where: str,
) -> tuple[np.ndarray, np.ndarray]:
    """Draws validation groups from int64 [n] rows of int64 [n] groups: (train, validation)."""
    if fraction == 0:
        return rest, rest[:0]
    choices = np.unique(groups)
    if len(choices) < 2:
        raise UserError(
            f"{where}: all speakers of the training side talk with each other, so none can "
            "validate apart: set protocol.validation_fraction to 0, or choose a protocol with a "
            "validation side of its own"
        )
    wanted = min(max(1, round(fraction * len(choices))), len(choices) - 1)
    validates = np.isin(groups, rng.choice(choices, size=wanted, replace=False))
    return rest[~validates], rest[validates]
