"""Solves the heads of every fold in closed form, in place of training them."""

import contextlib
import dataclasses
import functools
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.sharding import Mesh

from sersl.config.auxiliary import DomainConfig, TasksConfig
from sersl.config.schema import CombineConfig, FinetuneConfig
from sersl.config.training_ideas import DistillConfig
from sersl.core.errors import UserError
from sersl.core.files import write_json
from sersl.corpora.protocols.protocol import Fold
from sersl.data.references import locate_rows
from sersl.data.sources import CorpusSource
from sersl.finetuning.baselines.estimators import speaker_groups
from sersl.finetuning.best import SELECTION, BestKeeper, Score
from sersl.finetuning.ridge.closed_form import Weights
from sersl.finetuning.ridge.head_solver import (
    Rows,
    Solved,
    row_weights,
    solve_applying,
    solve_categories,
    solve_dimension,
)
from sersl.finetuning.targets import Targets
from sersl.finetuning.trainer import Trainer
from sersl.models.pooling.pooling import KINDS
from sersl.parallel.agreement import arrays_of_first
from sersl.parallel.distributed import is_first_process
from sersl.runs.checkpoint import Checkpoints
from sersl.runs.initial_weights import InitialWeights
from sersl.training.loop import Preempted
from sersl.training.state import TrainState

RIDGE = "ridge"  # `solver.kind` of a run that trains nothing by gradient
CHOICE = "choice.json"  # of a fold: penalties and scales
_ROWS = 256  # pooled at once


class RidgeTrainer(Trainer):
    """A `Trainer` whose folds are solved; the seed changes nothing but the sides of a protocol."""

    def __init__(
        self,
        config: FinetuneConfig,
        sources: list[CorpusSource],
        targets: Targets,
        folds: list[Fold],
        *,
        mesh: Mesh,
        weights: InitialWeights | None,
        say: Callable[[str], None],
    ):
        """Checks the settings; see `Trainer` for the arguments.

        Raises:
          UserError: a setting needs gradients, or the outputs of the encoder are not kept.
        """
        check_ridge(config, targets)
        super().__init__(config, sources, targets, folds, mesh=mesh, weights=weights, say=say)
        if self._store is None or self._store.num_frozen is not None:
            raise UserError(
                "solver.kind='ridge' needs the kept outputs of an encoder that is frozen as a "
                "whole: use configs/finetune/frozen.py with init_from, or set solver.kind to "
                "'gradient'"
            )
        speakers = [
            np.char.add(f"{source.index.corpus}/", source.index.column("speaker").astype(str))
            for source in sources
        ]
        self._speakers = np.concatenate(speakers)
        self._corpus = np.repeat(np.arange(len(sources)), [len(source) for source in sources])
        graph = self._task.graph

        def pool(params, outputs):
            model = nnx.merge(graph, nnx.State(params))
            return model.pooling.of_outputs(outputs, jnp.ones((len(outputs), 1), bool))

        self._pool = jax.jit(pool)
        say("heads by ridge regression in closed form, which uses no random numbers")

    def train(
        self,
        fold: Fold,
        folder: Path,
        *,
        title: str,
        score: Score,
        preempted: Callable[[int], bool],
    ) -> None:
        """Solves one fold and writes its answers on the test side.

        Args:
          fold: one of the run.
          folder: of the fold; gets choice.json, best/, validation.npz and answers.npz.
          title: for people.
          score: of validation answers, which are shown and choose nothing.
          preempted: asked once, before the fold, which is not interrupted.

        Raises:
          Preempted: before the fold.
        """
        if self._is_done(folder, title):
            return
        if preempted(0):
            raise Preempted(0)
        started = time.monotonic()
        with contextlib.closing(
            Checkpoints.of(folder / "checkpoints", self.config.checkpoint)
        ) as own:
            state, _ = self._start(fold, own, say=lambda line: None)
        rows, solved = self._solve(state, fold)
        state = self._with_heads(state, solved)
        choices = {name: one.choice for name, one in solved.items()}
        if is_first_process():
            folder.mkdir(parents=True, exist_ok=True)
            write_json(folder / CHOICE, {"num_rows": len(rows), **choices})
        with contextlib.closing(Checkpoints(folder / "best", keep_last=1)) as best:
            keeper = BestKeeper(
                functools.partial(self._answer, rows=fold.validation),
                self._abstract.params,
                best,
                score,
                start_step=0,
                shared=self._shared(folder),
            )
            validation = keeper(state, 0)
            self._test(keeper.params(state), fold, folder)
        if is_first_process():
            shutil.rmtree(folder / "checkpoints")
        chosen = ", ".join(
            f"{name.removeprefix('category/')} {choice['penalty']:g}"
            for name, choice in choices.items()
        )
        if validation:
            chosen += f", {validation[SELECTION]:.3f} on validation speakers"
        self._say(f"{title}: penalty of {chosen}, {time.monotonic() - started:.1f} s")

    def _solve(self, state: TrainState, fold: Fold) -> tuple[np.ndarray, dict[str, Solved]]:
        """Solves every head of a fold from its training rows and their copies."""
        config, targets = self.config, self._targets
        plain = self._train_rows(fold)
        rows = self._views.with_copies(plain)
        source = rows % self._views.count
        given = Rows(
            features=self._features(state, rows),
            group=speaker_groups(self._speakers[source], config.solver.inner_folds),
            plain=rows < self._views.count,
        )
        penalties, found = config.solver.penalties, {}
        corpus = self._corpus[source]
        if not config.solver.balance_corpora:
            corpus = np.zeros_like(corpus)
        balanced = config.heads.class_weighting
        if targets.view.multi:
            for column, name in enumerate(targets.view.names):
                applies = targets.categories[source, column]
                known = ~np.isnan(applies)
                applies = applies[known]
                weights = row_weights(corpus[known], applies.astype(int) if balanced else None)
                found[f"category/{name}"] = solve_applying(
                    given.take(known), applies, weights, penalties
                )
        elif targets.view.names:
            category = targets.category[source]
            known = category >= 0
            category = category[known]
            weights = row_weights(corpus[known], category if balanced else None)
            found["category"] = solve_categories(
                given.take(known), category, len(targets.view.names), weights, penalties
            )
        for name in targets.dimensions:
            ratings = targets.ratings[source, targets.rated.index(name)]
            known = np.isfinite(ratings)
            found[f"dimensions/{name}"] = solve_dimension(
                given.take(known), ratings[known], row_weights(corpus[known], None), penalties
            )
        return rows, found

    def _features(self, state: TrainState, rows: np.ndarray) -> np.ndarray:
        """Pools the kept outputs of int64 [n] rows as the model does: float32 [n, F]."""
        sources, found = self._views.sources, []
        corpus, row = locate_rows(rows, [len(source) for source in sources])
        for start in range(0, len(rows), _ROWS):
            part = range(start, min(start + _ROWS, len(rows)))
            readers = [sources[corpus[i]].outputs for i in part]
            outputs = np.stack(
                [
                    reader.read(int(row[i]))
                    for reader, i in zip(readers, part, strict=True)
                    if reader is not None
                ]
            )
            padded = np.pad(outputs, [(0, _ROWS - len(part)), *[(0, 0)] * 3])
            found.append(np.asarray(self._pool(state.params, padded))[: len(part)])
        return np.concatenate(found)

    def _with_heads(self, state: TrainState, solved: dict[str, Solved]) -> TrainState:
        """Sets the output layers of the heads."""
        params = dict(state.params)
        for head in ("category", "dimensions"):
            columns = [one.weights for name, one in solved.items() if name.split("/")[0] == head]
            if not columns:
                continue
            found = arrays_of_first(
                Weights(
                    np.concatenate([one.kernel for one in columns], 1).astype(np.float32),
                    np.concatenate([one.bias for one in columns]).astype(np.float32),
                )
            )
            output = dict(params[head]["output"])
            for name, values in found._asdict().items():
                output[name] = jax.device_put(values, output[name].sharding)
            params[head] = {**params[head], "output": output}
        return dataclasses.replace(state, params=params)


