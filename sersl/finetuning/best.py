"""Model selection: the parameters of the step that does best on validation speakers."""

from collections.abc import Callable

import numpy as np

from sersl.eval.answers import Answers
from sersl.runs.checkpoint import Checkpoints
from sersl.training.state import TrainState

# Given answers beside the truth, scores by name, of which "selection" chooses the best step.
Score = Callable[[Answers], dict[str, float]]


class BestKeeper:
    """Scores validation speakers while training and keeps the parameters of the best step."""

    def __init__(
        self,
        answer: Callable[[dict], Answers],
        abstract_params: dict,
        best: Checkpoints,
        score: Score,
        *,
        start_step: int,
    ):
        """Finds what an earlier start has kept.

        Args:
          answer: asks the model with given parameters about the validation side.
          abstract_params: shapes and shardings of the parameters.
          best: where the best parameters go.
          score: of the answers.
          start_step: updates done; what was kept later than that is forgotten.
        """
        self._answer, self._abstract, self._score = answer, abstract_params, score
        self._best = best
        best.forget_after(start_step)
        found = best.restore({"params": abstract_params})
        self._selection = -np.inf if found is None else best.read_config(found[0])["selection"]

    def __call__(self, state: TrainState, step: int) -> dict[str, float]:
        """Scores a state and keeps its parameters if they are the best so far.

        Args:
          state: after `step` updates.
          step: updates done.

        Returns:
          The scores; nothing where nobody validates.
        """
        answers = self._answer(state.params)
        if not len(answers.rows):
            return {}
        scores = self._score(answers)
        if scores["selection"] > self._selection:
            self._selection = scores["selection"]
            self._best.save(step, {"params": state.params}, config={"selection": self._selection})
            self._best.wait()
        return scores

    def params(self, state: TrainState) -> dict:
        """Gives the best parameters.

        Args:
          state: the last one; its parameters are kept where nobody validates.

        Returns:
          Nested dict of arrays on the mesh.
        """
        self._best.wait()
        found = self._best.restore({"params": self._abstract})
        if found is not None:
            return found[1]["params"]
        self._best.save(int(state.step), {"params": state.params}, config={"selection": 0.0})
        self._best.wait()
        return state.params
