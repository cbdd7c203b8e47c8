"""What a run reports: metrics.jsonl, TensorBoard, and lines or a progress bar."""

import contextlib
import logging
import math
import os
import sys
import time
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Protocol, TextIO

from tqdm import tqdm

from sersl.core.errors import UserError
from sersl.core.files import whole_file
from sersl.core.json_lines import json_line, read_json_lines
from sersl.training.events import EventFile

_log = logging.getLogger(__name__)
_REMEDY = "restore it from a copy, or remove it to continue without its lines"


class Board(Protocol):
    """Shows the values of a run elsewhere, see `sersl.training.boards`."""

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Shows the values of a step."""

    def close(self) -> None:
        """Writes everything."""


class Metrics:
    """Appends one JSON object a log step to metrics.jsonl, and the same to TensorBoard."""

    def __init__(
        self,
        folder: str | Path,
        *,
        start_step: int,
        enabled: bool,
        every_steps: int = 1,
        board: Board | None = None,
    ):
        """Opens the files and drops what a killed run logged beyond its last checkpoint.

        Args:
          folder: of metrics.jsonl and the TensorBoard events.
          start_step: updates already done; later lines are dropped.
          enabled: False in all processes but the first.
          every_steps: between two lines; warns if the last ones before `start_step` are missing.
          board: gets the same values, and is closed with the files; or None.
        """
        self._file: TextIO | None = None
        self._events: EventFile | None = None
        self._board = board
        if not enabled:
            return
        path = Path(folder) / "metrics.jsonl"
        kept = [line for line in read_metrics(path) if line["step"] <= start_step]
        _warn_of_lost_lines(path, [line["step"] for line in kept], start_step, every_steps)
        with whole_file(path) as file:
            file.write("".join(map(json_line, kept)))
        self._file = path.open("a")
        self._events = EventFile(folder, purge_step=start_step + 1 if kept else None)

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Writes one log step; a value that is not finite becomes null.

        Args:
          step: updates done.
          values: name to value.

        Raises:
          UserError: the disk is full, or the file was removed.
        """
        if self._file is None or self._events is None:
            return
        finite = {name: v if math.isfinite(v) else None for name, v in values.items()}
        known = {name: value for name, value in finite.items() if value is not None}
        try:
            self._file.write(json_line({"step": step, **finite}))
            self._file.flush()
            self._events.add(step, known)
            there = os.path.samestat(os.fstat(self._file.fileno()), os.stat(self._file.name))
        except FileNotFoundError:
            there = False
        except OSError as error:
            raise UserError(
                f"{self._file.name} and the events beside it cannot be written ({error.strerror}): "
                "make room and run the same command again to resume from the last checkpoint"
            ) from error
        if not there:
            raise UserError(
                f"{self._file.name} was removed or replaced while the run was writing it: restore "
                "its folder from a copy, or run the same command again to start anew"
            )
        if self._board is not None:
            self._board.log(step, known)

    def close(self) -> None:
        """Flushes everything to disk; a failure to write was reported when it happened."""
        for one in (self._file, self._events, self._board):
            if one is not None:
                with contextlib.suppress(OSError):
                    one.close()


def _warn_of_lost_lines(path: Path, steps: list[int], start_step: int, every_steps: int) -> None:
    """Warns where a run has trained further than its log goes."""
    last = steps[-1] if steps else 0
    # An earlier start may have logged less often.
    usual = max([every_steps, *(b - a for a, b in pairwise(steps))])
    if start_step - last >= 2 * usual or (start_step >= usual and not steps):
        _log.warning(
            "%s ends at step %d and the checkpoint is at step %d: the lines between are lost, "
            "unless you restore the file from a copy",
            path,
            last,
            start_step,
        )


def read_metrics(path: str | Path) -> list[dict]:
    """Reads metrics.jsonl; leaves out a last line that a kill has cut off, [] if it is missing.

    Raises:
      UserError: another line is damaged, see `sersl.core.json_lines`.
    """
    lines = read_json_lines(path, what="log of a run", remedy=_REMEDY)
    for number, line in enumerate(lines, start=1):
        if type(line.get("step")) is not int:
            raise UserError(f"{path} (log of a run), line {number} has no step; {_REMEDY}")
        bad = [name for name, value in line.items() if not isinstance(value, int | float | None)]
        if bad:
            raise UserError(
                f"{path} (log of a run), line {number}: {bad[0]} is not a number; {_REMEDY}"
            )
    return lines


class Progress:
    """A progress bar on a terminal, plain lines otherwise; only in the first process."""

    def __init__(self, title: str, *, total: int, start: int = 0, enabled: bool = True):
        """Starts the clock.

        Args:
          title: of the work.
          total: number of steps.
          start: steps already done.
          enabled: False prints nothing.
        """
        self._title, self._total, self._start = title, total, start
        self._begin = time.monotonic()
        self._enabled = enabled
        self._bar = None
        if enabled and sys.stdout.isatty():
            self._bar = tqdm(total=total, initial=start, desc=title, file=sys.stdout)

    def show(self, step: int, values: Mapping[str, float]) -> None:
        """Shows the steps done and a few values."""
        numbers = "  ".join(f"{name} {value:.4g}" for name, value in values.items())
        if self._bar is not None:
            self._bar.update(step - self._bar.n)
            self._bar.set_postfix_str(numbers)
        elif self._enabled:
            elapsed = time.monotonic() - self._begin
            left = elapsed / max(1, step - self._start) * (self._total - step)
            clock = f"{int(left) // 3600}:{int(left) // 60 % 60:02d}:{int(left) % 60:02d}"
            self._print(f"{self._title} {step}/{self._total}  {numbers}  left {clock}")

    def say(self, line: str) -> None:
        """Prints a line above the bar."""
        if self._bar is not None:
            self._bar.write(line)
        elif self._enabled:
            self._print(line)

    def _print(self, line: str) -> None:
        try:
            print(line, flush=True)
        except BrokenPipeError:
            # `... | tee log` whose tee has died, say of a full disk: that ends no training.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            with contextlib.suppress(OSError):
                print("sersl: the output is no longer read; training continues", file=sys.stderr)

    def close(self) -> None:
        """Closes the bar."""
        if self._bar is not None:
            self._bar.close()
