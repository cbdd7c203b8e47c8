"""Timing that all benchmarks share."""

import os
import platform
import time
from collections.abc import Callable, Hashable, Mapping
from typing import NamedTuple, TypeVar

import jax

Name = TypeVar("Name", bound=Hashable)
Found = TypeVar("Found")


class Seconds(NamedTuple):
    """The time that something took.

    Attributes:
      clock: wall-clock seconds.
      cpu: processor seconds, user and system, of this process and its children.
    """

    clock: float
    cpu: float


def add_batch_options(parser, *, rows: int, seconds: float, rounds: int) -> None:
    """Adds the options that define a batch, with their defaults, and the number of rounds."""
    parser.add_argument("--rows", type=int, default=rows, metavar="N", help="utterances in a batch")
    parser.add_argument(
        "--seconds", type=float, default=seconds, metavar="S", help="of each utterance"
    )
    parser.add_argument("--rounds", type=int, default=rounds, metavar="N")


def in_turns(ways: Mapping[Name, Callable[[], Found]], *, rounds: int) -> dict[Name, list[Found]]:
    """Calls every way once per round, so that a busy minute of the machine affects all of them."""
    found: dict[Name, list[Found]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, way in ways.items():
            found[name].append(way())
    return found


def timed(work: Callable[[], object]) -> Seconds:
    """Measures a call, including the device work behind the arrays that it returns."""
    cpu, start = _cpu_seconds(), time.perf_counter()
    jax.block_until_ready(work())
    return Seconds(time.perf_counter() - start, _cpu_seconds() - cpu)


def machine() -> dict[str, str]:
    """Describes where a benchmark ran: jax, its platform and the processor."""
    return {
        "jax": jax.__version__,
        "platform": jax.default_backend(),
        "machine": _processor(),
    }


def _cpu_seconds() -> float:
    children = os.times()  # of these the resolution is 10 ms
    return time.process_time() + children.children_user + children.children_system


def _processor() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            lines = [line for line in file if line.startswith("model name")]
        return lines[0].split(":")[1].strip()
    except (OSError, IndexError):
        return platform.processor() or platform.machine()
