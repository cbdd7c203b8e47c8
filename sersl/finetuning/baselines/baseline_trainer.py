"""Fits and tests a baseline on every fold, in the workdir of a fine-tuning run.

The penalty is chosen on speakers of the training side: the protocol's validation speakers, or,
where it leaves none, groups of training speakers left out in turn. The test side is used once.
"""

import dataclasses
import functools
import time
from collections.abc import Callable
from pathlib import Path

import jax
import numpy as np

from sersl.config.schema import FinetuneConfig
from sersl.core.errors import UserError
from sersl.core.files import write_json
from sersl.corpora.protocols.division import name_speakers
from sersl.corpora.protocols.protocol import Fold
from sersl.data.sources import CorpusSource
from sersl.eval.answers import ANSWERS, VALIDATION, Answers, answers_beside
from sersl.eval.multi_label import best_thresholds
from sersl.finetuning.baselines.baseline_features import read_features
from sersl.finetuning.baselines.estimators import (
    PENALTIES,
    Standardizer,
    classify,
    regress,
    speaker_groups,
)
from sersl.finetuning.best import SELECTION, Score
from sersl.finetuning.targets import Targets
from sersl.finetuning.trained_parts import Counts
from sersl.parallel.agreement import of_first
from sersl.parallel.distributed import is_first_process
from sersl.training.loop import Preempted

NONE = "none"  # the kind of a run that trains a network


