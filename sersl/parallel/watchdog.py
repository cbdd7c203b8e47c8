"""The watchdog of a run of many processes: when one is gone, the others say which and end.

Every process holds a connection to process 0, over which both sides send a beat a second. The
kernel closes it when a process dies, however it dies; a machine that loses its power or its network
falls silent. Without this, the others would wait in a collective operation for ever.
"""

import contextlib
import functools
import json
import multiprocessing
import os
import socket
import sys
import threading
import time
import traceback
from collections.abc import Callable

import jax
import numpy as np
from jax.experimental import multihost_utils

from sersl.core.errors import UserError, as_user_error

_BEAT_SECONDS = 1.0
_GRACE_SECONDS = 3.0  # for a process that fails by the same error to say so itself
_NAME_BYTES = 256
_FAILED, _USER_CAN_FIX, _INTERRUPTED = 1, 2, 130  # exit codes, as in `sersl.cli.main`

_watchdog: "Watchdog | None" = None


def start(*, timeout_seconds: float, host: str | None) -> None:
    """Starts to watch the other processes; does nothing in a run of one.

    Args:
      timeout_seconds: silence of a process after which it counts as gone.
      host: of process 0, as the others reach it; None: by the name it has itself.
    """
    global _watchdog
    if jax.process_count() == 1 or _watchdog is not None:
        return
    number = jax.process_index()
    server = socket.create_server(("", 0), backlog=jax.process_count()) if number == 0 else None
    port = server.getsockname()[1] if server else 0
    own = f"{port} {socket.gethostname()}".encode()[:_NAME_BYTES]
    padded = np.frombuffer(own.ljust(_NAME_BYTES, b"\0"), np.uint8)
    gathered = np.asarray(multihost_utils.process_allgather(padded))
    told = [bytes(row).rstrip(b"\0").decode(errors="replace").split(" ", 1) for row in gathered]
    names = [name for _, name in told]
    _watchdog = Watchdog(number, names, timeout_seconds=timeout_seconds)
    if server:
        _watchdog.serve(server)
    else:
        _watchdog.connect(host or names[0], int(told[0][0]))


def ends_together(run: Callable) -> Callable:
    """Makes a verb leave so that no process of a run waits for one that has failed.

    Args:
      run: takes the arguments of the verb and gives its exit code.

    Returns:
      The same for one process. In one of many that fails, it prints the error, tells the others,
      and ends the process at once: Python's own end would wait for them.
    """

    @functools.wraps(run)
    def guarded(arguments) -> int:
        try:
            code = run(arguments)
        except BaseException as error:
            if _watchdog is None:
                raise
            _watchdog.fail(error)
        if _watchdog is not None:
            _watchdog.finish()
        return code

    return guarded


