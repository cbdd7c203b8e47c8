"""Which checkpoints are kept: the last few, the best few, and one every few hours."""

import datetime
from collections.abc import Callable, Sequence
from typing import Any


class Retention:
    """A preservation policy of Orbax, called when a checkpoint is about to be written.

    Orbax removes the others only after the new one is complete, so a save that fails loses nothing,
    even with `keep_last` of 1.
    """

    def __init__(
        self,
        loss: Callable[[int], float | None],
        *,
        keep_last: int,
        keep_best: int = 0,
        keep_every_hours: float = 0.0,
    ):
        """Sets the numbers.

        Args:
          loss: of a checkpoint; one whose loss is None is never among the best.
          keep_last: number of the newest, including the one being written; at least 1.
          keep_best: number of those with the lowest loss.
          keep_every_hours: also keep the first, and each that is so many hours younger than the one
            kept before it; 0 for none.
        """
        self._loss = loss
        self._last, self._best, self._hours = keep_last, keep_best, keep_every_hours

    def should_preserve(self, checkpoints: Sequence[Any], **_: Any) -> list[bool]:
        """Decides for each checkpoint, with `step` and `time`, oldest first, whether it is kept."""
        return self.stays([(one.step, one.time) for one in checkpoints])

    def stays(self, checkpoints: Sequence[tuple[int, datetime.datetime]]) -> list[bool]:
        """Decides for each checkpoint whether it is kept.

        Args:
          checkpoints: (step, when it was written), oldest first.
        """
        steps = [step for step, _ in checkpoints]
        kept = set(steps[-self._last :])
        if self._best:
            known = [(loss, step) for step in steps if (loss := self._loss(step)) is not None]
            # Of equal ones the newest.
            kept |= {step for _, step in sorted(known, key=lambda x: (x[0], -x[1]))[: self._best]}
        if self._hours:
            before = None
            for step, time in checkpoints:
                if before is None or time - before >= datetime.timedelta(hours=self._hours):
                    kept.add(step)
                    before = time
        return [step in kept for step in steps]
