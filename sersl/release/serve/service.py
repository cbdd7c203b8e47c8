"""The HTTP service of one model."""

import asyncio
import contextlib
import functools
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import FileResponse, Response
from starlette.routing import Route, WebSocketRoute

from sersl.core.errors import UserError
from sersl.core.lengths import SAMPLE_RATE
from sersl.release.predict.embedding import NOT_FINITE
from sersl.release.predict.outputs import UNREADABLE, Answer
from sersl.release.predict.predictor import Model
from sersl.release.serve import live
from sersl.release.serve.batcher import Batcher, Wanted
from sersl.release.serve.counters import CONTENT_TYPE, Counters
from sersl.release.serve.decoders import Decoders
from sersl.release.serve.questions import as_json, read_vectors, read_wanted, without_unwanted
from sersl.release.serve.service_limits import Limits, Memory, RefusedError
from sersl.release.serve.uploads import Held, Upload, read_upload

_PAGE = Path(__file__).parent / "page"
_FILES = {
    "/": ("index.html", "text/html; charset=utf-8"),
    "/page.css": ("page.css", "text/css; charset=utf-8"),
    "/page.js": ("page.js", "text/javascript; charset=utf-8"),
    "/drawing.js": ("drawing.js", "text/javascript; charset=utf-8"),
    "/capture.js": ("capture.js", "text/javascript; charset=utf-8"),
    "/icon.svg": ("icon.svg", "image/svg+xml"),
}
_SAFE = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "img-src 'self'; media-src blob:; connect-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}
_CLIENT_LEFT = 499  # as nginx counts it; nobody reads it
_WARM_UP_SECONDS = (30, 8, 2)  # of noise: later batches are padded to these until it pays not to


class Service:
    """A model, its queue and its limits. `app` is the application."""

    def __init__(self, model: Model, limits: Limits, *, name: str):
        """Takes a model with heads, and its name for answers."""
        self.model, self.limits, self._name = model, limits, name
        self._views = model.network.tables
        self.counters = Counters()
        self.batcher = Batcher(
            model,
            most=limits.queue,
            batch_seconds=limits.batch_seconds,
            delay=limits.batch_delay,
            observe=self.counters.batches.observe,
        )
        self._decoders = Decoders(limits.decoders, most_seconds=limits.audio_seconds)
        self._memory = Memory(round(limits.memory_mb * 1e6))
        self._in_progress = 0
        self.streams = 0
        self.stopping = asyncio.Event()
        # A thread per stream waits for its answers; the default pool would be too small.
        self.stream_threads = ThreadPoolExecutor(limits.streams, "stream")
        self._warm = False
        watch = self.counters.watch
        watch("sersl_requests_in_progress", "Requests in progress.", lambda: self._in_progress)
        watch("sersl_streams", "Streams in progress.", lambda: self.streams)
        watch("sersl_queue_length", "Jobs that wait for the model.", lambda: self.batcher.length)
        watch("sersl_held_bytes", "Uploads and decoded audio.", lambda: self._memory.held)
        watch("sersl_ready", "1 once requests are taken.", lambda: float(self.ready))
        routes = [
            *(Route(path, functools.partial(_page, path), methods=["GET"]) for path in _FILES),
            Route("/predict", self._predict, methods=["POST"]),
            Route("/model", self._about, methods=["GET"]),
            Route("/healthz", self._health, methods=["GET"]),
            Route("/readyz", self._readiness, methods=["GET"]),
            Route("/metrics", self._metrics, methods=["GET"]),
            WebSocketRoute("/stream", functools.partial(live.serve_stream, self)),
        ]
        handlers: dict[Any, Any] = {HTTPException: _http_error}
        self.app = Starlette(
            routes=routes, lifespan=lambda app: self._lifespan(), exception_handlers=handlers
        )

    @property
    def ready(self) -> bool:
        """Whether requests are taken and the common shapes are compiled."""
        return self._warm and not self.stopping.is_set()

    @contextlib.asynccontextmanager
    async def _lifespan(self) -> AsyncIterator[None]:
        await self._decoders.start()
        warming = asyncio.create_task(asyncio.to_thread(self._warm_up))
        try:
            yield
        finally:
            await asyncio.to_thread(self.batcher.close)
            self.stream_threads.shutdown(wait=False)
            await self._decoders.close()
            await warming

    def _warm_up(self) -> None:
        random = _noise(max(_WARM_UP_SECONDS))
        wanted = [(Wanted(frames=frames), s) for frames in (False, True) for s in _WARM_UP_SECONDS]
        for one, seconds in wanted:
            if self.stopping.is_set():
                return
            try:
                self.batcher.submit(random[: seconds * SAMPLE_RATE], one).result()
            except RefusedError as refusal:
                if refusal.status != 400:  # it stops, or the model fails: never ready
                    return
        self._warm = True

    async def _predict(self, request: Request) -> Response:
        """Answers POST /predict."""
        started = time.monotonic()
        response = await self._answered(request)
        self.counters.requests.labels(str(response.status_code)).inc()
        self.counters.seconds.observe(time.monotonic() - started)
        return response

    async def _answered(self, request: Request) -> Response:
        if self.stopping.is_set() or self._in_progress >= self.limits.concurrency:
            return _error(503, "the service is stopping or busy: try again later")
        self._in_progress += 1
        held = Held(self._memory)
        stage = "was not uploaded"
        try:
            async with asyncio.timeout(self.limits.seconds):
                wanted = read_wanted(request.query_params, others=("name",))
                upload = await read_upload(
                    request, held, most=self.limits.upload_bytes, views=self._views.widths
                )
                stage = "was not answered"
                answer = await _unless_left(request, lambda: self._scored(upload, wanted, held))
            return self._response(answer, wanted, upload.name)
        except TimeoutError:
            status = 408 if stage == "was not uploaded" else 504
            return _error(status, f"the audio {stage} within {self.limits.seconds:g} s: try again")
        except RefusedError as refusal:
            return _error(refusal.status, refusal.sentence)
        except ClientDisconnect:
            return _error(_CLIENT_LEFT, "the client has left")
        finally:
            held.give_back()
            self._in_progress -= 1

    async def _scored(self, upload: Upload, wanted: Wanted, held: Held) -> Answer:
        vectors = await asyncio.to_thread(read_vectors, upload.views, self._views)
        waveform = await self._decoders.decode(upload.content)
        held.take(waveform.nbytes)
        seconds = len(waveform) / SAMPLE_RATE
        overlap = (wanted.window or 1.0) / (wanted.hop or wanted.window or 1.0)
        if seconds * overlap > 4 * self.limits.audio_seconds:
            raise RefusedError(413, "so many windows would take too long: give a larger hop")
        name = upload.name if self._views.widths else ""
        answer = await asyncio.wrap_future(
            self.batcher.submit(waveform, wanted, name=name, vectors=vectors)
        )
        self.counters.audio_seconds.inc(seconds)
        return answer

    def _response(self, answer: Answer, wanted: Wanted, name: str) -> Response:
        if answer.status == UNREADABLE:
            return _error(500 if answer.error == NOT_FINITE else 422, answer.error)
        rows = [
            without_unwanted(row, embedding=wanted.embedding, file=name) for row in answer.dicts()
        ]
        for row in rows:
            if "error" in row:
                row["error"] = row["error"].replace("audio in memory", "the upload")
        whole = wanted.window is None and not wanted.speech
        return _json(rows[0] if whole else rows)

    async def _about(self, _request: Request) -> Response:
        model = self.model
        about = {
            "model": self._name,
            "categories": list(model.categories),
            "dimensions": list(model.dimensions),
            "uncertainty": list(model.uncertainty),
            "views": self._views.widths,
            "limits": vars(self.limits),
        }
        return _json(about)

    async def _health(self, _request: Request) -> Response:
        return _json({"status": "ok"})

    async def _readiness(self, _request: Request) -> Response:
        if self.ready:
            return _json({"status": "ready"})
        return _error(503, "the service is stopping" if self._warm else "the model is compiled")

    async def _metrics(self, _request: Request) -> Response:
        return Response(self.counters.text(), headers={"Content-Type": CONTENT_TYPE})


