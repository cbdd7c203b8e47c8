"""Compiling a step ahead of time for a topology: what it takes of a device, and what it sends."""

import re
import resource
import time
from typing import NamedTuple

import jax
from jax.sharding import Mesh

from sersl.core.errors import UserError
from sersl.planning.collectives import Collective, collectives
from sersl.planning.hlo import read
from sersl.planning.topology import Topology
from sersl.planning.traffic import memory_traffic

# "Used 44.31G of 15.75G hbm" (TPU), where the program does not fit.
_USED = re.compile(r"Used ([\d.]+)([KMGT]) of ([\d.]+)([KMGT]) hbm")
_NO_ROOM = ("RESOURCE_EXHAUSTED", "Ran out of memory", "exceeds available HBM")
_UNITS = {"K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}


class Compiled(NamedTuple):
    """A compiled program as a plan sees it; bytes are those of one device.

    Attributes:
      fits: whether it runs in the chip's memory.
      peak_bytes: most memory in use at a time, arguments included; where it does not fit, what the
        compiler says that it needs.
      available_bytes: of the chip.
      seconds: that compiling took by the clock.
      cpu_seconds: the same, of all cores together.
      host_bytes: most memory that this process has had.
      collectives: what is sent; empty where the compiler gave up.
      memory_traffic: bytes to and from the chip's memory; 0 where the compiler gave up.
      notes: sentences about what could not be read.
    """

    fits: bool
    peak_bytes: int
    available_bytes: int
    seconds: float
    cpu_seconds: float
    host_bytes: int
    collectives: list[Collective]
    memory_traffic: int
    notes: list[str]


def compile_ahead(lowered: jax.stages.Lowered, topology: Topology, mesh: Mesh) -> Compiled:
    """Compiles for devices that need not be there.

    Args:
      lowered: the step, its arguments sharded over `mesh`.
      topology: of the devices.
      mesh: over them.

    Returns:
      What the compiler says of it; that it does not fit is an answer, not an error.

    Raises:
      UserError: the compiler refuses for another reason.
    """
    begin, busy = time.perf_counter(), time.process_time()
    available = topology.chip.memory_bytes
    try:
        compiled = lowered.compile()
    except jax.errors.JaxRuntimeError as error:
        used, available = _refused(str(error), topology)
        return Compiled(
            fits=False,
            peak_bytes=used,
            available_bytes=available,
            seconds=time.perf_counter() - begin,
            cpu_seconds=time.process_time() - busy,
            host_bytes=_host_bytes(),
            collectives=[],
            memory_traffic=0,
            notes=["the compiler gave up, so nothing is known of what is sent and moved"],
        )
    seconds, cpu_seconds = time.perf_counter() - begin, time.process_time() - busy
    peak = _peak_bytes(compiled.memory_analysis(), topology)
    computations, notes = read(compiled.as_text())
    return Compiled(
        fits=peak <= available,
        peak_bytes=peak,
        available_bytes=available,
        seconds=seconds,
        cpu_seconds=cpu_seconds,
        host_bytes=_host_bytes(),
        collectives=collectives(computations, mesh, domain=topology.domain(mesh.devices.flat)),
        memory_traffic=memory_traffic(computations),
        notes=notes,
    )


def _refused(message: str, topology: Topology) -> tuple[int, int]:
    """Reads from the compiler's refusal how much memory it wanted, and how much there is."""
    found = _USED.search(message)
    if found:
        used, available = (float(found[i]) * _UNITS[found[i + 1]] for i in (1, 3))
        return int(used), int(available)
    cause = " ".join(message.split())
    if any(sign in message for sign in _NO_ROOM):
        raise UserError(
            f"the step does not fit {topology.name}, and the compiler does not say by how much "
            f"({cause[:400]}): give fewer --rows_per_device or a larger mesh.fsdp"
        )
    raise UserError(
        f"the compiler for {topology.name} refuses the step ({cause[:600]}): try another mesh or "
        "encoder.attention"
    )


def _peak_bytes(memory, topology: Topology) -> int:
    """Reads the most memory in use at a time.

    The TPU's compiler knows it; elsewhere what lies between arguments and results is one block
    that is there as long as the program runs.
    """
    if topology.devices[0].platform == "tpu":
        return memory.peak_memory_in_bytes
    results = memory.output_size_in_bytes - memory.alias_size_in_bytes
    return memory.argument_size_in_bytes + memory.temp_size_in_bytes + results


def _host_bytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
