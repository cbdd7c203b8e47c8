"""All processes of a run meet at the coordinator's port before jax is told of them.

jax ends a process with a C++ stack trace where another one does not come; and ends a whole run that
goes well where a process of another run knocks at its port. So process 0 first listens on that port
itself, until every other has said its number; then all go on together, or all say what is wrong.
"""

import contextlib
import json
import socket
import time

from sersl.core.errors import UserError

_PORT_SECONDS = 30.0  # for a run that is just ending to give its port back
_HELLO_SECONDS = 5.0
_RETRY_SECONDS = 0.5


def host(address: str, count: int, *, timeout_seconds: float) -> None:
    """Waits as process 0 until all others have come.

    Args:
      address: host:port of the coordinator; its port is listened on and free again afterwards.
      count: processes in the run.
      timeout_seconds: how long to wait.

    Raises:
      UserError: the port is taken, some did not come, or two came with one number; whoever came is
        told the same.
    """
    if count == 1:
        return
    here, came = socket.gethostname(), {}
    deadline = time.monotonic() + timeout_seconds
    with _listen(address) as server, contextlib.ExitStack() as opened:
        server.settimeout(_RETRY_SECONDS)
        problem = None
        while problem is None and len(came) < count - 1:
            if time.monotonic() > deadline:
                missing = [str(number) for number in range(1, count) if number not in came]
                problem = (
                    f"process {', '.join(missing)} of {count} did not come to process 0 on {here} "
                    f"at {address} within {timeout_seconds} s: see whether each was started, with "
                    "its own number, and reaches that port"
                )
                break
            with contextlib.suppress(OSError):  # nobody came, or who came has gone
                peer = opened.enter_context(server.accept()[0])
                problem = _enter(peer, came, count, here)
            came = {number: one for number, one in came.items() if not _is_gone(one[0])}
        for peer, _ in came.values():
            _send(peer, {"problem": problem})
    if problem is not None:
        raise UserError(problem)


def attend(address: str, number: int, count: int, *, timeout_seconds: float) -> None:
    """Comes to process 0 and waits until all have.

    Args:
      address: host:port of the coordinator.
      number: of this process, above 0.
      count: processes in the run.
      timeout_seconds: how long to wait.

    Raises:
      UserError: process 0 is not there, or says what is wrong.
    """
    where, _, port = address.rpartition(":")
    hello = {"process": number, "count": count, "host": socket.gethostname()}
    deadline = time.monotonic() + timeout_seconds
    stranger = ""
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError):
            with socket.create_connection((where, int(port)), timeout=_HELLO_SECONDS) as peer:
                _send(peer, hello)
                # Process 0 may have come, and so give up, a little later.
                answer = _receive(peer, deadline - time.monotonic() + _PORT_SECONDS)
            if answer is not None and "problem" in answer:
                if answer["problem"] is None:
                    return
                raise UserError(answer["problem"])
            stranger = ", where something else answers,"
        time.sleep(_RETRY_SECONDS)
    raise unreached(address, number, count, timeout_seconds=timeout_seconds, note=stranger)


def unreached(
    address: str, number: int, count: int, *, timeout_seconds: float, note: str = ""
) -> UserError:
    """Says that a process has not found process 0.

    Args:
      address: host:port of the coordinator.
      number: of the process.
      count: processes in the run.
      timeout_seconds: how long it tried.
      note: on the address, between commas.

    Returns:
      The error to raise.
    """
    return UserError(
        f"process {number} of {count} on {socket.gethostname()} did not reach the coordinator "
        f"{address}{note} within {timeout_seconds} s: check that process 0 runs and that its "
        "port is open"
    )


def _listen(address: str) -> socket.socket:
    """Opens the port of the coordinator, on all addresses of this host."""
    port = int(address.rpartition(":")[2])
    deadline = time.monotonic() + _PORT_SECONDS
    options = {}
    if socket.has_dualstack_ipv6():
        options = {"family": socket.AF_INET6, "dualstack_ipv6": True}
    while True:
        try:
            return socket.create_server(("", port), **options)
        except OSError as error:
            if time.monotonic() > deadline:
                raise UserError(
                    f"process 0 on {socket.gethostname()} cannot open the port of the coordinator "
                    f"{address} ({error.strerror}): end the run that has it, or choose another "
                    "port for all processes"
                ) from error
            time.sleep(_RETRY_SECONDS)


def _enter(peer: socket.socket, came: dict, count: int, here: str) -> str | None:
    """Notes who has come; gives a sentence where that cannot be."""
    hello = _receive(peer, _HELLO_SECONDS)
    if hello is None or not {"process", "count", "host"} <= hello.keys():
        return None  # a stranger
    number, problem = hello["process"], None
    if hello["count"] != count:
        problem = (
            f"process {number} on {hello['host']} is of a run of {hello['count']} processes, "
            f"process 0 on {here} of one of {count}: give all the same number of processes, and "
            "each run a port of its own"
        )
    elif number in came and not _is_gone(came[number][0]):
        problem = (
            f"two processes are number {number} of {count}, on {came[number][1]} and on "
            f"{hello['host']}: number them 0 to {count - 1}, and give each run a port of its own"
        )
    if problem is not None:
        _send(peer, {"problem": problem})
        return problem
    came[number] = (peer, hello["host"])
    return None


def _is_gone(peer: socket.socket) -> bool:
    """Says whether who had come has left again; it would say nothing more."""
    peer.setblocking(False)
    try:
        return peer.recv(1, socket.MSG_PEEK) == b""
    except BlockingIOError:
        return False
    except OSError:
        return True
    finally:
        peer.settimeout(_HELLO_SECONDS)


def _send(peer: socket.socket, message: dict) -> None:
    with contextlib.suppress(OSError):
        peer.sendall(json.dumps(message).encode() + b"\n")


def _receive(peer: socket.socket, timeout_seconds: float) -> dict | None:
    """Reads one message; None where it is none.

    Raises:
      OSError: the connection broke or nothing came.
    """
    peer.settimeout(timeout_seconds)
    with peer.makefile("rb") as lines:
        line = lines.readline(65536)
    try:
        message = json.loads(line)
    except ValueError:
        return None
    return message if isinstance(message, dict) else None
