"""The process that serves a model: its socket, its connections and its end."""

import asyncio
import contextlib
import errno
import os
import signal
import socket
import sys
from collections.abc import Iterator
from typing import Any

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from sersl.core.errors import UserError
from sersl.release.predict.predictor import Model
from sersl.release.predict.predictor import load as load
from sersl.release.serve.service import Service
from sersl.release.serve.service_limits import Limits

_HEADER_SECONDS = 10.0  # from a connection, or the last answer, to all headers of the next request
_UNREAD_SECONDS = 10.0  # in which a client reads nothing of what is sent to it
_MOST_CONNECTIONS = 768  # below the usual 1,024 open files of a process
_MESSAGE_BYTES = 1 << 20  # of a stream
_HEADER_BYTES = 1 << 16


def bind(host: str, port: int) -> socket.socket:
    """Binds a socket, before a model is loaded.

    Args:
      host: name or address.
      port: 0 takes any free one.

    Raises:
      UserError: the port is in use or not allowed, or there is no such host.
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, kind, protocol, _, address = found[0]
        bound = socket.socket(family, kind, protocol)
    except (OSError, UnicodeError) as error:
        raise UserError(f"--host {host[:100]} is not known: give 127.0.0.1, say") from error
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        bound.bind(address)
        bound.listen(0)  # else a second service could bind the same port until the first listens
    except OSError as error:
        bound.close()
        if error.errno == errno.EADDRINUSE:
            raise UserError(f"port {port} of {host} is in use: give another --port") from error
        raise UserError(
            f"port {port} of {host} cannot be used ({os.strerror(error.errno or 0)}): give another "
            "--port or --host"
        ) from error
    return bound


def serve(model: Model, bound: socket.socket, limits: Limits, *, name: str) -> None:
    """Serves until SIGTERM or Ctrl-C; what was taken until then is answered first.

    Args:
      model: with heads.
      bound: from `bind`.
      limits: of the service.
      name: of the model.

    Raises:
      UserError: the model has no heads.
    """
    if not model.has_heads:
        raise UserError(
            "this model is an encoder without heads, which predicts nothing: fine-tune it "
            "(`sersl finetune --config.init_from=...`)"
        )
    asyncio.run(_serve(model, bound, limits, name))


async def _serve(model: Model, bound: socket.socket, limits: Limits, name: str) -> None:
    service = Service(model, limits, name=name)
    config = uvicorn.Config(
        service.app,
        http=_Connection,
        ws=_StreamConnection,
        ws_max_size=_MESSAGE_BYTES,
        ws_per_message_deflate=False,
        # A client that waits for a slow model would miss a ping; streams have their own times.
        ws_ping_interval=None,
        h11_max_incomplete_event_size=_HEADER_BYTES,
        log_config=None,
        log_level="critical",
        access_log=False,
        proxy_headers=False,
        server_header=False,
        lifespan="on",
        timeout_graceful_shutdown=round(limits.seconds) + 5,
    )
    await _Server(config, service).serve([bound])


class _Server(uvicorn.Server):
    """Ends streams and requests in progress before it ends, with exit code 0."""

    def __init__(self, config: uvicorn.Config, service: Service):
        super().__init__(config)
        self._service = service

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listens, and shows the address."""
        await super().startup(sockets)
        for one in sockets or []:
            host, port = one.getsockname()[:2]
            where = f"[{host}]" if ":" in host else host
            print(f"serving http://{where}:{port} (Ctrl-C ends)", file=sys.stderr, flush=True)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Refuses new connections, answers what was taken, and ends."""
        for server in self.servers:
            server.close()
        self._service.stopping.set()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._service.limits.seconds):
                while self._service.streams and not self.force_exit:
                    await asyncio.sleep(0.05)
        await super().shutdown(sockets)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Ends on signals without raising them again afterwards."""
        numbers = (signal.SIGINT, signal.SIGTERM)
        before = {number: signal.signal(number, self.handle_exit) for number in numbers}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


class _ReadConnection(asyncio.Protocol):
    """A connection that is closed when its client reads nothing for a time."""

    loop: asyncio.AbstractEventLoop
    transport: asyncio.Transport
    _unread: asyncio.TimerHandle | None = None

    def pause_writing(self) -> None:
        """Starts the time: as much is written as may wait to be read."""
        super().pause_writing()
        self._unread = self.loop.call_later(_UNREAD_SECONDS, self.transport.abort)

    def resume_writing(self) -> None:
        """Stops the time."""
        self._read()
        super().resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stops the time."""
        self._read()
        super().connection_lost(exc)

    def _read(self) -> None:
        if self._unread is not None:
            self._unread.cancel()
            self._unread = None


class _StreamConnection(_ReadConnection, WebSocketsSansIOProtocol):
    """A connection of WebSocket."""


class _Connection(_ReadConnection, H11Protocol):
    """A connection of HTTP whose headers must come in time."""

    _deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        """Starts the time for the headers; too many connections are closed."""
        super().connection_made(transport)
        if len(self.connections) > _MOST_CONNECTIONS:
            transport.abort()
            return
        self._start_time()

    def on_response_complete(self) -> None:
        """Starts the time for the headers of the next request."""
        super().on_response_complete()
        self._start_time()

    def handle_websocket_upgrade(self, event: Any) -> None:
        """Hands the connection to a stream, which has times of its own."""
        self._stop_time()
        super().handle_websocket_upgrade(event)

    def connection_lost(self, exc: Exception | None) -> None:
        """Stops the time."""
        self._stop_time()
        super().connection_lost(exc)

    def _start_time(self) -> None:
        self._stop_time()
        self._deadline = self.loop.call_later(_HEADER_SECONDS, self._end_if_idle)

    def _stop_time(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _end_if_idle(self) -> None:
        if self.cycle is None or self.cycle.response_complete:
            self.transport.abort()
