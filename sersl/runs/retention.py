"""Which checkpoints stay: the last few, the best few, and one every few hours."""

import datetime
from collections.abc import Callable, Sequence


class Retention:
    """A preservation policy of Orbax, asked when a checkpoint is about to be written.

    Orbax removes what does not stay only after the new one is complete, so that a save which fails
    costs nothing, even where one is kept.
    """

    def __init__(
        self,
        loss: Callable[[int], float | None],
        *,
        keep_last: int,
        keep_best: int = 0,
        keep_every_hours: float = 0.0,
    ):
        """Keeps the numbers.

        Args:
          loss: of a checkpoint, None where nobody knows it; such a one is not among the best.
          keep_last: how many of the newest, the one being written among them; at least 1.
          keep_best: how many with the lowest loss.
          keep_every_hours: also the first, and each that is so much younger than the one kept
            before it; 0 for none.
        """
        self._loss = loss
        self._last, self._best, self._hours = keep_last, keep_best, keep_every_hours

    def should_preserve(self, checkpoints: Sequence, *, context) -> list[bool]:
        """Decides.

        Args:
          checkpoints: with `step` and `time`, oldest first.
          context: of Orbax, unused.

        Returns:
          For each whether it stays.
        """
        del context
        return self.stays([(one.step, one.time) for one in checkpoints])

    def stays(self, checkpoints: Sequence[tuple[int, datetime.datetime]]) -> list[bool]:
        """Decides.

        Args:
          checkpoints: (step, when it was written), oldest first.

        Returns:
          For each whether it stays.
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
