"""Evaluation protocols by name: the folds that they make, and the check that no side leaks.

Validation utterances always come from the training side: choosing a checkpoint on the test fold
would add several points to every score.
"""

from collections.abc import Callable, Sequence

import numpy as np

from sersl.core.errors import UserError, unknown_name
from sersl.core.files import check_name
from sersl.core.seeds import generator
from sersl.corpora.index import CorpusIndex
from sersl.corpora.labels import LabelView
from sersl.corpora.protocols.by_dialogue import k_fold_by_dialogue
from sersl.corpora.protocols.by_group import (
    cross_corpus,
    k_fold_by_speaker,
    leave_one_session_out,
    leave_one_speaker_out,
    official,
)
from sersl.corpora.protocols.division import (
    Division,
    Fold,
    Request,
    check_overlap,
    name_speakers,
    split_training,
)
from sersl.corpora.protocols.file import from_file
from sersl.corpora.protocols.published import emobox, emobox_of, superb_er
from sersl.corpora.protocols.published_folds import EMOBOX_CORPORA

_FINAL_NUMBER = 1_000_000  # of the final fold, in the seeds: after those of any protocol
_FEW_SHOT = "few-shot"

# `few-shot` divides as k-fold-by-speaker does, and then trains on a few utterances per class.
PROTOCOLS: dict[str, Callable[[Request], list[Division]]] = {
    "k-fold-by-speaker": k_fold_by_speaker,
    "k-fold-by-dialogue": k_fold_by_dialogue,
    "leave-one-speaker-out": leave_one_speaker_out,
    "leave-one-session-out": leave_one_session_out,
    "official": official,
    "cross-corpus": cross_corpus,
    _FEW_SHOT: k_fold_by_speaker,
    "superb-er": superb_er,
    "emobox": emobox,
    "file": from_file,
    **{f"emobox-{corpus}": emobox_of(corpus) for corpus in EMOBOX_CORPORA},
}


def make_folds(
    name: str,
    indexes: Sequence[CorpusIndex],
    *,
    num_folds: int,
    validation_fraction: float,
    seed: int,
    allow_speaker_overlap: bool = False,
    file: str = "",
    shots: int = 8,
    test_corpora: Sequence[str] = (),
    view: LabelView | None = None,
) -> list[Fold]:
    """Makes the folds of a protocol.

    Args:
      name: a key of `PROTOCOLS`.
      indexes: of the prepared corpora; rows count through them in this order.
      num_folds: of k-fold-by-speaker and few-shot; the others have their own number.
      validation_fraction: of the training side's speakers, at least one; 0 for no validation.
        A protocol with a validation side of its own keeps that.
      seed: of all random draws: folds, validation speakers, few-shot utterances.
      allow_speaker_overlap: divide utterances rather than speakers where speakers are unknown or
        too few, and accept a speaker or a recording on two sides.
      file: of `file`: a protocol file; of `emobox-...`: EmoBox's folder of the corpus.
      shots: of few-shot: training utterances per class.
      test_corpora: of cross-corpus: those that are tested and not trained on; empty: each in turn.
      view: classes, for cross-corpus and few-shot; None: every category is one.

    Returns:
      The folds, each with its checks.

    Raises:
      UserError: unknown protocol; unknown or too few speakers; a speaker or a recording on two
        sides although that was not allowed; an empty side.
    """
    if name not in PROTOCOLS:
        raise unknown_name("protocol", name, PROTOCOLS)
    if not 0 <= validation_fraction < 1:
        raise UserError(
            f"protocol.validation_fraction is {validation_fraction:g}; it must be in [0, 1)"
        )
    request = Request(
        indexes=indexes,
        speakers=name_speakers(indexes),
        num_folds=num_folds,
        validation_fraction=validation_fraction,
        seed=seed,
        allow_speaker_overlap=allow_speaker_overlap,
        file=file,
        shots=shots,
        test_corpora=tuple(test_corpora),
        view=view,
    )
    folds = []
    for number, division in enumerate(PROTOCOLS[name](request)):
        where = f"protocol {name!r}, fold {division.name!r}"
        if name == _FEW_SHOT:
            division = _few_shot(request, number, division, where)
        folds.append(_complete(request, number, division, where))
    names = [fold.name.casefold() for fold in folds]
    twice = next((name for name in names if names.count(name) > 1), "")
    if twice:
        raise UserError(f"protocol {name!r}: two folds are called {twice!r}; rename one")
    return folds