class Watchdog:
    """The connections of one process, and what they have told."""

    def __init__(self, number: int, names: list[str], *, timeout_seconds: float):
        """Knows who is in the run; connects nothing yet.

        Args:
          number: of this process.
          names: host of every process.
          timeout_seconds: silence after which a process counts as gone.
        """
        self._number, self._names, self._timeout = number, names, timeout_seconds
        self._peers: dict[int, socket.socket] = {}  # of process 0: all; of the others: process 0
        self._done: set[int] = set()
        self._lock = threading.Lock()
        self._ending = threading.Event()

    def serve(self, server: socket.socket) -> None:
        """Waits for the other processes in the background, and beats.

        Args:
          server: listening.
        """
        _in_background(self._accept, server)
        _in_background(self._beat)

    def connect(self, host: str, port: int) -> None:
        """Connects to process 0 and beats.

        Args:
          host: of process 0.
          port: where it listens.
        """
        try:
            peer = socket.create_connection((host, port), timeout=self._timeout)
        except OSError as error:
            print(
                f"sersl: process {self._number} cannot reach the watchdog of process 0 at "
                f"{host}:{port} ({error}): should a process die, the others may hang; open the "
                "ports between the hosts",
                file=sys.stderr,
            )
            return
        self._peers[0] = peer
        self._send(0, {"process": self._number})
        _in_background(self._listen, peer, 0)
        _in_background(self._beat)

    def finish(self) -> None:
        """Tells the others that this process is done: its end is no loss."""
        for peer in list(self._peers):
            self._send(peer, {"end": ""})

    def fail(self, error: BaseException):
        """Says an error, tells the others, and ends this process.

        Args:
          error: what ended the work here; when it is only the echo of another process's end, that
            one is named instead.
        """
        if _is_echo(error):
            # A broken connection shows here first; the watchdog finds out whose it was.
            self._ending.wait(self._timeout + _GRACE_SECONDS)
        error = as_user_error(error) or error
        with self._lock:
            with contextlib.suppress(OSError):  # nobody reads: it ends all the same
                _say(error)
            for peer in list(self._peers):
                self._send(peer, {"end": str(error) or type(error).__name__})
            _leave(_code(error))

    def _accept(self, server: socket.socket) -> None:
        while True:
            peer, _ = server.accept()
            _in_background(self._listen, peer, None)

    def _beat(self) -> None:
        while True:
            time.sleep(_BEAT_SECONDS)
            for peer in list(self._peers):
                self._send(peer, {})

    def _send(self, peer: int, message: dict) -> None:
        # Who cannot be told is found out by listening.
        with contextlib.suppress(OSError):
            self._peers[peer].sendall(json.dumps(message).encode() + b"\n")

    def _listen(self, peer: socket.socket, number: int | None) -> None:
        """Reads what one process says until it ends."""
        peer.settimeout(self._timeout)
        why = "its connection closed"
        try:
            with peer.makefile("rb") as lines:
                for line in lines:
                    message = json.loads(line)
                    if number is None:
                        number = int(message["process"])
                        self._peers[number] = peer
                    elif "end" in message:
                        self._done.add(number)
                        if message["end"]:
                            self._fell(number, message["end"])
                    elif "lost" in message:
                        self._lose(message["lost"])
        except TimeoutError:
            why = f"nothing heard for {self._timeout:g} s"
        except (OSError, ValueError, KeyError) as error:
            why = f"its connection broke: {error}"
        if number is not None and number not in self._done:
            self._lose(
                f"process {number} on {self._names[number]} is gone ({why}): start the same "
                "command again on all hosts to go on from the last checkpoint"
            )

    def _fell(self, number: int, sentence: str) -> None:
        # The same error may be on its way here.
        time.sleep(_GRACE_SECONDS)
        self._lose(f"process {number} on {self._names[number]} has stopped: {sentence}")

    def _lose(self, sentence: str):
        """Says a loss, passes it on, and ends this process."""
        with self._lock:
            self._ending.set()
            with contextlib.suppress(OSError):
                print(f"sersl: {sentence}", file=sys.stderr, flush=True)
            if self._number == 0:
                for peer in list(self._peers):
                    self._send(peer, {"lost": sentence})
                # The coordinator goes last: jax would end the others before they have spoken.
                time.sleep(_BEAT_SECONDS)
            _leave(_FAILED)


def _say(error: BaseException) -> None:
    """Prints what ended the work here."""
    if isinstance(error, UserError):
        print(f"sersl: {error}", file=sys.stderr, flush=True)
    elif isinstance(error, KeyboardInterrupt):
        print("sersl: interrupted", file=sys.stderr, flush=True)
    elif not isinstance(error, SystemExit):
        traceback.print_exception(error)


def _code(error: BaseException) -> int:
    """Gives the exit code, as `sersl.cli.main` does."""
    match error:
        case UserError():
            return _USER_CAN_FIX
        case KeyboardInterrupt():
            return _INTERRUPTED
        case SystemExit(code=int(code)):
            return code
        case _:
            return _FAILED


def _is_echo(error: BaseException | None) -> bool:
    """Says whether an error may come from another process having gone."""
    while error is not None:
        if isinstance(error, jax.errors.JaxRuntimeError):
            return "RESOURCE_EXHAUSTED" not in str(error)  # that is our own memory
        error = error.__cause__ or error.__context__
    return False


def _in_background(work: Callable, *arguments) -> None:
    threading.Thread(target=work, args=arguments, daemon=True).start()


def _leave(code: int):
    """Ends the process without waiting for threads, devices or other processes."""
    for child in multiprocessing.active_children():
        child.terminate()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    os._exit(code)
