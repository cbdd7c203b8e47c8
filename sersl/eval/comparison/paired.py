"""Scores of several systems and their differences, by a paired bootstrap over speakers and seeds.

Every draw takes the same speakers for all systems, so that a hard speaker counts for each of them,
and of every system some of its seeds, with replacement. With one seed the interval does not cover
how much training varies.
"""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

from sersl.core import seeds
from sersl.core.errors import UserError
from sersl.eval import bootstrap
from sersl.eval.comparison.systems import System, align, ensemble
from sersl.eval.predictions import count_speakers, no_intervals
from sersl.eval.scorer import Scorer


@dataclasses.dataclass(frozen=True, kw_only=True)
class Value:
    """One score of one system.

    Attributes:
      mean: over the seeds; NaN where the score is not defined for one of them.
      deviation: sample standard deviation over the seeds; None of a single one.
      interval: 95 %, over speakers and seeds; None where there is none.
      difference: from the first system; None of itself.
      difference_interval: 95 %, paired; None where there is none.
      p: share of the draws on the other side of no difference, two-sided; None where there is none.
    """

    mean: float
    deviation: float | None
    interval: list[float] | None
    difference: float | None = None
    difference_interval: list[float] | None = None
    p: float | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Entry:
    """One row of a comparison.

    Attributes:
      name: of the system.
      workdir: of the system.
      seeds: of its runs that have one.
      is_ensemble: whether the answers of the seeds were averaged before they were scored.
      num_train: utterances trained on, mean over the folds.
      values: scores by name, e.g. "uar" and "ccc.valence".
    """

    name: str
    workdir: str
    seeds: tuple[int, ...]
    is_ensemble: bool
    num_train: float
    values: Mapping[str, Value]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Comparison:
    """Systems that were tested on the same utterances.

    Attributes:
      protocol: its name.
      corpora: names.
      num_utterances: tested.
      num_speakers: tested.
      num_resamples: draws of the bootstrap.
      metrics: names of the scores, those of categories first.
      entries: the first is the reference of all differences.
      notes: for people.
    """

    protocol: str
    corpora: tuple[str, ...]
    num_utterances: int
    num_speakers: int
    num_resamples: int
    metrics: tuple[str, ...]
    entries: tuple[Entry, ...]
    notes: tuple[str, ...]


def compare(
    systems: Sequence[System],
    *,
    num_resamples: int = bootstrap.NUM_RESAMPLES,
    seed: int = 0,
    together: bool = False,
) -> Comparison:
    """Compares systems on the same utterances.

    Args:
      systems: see `read_systems`; the first is the reference.
      num_resamples: draws of the bootstrap.
      seed: of the draws.
      together: whether the ensemble of the runs of all systems, each with the same weight, is one
        more entry.

    Returns:
      The comparison; of every system with several seeds also their ensemble, where one category
      applies to an utterance.

    Raises:
      UserError: the systems are not comparable, see `align`, or have no ensemble.
    """
    systems = align(systems)
    first = systems[0].runs[0]
    candidates = [(system, False, [r.predictions for r in system.runs]) for system in systems]
    if first.predictions.labelled is None:  # several categories have thresholds of their own
        candidates += [
            (system, True, [ensemble(system.runs)]) for system in systems if len(system.runs) > 1
        ]
    if together:
        whole = _whole(systems)
        candidates.append((whole, True, [ensemble(whole.runs)]))
    scorers = [[Scorer(one) for one in predictions] for _, _, predictions in candidates]
    names = tuple(dict.fromkeys(n for row in scorers for s in row for n in _overall(s)))
    found = [np.array([_vector(_overall(s), names) for s in row]) for row in scorers]
    groups = first.predictions.groups
    draws = _draws(scorers, names, groups, num_resamples=num_resamples, seed=seed)
    entries = []
    for number, (system, is_ensemble, _) in enumerate(candidates):
        values = {name: _value(found, draws, number, column) for column, name in enumerate(names)}
        num_train = [fold["num_train"] for run in system.runs for fold in run.results["folds"]]
        entries.append(
            Entry(
                name=f"{system.name}, ensemble of {len(system.runs)}"
                if is_ensemble
                else system.name,
                workdir=str(system.workdir),
                seeds=system.seeds,
                is_ensemble=is_ensemble,
                num_train=float(np.mean(num_train)) if num_train else 0.0,
                values=values,
            )
        )
    return Comparison(
        protocol=first.protocol,
        corpora=tuple(sorted(set(first.predictions.text["corpus"].tolist()))),
        num_utterances=len(first.predictions),
        num_speakers=count_speakers(groups),
        num_resamples=num_resamples,
        metrics=names,
        entries=tuple(entries),
        notes=tuple(_notes(systems, entries, groups)),
    )