def _noise(seconds: float) -> np.ndarray:
    """Makes white noise, float32 [N] at 16 kHz."""
    count = round(seconds * SAMPLE_RATE)
    return np.random.default_rng(0).normal(0, 0.1, count).astype(np.float32)


async def _unless_left(request: Request, start: Callable[[], Awaitable[Answer]]) -> Answer:
    """Awaits an answer unless the client leaves first; then, or at a timeout, it is cancelled."""
    work = asyncio.ensure_future(start())
    gone = asyncio.ensure_future(_disconnected(request))
    try:
        await asyncio.wait((work, gone), return_when=asyncio.FIRST_COMPLETED)
        if not work.done():
            raise ClientDisconnect
        return work.result()
    except UserError as error:
        raise RefusedError(422, str(error)) from error
    finally:
        work.cancel()
        gone.cancel()
        await asyncio.gather(work, gone, return_exceptions=True)


async def _disconnected(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def _page(path: str, _request: Request) -> Response:
    file, kind = _FILES[path]
    return FileResponse(_PAGE / file, headers={**_SAFE, "Content-Type": kind})


async def _http_error(_request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    sentence = {
        404: "there is nothing here: POST audio to /predict, stream to /stream, or open /",
        405: "this method is not allowed here: POST audio to /predict",
    }.get(error.status_code, str(error.detail))
    response = _error(error.status_code, sentence)
    response.headers.update(error.headers or {})
    return response


def _error(status: int, sentence: str) -> Response:
    response = _json({"error": sentence}, status=status)
    if status == 503:
        response.headers["Retry-After"] = "1"
    # What the client still sends is not read.
    response.headers["Connection"] = "close"
    return response


def _json(value: Any, *, status: int = 200) -> Response:
    return Response(as_json(value), status, {**_SAFE, "Content-Type": "application/json"})