def check_ridge(config: FinetuneConfig, targets: Targets) -> None:
    """Refuses settings that a closed form cannot follow.

    Raises:
      UserError: naming the setting.
    """
    heads, pooling = config.heads, config.pooling
    wrong = ""
    if heads.kind != "linear":
        wrong = f"heads.kind={heads.kind!r} has a hidden layer: set it to 'linear'"
    elif KINDS[pooling.kind].weights != "equal" or pooling.projection:
        wrong = (
            f"pooling.kind={pooling.kind!r} with pooling.projection={pooling.projection} has "
            "weights of its own: set them to 'statistics', 'mean' or 'max', and 0"
        )
    elif pooling.network.kind != "none":
        wrong = (
            f"pooling.network.kind={pooling.network.kind!r} is trained by gradient: set it to "
            "'none'"
        )
    elif pooling.layers == "weighted":
        wrong = "pooling.layers='weighted' has weights of its own: set it to 'all'"
    elif targets.view.names and heads.category_loss != "cross_entropy":
        wrong = (
            f"heads.category_loss={heads.category_loss!r} is trained by gradient: set it to "
            "'cross_entropy'"
        )
    elif config.labels.soft:
        wrong = "labels.soft gives shares of votes: set it to False"
    elif targets.dimensions and heads.bounded:
        wrong = "heads.bounded bends the values of dimensions: set it to False"
    elif targets.dimensions and heads.dimensions_loss not in ("ccc", "mse"):
        wrong = (
            f"heads.dimensions_loss={heads.dimensions_loss!r} is trained by gradient: set it to "
            "'ccc'"
        )
    else:
        for name, value, plain in (
            ("tasks", config.tasks, TasksConfig()),
            ("domain.kind", config.domain.kind, DomainConfig().kind),
            ("combine", config.combine, CombineConfig()),
            ("distill", config.distill, DistillConfig()),
            ("co_teaching.noise", config.co_teaching.noise, 0.0),
            ("heads.contrast_weight", heads.contrast_weight, 0.0),
        ):
            if value != plain:
                wrong = f"{name} is for training by gradient: leave it at its default"
    if wrong:
        raise UserError(
            f"solver.kind='ridge' solves linear heads in closed form, but {wrong}, or set "
            "solver.kind to 'gradient'"
        )
