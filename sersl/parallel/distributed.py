"""Processes: joining a run of many, and hearing that this machine is about to be taken away."""

import itertools
import os
import socket
import time

import jax
from jax.experimental import multihost_utils

from sersl.core.errors import UserError

_VARIABLES = ("SERSL_COORDINATOR", "SERSL_NUM_PROCESSES", "SERSL_PROCESS_ID")

# The point agreed for leaving is a number of calls: steps start again with every fold, and a
# resumed run has the first ones behind it, so that a step agreed on might never come.
_calls = itertools.count(1)


def initialize(*, timeout_seconds: int = 900) -> None:
    """Joins the other processes of the run, before any device is used.

    The environment says how: SERSL_COORDINATOR (host:port), SERSL_NUM_PROCESSES and
    SERSL_PROCESS_ID, or a Slurm or Open MPI task, or a TPU pod, which jax recognises. A run of one
    process joins itself: only so does jax hear SIGTERM.

    Args:
      timeout_seconds: how long to wait for the others.

    Raises:
      UserError: the variables are incomplete or no number, or the coordinator is not reached.
    """
    given = [name for name in _VARIABLES if name in os.environ]
    if given and len(given) < len(_VARIABLES):
        missing = sorted(set(_VARIABLES) - set(given))
        raise UserError(f"{', '.join(given)} is set but {', '.join(missing)} is not: set all three")
    if given:
        address = os.environ["SERSL_COORDINATOR"]
        try:
            count, number = (int(os.environ[name]) for name in _VARIABLES[1:])
        except ValueError as error:
            raise UserError(f"SERSL_NUM_PROCESSES and SERSL_PROCESS_ID: {error}") from error
    elif _in_cluster():
        address = count = number = None
    else:
        address, count, number = f"localhost:{_free_port()}", 1, 0
    unreached = UserError(
        f"process {number} of {count} on {socket.gethostname()} did not reach the coordinator "
        f"{address} within {timeout_seconds} s: check that process 0 runs and that its port is open"
    )
    # jax may end the process where it cannot connect, so the port is tried before.
    if number and not _answers(address, timeout_seconds):
        raise unreached
    try:
        jax.distributed.initialize(address, count, number, initialization_timeout=timeout_seconds)
    except RuntimeError as error:
        raise unreached from error


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


def _in_cluster() -> bool:
    many_slurm = int(os.environ.get("SLURM_NTASKS", "1")) > 1 and "SLURM_PROCID" in os.environ
    many_mpi = int(os.environ.get("OMPI_COMM_WORLD_SIZE", "1")) > 1
    many_tpu = "," in os.environ.get("TPU_WORKER_HOSTNAMES", "")
    return many_slurm or many_mpi or many_tpu


def _answers(address: str, timeout_seconds: float) -> bool:
    """Waits until somebody listens at host:port."""
    host, _, port = address.rpartition(":")
    if not port.isdecimal():
        raise UserError(f"SERSL_COORDINATOR={address!r} is no address: write host:port")
    deadline = time.monotonic() + timeout_seconds
    while True:
        try:
            socket.create_connection((host, int(port)), timeout=5).close()
            return True
        except OSError:
            if time.monotonic() > deadline:
                return False
            time.sleep(0.5)


def _free_port() -> int:
    with socket.socket() as server:
        server.bind(("localhost", 0))
        return server.getsockname()[1]
