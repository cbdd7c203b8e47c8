"""Many processes of one run on this machine."""

import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

from sersl.training.observe import read_metrics
from tests.tiny_runs import ROOT, start


def free_port() -> int:
    """Finds a port that nobody listens on."""
    with socket.socket() as server:
        server.bind(("localhost", 0))
        return server.getsockname()[1]


def start_all(words: list[str], *, count: int, devices: int, **options):
    """Starts the processes of a run, see `start`.

    Args:
      words: the command line.
      count: of processes.
      devices: of each.
      **options: of `start`.

    Returns:
      The Popen objects in order.
    """
    address = f"localhost:{free_port()}"
    return [
        start(
            words,
            devices=devices,
            SERSL_COORDINATOR=address,
            SERSL_NUM_PROCESSES=str(count),
            SERSL_PROCESS_ID=str(number),
            **options,
        )
        for number in range(count)
    ]


def found_by_two(module: str, argument: str, *, devices: int, timeout: float):
    """Runs a test module as both processes of a run; each prints "FOUND " and JSON.

    Args:
      module: its name.
      argument: on its command line.
      devices: of each process.
      timeout: seconds.

    Returns:
      (what was found, standard error) of each.
    """
    address = f"localhost:{free_port()}"
    processes = [
        subprocess.Popen(
            [sys.executable, "-m", module, argument],
            cwd=ROOT,
            env={
                **os.environ,
                "JAX_PLATFORMS": "cpu",
                "JAX_NUM_CPU_DEVICES": str(devices),
                "SERSL_COORDINATOR": address,
                "SERSL_NUM_PROCESSES": "2",
                "SERSL_PROCESS_ID": str(number),
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for number in range(2)
    ]
    both = []
    for out, err, code in finish(processes, timeout=timeout):
        assert code == 0, err
        (line,) = [line for line in out.splitlines() if line.startswith("FOUND ")]
        both.append((json.loads(line.removeprefix("FOUND ")), err))
    return both


def finish(processes, *, timeout: float = 900) -> list[tuple[str, str, int]]:
    """Waits for all: (standard output, standard error, exit code) of each."""
    try:
        return [
            (*process.communicate(timeout=timeout), process.returncode) for process in processes
        ]
    finally:
        for process in processes:
            process.kill()


def wait_for_steps(workdir: Path, processes, *, steps: int) -> None:
    """Waits until so many steps are logged; the processes must be alive until then."""
    deadline = time.monotonic() + 600
    while len(read_metrics(workdir / "metrics.jsonl")) < steps:
        if time.monotonic() > deadline or any(process.poll() is not None for process in processes):
            for process in processes:
                process.kill()
            raise AssertionError([process.communicate() for process in processes])
        time.sleep(0.1)
