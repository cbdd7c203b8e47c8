"""The writer of TensorBoard's event files, without PyTorch and without a thread.

tensorboardX imports PyTorch if it is installed, for tensors that sersl never passes to it, which
costs seconds at every start and gigabytes of address space. So PyTorch is hidden during its import.

The usual writer of tensorboardX passes events to a thread, which dies when the disk is full; the
tenth event after that would then block forever.
"""

import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import cast

_hidden = "torch" not in sys.modules
if _hidden:
    # An import of it now raises ImportError, which tensorboardX catches.
    cast(dict[str, object], sys.modules)["torch"] = None
try:
    from tensorboardX.event_file_writer import EventsWriter
    from tensorboardX.proto.event_pb2 import Event, SessionLog
    from tensorboardX.summary import scalar
finally:
    if _hidden:
        del sys.modules["torch"]

_FLUSH_SECONDS = 120.0


class EventFile:
    """Appends values to a new event file of a folder."""

    def __init__(self, folder: str | Path, *, purge_step: int | None):
        """Opens the file.

        Args:
          folder: gets `events.out.tfevents.<time>.<host>`.
          purge_step: TensorBoard ignores values of earlier files from this step on; None: it shows
            all.

        Raises:
          OSError: the file cannot be written.
        """
        self._writer = EventsWriter(str(Path(folder) / "events"))
        self._flush_at = time.monotonic()
        if purge_step is not None:
            self._write(purge_step, session_log=SessionLog(status=SessionLog.START))

    def add(self, step: int, values: Mapping[str, float]) -> None:
        """Writes the values of a step; they reach the disk every two minutes.

        Args:
          step: updates done.
          values: name to value.

        Raises:
          OSError: the disk is full.
        """
        for name, value in values.items():
            self._write(step, summary=scalar(name, value))
        if time.monotonic() >= self._flush_at:
            self._writer.flush()
            self._flush_at = time.monotonic() + _FLUSH_SECONDS

    def close(self) -> None:
        """Writes everything to disk.

        Raises:
          OSError: the disk is full.
        """
        self._writer.close()

    def _write(self, step: int, **what) -> None:
        self._writer.write_event(Event(wall_time=time.time(), step=step, **what))
