"""What a fold sets before its first step from its training side: moments, and trained heads."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np

from sersl.config.schema import FinetuneConfig
from sersl.data.sources import CorpusSource
from sersl.finetuning.from_outputs import moments, with_moments
from sersl.finetuning.heads_first import HeadsFirst
from sersl.finetuning.pooled_outputs import PooledOutputs, moments_of
from sersl.training.state import TrainState


@dataclasses.dataclass(frozen=True, kw_only=True)
class FoldStart:
    """Prepares the state of a fold at step 0.

    Attributes:
      config: of the run.
      sources: corpora in order.
      pooled: runs the upper layers as they are.
      upper_layers: whether batches hold outputs of the lower layers, which upper layers read.
      heads_first: trains the heads before the encoder changes; None where it does not.
      rows: of a global batch of `heads_first`.
    """

    config: FinetuneConfig
    sources: Sequence[CorpusSource]
    pooled: PooledOutputs
    upper_layers: bool
    heads_first: HeadsFirst | None
    rows: int

    def __call__(
        self,
        state: TrainState,
        rows: np.ndarray,
        constants: dict[str, jax.Array],
        *,
        say: Callable[[str], None],
    ) -> TrainState:
        """Sets what comes from the training side.

        Args:
          state: at step 0.
          rows: int [n], utterances to train on.
          constants: of the task, for the fold.
          say: called with lines for people.
        """
        outputs: dict[str, Any] | None = None
        if self.heads_first is not None:
            say("running the upper layers as they are over the training side")
            outputs = self.pooled.gather(state.params, self.sources, rows)
        if self.config.pooling.standardize_outputs:
            if outputs is not None:
                found = moments_of([outputs["hidden_states"]])
            elif self.upper_layers:
                found = self.pooled.moments(state.params, self.sources, rows)
            else:
                found = moments(self.sources, rows)
            state = with_moments(state, *found)
        if self.heads_first is None or outputs is None:
            return state
        say(f"training the heads first: {self.config.adaptation.head_steps} updates")
        return self.heads_first(state, outputs, constants, rows=self.rows)
