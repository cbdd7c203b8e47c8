"""The loop: save, preempted?, next batch, dispatch the step, then read the step before it."""

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

from sersl.core.errors import UserError
from sersl.objectives.mean import Mean
from sersl.parallel.sharding import global_arrays
from sersl.runs.checkpoint import Checkpoints
from sersl.training.finite import BadUpdates
from sersl.training.observe import Metrics, Progress
from sersl.training.pace import Pace, shown
from sersl.training.profile import Profile
from sersl.training.state import TrainState


class Preempted(Exception):  # noqa: N818 - not an error: exit code 0
    """The machine is being taken away; the state was saved at `step`."""

    def __init__(self, step: int):
        super().__init__(f"preempted at step {step}")
        self.step = step


@dataclass(frozen=True)
class Loop:
    """What a loop holds besides the state.

    Attributes:
      compiled: samples of a row to compiled step.
      rows: samples of a row to rows of the global batch.
      constants: given to every step.
      mesh: the mesh.
      checkpoints: where the state goes.
      metrics: where the values go.
      progress: what a person sees.
      save_config: makes the JSON saved beside a state.
      preempted: says whether to leave before the next step, see `distributed.preempted`.
      diagnose: looks for a collapse in logged values; gives a sentence or None.
      evaluate: called after every `evaluate_every_steps` updates with (state, step); gives values
        to log. None: never.
      shown: names of the values a person sees.
      bad_updates: what to do about a loss or a gradient that is not finite.
      profile: of some steps.
      flops: samples of a row to operations of the model in one step, for its utilisation.
      peak_flops: of all devices together, per second; None where it is not known.
    """

    compiled: Mapping[int, Any]
    rows: Mapping[int, int]
    constants: dict
    mesh: Mesh
    checkpoints: Checkpoints
    metrics: Metrics
    progress: Progress
    save_config: Callable[[], dict]
    preempted: Callable[[int], bool]
    diagnose: Callable[[int, dict[str, float]], str | None]
    evaluate: Callable[[TrainState, int], dict[str, float]] | None
    shown: tuple[str, ...]
    num_steps: int
    log_every_steps: int
    save_every_steps: int
    evaluate_every_steps: int
    bad_updates: BadUpdates
    profile: Profile
    flops: Mapping[int, float] = field(default_factory=dict)
    peak_flops: float | None = None

    def run(
        self, state: TrainState, *, start_step: int, batches: Iterator[dict[str, np.ndarray]]
    ) -> TrainState:
        """Trains from `start_step` to `num_steps` and saves the last state.

        Args:
          state: after `start_step` updates; donated.
          start_step: updates done.
          batches: this process's rows of the batches of the steps from `start_step` on.

        Returns:
          The state after `num_steps` updates.

        Raises:
          Preempted: SIGTERM came; the state is saved.
          UserError: the loss is not finite or the representation has collapsed; the checkpoints
            before that are kept. Or a checkpoint or a batch failed.
        """
        try:
            return self._run(state, start_step, batches)
        finally:
            self.profile.close()

    def _run(self, state: TrainState, start_step: int, batches: Iterator) -> TrainState:
        pending, window = None, _Window(self.peak_flops)
        for step in range(start_step, self.num_steps):
            if self.preempted(step):
                self._settle(pending, window)
                self._save(step, state, window)
                self.checkpoints.wait()
                raise Preempted(step)
            self.profile.before(step)
            asked = time.perf_counter()
            host_batch = next(batches)
            window.pace.waited(time.perf_counter() - asked)
            num_samples = host_batch["waveform"].shape[1]
            batch = global_arrays(host_batch, self.mesh, rows=self.rows[num_samples])
            state, metrics = self.compiled[num_samples](state, batch, self.constants)
            # The device is busy with this step while the values of the one before are read.
            self._settle(pending, window)
            done = step + 1
            pending = (done, metrics, self.flops.get(num_samples))
            if self.evaluate is not None and (
                done % self.evaluate_every_steps == 0 or done == self.num_steps
            ):
                self._settle(pending, window, more=self.evaluate(state, done))
                pending = None
            if done % self.save_every_steps == 0 or done == self.num_steps:
                # A state is saved only after its loss was seen to be finite.
                self._settle(pending, window)
                pending = None
                self._save(done, state, window)
        self.checkpoints.wait()
        return state

    def _save(self, step: int, state: TrainState, window: "_Window") -> None:
        if step in self.checkpoints.steps():
            return
        config = {**self.save_config(), "loss": window.mean_loss()}
        self.checkpoints.save(step, state_items(state), config=config)

    def _settle(self, pending, window: "_Window", *, more: Mapping = MappingProxyType({})) -> None:
        """Reads, checks and logs the values of a step that has been dispatched, and `more`."""
        if pending is None:
            return
        step, metrics, flops = pending
        values = read_means(metrics)
        window.pace.add(values.pop("audio_seconds"), flops)
        if self.bad_updates.check(step, values):
            window.losses.append(values["loss"])
        if step % self.log_every_steps and step != self.num_steps and not more:
            return
        if self.bad_updates.total:
            values["skipped_updates"] = self.bad_updates.total
        values |= more
        speed = window.pace.close()
        self.metrics.log(step, values | speed)
        seen = {name: values[name] for name in self.shown if name in values}
        self.progress.show(step, seen | shown(speed))
        sentence = self.diagnose(step, values)
        if sentence is not None:
            raise UserError(sentence)


class _Window:
    """What is counted since the last log step, and since the last checkpoint."""

    def __init__(self, peak_flops: float | None):
        self.pace = Pace(peak_flops=peak_flops)
        self.losses: list[float] = []

    def mean_loss(self) -> float | None:
        """Averages the losses since the last call; None where there was none."""
        losses, self.losses = self.losses, []
        return sum(losses) / len(losses) if losses else None


def state_items(state: TrainState) -> dict:
    """Names the parts of a state as they are saved; the step is the checkpoint's own number."""
    return {"params": state.params, "teacher": state.teacher, "optimizer": state.opt_state}


def read_means(metrics: Mapping[str, Mean]) -> dict[str, float]:
    """Divides once, on the host: name to total / weight; NaN where nothing was counted."""
    sums = jax.device_get(metrics)
    return {
        name: float(mean.total / mean.weight) if mean.weight else float("nan")
        for name, mean in sums.items()
    }
