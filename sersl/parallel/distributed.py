"""Joining the processes of a run, and learning that this machine is about to be taken away."""

import itertools
import os
import socket
import time
from collections.abc import Callable
from typing import TypeVar

import jax
from jax.experimental import multihost_utils

from sersl.core.errors import UserError
from sersl.parallel import handshake, meeting, relay, watchdog
from sersl.parallel.environment import detect

T = TypeVar("T")

# Processes agree on a number of calls, not of a step: steps restart with every fold, and a resumed
# run is past the first ones, so a step that they agree on might never come.
_calls = itertools.count(1)
_HEARTBEAT_SECONDS = 100  # the default of jax
_SHUTDOWN_SECONDS = 3600  # those that are done wait until the first has scored and reported


def initialize(*, timeout_seconds: int = 900, host_timeout_seconds: int = 45) -> None:
    """Joins the other processes of the run, before any device is used.

    The addresses come from the environment, see `sersl.parallel.environment`. A run of one process
    joins too, because jax handles SIGTERM only then.

    Args:
      timeout_seconds: how long to wait for the others.
      host_timeout_seconds: silence of a process after which the watchdog ends the run; jax, which
        explains less, waits longer than that.

    Raises:
      UserError: variables are incomplete or not numbers, the address of process 0 is unknown, its
        port is in use, or the others are not reached.
    """
    cluster = detect(os.environ)
    if cluster.problem:
        raise UserError(cluster.problem)
    token = handshake.run_token(os.environ)
    address = cluster.address or f"localhost:{_free_port()}"
    where, _, port = address.rpartition(":")
    bind_address = None
    if cluster.number:
        meeting.attend(
            address, cluster.number, cluster.count, token=token, timeout_seconds=timeout_seconds
        )
        unreached = meeting.unreached(
            address, cluster.number, cluster.count, timeout_seconds=timeout_seconds
        )
        # jax may end the process where it cannot connect, so the port is tried before.
        if not answers(address, timeout_seconds=timeout_seconds):
            raise unreached
        address = _relay(where, int(port))
    else:
        meeting.host(address, cluster.count, token=token, timeout_seconds=timeout_seconds)
        unreached = UserError(
            f"process 0 of {cluster.count} on {socket.gethostname()} could not open the "
            f"coordinator {address} within {timeout_seconds} s: choose another port for all of them"
        )
        bind_address = _bind_address(where, port)
    heartbeat_seconds = max(_HEARTBEAT_SECONDS, 2 * host_timeout_seconds)
    try:
        jax.distributed.initialize(
            address,
            cluster.count,
            cluster.number,
            local_device_ids=cluster.gpus,
            # jax must not look for a cluster too: it would take a single GPU of a Slurm task.
            cluster_detection_method="deactivate",
            initialization_timeout=timeout_seconds,
            heartbeat_timeout_seconds=heartbeat_seconds,
            shutdown_timeout_seconds=_SHUTDOWN_SECONDS,
            coordinator_bind_address=bind_address,
        )
    except RuntimeError as error:
        raise unreached from error


def watch(*, timeout_seconds: float) -> None:
    """Starts the watchdog, see `sersl.parallel.watchdog`.

    Args:
      timeout_seconds: silence of a process after which it counts as gone.
    """
    watchdog.start(timeout_seconds=timeout_seconds, host=detect(os.environ).host)


def preempted(_step: int) -> bool:
    """Tells whether all processes should save and stop before the next step.

    A SIGTERM to any process makes this true in all of them at the same call. All processes call it
    equally often.
    """
    return multihost_utils.reached_preemption_sync_point(next(_calls))


def is_first_process() -> bool:
    """Tells whether this process writes logs, configs and reports."""
    return jax.process_index() == 0


def in_turn(work: Callable[[], T]) -> T:
    """Runs `work` in one process after the other, and returns its result in this process."""
    for number in range(jax.process_count()):
        if number == jax.process_index():
            result = work()
        multihost_utils.sync_global_devices(f"turn of process {number}")
    return result


def answers(address: str, *, timeout_seconds: float) -> bool:
    """Waits until a program listens at host:port; False if none does in time."""
    host, _, port = address.rpartition(":")
    deadline = time.monotonic() + timeout_seconds
    while True:
        try:
            socket.create_connection((host, int(port)), timeout=5).close()
            return True
        except OSError:
            if time.monotonic() > deadline:
                return False
            time.sleep(0.5)


def _relay(host: str, port: int) -> str:
    try:
        return relay.start(host, port)
    except OSError as error:
        raise UserError(
            f"the relay to the coordinator {host}:{port} did not start ({error}): check that the "
            "folder for temporary files can be written and that this process may start another"
        ) from error


def _bind_address(host: str, port: str) -> str | None:
    """Names the interface on which jax opens the coordinator; None: all of them."""
    if "JAX_COORDINATOR_BIND_ADDRESS" in os.environ:
        return None  # jax takes that
    found = handshake.interface(host)
    if found is None:
        return None
    return f"[{found}]:{port}" if ":" in found else f"{found}:{port}"


def _free_port() -> int:
    with socket.socket() as server:
        server.bind(("localhost", 0))
        return server.getsockname()[1]
