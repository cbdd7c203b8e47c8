"""Progress of long work on standard error: a bar on a terminal, lines elsewhere."""

import sys
import time
from types import TracebackType

from tqdm import tqdm

_LINE_SECONDS = 10.0  # between lines


class Progress:
    """Shows how far one kind of work after another is.

    Attributes:
      done: units that are done.
      fresh: whether the work started from nothing, rather than resumed.
    """

    def __init__(self, doing: str):
        """Shows nothing yet.

        Args:
          doing: name of the work, at the start of each line.
        """
        self.done, self.fresh = 0, False
        self._doing = doing
        self._bar: tqdm | None = None
        self._last = time.monotonic()

    def __enter__(self) -> "Progress":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._close()

    def __call__(self, done: int, total: int | None) -> None:
        """Shows the number of utterances done, of all."""
        self.show(self._doing, done, total)

    def show(self, doing: str, done: int, total: int | None, *, unit: str = "utterances") -> None:
        """Shows the state of one kind of work.

        Args:
          doing: its name.
          done: units that are done.
          total: of all units; None if unknown.
          unit: "utterances", or "B" for bytes.
        """
        self.fresh |= done == 1
        self.done = done
        if sys.stderr.isatty():
            if self._bar is None or self._bar.desc.removesuffix(": ") != doing:
                self._close()
                self._bar = tqdm(total=total, unit=unit, unit_scale=unit == "B", desc=doing)
            self._bar.update(done - self._bar.n)
        elif time.monotonic() - self._last >= _LINE_SECONDS or done == total:
            self._last = time.monotonic()
            of_all = "" if total is None else f" of {total}"
            self.line(f"{doing}: {done}{of_all} {unit}")

    def line(self, text: str) -> None:
        """Prints a line."""
        print(text, file=sys.stderr, flush=True)

    def _close(self) -> None:
        if self._bar is not None:
            self._bar.close()
        self._bar = None
