"""What all processes of a run must agree on before they compute together.

Each process reads files and settings by itself. If one of them decided differently, their
collective operations would no longer match: the run would hang, or train on garbage.
"""

import json
import socket
from collections.abc import Mapping
from typing import TypeVar

import jax
import numpy as np
from jax.experimental import multihost_utils

from sersl.core.errors import UserError
from sersl.core.files import parse_json

Arrays = TypeVar("Arrays")  # nested arrays


def all_agree(holds: bool) -> bool:
    """Tells whether `holds` is True in every process; all of them must call this."""
    if jax.process_count() == 1:
        return holds
    return bool(np.all(multihost_utils.process_allgather(np.bool_(holds))))


def of_first(number: int) -> int:
    """Returns the int32 number of process 0 in every process; all of them must call this."""
    if jax.process_count() == 1:
        return number
    return int(multihost_utils.process_allgather(np.int32(number))[0])


def most(number: int) -> int:
    """Returns the greatest int32 number of all processes; all of them must call this."""
    if jax.process_count() == 1:
        return number
    return int(np.max(multihost_utils.process_allgather(np.int32(number))))


def arrays_of_first(arrays: Arrays) -> Arrays:
    """Returns the arrays of process 0, same shapes, in every process; all of them must call this.

    Processes on different hardware may compute slightly different numbers.
    """
    if jax.process_count() == 1:
        return arrays
    return multihost_utils.broadcast_one_to_all(arrays)


def check_same(values: Mapping[str, object]) -> None:
    """Refuses to run processes that were started differently; all of them must call this.

    Args:
      values: name to JSON value, the same names in every process.

    Raises:
      UserError: what differs, both values and hosts, in the same sentence in every process.
    """
    if jax.process_count() == 1:
        return
    own = json.dumps({"host": socket.gethostname(), "values": dict(values)}, sort_keys=True)
    first, *others = (parse_json(text) for text in _gather(own.encode()))
    for number, other in enumerate(others, start=1):
        for name in sorted(first["values"].keys() | other["values"].keys()):
            here, there = (one["values"].get(name) for one in (first, other))
            if here != there:
                raise UserError(
                    f"process {number} on {other['host']} has {name}={there!r}, process 0 on "
                    f"{first['host']} {here!r}: start the same command, on the same data and "
                    "versions, in every process"
                )


def _gather(text: bytes) -> list[bytes]:
    """Collects a text of any length from each process."""
    lengths = multihost_utils.process_allgather(np.int32(len(text)))
    padded = np.zeros(lengths.max(), np.uint8)
    padded[: len(text)] = np.frombuffer(text, np.uint8)
    rows = multihost_utils.process_allgather(padded)
    return [bytes(row[:length]) for row, length in zip(rows, lengths, strict=True)]
