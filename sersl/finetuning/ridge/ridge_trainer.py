"""Solves the heads of every fold in closed form, in place of training them."""

import contextlib
import dataclasses
import functools
import operator
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from flax import nnx
from jax.sharding import Mesh

from sersl.config.schema import FinetuneConfig
from sersl.core.errors import UserError
from sersl.core.files import write_json
from sersl.corpora.protocols.division import name_speakers
from sersl.corpora.protocols.protocol import Fold
from sersl.data.batch_plan import check_weights
from sersl.data.recordings import nuisance_sources
from sersl.data.references import locate_rows
from sersl.data.sources import CorpusSource
from sersl.finetuning.baselines.estimators import speaker_groups
from sersl.finetuning.best import SELECTION, BestKeeper, Score
from sersl.finetuning.fusion.run_views import NO_WEIGHTS, view_input
from sersl.finetuning.ridge.closed_form import Weights
from sersl.finetuning.ridge.head_solver import (
    Rows,
    Solved,
    row_weights,
    solve_applying,
    solve_categories,
    solve_dimension,
)
from sersl.finetuning.ridge.nuisance import deviations, rows_of_speakers
from sersl.finetuning.ridge.ridge_checks import check_ridge
from sersl.finetuning.targets import Targets
from sersl.finetuning.trainer import Trainer
from sersl.models.fusion.view_fusion import Fused
from sersl.models.pooling.pooling import lined_up
from sersl.parallel.agreement import arrays_of_first
from sersl.parallel.distributed import is_first_process
from sersl.runs.checkpoint import Checkpoints
from sersl.runs.initial_weights import InitialWeights
from sersl.training.loop import Preempted
from sersl.training.state import TrainState

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
        view_weights: Mapping[str, InitialWeights] = NO_WEIGHTS,
        say: Callable[[str], None],
    ):
        """Checks the settings; see `Trainer` for the arguments.

        Raises:
          UserError: a setting needs gradients, or the outputs of the encoder are not kept.
        """
        check_ridge(config, targets)
        if config.data.weights:
            check_weights(config.data.weights, len(sources))
        super().__init__(
            config,
            sources,
            targets,
            folds,
            mesh=mesh,
            weights=weights,
            view_weights=view_weights,
            say=say,
        )
        if self._store is None or self._store.num_frozen is not None:
            raise UserError(
                "solver.kind='ridge' needs the kept outputs of an encoder that is frozen as a "
                "whole: use configs/finetune/frozen.py with init_from, or set solver.kind to "
                "'gradient'"
            )
        self._speakers = name_speakers([source.index for source in sources])
        self._corpus = np.repeat(np.arange(len(sources)), [len(source) for source in sources])
        graph = self._task.graph

        def pool(params, outputs, views):
            model = nnx.merge(graph, nnx.State(params))
            return model.vectors_of(outputs, views)

        self._pool = jax.jit(pool)
        self._nuisance = nuisance_sources(config)
        self._nuisance_speakers = [rows_of_speakers(source) for source in self._nuisance]
        say("heads by ridge regression in closed form, which uses no random numbers")

    def open_store(self, *, preempted: Callable[[int], bool]) -> None:
        """Opens kept outputs, those of the nuisance corpora too, see `Trainer.open_store`."""
        super().open_store(preempted=preempted)
        assert self._store is not None
        for source in self._nuisance:
            source.outputs = self._store.open(source, self._say, preempted=preempted)

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
            + "".join(
                f" with {key.removesuffix('_weight')} {weight:g}"
                for key, weight in choice.items()
                if key.endswith("_weight")
            )
            for name, choice in choices.items()
        )
        if validation:
            chosen += f", {validation[SELECTION]:.3f} on validation speakers"
        self._say(f"{title}: penalty of {chosen}, {time.monotonic() - started:.1f} s")

    def _solve(self, state: TrainState, fold: Fold) -> tuple[np.ndarray, dict[str, Solved]]:
        """Solves every head of a fold from its training rows and their copies.

        Names are "category" and "dimensions/NAME"; those of a view's own heads (fusion.kind=late)
        begin with "NAME: ".
        """
        plain = self._train_rows(fold)
        rows = self._views.with_copies(plain)
        source = rows % self._views.count
        fused = self._vectors(state, rows)
        nuisance = self._nuisance_directions(state)
        found: dict[str, Solved] = {}
        for number, features in enumerate([fused.vector, *fused.others]):
            present = np.asarray(fused.present)[:, number]
            given = Rows(
                features=np.asarray(features)[present],
                group=speaker_groups(
                    self._speakers[source[present]], self.config.solver.inner_folds
                ),
                plain=(rows < self._views.count)[present],
                nuisance=nuisance,
                nuisance_weights=self.config.solver.nuisance_weights,
                blocks=self._blocks(fused) if number == 0 else (),
                kind_weights={
                    "side": self.config.solver.side_weights,
                    "view": self.config.solver.view_weights,
                },
            )
            prefix = f"{self.views.configs[number - 1].name}: " if number else ""
            found |= {
                prefix + name: one for name, one in self._heads(given, source[present]).items()
            }
        return rows, found

    def _blocks(self, fused: Fused) -> list[tuple[str, int]]:
        """Widths of the main encoder, of its side branch and of the views that early fusion adds.

        A side branch counts where the pooling lines its layers up behind those of the start.
        """
        # Late fusion decides on every view by itself.
        views = fused.views if self.config.fusion.kind == "early" else (fused.vector,)
        encoder, whole = self.config.encoder, views[0].shape[1]
        read = lined_up(self.config.pooling.layers, encoder.last_layer) or range(0)
        start = sum(layer <= encoder.num_layers for layer in read)
        own = whole * start // len(read) if start else whole
        side = [("side", whole - own)] if own < whole else []
        return [("", own), *side, *(("view", view.shape[1]) for view in views[1:])]

    def _heads(self, given: Rows, source: np.ndarray) -> dict[str, Solved]:
        """Solves the heads of one vector from rows that have it, of int64 [n] utterances."""
        config, targets = self.config, self._targets
        penalties, found = config.solver.penalties, {}
        corpus, shares = self._corpus[source], config.data.weights
        if not (config.solver.balance_corpora or shares):
            corpus = np.zeros_like(corpus)
        weigh = functools.partial(row_weights, shares=shares)
        balanced = config.heads.class_weighting
        if targets.view.multi:
            for column, name in enumerate(targets.view.names):
                applies = targets.categories[source, column]
                known = ~np.isnan(applies)
                applies = applies[known]
                weights = weigh(corpus[known], applies.astype(int) if balanced else None)
                found[f"category/{name}"] = solve_applying(
                    given.take(known), applies, weights, penalties
                )
        elif targets.view.names:
            category = targets.category[source]
            known = category >= 0
            category = category[known]
            weights = weigh(corpus[known], category if balanced else None)
            found["category"] = solve_categories(
                given.take(known), category, len(targets.view.names), weights, penalties
            )
        for name in targets.dimensions:
            ratings = targets.ratings[source, targets.rated.index(name)]
            known = np.isfinite(ratings)
            found[f"dimensions/{name}"] = solve_dimension(
                given.take(known), ratings[known], weigh(corpus[known], None), penalties
            )
        return found

    def _vectors(self, state: TrainState, rows: np.ndarray) -> Fused:
        """Pools the kept outputs of int64 [n] rows as the model does, in host memory."""
        parts = [part for _, part in self._pooled(state, self._views.sources, rows)]
        joined: Fused = jax.tree.map(lambda *leaves: np.concatenate(leaves), *parts)
        return joined

    def _nuisance_directions(self, state: TrainState) -> np.ndarray | None:
        """Computes how nuisance speakers differ: float32 [m, F]; None: there are none."""
        found = []
        for source, speakers in zip(self._nuisance, self._nuisance_speakers, strict=True):
            parts = self._pooled(state, [source], np.concatenate(speakers))
            found.append(
                deviations(speakers, ((rows, np.asarray(one.vector)) for rows, one in parts))
            )
        return np.concatenate(found) if found else None

    def _pooled(
        self, state: TrainState, sources: Sequence[CorpusSource], rows: np.ndarray
    ) -> Iterator[tuple[np.ndarray, Fused]]:
        """Pools the kept outputs of int64 [n] rows of `sources` in parts, with the rows of each."""
        corpus, row = locate_rows(rows, [len(source) for source in sources])
        for start in range(0, len(rows), _ROWS):
            part = range(start, min(start + _ROWS, len(rows)))
            places = [(sources[corpus[i]], int(row[i])) for i in part]
            readers = [(source.outputs, i) for source, i in places]
            outputs = [reader.read(i) for reader, i in readers if reader is not None]
            padded = np.pad(np.stack(outputs), [(0, _ROWS - len(part)), *[(0, 0)] * 3])
            views = {
                view.name: view_input([(one.views[view.name], i) for one, i in places], rows=_ROWS)
                for view in self.views.configs
            }
            found: Fused = jax.device_get(self._pool(state.params, padded, views))
            real = operator.itemgetter(slice(len(part)))
            yield rows[start : part.stop], jax.tree.map(real, found)

    def _with_heads(self, state: TrainState, solved: dict[str, Solved]) -> TrainState:
        """Sets the output layers of the heads."""
        params = _copied(state.params)
        for view in ("", *(view.name for view in self.views.configs)):
            prefix = f"{view}: " if view else ""
            for head in ("category", "dimensions"):
                columns = [
                    one.weights
                    for name, one in solved.items()
                    if name.startswith(prefix) and name.removeprefix(prefix).split("/")[0] == head
                ]
                if not columns:
                    continue
                found = arrays_of_first(
                    Weights(
                        np.concatenate([one.kernel for one in columns], 1).astype(np.float32),
                        np.concatenate([one.bias for one in columns]).astype(np.float32),
                    )
                )
                where = params["fusion"]["decisions"][f"{head}_{view}"] if view else params[head]
                for name, values in found._asdict().items():
                    old = where["output"][name]
                    where["output"][name] = jax.device_put(values, old.sharding)
        return dataclasses.replace(state, params=params)


def _copied(tree: dict[Any, Any]) -> dict[Any, Any]:
    """Copies nested dicts, but not the arrays in them."""
    return {
        name: _copied(value) if isinstance(value, dict) else value for name, value in tree.items()
    }