def _whole(systems: Sequence[System]) -> System:
    """Makes one system of the runs of all, whose answers can be averaged."""
    if len(systems) < 2:
        raise UserError("an ensemble needs two systems or more: give another run, or no --together")
    if systems[0].runs[0].predictions.labelled is not None:
        raise UserError(
            "several categories may apply to an utterance, with thresholds of each run: their "
            "answers have no ensemble, leave out --together"
        )
    name = " + ".join(system.name for system in systems)
    return System(name, systems[0].workdir, tuple(run for one in systems for run in one.runs))


def _overall(scorer: Scorer) -> dict[str, float]:
    return scorer(np.arange(len(scorer)))


def _vector(scores: Mapping[str, float], names: Sequence[str]) -> list[float]:
    return [scores.get(name, float("nan")) for name in names]


def _draws(
    scorers: Sequence[Sequence[Scorer]],
    names: Sequence[str],
    groups: np.ndarray,
    *,
    num_resamples: int,
    seed: int,
) -> np.ndarray | None:
    """Scores every system on every draw: float64 [draws, systems, scores]; None of one speaker."""
    if len(set(groups.tolist())) < 2:
        return None
    random = seeds.generator(seed, "bootstrap of seeds")
    found = np.full((num_resamples, len(scorers), len(names)), np.nan)
    draws = bootstrap.resamples(groups, num_resamples=num_resamples, seed=seed)
    for number, rows in enumerate(draws):
        for system, row in enumerate(scorers):
            chosen, counts = np.unique(random.integers(0, len(row), len(row)), return_counts=True)
            scores = np.array([_vector(row[i](rows), names) for i in chosen])
            found[number, system] = counts @ scores / len(row)
    return found


def _value(
    found: Sequence[np.ndarray], draws: np.ndarray | None, number: int, column: int
) -> Value:
    """Summarizes one score of system `number`; `found` has [seeds, scores] of each."""
    own, reference = found[number][:, column], found[0][:, column]
    mean = float(own.mean())
    value = Value(
        mean=mean,
        deviation=float(own.std(ddof=1)) if len(own) > 1 else None,
        interval=None
        if draws is None or np.isnan(mean)
        else bootstrap.interval(draws[:, number, column]),
    )
    difference = mean - float(reference.mean())
    if number == 0 or np.isnan(difference):
        return value
    value = dataclasses.replace(value, difference=difference)
    if draws is None:
        return value
    apart = draws[:, number, column] - draws[:, 0, column]
    return dataclasses.replace(
        value, difference_interval=bootstrap.interval(apart), p=_two_sided(apart)
    )


def _two_sided(differences: np.ndarray) -> float | None:
    """Gives the p value of differences [draws], never 0; None where too many are undefined."""
    if bootstrap.interval(differences) is None:
        return None
    known = differences[~np.isnan(differences)]
    sides = (int((known <= 0).sum()), int((known >= 0).sum()))
    return min(1.0, 2 * (min(sides) + 1) / (len(known) + 1))


def _notes(systems: Sequence[System], entries: Sequence[Entry], groups: np.ndarray) -> list[str]:
    notes = []
    if len(set(groups.tolist())) < 2:
        notes.append(no_intervals(count_speakers(groups)))
    single = [system.name for system in systems if len(system.seeds) == 1]
    if single:
        notes.append(
            f"one seed of {', '.join(single)}: its interval does not cover how training varies"
        )
    closed = [system.name for system in systems if not system.seeds]
    if closed:
        notes.append(
            f"heads of {', '.join(closed)} in closed form, which has no seed: the interval is over "
            "speakers alone"
        )
    sizes = {round(entry.num_train) for entry in entries}
    if len(sizes) > 1:
        notes.append(
            "the systems were not trained on the same number of utterances: "
            + ", ".join(f"{e.name} {e.num_train:.0f}" for e in entries if not e.is_ensemble)
        )
    for system in systems:
        protocol = system.runs[0].results["protocol"]
        if protocol.get("labels_of_this_corpus_used"):
            notes.append(f"LEAK: {system.name} was trained with labels of this corpus")
        elif protocol.get("allow_speaker_overlap"):
            notes.append(f"{system.name} may have been trained on speakers that are tested")
    if len(entries) > 2:
        notes.append("p values are not corrected for the number of comparisons")
    return notes
