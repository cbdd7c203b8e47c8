"""The training loop: save, evaluate, log, and stop when something is wrong."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Protocol

import jax
import numpy as np

from sersl.config.schema import CheckpointConfig, TrainConfig
from sersl.core.errors import UserError
from sersl.objectives.mean import Mean
from sersl.training.finite import BadUpdates
from sersl.training.observe import Metrics, Progress
from sersl.training.pace import Pace, shown
from sersl.training.profile import Profile
from sersl.training.program import Program
from sersl.training.state import TrainState

# Given a step and its logged values, a sentence about what is wrong, or None.
Check = Callable[[int, dict[str, float]], str | None]


class Preempted(Exception):  # noqa: N818 - not an error: exit code 0
    """The machine is being taken away; the state was saved at `step`."""

    def __init__(self, step: int):
        super().__init__(f"preempted at step {step}")
        self.step = step


class SavesStates(Protocol):
    """Where the loop saves, see `sersl.runs.checkpoint.Checkpoints`."""

    def steps(self) -> list[int]:
        """Lists the complete checkpoints."""

    def save(self, step: int, items: Mapping[str, Any], *, config: Mapping[str, Any]) -> None:
        """Starts to write a checkpoint."""

    def wait(self) -> None:
        """Waits until everything started is on disk."""


@dataclass(frozen=True, kw_only=True)
class Output:
    """What a loop writes.

    Attributes:
      metrics: gets the values of every log step.
      progress: shows some of them to people.
      shown: names of those.
      checkpoints: gets the state.
      saved: JSON-able, written beside every state.
      profile: of some steps.
    """

    metrics: Metrics
    progress: Progress
    shown: tuple[str, ...]
    checkpoints: SavesStates
    saved: Mapping[str, Any]
    profile: Profile


@dataclass(frozen=True, kw_only=True)
class Intervals:
    """When a loop logs, saves and ends, in steps; the last step is always logged and saved."""

    num_steps: int
    log_every_steps: int
    save_every_steps: int

    @classmethod
    def of(cls, train: TrainConfig, checkpoint: CheckpointConfig) -> "Intervals":
        """Reads it from the settings."""
        return cls(
            num_steps=train.num_steps,
            log_every_steps=train.log_every_steps,
            save_every_steps=checkpoint.every_steps,
        )


@dataclass(frozen=True, kw_only=True)
class Guards:
    """What ends a loop early.

    Attributes:
      preempted: given a step, whether to save and leave before it.
      bad_updates: what to do about a loss or a gradient that is not finite.
      check: looks for a collapse in logged values.
    """

    preempted: Callable[[int], bool]
    bad_updates: BadUpdates
    check: Check | None = None


@dataclass(frozen=True, kw_only=True)
class Evaluator:
    """Scores of the state, logged as `<name>_<score>`.

    Attributes:
      name: of the evaluator.
      every_steps: how often it runs; it runs after the last step too.
      evaluate: given the state and the updates done, the scores by name.
    """

    name: str
    every_steps: int
    evaluate: Callable[[TrainState, int], Mapping[str, float]]


@dataclass(frozen=True, kw_only=True)
class Loop:
    """Trains a state: what to run, what to write, when, and what ends it early."""

    program: Program
    output: Output
    intervals: Intervals
    guards: Guards
    evaluators: Sequence[Evaluator] = field(default=())

    def run(
        self, state: TrainState, *, start_step: int, batches: Iterator[dict[str, np.ndarray]]
    ) -> TrainState:
        """Trains from `start_step` to the last step and saves the last state.

        Args:
          state: after `start_step` updates; donated.
          start_step: updates done.
          batches: this process's rows of the batches of the steps from `start_step` on.

        Returns:
          The last state.

        Raises:
          Preempted: SIGTERM came; the state is saved.
          UserError: the loss is not finite or the representation has collapsed; earlier
            checkpoints are kept. Or a checkpoint or a batch failed.
        """
        try:
            return self._run(state, start_step, batches)
        finally:
            self.output.profile.close()

    def _run(self, state: TrainState, start_step: int, batches: Iterator) -> TrainState:
        window = _Window(self.program.peak_flops)
        pending: _Pending | None = None
        for step in range(start_step, self.intervals.num_steps):
            if self.guards.preempted(step):
                self._settle(pending, window)
                self._save(step, state, window)
                self.output.checkpoints.wait()
                raise Preempted(step)
            self.output.profile.before(step)
            asked = time.perf_counter()
            host_batch = next(batches)
            window.pace.waited(time.perf_counter() - asked)
            flops = self.program.flops.get(host_batch["valid"].shape[1])
            state, metrics = self.program(state, host_batch)
            # The device is busy with this step while the values of the one before are read.
            self._settle(pending, window)
            done = step + 1
            pending = _Pending(done, metrics, flops)
            due = [one for one in self.evaluators if self._is_due(done, one.every_steps)]
            if due:
                self._settle(pending, window, more=_evaluate(due, state, done))
                pending = None
            if self._is_due(done, self.intervals.save_every_steps):
                # A state is saved only after its loss was seen to be finite.
                self._settle(pending, window)
                pending = None
                self._save(done, state, window)
        self.output.checkpoints.wait()
        return state

    def _is_due(self, done: int, every_steps: int) -> bool:
        return done % every_steps == 0 or done == self.intervals.num_steps

    def _save(self, step: int, state: TrainState, window: "_Window") -> None:
        checkpoints = self.output.checkpoints
        if step not in checkpoints.steps():
            config = {**self.output.saved, "loss": window.mean_loss()}
            checkpoints.save(step, state_items(state), config=config)

    def _settle(
        self,
        pending: "_Pending | None",
        window: "_Window",
        *,
        more: Mapping[str, float] = MappingProxyType({}),
    ) -> None:
        """Reads, checks and logs the values of a step that has been dispatched, and `more`."""
        if pending is None:
            return
        values = read_means(pending.metrics)
        window.pace.add(values.pop("audio_seconds"), pending.flops)
        if self.guards.bad_updates.check(pending.step, values) and "loss" in values:
            window.losses.append(values["loss"])
        if not (self._is_due(pending.step, self.intervals.log_every_steps) or more):
            return
        if self.guards.bad_updates.total:
            values["skipped_updates"] = self.guards.bad_updates.total
        values |= more
        speed = window.pace.close()
        self.output.metrics.log(pending.step, values | speed)
        seen = {name: values[name] for name in self.output.shown if name in values}
        self.output.progress.show(pending.step, seen | shown(speed))
        if self.guards.check is not None:
            sentence = self.guards.check(pending.step, values)
            if sentence is not None:
                raise UserError(sentence)


@dataclass(frozen=True)
class _Pending:
    """A step that has been dispatched and whose values have not been read."""

    step: int
    metrics: Mapping[str, Mean]
    flops: float | None


class _Window:
    """What is counted since the last log step, and since the last checkpoint."""

    def __init__(self, peak_flops: float | None):
        self.pace = Pace(peak_flops=peak_flops)
        self.losses: list[float] = []

    def mean_loss(self) -> float | None:
        """Averages the losses since the last call; None where there was none."""
        losses, self.losses = self.losses, []
        return sum(losses) / len(losses) if losses else None


def _evaluate(evaluators: Sequence[Evaluator], state: TrainState, step: int) -> dict[str, float]:
    return {
        f"{one.name}_{name}": value
        for one in evaluators
        for name, value in one.evaluate(state, step).items()
    }


def state_items(state: TrainState) -> dict[str, Any]:
    """Names the parts of a state as they are saved; the step is the checkpoint's own number."""
    return {"params": state.params, "teacher": state.teacher, "optimizer": state.opt_state}


def read_means(metrics: Mapping[str, Mean]) -> dict[str, float]:
    """Divides on the host: name to total / weight, without the means of which nothing counted."""
    sums = jax.device_get(metrics)
    return {name: float(mean.total / mean.weight) for name, mean in sums.items() if mean.weight}
