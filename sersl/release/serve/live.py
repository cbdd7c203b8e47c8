"""Streams over WebSocket: chunks of samples in, running answers out."""

import asyncio
import contextlib
import dataclasses
import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import numpy as np
from starlette.websockets import WebSocket, WebSocketDisconnect, WebSocketState

from sersl.core.display import one_sentence
from sersl.core.errors import UserError, unknown_name
from sersl.core.lengths import SAMPLE_RATE
from sersl.release.predict.outputs import Answer, Scores
from sersl.release.predict.stream import Stream
from sersl.release.predict.windows import MAX_SECONDS, Window
from sersl.release.serve.batcher import Wanted
from sersl.release.serve.questions import as_json, read_wanted, without_unwanted
from sersl.release.serve.service_limits import RefusedError

if TYPE_CHECKING:
    from sersl.release.serve.service import Service

ENCODINGS = {"s16": "<i2", "f32": "<f4"}
FINISH = "finish"
_OTHERS = ("sample_rate", "encoding")
# Codes of the WebSocket protocol.
_NORMAL, _REFUSED, _RESTART, _BUSY = 1000, 1008, 1012, 1013


async def serve_stream(service: "Service", socket: WebSocket) -> None:
    """Answers one stream.

    Binary messages are samples, mono, of the encoding in the URL. The text "finish" ends it: the
    last answers follow, and the connection is closed. An error is a message {"error": sentence}.
    """
    if not _same_site(socket):
        await socket.close(_REFUSED)  # status 403: a page of another site
        return
    await socket.accept()
    if service.stopping.is_set() or service.streams >= service.limits.streams:
        await _end(socket, _BUSY, "the service is stopping or busy: try again later")
        return
    service.streams += 1
    code, sentence = _NORMAL, ""
    try:
        stream, encoding, embedding = _opened(service, socket)
        code = await _answer_all(service, socket, stream, encoding, embedding)
    except RefusedError as refusal:
        code, sentence = _BUSY if refusal.status == 503 else _REFUSED, refusal.sentence
    except UserError as error:
        code, sentence = _REFUSED, str(error)
    except TimeoutError:
        code = _REFUSED
        sentence = f"nothing came or was taken within {service.limits.seconds:g} s: start again"
    except WebSocketDisconnect:
        return
    finally:
        service.streams -= 1
    await _end(socket, code, sentence)


def _opened(service: "Service", socket: WebSocket) -> tuple[Stream, str, bool]:
    query = dict(socket.query_params)
    asked = {"window": "2", "hop": "0.5"} | query
    if "window" in query and "hop" not in query:
        del asked["hop"]
    wanted = read_wanted(asked, others=_OTHERS)
    if wanted.speech or wanted.window is None:
        raise RefusedError(400, "a stream has windows, and takes no speech=1: leave it out")
    encoding = query.get("encoding", "s16")
    if encoding not in ENCODINGS:
        raise unknown_name("encoding", encoding[:40], ENCODINGS)
    rate = query.get("sample_rate", str(SAMPLE_RATE))
    if not (rate.isascii() and rate.isdigit() and len(rate) < 9):
        raise UserError(f"sample_rate={rate[:40]!r} is not a whole number in Hz: give 16000, say")
    # The window of the stream is cut already; the batch must not cut it again.
    of_window = Wanted(window=MAX_SECONDS, frames=wanted.frames, embedding=wanted.embedding)
    score = _Scorer(service, of_window)
    stream = Stream(score, int(rate), window=wanted.window, hop=wanted.hop)
    return stream, ENCODINGS[encoding], wanted.embedding


async def _answer_all(
    service: "Service", socket: WebSocket, stream: Stream, encoding: str, embedding: bool
) -> int:
    """Answers until the stream ends; returns the code to close it with."""
    limits = service.limits
    width = np.dtype(encoding).itemsize
    stopping = asyncio.ensure_future(service.stopping.wait())

    async def send(work: Callable[[], list[dict[str, Any]]]) -> None:
        async with asyncio.timeout(limits.seconds):
            loop = asyncio.get_running_loop()
            for row in await loop.run_in_executor(service.stream_threads, work):
                await socket.send_text(
                    as_json(without_unwanted(row, embedding=embedding, file=None)).decode()
                )
                service.counters.windows.inc()

    try:
        while True:
            receiving = asyncio.ensure_future(socket.receive())
            try:
                done, _ = await asyncio.wait(
                    (receiving, stopping),
                    timeout=limits.seconds,
                    return_when=asyncio.FIRST_COMPLETED,
                )
                if not done:
                    raise TimeoutError
                message = receiving.result() if receiving.done() else None
            finally:
                receiving.cancel()
            if message is not None and message["type"] == "websocket.disconnect":
                raise WebSocketDisconnect(message.get("code", _NORMAL))
            data = None if message is None else message.get("bytes")
            if data is None:
                text = None if message is None else message.get("text")
                if message is not None and text != FINISH:
                    raise UserError(
                        f"a text message is {FINISH!r}: send samples as binary messages"
                    )
                await send(stream.finish)
                return _RESTART if message is None else _NORMAL
            if len(data) % width:
                raise UserError(f"a message of {len(data)} bytes has no whole number of samples")
            samples = np.frombuffer(data, encoding).astype(encoding[1:])
            await send(functools.partial(stream.add, samples))
    finally:
        stopping.cancel()


class _Scorer:
    """Scores the windows of a stream in batches with those of others."""

    def __init__(self, service: "Service", wanted: Wanted):
        self._service, self._wanted = service, wanted

    def __call__(self, window: Window) -> Answer:
        future = self._service.batcher.submit(window.waveform, self._wanted)
        try:
            answer = future.result(self._service.limits.seconds)
        finally:
            future.cancel()
        start = window.start / SAMPLE_RATE
        rows = [_moved(row, start) for row in answer.rows]
        return dataclasses.replace(answer, rows=rows)


def _moved(row: Scores, seconds: float) -> Scores:
    """Puts the scores of a window where it is in its stream."""
    frames = row.frames
    if frames is not None:
        frames = frames | {"time": frames["time"] + np.float32(seconds)}
    return dataclasses.replace(row, start=row.start + seconds, end=row.end + seconds, frames=frames)


def _same_site(socket: WebSocket) -> bool:
    """Whether no page of another site opened the stream; programs send no origin."""
    origin = socket.headers.get("origin")
    return origin is None or urlsplit(origin).netloc == socket.headers.get("host")


async def _end(socket: WebSocket, code: int, sentence: str) -> None:
    with contextlib.suppress(WebSocketDisconnect, RuntimeError):  # the client has left
        if socket.application_state is WebSocketState.CONNECTED:
            if sentence:
                await socket.send_text(as_json({"error": one_sentence(sentence)}).decode())
            await socket.close(code)