def final_fold(
    name: str,
    indexes: Sequence[CorpusIndex],
    *,
    validation_fraction: float,
    seed: int,
    allow_speaker_overlap: bool = False,
) -> Fold:
    """Makes the division for a model to release, with an empty test side.

    Args:
      name: of the fold.
      indexes: of the prepared corpora.
      validation_fraction: of the speakers, at least one; 0 for no validation.
      seed: decides who validates.
      allow_speaker_overlap: as for `make_folds`.

    Returns:
      A fold with an empty test side.

    Raises:
      UserError: only one speaker, or unknown ones, and overlap was not allowed.
    """
    request = Request(
        indexes=indexes,
        speakers=name_speakers(indexes),
        num_folds=1,
        validation_fraction=validation_fraction,
        seed=seed,
        allow_speaker_overlap=allow_speaker_overlap,
    )
    no_test = Division(name, np.zeros(0, np.int64))
    return _complete(request, _FINAL_NUMBER, no_test, f"fold {name!r}")


def _complete(request: Request, number: int, division: Division, where: str) -> Fold:
    """Fills in the sides that a protocol left open, and checks all of them.

    Utterances that are on no side are counted in the notes, whatever the protocol.
    """
    check_name(division.name, what=f"{where}: fold")
    train, validation, test = division.train, division.validation, division.test
    if train is None:
        train = np.setdiff1d(np.arange(len(request), dtype=np.int64), test)
        if validation is not None:
            train = np.setdiff1d(train, validation)
    if not len(train):
        raise UserError(f"{where}: nothing is left to train on; check protocol and corpora")
    if not len(test) and number != _FINAL_NUMBER:
        raise UserError(f"{where}: nothing is left to test; check protocol and corpora")
    if validation is None:
        train, validation = split_training(request, number, train)
    checks = check_overlap(
        {"train": train, "validation": validation, "test": test},
        speakers=request.speakers,
        audio=request.column("sha256"),
        texts=request.column("text"),
        allow=request.allow_speaker_overlap,
        where=where,
    )
    left_out = len(request) - len(np.unique(np.concatenate([train, validation, test])))
    notes = list(division.notes)
    if left_out:
        notes.append(f"{left_out} of {len(request)} utterances are on no side of this fold")
    warnings = list(division.warnings)
    unknown = int((request.speakers == "").sum())
    if unknown and len(test):
        warnings.append(
            f"the speakers of {unknown} of {len(request)} utterances are not known, so a voice may "
            "be trained on and tested: the scores do not hold for new speakers"
        )
    checks |= {"notes": notes, "warnings": warnings}
    return Fold(division.name, train, validation, test, checks)


def _few_shot(request: Request, number: int, division: Division, where: str) -> Division:
    """Draws some utterances per class from the training speakers, after validation has its own.

    Validation has as few: choosing a checkpoint on hundreds of labels would not be few-shot.
    """
    if request.shots < 1:
        raise UserError(f"protocol.shots is {request.shots}; it must be at least 1")
    rest = np.setdiff1d(np.arange(len(request), dtype=np.int64), division.test)
    train, validation = split_training(request, number, rest)
    classes = request.classes()
    names = sorted(set(classes[train]) - {""})
    if not names:
        raise UserError(f"{where}: no training utterance has a class to draw from")
    for name in names:
        count = int((classes[train] == name).sum())
        if count < request.shots:
            raise UserError(
                f"{where}: {count} training utterances are {name!r}, fewer than protocol.shots "
                f"{request.shots}: lower it"
            )
    rng = generator(request.seed, "few-shot", number)
    train = _draw(rng, request.shots, train, classes[train], names)
    validation = _draw(rng, request.shots, validation, classes[validation], names)
    note = f"{request.shots} training utterances of each of {', '.join(names)}, drawn by the seed"
    if len(validation):
        note += f"; {len(validation)} others, at most as many of each, validate"
    return Division(division.name, division.test, train=train, validation=validation, notes=(note,))


def _draw(
    rng: np.random.Generator, shots: int, rows: np.ndarray, classes: np.ndarray, names: list[str]
) -> np.ndarray:
    """Draws rows of each class, or all where there are fewer."""
    drawn = [np.zeros(0, np.int64)]
    for name in names:
        of_class = rows[classes == name]
        drawn.append(rng.choice(of_class, size=min(shots, len(of_class)), replace=False))
    return np.sort(np.concatenate(drawn))
