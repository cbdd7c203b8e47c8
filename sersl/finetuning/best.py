"""Model selection: the parameters of the step that does best on validation speakers."""

import math
from collections.abc import Callable, Mapping
from typing import Any

from sersl.eval.answers import Answers
from sersl.finetuning.shared_params import SharedParams
from sersl.runs.checkpoint import Checkpoints
from sersl.runs.param_parts import SHARED, joined
from sersl.training.state import TrainState

# Given answers beside the truth, scores by name; "selection", if there is one, chooses the step.
Score = Callable[[Answers], dict[str, float]]
SELECTION = "selection"


class BestKeeper:
    """Scores validation speakers while training and keeps the parameters of the best step."""

    def __init__(
        self,
        answer: Callable[[dict[str, Any]], Answers],
        abstract_params: dict[str, Any],
        best: Checkpoints,
        score: Score,
        *,
        start_step: int,
        shared: SharedParams | None = None,
    ):
        """Finds what an earlier start has kept.

        Args:
          answer: gives the answers of a model with given parameters on the validation side.
          abstract_params: shapes and shardings of the parameters.
          best: where the best parameters go.
          score: of the answers.
          start_step: updates done; what was kept later than that is removed.
          shared: parameters that are saved once for all folds; None: each fold saves all.
        """
        self._answer, self._abstract, self._score = answer, abstract_params, score
        self._best = best
        self._shared = shared if shared is not None and shared.any else None
        best.forget_after(start_step)
        found = self._restored()
        self._selection = None if found is None else best.read_config(found[0])[SELECTION]

    def __call__(self, state: TrainState, step: int) -> Mapping[str, float]:
        """Scores a state and keeps its parameters if they are the best so far.

        Args:
          state: after `step` updates.
          step: updates done.

        Returns:
          The scores; none without validation utterances. A step whose selection is undefined is
          never the best.
        """
        answers = self._answer(state.params)
        if not len(answers.rows):
            return {}
        scores = self._score(answers)
        selection = scores.get(SELECTION, math.nan)
        if math.isfinite(selection) and (self._selection is None or selection > self._selection):
            self._keep(step, state, selection)
        return scores

    def params(self, state: TrainState) -> dict[str, Any]:
        """Gives the best parameters: nested dict of arrays on the mesh.

        Args:
          state: the last one; its parameters are kept where no step had a defined selection.
        """
        self._best.wait()
        found = self._restored()
        if found is not None and self._selection is not None:
            return joined(state.params, found[1]["params"])
        self._keep(int(state.step), state, None)
        return state.params

    def _keep(self, step: int, state: TrainState, selection: float | None) -> None:
        self._selection = selection
        if step in self._best.steps():  # kept by an earlier start, without a selection
            return
        config: dict[str, Any] = {SELECTION: selection}
        params = state.params
        if self._shared is not None:
            config[SHARED] = self._shared.keep(params)
            params = self._shared.own_part(params)
        self._best.save(step, {"params": params}, config=config)
        self._best.wait()

    def _restored(self) -> tuple[int, dict[str, Any]] | None:
        """Reads what is kept: all parameters, or those that are not shared."""
        wanted, steps = self._abstract, self._best.steps()
        if self._shared is not None and steps:
            try:
                partly = SHARED in self._best.read_config(steps[-1])
            except (OSError, ValueError):  # damaged, as `restore` finds
                partly = True
            # An earlier version saved all with every fold.
            wanted = self._shared.own_part(wanted) if partly else wanted
        return self._best.restore({"params": wanted})