class BaselineTrainer:
    """What all folds share: the features of all utterances.

    Attributes:
      config: of the run.
      counts: no parameters of a network.
    """

    counts = Counts(0, 0)

    def __init__(
        self,
        config: FinetuneConfig,
        sources: list[CorpusSource],
        targets: Targets,
        folder: Path,
        *,
        say: Callable[[str], None],
    ):
        """Checks the settings; computes nothing yet.

        Args:
          config: of the run, with a baseline.
          sources: corpora in order.
          targets: what is learnt.
          folder: gets the features.
          say: called with lines for people.

        Raises:
          UserError: a setting has no meaning for a baseline.
        """
        self.config = config
        if config.init_from:
            raise UserError(
                f"baseline.kind={config.baseline.kind!r} fits no network, so init_from has no "
                "use: leave one of them out"
            )
        if config.protocol.final_model:
            raise UserError(
                "a baseline is not exported, so there is no model for release to train: set "
                "protocol.final_model to False"
            )
        self._sources, self._targets = sources, targets
        self._folder, self._say = folder, say
        self._speakers = name_speakers([source.index for source in sources])
        self._features = np.zeros((0, 0), np.float32)

    def open_store(self, *, preempted: Callable[[int], bool]) -> None:
        """Reads the features of all utterances, or computes them.

        Args:
          preempted: whether to leave meanwhile; not asked where the other processes wait.

        Raises:
          UserError: a record is damaged.
          Preempted: before all are computed; none is kept.
        """

        def ask() -> None:
            if jax.process_count() == 1 and preempted(0):
                raise Preempted(0)

        if self.config.baseline.kind == "majority":
            self._features = np.zeros((len(self._targets.category), 0), np.float32)
        elif is_first_process():
            self._features = read_features(
                self._folder / "features.npz",
                self._sources,
                tuple(dict.fromkeys(self.config.baseline.features)),
                self._say,
                ask=ask,
            )

    def train(
        self,
        fold: Fold,
        folder: Path,
        *,
        title: str,
        score: Score,
        preempted: Callable[[int], bool],
    ) -> None:
        """Fits one fold and writes its answers on the test side.

        Args:
          fold: one of the run.
          folder: of the fold; gets answers.npz, validation.npz and choice.json.
          title: for people.
          score: of validation answers; chooses the penalty.
          preempted: asked once, before the fold, which is not interrupted.

        Raises:
          Preempted: before the fold.
        """
        if of_first((folder / ANSWERS).exists()):
            self._say(f"{title}: done before")
            return
        if preempted(0):
            raise Preempted(0)
        if not is_first_process():
            return
        started = time.monotonic()
        train = self._targets.labelled(self._targets.trainable(fold))
        found: dict[float, float] = {}
        kept: tuple[float, Answers | None] | None = None
        sides = self._sides(fold, train)
        for penalty in self._penalties(sides):
            answers = _joined([self._answers(fit, held, penalty) for fit, held in sides])
            found[penalty] = float("nan") if answers is None else _selection(score(answers))
            if kept is None or found[penalty] > found[kept[0]]:
                kept = (penalty, answers)
        assert kept is not None  # there is at least one penalty
        penalty, validation = kept
        folder.mkdir(parents=True, exist_ok=True)
        chosen = found[penalty]
        write_json(
            folder / "choice.json",
            {
                "penalty": penalty,
                "selection": {
                    f"{key:g}": None if np.isnan(value) else value for key, value in found.items()
                },
                "num_groups": len(sides),
            },
        )
        answers = self._answers(train, fold.test, penalty)
        if validation is not None:
            validation.save(folder / VALIDATION)
            if answers.multi:
                answers = dataclasses.replace(answers, thresholds=best_thresholds(validation))
        answers.save(folder / ANSWERS)
        how = "" if np.isnan(chosen) else f", {chosen:.3f} on validation speakers"
        seconds = time.monotonic() - started
        self._say(f"{title}: C = {penalty:g}{how}, {seconds:.1f} s")

    def _sides(self, fold: Fold, train: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
        """Gives (rows to fit, rows to choose by) of every inner division; [] of one speaker."""
        if len(fold.validation):
            return [(train, self._targets.labelled(fold.validation))]
        groups = speaker_groups(self._speakers[train], self.config.baseline.inner_folds)
        if groups.max(initial=0) == 0:
            return []
        return [(train[groups != i], train[groups == i]) for i in range(groups.max() + 1)]

    def _penalties(self, sides: list[tuple[np.ndarray, np.ndarray]]) -> tuple[float, ...]:
        baseline = self.config.baseline
        penalties = baseline.penalties or PENALTIES[baseline.kind]
        if sides:
            return penalties
        self._say("one training speaker and no validation speaker: C is the middle of its values")
        return penalties[len(penalties) // 2 :][:1]

    def _answers(self, train: np.ndarray, test: np.ndarray, penalty: float) -> Answers:
        """Fits rows [n] and answers rows [m]."""
        targets, kind, seed = self._targets, self.config.baseline.kind, self.config.train.seed
        standardize = Standardizer(self._features[train].astype(np.float64))
        inside = standardize(self._features[train])
        asked = standardize(self._features[test])
        columns = []
        for name in targets.dimensions:
            ratings = targets.ratings[train, targets.rated.index(name)]
            known = np.isfinite(ratings)
            columns.append(
                regress(kind, inside[known], ratings[known], asked, penalty=penalty, seed=seed)
            )
        return answers_beside(
            targets.truth,
            test,
            scores=self._scores(inside, train, asked, penalty),
            dimensions=np.array(columns).reshape(len(columns), len(test)).T,
            dimension_names=targets.dimensions,
        )

    def _scores(
        self, inside: np.ndarray, train: np.ndarray, asked: np.ndarray, penalty: float
    ) -> np.ndarray:
        """Fits features [n, F] of rows [n] and gives scores [m, C] of others, [m, F]."""
        targets, baseline = self._targets, self.config.baseline
        fit = functools.partial(
            classify, baseline.kind, penalty=penalty, seed=self.config.train.seed
        )
        if not targets.view.multi:
            known = targets.category[train] >= 0
            if not targets.view.names:
                return np.zeros((len(asked), 0))
            labels = targets.category[train][known]
            return fit(inside[known], labels, asked, num_categories=len(targets.view.names))
        # Where several categories may apply, each is told apart from the rest.
        scores = np.zeros((len(asked), len(targets.view.names)))
        for column in range(scores.shape[1]):
            applies = targets.categories[train, column]
            known = ~np.isnan(applies)
            if known.any():
                labels = applies[known].astype(np.int64)
                scores[:, column] = fit(inside[known], labels, asked, num_categories=2)[:, 1]
        return scores


def _selection(scores: dict[str, float]) -> float:
    return scores.get(SELECTION, float("nan"))


def _joined(parts: list[Answers]) -> Answers | None:
    """Lines up the answers of several divisions; None without one."""
    if not parts:
        return None
    per_row = ("rows", "scores", "dimensions", "true_category", "true_dimensions")
    together = {
        name: np.concatenate([getattr(part, name) for part in parts])
        for name in (*per_row, "true_categories")
    }
    return dataclasses.replace(parts[0], **together)
