"""A relay to the coordinator that keeps its near side open when the far side goes away.

jax ends a process in the middle of whatever it does, with a C++ stack trace, the moment its
connection to the coordinator (process 0) breaks. Through a relay it notices nothing, and
`sersl.parallel.watchdog` has the time to say which process is gone.

Run as a program of its own: it needs the standard library alone, and a thread of the training
process could wait for a lock that jax holds while it talks to the coordinator.
"""

import contextlib
import signal
import socket
import subprocess
import sys
import threading

_CHUNK = 1 << 16  # bytes


def start(host: str, port: int) -> str:
    """Starts a relay to host:port; it ends with the process that started it.

    Args:
      host: of the coordinator.
      port: of the coordinator.

    Returns:
      The address to connect to instead.
    """
    relay = subprocess.Popen(
        [sys.executable, "-I", "-S", __file__, host, str(port)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    _RUNNING.append(relay)
    return f"127.0.0.1:{int(relay.stdout.readline())}"


# Its standard input stays open as long as this process lives.
_RUNNING: list[subprocess.Popen] = []


def _main(host: str, port: int) -> None:
    # A signal to the whole group is for the training process, which needs the relay to save.
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1):
        signal.signal(number, signal.SIG_IGN)
    server = socket.create_server(("127.0.0.1", 0))
    print(server.getsockname()[1], flush=True)
    threading.Thread(target=_accept, args=(server, host, port), daemon=True).start()
    sys.stdin.read()  # until whoever started the relay is gone


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
    for one in (near, far):
        one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    threading.Thread(target=_copy, args=(far, near), daemon=True).start()
    _copy(near, far)
    far.close()


def _copy(source: socket.socket, target: socket.socket) -> None:
    """Copies until the source ends; says nothing of it to the target."""
    with contextlib.suppress(OSError):
        while data := source.recv(_CHUNK):
            target.sendall(data)


if __name__ == "__main__":
    _main(sys.argv[1], int(sys.argv[2]))
