"""Running answers while audio comes, from a microphone or a call."""

import threading
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from sersl.audio.array import SupportsArray, mono_waveform
from sersl.audio.limits import check_sample_rate
from sersl.audio.resample import Resampler
from sersl.core.errors import UserError
from sersl.core.lengths import SAMPLE_RATE
from sersl.release.predict.outputs import Answer
from sersl.release.predict.windows import Window, WindowCutter


class Stream:
    """Takes chunks of audio and gives an answer for each window that is complete.

    The answers are those of `Model.predict` with the same window and hop. A stream is used by one
    thread at a time, which it checks; several streams of one model may run at once.
    """

    def __init__(
        self,
        score: Callable[[Window], Answer],
        sample_rate: object,
        *,
        window: float,
        hop: float | None,
    ):
        """Starts without samples; made by `Model.stream`.

        Args:
          score: scores one window.
          sample_rate: Hz of the chunks.
          window: seconds.
          hop: seconds between the starts of windows; None: the window.

        Raises:
          UserError: a wrong sample rate.
        """
        self._score = score
        self._resampler = Resampler(check_sample_rate(sample_rate))
        self._cutter = WindowCutter(window, hop)
        self._busy = threading.Lock()
        self._finished = False

    def add(self, chunk: SupportsArray) -> list[dict[str, Any]]:
        """Takes the next samples and computes the answers that they complete.

        Args:
          chunk: [n] or [n, channels], floats on the scale where 1 is full scale, or integers of
            full scale; any n, also 0.

        Returns:
          One dict per window, as `Model.predict` gives it, without "file"; often none.

        Raises:
          UserError: a wrong chunk, a stream that is finished, or another thread uses it.
        """
        if not np.size(chunk):
            return []
        # The rate is that of the resampler, which needs all chunks.
        samples = mono_waveform(chunk, SAMPLE_RATE)
        return self._run(lambda: self._cutter.add(self._resampler.add(samples)), finish=False)

    def finish(self) -> list[dict[str, Any]]:
        """Ends the stream and computes the answer for the audio since the last window.

        Returns:
          At most two dicts, as `add`.
        """

        def rest() -> Iterable[Window]:
            yield from self._cutter.add(self._resampler.finish())
            yield from self._cutter.finish()

        return self._run(rest, finish=True)

    def _run(
        self, windows: Callable[[], Iterable[Window]], *, finish: bool
    ) -> list[dict[str, Any]]:
        if not self._busy.acquire(blocking=False):
            raise UserError("another thread uses this stream: make one with model.stream for each")
        try:
            if self._finished:
                raise UserError("this stream is finished: make another one with model.stream")
            self._finished = finish
            rows = []
            for window in windows():
                for row in self._score(window).dicts():
                    if "error" in row:
                        raise UserError(row["error"])
                    rows.append({name: value for name, value in row.items() if name != "file"})
            return rows
        finally:
            self._busy.release()
