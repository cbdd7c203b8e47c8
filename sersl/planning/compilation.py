"""Ahead-of-time compilation of a step for a topology: memory, traffic and collectives."""

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

# The message for TPUs, e.g. "Used 44.31G of 15.75G hbm".
_USED = re.compile(r"Used ([\d.]+)([KMGT]) of ([\d.]+)([KMGT]) hbm")
_OUT_OF_MEMORY = ("RESOURCE_EXHAUSTED", "Ran out of memory", "exceeds available HBM")
_UNITS = {"K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}


class Compiled(NamedTuple):
    """Costs of a compiled program; bytes are per device.

    Attributes:
      fits: whether it fits the memory of the chip.
      peak_bytes: peak memory including arguments; of a program that does not fit, as much as the
        compiler reports to need.
      available_bytes: memory of the chip.
      seconds: wall-clock time of the compilation.
      cpu_seconds: CPU time of the compilation, over all cores.
      host_bytes: peak memory of this process.
      collectives: empty if the program does not fit and the compiler gave up.
      memory_traffic: bytes to and from the memory of the chip; 0 if the compiler gave up.
      notes: sentences about what could not be determined.
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
    """Compiles a step for devices that need not be present.

    Args:
      lowered: the step, with arguments sharded over `mesh`.
      topology: the devices.
      mesh: over the devices.

    Returns:
      The costs, also of a program that does not fit.

    Raises:
      UserError: the compiler fails for another reason.
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
            notes=["the compiler gave up, so collectives and memory traffic are unknown"],
        )
    seconds, cpu_seconds = time.perf_counter() - begin, time.process_time() - busy
    peak = _peak_bytes(compiled.memory_analysis(), topology)
    computations, notes = read(compiled.as_text() or "")
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
    """Parses the memory needed and available from the compiler's message that it does not fit."""
    found = _USED.search(message)
    if found:
        used, available = (float(found[i]) * _UNITS[found[i + 1]] for i in (1, 3))
        return int(used), int(available)
    cause = " ".join(message.split())
    if any(sign in message for sign in _OUT_OF_MEMORY):
        raise UserError(
            f"the step does not fit {topology.name}, and the compiler does not report by how much "
            f"({cause[:400]}): use fewer --rows_per_device or a larger mesh.fsdp"
        )
    raise UserError(
        f"the compiler for {topology.name} fails on the step ({cause[:600]}): try another mesh or "
        "encoder.attention"
    )


def _peak_bytes(memory, topology: Topology) -> int:
    """Computes the peak memory.

    The TPU compiler reports it; elsewhere all temporaries are one block that lives as long as the
    program runs.
    """
    if topology.devices[0].platform == "tpu":
        return memory.peak_memory_in_bytes
    results = memory.output_size_in_bytes - memory.alias_size_in_bytes
    return memory.argument_size_in_bytes + memory.temp_size_in_bytes + results


def _host_bytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
