"""Ctrl-C and SIGTERM end the program at any moment, with one sentence and exit code 130 or 143.

Python itself raises an exception in the main thread once the C call that runs there has returned.
During start-up that is in the middle of some import, where libraries swallow the exception or abort
the process, or only after a compilation of minutes. Here the C part of the signal handler writes to
a socket, and a thread of its own reads it and ends the process.
"""

import contextlib
import multiprocessing
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from typing import NoReturn

_ENDS = {signal.SIGINT: (130, "interrupted"), signal.SIGTERM: (143, "ended by SIGTERM")}
_FLUSH_SECONDS = 1.0  # for buffered output; its reader may have stopped

_callbacks: list[Callable[[str], None]] = []
_sockets: list[socket.socket] = []  # kept open
_cleanup_allowed = _raised = _announced = False


def install() -> None:
    """Makes SIGINT and SIGTERM end the process; for the main thread of a program."""
    if _sockets:
        return
    reading, writing = socket.socketpair()
    writing.setblocking(False)
    _sockets.extend((reading, writing))
    signal.set_wakeup_fd(writing.fileno(), warn_on_full_buffer=False)
    for number in _ENDS:
        # A background job of a shell ignores SIGINT on purpose.
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _raise_if_allowed)
    os.register_at_fork(after_in_child=_uninstall)
    threading.Thread(target=_wait, args=(reading,), daemon=True, name="interrupts").start()


@contextlib.contextmanager
def cleanup_allowed() -> Iterator[None]:
    """Makes the first Ctrl-C raise KeyboardInterrupt again; the second one ends the process."""
    global _cleanup_allowed
    _cleanup_allowed = True
    try:
        yield
    finally:
        _cleanup_allowed = False


def before_end(callback: Callable[[str], None]) -> None:
    """Registers what is done before a signal ends the process, e.g. to tell other processes.

    Args:
      callback: takes the reason, a few words; it must return soon.
    """
    _callbacks.append(callback)


def may_announce() -> bool:
    """Says, once in a program, that the reason for its end has not been printed yet."""
    global _announced
    first = not _announced
    _announced = bool(_sockets)
    return first


def end_process(code: int) -> NoReturn:
    """Ends the process without waiting for threads, devices or other processes.

    Args:
      code: exit code.
    """
    with contextlib.suppress(Exception):  # the main thread may be starting one
        for child in multiprocessing.active_children():
            child.terminate()
    flushing = threading.Thread(target=_flush, daemon=True)
    flushing.start()
    flushing.join(_FLUSH_SECONDS)
    os._exit(code)


def _wait(reading: socket.socket) -> None:
    interrupts = 0
    while True:
        number = reading.recv(1)[0]
        if number not in _ENDS or signal.getsignal(number) is not _raise_if_allowed:
            continue
        interrupts += number == signal.SIGINT
        if not (_cleanup_allowed and number == signal.SIGINT and interrupts == 1):
            _end(number)


def _end(number: int) -> None:
    code, reason = _ENDS[signal.Signals(number)]
    if may_announce():
        with contextlib.suppress(OSError):
            os.write(2, f"sersl: {reason}\n".encode())  # the main thread may hold sys.stderr
    for callback in _callbacks:
        with contextlib.suppress(Exception):
            callback(reason)
    end_process(code)


def _raise_if_allowed(number: int, _frame) -> None:
    """Runs in the main thread, if that gets to it before the process has ended."""
    global _raised
    if _cleanup_allowed and not _raised and number == signal.SIGINT:
        _raised = True
        raise KeyboardInterrupt


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError, AttributeError):
            stream.flush()


def _uninstall() -> None:
    """A forked process has no thread that reads, and would write to its parent's socket."""
    signal.set_wakeup_fd(-1)
    for number in _ENDS:
        if signal.getsignal(number) is _raise_if_allowed:
            signal.signal(number, signal.SIG_DFL)
