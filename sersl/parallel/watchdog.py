"""The watchdog of a run of many processes: when one is gone, the others report which and end.

Every process holds a connection to process 0, over which both sides send a beat every second. The
kernel closes it when a process dies, however it dies; a machine that loses its power or its network
falls silent. Without a watchdog the others would wait in a collective operation for ever.

Process 0 accepts connections with the token of the run only, see `sersl.parallel.handshake`.
"""

import contextlib
import functools
import secrets
import socket
import sys
import threading
import time
import traceback
from collections.abc import Callable
from typing import NoReturn

import jax
import numpy as np
from jax.experimental import multihost_utils

from sersl.core import interrupts
from sersl.core.errors import UserError, as_user_error
from sersl.parallel import handshake
from sersl.parallel.handshake import Channel, Door

_BEAT_SECONDS = 1.0
_GRACE_SECONDS = 3.0  # for a process that fails by the same error to report it itself
_TRIES = 3  # to connect: process 0 may be busy with connections of strangers
_ROW_BYTES = 384  # of what a process tells the others: port, token and host name
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
    server = handshake.listen(host, 0, backlog=jax.process_count()) if number == 0 else None
    port = server.getsockname()[1] if server else 0
    # All get the token of process 0 through jax, which connects the processes of this run alone.
    own = f"{port} {secrets.token_hex(32)} {socket.gethostname()}".encode()[:_ROW_BYTES]
    padded = np.frombuffer(own.ljust(_ROW_BYTES, b"\0"), np.uint8)
    gathered = np.asarray(multihost_utils.process_allgather(padded))
    rows = [bytes(row).rstrip(b"\0").decode(errors="replace").split(" ", 2) for row in gathered]
    names = [name for _, _, name in rows]
    token = rows[0][1].encode()
    _watchdog = Watchdog(number, names, token=token, timeout_seconds=timeout_seconds)
    if server:
        _watchdog.serve(server)
    else:
        _watchdog.connect(host or names[0], int(rows[0][0]))
    interrupts.before_end(_watchdog.tell)


