"""Processes: joining a run of many, and hearing that this machine is about to be taken away."""

import itertools
import os
import socket
import time
from collections.abc import Callable
from typing import TypeVar

import jax
from jax.experimental import multihost_utils

from sersl.core.errors import UserError
from sersl.parallel import meeting, relay, watchdog
from sersl.parallel.environment import Cluster, detect

T = TypeVar("T")

# The point agreed for leaving is a number of calls: steps start again with every fold, and a
# resumed run has the first ones behind it, so that a step agreed on might never come.
_calls = itertools.count(1)
_HEARTBEAT_SECONDS = 100  # of jax, as it comes
_SHUTDOWN_SECONDS = 3600  # those who are done wait for the first to score and report


def initialize(*, timeout_seconds: int = 900, host_timeout_seconds: int = 45) -> None:
    """Joins the other processes of the run, before any device is used.

    The environment says how, see `sersl.parallel.environment`. A run of one process joins too:
    jax sees SIGTERM only then.

    Args:
      timeout_seconds: how long to wait for the others.
      host_timeout_seconds: silence of a process after which the watchdog will end the run; jax,
        which says less, leaves it the time.

    Raises:
      UserError: the variables are incomplete or no number, nobody tells where process 0 is, its
        port is taken, or the others are not reached.
    """
    cluster = detect(os.environ)
    if cluster.problem:
        raise UserError(cluster.problem)
    address = cluster.address or f"localhost:{_free_port()}"
    if cluster.number:
        meeting.attend(address, cluster.number, cluster.count, timeout_seconds=timeout_seconds)
        where, _, port = address.rpartition(":")
        unreached = meeting.unreached(
            address, cluster.number, cluster.count, timeout_seconds=timeout_seconds
        )
        # jax may end the process where it cannot connect, so the port is tried before.
        if not answers(address, timeout_seconds=timeout_seconds):
            raise unreached
        address = relay.start(where, int(port))
    else:
        meeting.host(address, cluster.count, timeout_seconds=timeout_seconds)
        unreached = UserError(
            f"process 0 of {cluster.count} on {socket.gethostname()} could not open the "
            f"coordinator {address} within {timeout_seconds} s: choose another port for all of them"
        )
    heartbeat_seconds = max(_HEARTBEAT_SECONDS, 2 * host_timeout_seconds)
    _join(address, cluster, timeout_seconds, heartbeat_seconds, unreached)


def watch(*, timeout_seconds: float) -> None:
    """Starts the watchdog over the other processes, see `sersl.parallel.watchdog`.

    Args:
      timeout_seconds: silence of a process after which it counts as gone.
    """
    watchdog.start(timeout_seconds=timeout_seconds, host=detect(os.environ).host)


def preempted(step: int) -> bool:
    """Says whether every process should save and leave before the next step.

    A SIGTERM to any process makes this true in all of them at the same step. All processes call
    it equally often.

    Args:
      step: updates done so far, unused.

    Returns:
      True once all processes have reached the call agreed for leaving.
    """
    del step
    return multihost_utils.reached_preemption_sync_point(next(_calls))


def is_first_process() -> bool:
    """Says whether this process writes logs, configs and reports."""
    return jax.process_index() == 0


def in_turn(work: Callable[[], T]) -> T:
    """Does something in one process after the other.

    Args:
      work: what every process does, the first one first.

    Returns:
      What it gave in this process.
    """
    for number in range(jax.process_count()):
        if number == jax.process_index():
            result = work()
        multihost_utils.sync_global_devices(f"turn of process {number}")
    return result


def answers(address: str, *, timeout_seconds: float) -> bool:
    """Waits until somebody listens at an address.

    Args:
      address: host:port.
      timeout_seconds: how long to wait.

    Returns:
      Whether somebody does.
    """
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


def _join(
    address: str,
    cluster: Cluster,
    timeout_seconds: int,
    heartbeat_seconds: int,
    unreached: UserError,
) -> None:
    try:
        jax.distributed.initialize(
            address,
            cluster.count,
            cluster.number,
            local_device_ids=cluster.gpus,
            # jax shall not look for a cluster too: of a Slurm task it would take one GPU alone.
            cluster_detection_method="deactivate",
            initialization_timeout=timeout_seconds,
            heartbeat_timeout_seconds=heartbeat_seconds,
            shutdown_timeout_seconds=_SHUTDOWN_SECONDS,
        )
    except RuntimeError as error:
        raise unreached from error


def _free_port() -> int:
    with socket.socket() as server:
        server.bind(("localhost", 0))
        return server.getsockname()[1]
