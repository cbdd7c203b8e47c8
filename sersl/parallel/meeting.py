"""All processes of a run meet at the coordinator's port before jax connects them.

jax ends a process with a C++ stack trace when another one does not come, and ends a whole run when
a process of another run connects to its port. So process 0 listens on that port itself first, until
every other process has connected; then all of them go on, or all of them report what is wrong.
"""

import contextlib
import os
import queue
import socket
import time
from typing import NamedTuple

from sersl.core.errors import UserError
from sersl.parallel import handshake
from sersl.parallel.handshake import Channel, Door, RefusedError, StrangerError

_PORT_SECONDS = 10.0  # for a run that is just ending to free its port
_STRANGER_SECONDS = 15.0  # longer, so that process 0 has reported a port in use before
_LINGER_SECONDS = 5.0  # in which processes that connect after a problem still get to know it
_RETRY_SECONDS = 0.5


class _Arrival(NamedTuple):
    """A process that has connected to process 0."""

    channel: Channel
    host: str


def host(address: str, count: int, *, token: bytes, timeout_seconds: float) -> None:
    """Waits as process 0 until all others have connected.

    Args:
      address: host:port of the coordinator; process 0 listens there and frees the port afterwards.
      count: processes in the run.
      token: of the run, see `handshake.run_token`.
      timeout_seconds: how long to wait.

    Raises:
      UserError: the port is in use, some processes did not come, or two have the same number; the
        others report the same.
    """
    if count == 1:
        return
    came: dict[int, _Arrival] = {}
    arrivals: queue.SimpleQueue[tuple[Channel, dict]] = queue.SimpleQueue()
    door = Door(_listen(address), token, lambda channel, about: arrivals.put((channel, about)))
    deadline = time.monotonic() + timeout_seconds
    problem = None
    try:
        while problem is None and len(came) < count - 1:
            if time.monotonic() > deadline:
                missing = [str(number) for number in range(1, count) if number not in came]
                problem = (
                    f"process {', '.join(missing)} of {count} did not connect to process 0 on "
                    f"{socket.gethostname()} at {address} within {timeout_seconds} s: check that "
                    "each was started, with its own number, and can reach that port"
                )
                break
            with contextlib.suppress(queue.Empty):
                problem = _enter(*arrivals.get(timeout=_RETRY_SECONDS), came, count)
            for number in [n for n, arrival in came.items() if arrival.channel.is_gone()]:
                came.pop(number).channel.close()
        for arrival in came.values():
            _answer(arrival.channel, problem)
        if problem is not None:
            _repeat(arrivals, problem)
    finally:
        door.close()
        for arrival in came.values():
            arrival.channel.close()
    if problem is not None:
        raise UserError(problem)


def attend(address: str, number: int, count: int, *, token: bytes, timeout_seconds: float) -> None:
    """Connects to process 0 and waits until all others have.

    Args:
      address: host:port of the coordinator.
      number: of this process, above 0.
      count: processes in the run.
      token: of the run, see `handshake.run_token`.
      timeout_seconds: how long to wait.

    Raises:
      UserError: process 0 does not answer, or reports what is wrong.
    """
    where, _, port = address.rpartition(":")
    own_host = socket.gethostname()
    about = {"process": number, "count": count, "host": own_host}
    deadline = time.monotonic() + timeout_seconds
    strange_since: float | None = None
    while time.monotonic() < deadline:
        try:
            channel = handshake.connect(where, int(port), token, about)
            strange_since = None
            if _is_welcome(channel, deadline):
                return
        except RefusedError:
            raise UserError(
                f"process {number} of {count} on {own_host} reached another run at the coordinator "
                f"{address}: give each run its own port, and the same {handshake.VARIABLE} to all "
                "its processes"
            ) from None
        except StrangerError:
            strange_since = strange_since or time.monotonic()
            if time.monotonic() - strange_since > min(_STRANGER_SECONDS, timeout_seconds):
                raise UserError(
                    f"process {number} of {count} on {own_host} found another program at the "
                    f"coordinator {address}: end that program, or choose another port for all "
                    "processes"
                ) from None
        except OSError:
            strange_since = None
        time.sleep(_RETRY_SECONDS)
    raise unreached(address, number, count, timeout_seconds=timeout_seconds)


def unreached(address: str, number: int, count: int, *, timeout_seconds: float) -> UserError:
    """Builds the error of a process that has not reached process 0."""
    return UserError(
        f"process {number} of {count} on {socket.gethostname()} did not reach the coordinator "
        f"{address} within {timeout_seconds} s: check that process 0 runs and that its port is open"
    )


def _listen(address: str) -> socket.socket:
    """Opens the port of the coordinator on the interface of its host name."""
    where, _, port = address.rpartition(":")
    deadline = time.monotonic() + _PORT_SECONDS
    while True:
        try:
            return handshake.listen(where, int(port))
        except OSError as error:
            if time.monotonic() > deadline:
                reason = os.strerror(error.errno or 0)
                raise UserError(
                    f"process 0 on {socket.gethostname()} cannot open the port of the coordinator "
                    f"{address} ({reason}): end the program that uses it, or choose another port "
                    "for all processes"
                ) from error
            time.sleep(_RETRY_SECONDS)


def _enter(channel: Channel, about: dict, came: dict[int, _Arrival], count: int) -> str | None:
    """Adds a process that has connected; gives a sentence if it does not belong here."""
    number, its_count, its_host = (about.get(name) for name in ("process", "count", "host"))
    if not isinstance(number, int) or not isinstance(its_host, str):
        channel.close()
        return None
    problem = None
    if its_count != count:
        problem = (
            f"process {number} on {its_host} belongs to a run of {its_count} processes, process 0 "
            f"on {socket.gethostname()} to one of {count}: give all the same number of processes, "
            "and each run its own port"
        )
    elif not 0 < number < count:
        problem = f"process {number} on {its_host} is not one of the processes 1 to {count - 1}"
    elif number in came and not came[number].channel.is_gone():
        problem = (
            f"two processes have the number {number} of {count}, on {came[number].host} and on "
            f"{its_host}: number them 0 to {count - 1}, and give each run its own port"
        )
    if problem is not None:
        _answer(channel, problem)
        channel.close()
        return problem
    came[number] = _Arrival(channel, its_host)
    return None


def _repeat(arrivals: queue.SimpleQueue[tuple[Channel, dict]], problem: str) -> None:
    """Answers those who connect a little later."""
    deadline = time.monotonic() + _LINGER_SECONDS
    with contextlib.suppress(queue.Empty):
        while True:
            channel, _ = arrivals.get(timeout=max(deadline - time.monotonic(), 0.0))
            _answer(channel, problem)
            channel.close()


def _answer(channel: Channel, problem: str | None) -> None:
    with contextlib.suppress(OSError):
        channel.send({"problem": problem})


def _is_welcome(channel: Channel, deadline: float) -> bool:
    """Waits for the answer of process 0; False if it has gone.

    Raises:
      UserError: what process 0 found wrong.
    """
    try:
        # Process 0 may have started, and so give up, a little later.
        answer = channel.receive(deadline - time.monotonic() + _PORT_SECONDS)
    except (OSError, ValueError):
        return False
    finally:
        channel.close()
    if answer.get("problem") is not None:
        raise UserError(str(answer["problem"]))
    return "problem" in answer