def ends_together(run: Callable) -> Callable:
    """Decorates a verb so that no process of a run waits for one that has failed.

    Args:
      run: takes the arguments of the verb and returns its exit code.

    Returns:
      The same in a run of one process. In a run of many, a process that fails prints the error,
      tells the others, and ends at once: Python itself would wait for them.
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
    """The connections of one process, and what came over them."""

    def __init__(self, number: int, names: list[str], *, token: bytes, timeout_seconds: float):
        """Connects nothing yet.

        Args:
          number: of this process.
          names: host of every process.
          token: secret that only the processes of this run have.
          timeout_seconds: silence after which a process counts as gone.
        """
        self._number, self._names, self._timeout = number, names, timeout_seconds
        self._token = token
        self._peers: dict[int, Channel] = {}  # of process 0: all others; of these: process 0
        self._done: set[int] = set()
        self._lock = threading.Lock()
        self._ending = threading.Event()

    def serve(self, server: socket.socket) -> None:
        """Accepts the other processes in the background, and sends beats.

        Args:
          server: listening; closed with the process.
        """
        self._door = Door(server, self._token, self._welcome)
        _in_background(self._beat)

    def connect(self, host: str, port: int) -> None:
        """Connects to process 0, which listens at host:port, and sends beats."""
        about = {"process": self._number}
        for _ in range(_TRIES):
            try:
                peer = handshake.connect(host, port, self._token, about)
            except (OSError, handshake.RefusedError, handshake.StrangerError) as error:
                problem = str(error) or "no answer"
                time.sleep(_BEAT_SECONDS)
                continue
            self._peers[0] = peer
            _in_background(self._listen, peer, 0)
            _in_background(self._beat)
            return
        print(
            f"sersl: process {self._number} cannot reach the watchdog of process 0 at "
            f"{host}:{port} ({problem}): if a process dies, the others may hang; open the ports "
            "between the hosts",
            file=sys.stderr,
        )

    def finish(self) -> None:
        """Tells the others that this process is done, so that they do not miss it."""
        self.tell("")

    def tell(self, reason: str) -> None:
        """Tells the others that this process ends, and why; "" because it is done."""
        for peer in list(self._peers):
            self._send(peer, {"end": reason})

    def fail(self, error: BaseException) -> NoReturn:
        """Prints an error, tells the others, and ends this process.

        Args:
          error: what ended the work here. If it only follows from the end of another process, that
            process is named instead.
        """
        if _follows_from_another(error):
            # A broken connection shows here first; the watchdog finds out whose it was.
            self._ending.wait(self._timeout + _GRACE_SECONDS)
        error = as_user_error(error) or error
        with self._lock:
            with contextlib.suppress(OSError):  # standard error is closed: exit all the same
                _print(error)
            self.tell(str(error) or type(error).__name__)
            interrupts.end_process(_code(error))

    def _welcome(self, peer: Channel, about: dict) -> None:
        number = about.get("process")
        if not isinstance(number, int) or not 0 < number < len(self._names):
            peer.close()
            return
        if number in self._peers:
            peer.close()  # a process connects once
            return
        self._peers[number] = peer
        self._listen(peer, number)

    def _beat(self) -> None:
        while True:
            time.sleep(_BEAT_SECONDS)
            for peer in list(self._peers):
                self._send(peer, {})

    def _send(self, peer: int, message: dict) -> None:
        # A process that cannot be reached is found by `_listen`.
        with contextlib.suppress(OSError):
            self._peers[peer].send(message)

    def _listen(self, peer: Channel, number: int) -> None:
        """Reads the messages of one process until it ends."""
        try:
            while True:
                message = peer.receive(self._timeout)
                if "end" in message:
                    self._done.add(number)
                    if message["end"]:
                        self._fell(number, str(message["end"]))
                elif "lost" in message:
                    self._lose(str(message["lost"]))
        except TimeoutError:
            why = f"silent for {self._timeout:g} s"
        except ConnectionError:
            why = "its connection closed"
        except (OSError, ValueError) as error:
            why = f"its connection broke: {error}"
        if number not in self._done:
            self._lose(
                f"process {number} on {self._names[number]} is gone ({why}): rerun the same "
                "command on all hosts to resume from the last checkpoint"
            )

    def _fell(self, number: int, sentence: str) -> None:
        # The same error may be about to end this process.
        time.sleep(_GRACE_SECONDS)
        self._lose(f"process {number} on {self._names[number]} has stopped: {sentence}")

    def _lose(self, sentence: str) -> NoReturn:
        """Prints that a process is gone, tells the others, and ends this process."""
        with self._lock:
            self._ending.set()
            with contextlib.suppress(OSError):
                print(f"sersl: {sentence}", file=sys.stderr, flush=True)
            if self._number == 0:
                for peer in list(self._peers):
                    self._send(peer, {"lost": sentence})
                # The coordinator ends last: jax would end the others before they have reported it.
                time.sleep(_BEAT_SECONDS)
            interrupts.end_process(_FAILED)


def _print(error: BaseException) -> None:
    """Prints an error as `sersl.cli.main` does."""
    if isinstance(error, UserError):
        print(f"sersl: {error}", file=sys.stderr, flush=True)
    elif isinstance(error, KeyboardInterrupt):
        print("sersl: interrupted", file=sys.stderr, flush=True)
    elif not isinstance(error, SystemExit):
        traceback.print_exception(error)


def _code(error: BaseException) -> int:
    """Chooses the exit code as `sersl.cli.main` does."""
    match error:
        case UserError():
            return _USER_CAN_FIX
        case KeyboardInterrupt():
            return _INTERRUPTED
        case SystemExit(code=int(code)):
            return code
        case _:
            return _FAILED


def _follows_from_another(error: BaseException | None) -> bool:
    """Tells whether an error may come from the end of another process."""
    while error is not None:
        if isinstance(error, jax.errors.JaxRuntimeError):
            return "RESOURCE_EXHAUSTED" not in str(error)  # that is our own memory
        error = error.__cause__ or error.__context__
    return False


def _in_background(work: Callable, *arguments) -> None:
    threading.Thread(target=work, args=arguments, daemon=True).start()
