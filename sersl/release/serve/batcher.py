"""Joins recordings of several requests into batches of the model, by length and deadline."""

import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from sersl.core.errors import UserError
from sersl.core.lengths import SAMPLE_RATE
from sersl.release.predict.outputs import Answer
from sersl.release.predict.with_views import NO_VECTORS, Asked, WithViews
from sersl.release.serve.service_limits import RefusedError

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What a request wants to know; only equal ones share a batch. See `Model.predict`."""

    window: float | None = None
    hop: float | None = None
    speech: bool = False
    frames: bool = False
    embedding: bool = False


class Answering(Protocol):
    """The part of `Model` that is needed."""

    def answers(
        self,
        sources: Sequence[Asked],
        *,
        sample_rate: object,
        window: float | None,
        hop: float | None,
        speech: bool,
        frames: bool,
        embedding: bool,
    ) -> Iterator[Answer]:
        """Predicts waveforms [N] each, alone or with views, in order."""
        ...


@dataclass(kw_only=True, eq=False)
class _Job:
    waveform: np.ndarray
    source: Asked
    wanted: Wanted
    arrived: float
    future: Future[Answer] = field(default_factory=Future)


class Batcher:
    """A queue in front of a model, which one thread empties.

    A batch starts once its oldest request has waited for `delay`, or enough audio waits. It holds
    the oldest request, so that none starves, and those that are the most like it in length.
    """

    def __init__(
        self,
        model: Answering,
        *,
        most: int,
        batch_seconds: float,
        delay: float,
        observe: Callable[[int], object],
    ):
        """Starts the thread.

        Args:
          model: that answers.
          most: jobs that wait.
          batch_seconds: of audio in a batch, padding included; one job may be longer.
          delay: seconds that a job waits for others.
          observe: called with the size of each batch.
        """
        self._model = model
        self._most, self._delay, self._observe = most, delay, observe
        self._samples = round(batch_seconds * SAMPLE_RATE)
        self._waiting: list[_Job] = []
        self._changed = threading.Condition()
        self._closed = False
        self._thread = threading.Thread(target=self._work, name="batcher", daemon=True)
        self._thread.start()

    def submit(
        self,
        waveform: np.ndarray,
        wanted: Wanted,
        *,
        name: str = "",
        vectors: Mapping[str, np.ndarray] = NO_VECTORS,
    ) -> Future[Answer]:
        """Queues a recording; a cancelled future leaves the queue.

        Args:
          waveform: float32 [N] at 16 kHz.
          wanted: what to answer.
          name: of the recording in the tables of the model, see `WithViews`.
          vectors: of its views, see `WithViews`.

        Raises:
          RefusedError: the queue is full.
        """
        source: Asked = waveform
        if name or vectors:
            source = WithViews(waveform, name, vectors=vectors)
        job = _Job(waveform=waveform, source=source, wanted=wanted, arrived=time.monotonic())
        with self._changed:
            self._waiting = [one for one in self._waiting if not one.future.cancelled()]
            if len(self._waiting) >= self._most or self._closed:
                raise RefusedError(503, f"{len(self._waiting)} recordings wait: try again later")
            self._waiting.append(job)
            self._changed.notify()
        return job.future

    @property
    def length(self) -> int:
        """Jobs that wait."""
        return len(self._waiting)

    def close(self) -> None:
        """Answers what waits, and ends the thread."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join()

    def _work(self) -> None:
        while jobs := self._next():
            wanted = jobs[0].wanted
            unanswered = list(jobs)
            try:
                answers = self._model.answers(
                    [job.source for job in jobs],
                    sample_rate=SAMPLE_RATE,
                    window=wanted.window,
                    hop=wanted.hop,
                    speech=wanted.speech,
                    frames=wanted.frames,
                    embedding=wanted.embedding,
                )
                for job, answer in zip(jobs, answers, strict=True):
                    unanswered.remove(job)
                    job.future.set_result(answer)
            except UserError as error:  # such as frames of a model that has none
                for job in unanswered:
                    job.future.set_exception(RefusedError(400, str(error)))
            except Exception as error:  # the thread serves other requests: it must not end
                _LOG.exception("the model failed")
                for job in unanswered:
                    failure = RefusedError(500, "the model failed: see the log of the service")
                    failure.__cause__ = error
                    job.future.set_exception(failure)

    def _next(self) -> list[_Job]:
        """Waits for the next batch; [] once closed and empty."""
        with self._changed:
            while True:
                while not self._waiting:
                    if self._closed:
                        return []
                    self._changed.wait()
                self._wait_for_more()
                jobs = self._taken()
                running = [job for job in jobs if job.future.set_running_or_notify_cancel()]
                if running:
                    self._observe(len(running))
                    return running

    def _wait_for_more(self) -> None:
        deadline = self._waiting[0].arrived + self._delay
        while not self._closed:
            left = deadline - time.monotonic()
            total = sum(len(job.waveform) for job in self._waiting)
            if left <= 0 or total >= self._samples:
                return
            self._changed.wait(left)

    def _taken(self) -> list[_Job]:
        first = self._waiting[0]
        alike = [job for job in self._waiting if job.wanted == first.wanted]
        alike.sort(key=lambda job: (job is not first, abs(len(job.waveform) - len(first.waveform))))
        taken: list[_Job] = []
        longest = 0
        for job in alike:
            longest = max(longest, len(job.waveform))
            if taken and longest * (len(taken) + 1) > self._samples:
                break
            taken.append(job)
        chosen = {id(job) for job in taken}
        self._waiting = [job for job in self._waiting if id(job) not in chosen]
        return taken
