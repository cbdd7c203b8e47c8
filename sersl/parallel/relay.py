"""A relay to the coordinator that keeps its near side open when the far side goes away.

jax ends a process in the middle of whatever it does, with a C++ stack trace, as soon as its
connection to the coordinator (process 0) breaks. Behind a relay it notices nothing, which gives
`sersl.parallel.watchdog` the time to report which process is gone.

The relay is a program of its own that needs the standard library alone: a thread of the training
process could wait for a lock that jax holds while it talks to the coordinator. It listens on a
socket in a folder that only this user can open.
"""

import contextlib
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

_CHUNK = 1 << 16  # bytes
_LONGEST_PATH = 100  # bytes that the name of a Unix socket can have, less a few
# A signal to the whole group is for the training process, which needs the relay to save.
_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1)


def start(host: str, port: int) -> str:
    """Starts a relay to host:port; it ends with the process that started it.

    Returns:
      The address to connect to instead, as gRPC writes that of a Unix socket.

    Raises:
      OSError: the relay could not be started.
    """
    folder = tempfile.mkdtemp(prefix="sersl-")
    if len(folder) > _LONGEST_PATH - 10:
        Path(folder).rmdir()
        folder = tempfile.mkdtemp(prefix="sersl-", dir="/tmp")
    path = f"{folder}/relay"
    # Blocked until the relay ignores them itself.
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
    try:
        relay = subprocess.Popen(
            [sys.executable, "-I", "-S", __file__, path, host, str(port)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
    _RUNNING.append(relay)
    if relay.stdout is None or relay.stdout.readline() != "listening\n":
        raise OSError(f"it ended before it listened on {path}")
    return f"unix:{path}"


# Their standard input stays open as long as this process lives.
_RUNNING: list[subprocess.Popen[str]] = []


def _main(path: str, host: str, port: int) -> None:
    for number in _SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
    try:
        server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        server.bind(path)
        server.listen()
        print("listening", flush=True)
        threading.Thread(target=_accept, args=(server, host, port), daemon=True).start()
        sys.stdin.read()  # until the process that started the relay is gone
    finally:
        shutil.rmtree(Path(path).parent, ignore_errors=True)


def _accept(server: socket.socket, host: str, port: int) -> None:
    while True:
        near, _ = server.accept()
        threading.Thread(target=_join, args=(near, host, port), daemon=True).start()


def _join(near: socket.socket, host: str, port: int) -> None:
    try:
        far = socket.create_connection((host, port))
    except OSError:
        near.close()  # gRPC tries again
        return
    far.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    threading.Thread(target=_copy, args=(far, near), daemon=True).start()
    _copy(near, far)
    far.close()


def _copy(source: socket.socket, target: socket.socket) -> None:
    """Copies until the source ends; the target stays open."""
    with contextlib.suppress(OSError):
        while data := source.recv(_CHUNK):
            target.sendall(data)


if __name__ == "__main__":
    _main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
