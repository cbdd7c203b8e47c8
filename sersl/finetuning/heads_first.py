"""What a fold sets before its first step: moments of its training side, and trained heads.

`HeadsFirst` trains pooling and heads on the outputs of the encoder as it is, before it changes.

Source: Kumar et al., "Fine-tuning can distort pretrained features and underperform out of
distribution" (2202.10054), linear probing, then fine-tuning.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

from sersl.config.schema import FinetuneConfig, PoolingConfig
from sersl.core.errors import UserError
from sersl.core.seeds import generator, purpose_number
from sersl.corpora.labels import LabelView
from sersl.data.buckets import Bucket
from sersl.data.sources import CorpusSource
from sersl.finetuning.from_outputs import moments, with_moments
from sersl.finetuning.pooled_outputs import PooledOutputs, moments_of
from sersl.finetuning.task import FinetuneTask
from sersl.models.pooling.pooling import count_vectors
from sersl.parallel.sharding import batch_sharding, place
from sersl.training.optimizer import NEVER, decay_roles, make_optimizer
from sersl.training.state import TrainState
from sersl.training.step import make_step, param_shapes, shardings_of

_SAMPLES = 400  # one frame: pooled outputs need no frames


class HeadsFirst:
    """Trains everything outside of the encoder that trains from step 0, in one compiled step."""

    def __init__(self, config: FinetuneConfig, task: FinetuneTask, starts: Any, *, mesh: Mesh):
        """Makes the optimizer; compiles nothing yet.

        Args:
          config: of the run; its optimizer with `adaptation.head_steps` updates.
          task: whose batches hold pooled outputs.
          starts: int per parameter, the step from which it trains.
          mesh: the mesh.

        Raises:
          UserError: the pooling reads all frames of the encoder.
        """
        if not count_vectors(config.pooling):
            raise UserError(
                "adaptation.head_steps trains on pooled outputs, and pooling.kind="
                f"{config.pooling.kind} reads every frame: set pooling.kind to statistics, mean "
                "or max, or adaptation.head_steps to 0"
            )
        self._steps, self._mesh = config.adaptation.head_steps, mesh
        self._seed = config.train.seed
        shapes = param_shapes(task)
        own = dict(starts)
        own["encoder"] = jax.tree.map(lambda _: NEVER, starts["encoder"])
        self._optimizer = make_optimizer(
            config.optimizer,
            shapes,
            num_steps=self._steps,
            roles=decay_roles(task.abstract),
            starts=own,
        )
        seed = np.random.SeedSequence([self._seed, purpose_number("heads first")])
        # Other dropout than in the steps that follow.
        self._step = make_step(task, self._optimizer, seed=int(seed.generate_state(1)[0]))

    def __call__(
        self,
        state: TrainState,
        outputs: Mapping[str, np.ndarray],
        constants: dict[str, Any],
        *,
        rows: int,
    ) -> TrainState:
        """Trains on pooled outputs.

        Args:
          state: at step 0.
          outputs: of `PooledOutputs.gather`, [n, ...].
          constants: of the task.
          rows: of a global batch; drawn with replacement, by seed and step.

        Returns:
          The state at step 0 with trained pooling and heads.
        """
        params = state.params
        optimizer_state = jax.jit(self._optimizer.init)(params)
        own = TrainState(state.step, params, None, optimizer_state)
        step = jax.jit(self._step, out_shardings=(shardings_of(own), None))
        count = len(outputs["utterance_index"])
        for number in range(self._steps):
            drawn = generator(self._seed, "rows of heads first", number).integers(count, size=rows)
            own, _ = step(own, self._batch(outputs, drawn), constants)
        return dataclasses.replace(state, params=own.params)

    def _batch(self, outputs: Mapping[str, np.ndarray], drawn: np.ndarray) -> dict[str, jax.Array]:
        sharding = batch_sharding(self._mesh)
        arrays = {name: values[drawn] for name, values in outputs.items()}
        arrays["valid"] = np.ones((len(drawn), _SAMPLES), bool)
        return {name: place(array, sharding) for name, array in arrays.items()}


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
      views: settings of the poolings of the further views, by name.
    """

    config: FinetuneConfig
    sources: Sequence[CorpusSource]
    pooled: PooledOutputs
    upper_layers: bool
    heads_first: HeadsFirst | None
    rows: int
    views: Mapping[str, PoolingConfig]

    @classmethod
    def of(
        cls,
        task: FinetuneTask,
        *,
        sources: Sequence[CorpusSource],
        view: LabelView,
        mesh: Mesh,
        buckets: Sequence[Bucket],
        heads_task: FinetuneTask | None,
        starts: Any,
        rows: int,
        views: Mapping[str, PoolingConfig],
    ) -> "FoldStart":
        """Makes it for a task; compiles nothing yet.

        Args:
          task: of the run.
          sources: corpora in order.
          view: names of the categories.
          mesh: the mesh.
          buckets: batch shapes that hold the longest utterance.
          heads_task: that trains the heads first; None where they do not.
          starts: int per parameter, the step from which it trains.
          rows: of a global batch of the heads.
          views: settings of the poolings of the further views, by name.

        Raises:
          UserError: frames are to be standardized that the upper layers change.
        """
        pooled = PooledOutputs(
            task.pooled,
            buckets=buckets,
            mesh=mesh,
            view=view,
            dimensions=task.dimensions,
            needs=task.needs,
            data=task.config.data,
        )
        pooling, upper_layers = task.config.pooling, task.first_layer is not None
        if upper_layers and pooling.standardize_outputs and not count_vectors(pooling):
            raise UserError(
                "pooling.standardize_outputs standardizes the frames of a frozen encoder, and its "
                "upper layers train: set it to False, or pooling.kind to statistics"
            )
        heads_first = None
        if heads_task is not None:
            heads_first = HeadsFirst(task.config, heads_task, starts, mesh=mesh)
        return cls(
            config=task.config,
            sources=sources,
            pooled=pooled,
            upper_layers=upper_layers,
            heads_first=heads_first,
            rows=rows,
            views=views,
        )

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
                found = moments(self.sources, rows, pooling=self.config.pooling)
            state = with_moments(state, *found)
            for view, pooling in self.views.items():
                own = moments(self.sources, rows, pooling=pooling, view=view)
                state = with_moments(state, *own, view=view)
        if self.heads_first is None or outputs is None:
            return state
        say(f"training the heads first: {self.config.adaptation.head_steps} updates")
        return self.heads_first(state, outputs, constants, rows=self.rows)
