"""Collective operations of a compiled program: what devices send each other in one step."""

import math
import re
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jax.sharding import Mesh

from sersl.planning.hlo import Computation, Instruction, arrays

KINDS = ("all-gather", "reduce-scatter", "all-reduce", "all-to-all", "collective-permute")
_EXPLICIT = re.compile(r"replica_groups=\{(\{[\d,{} ]*\})\}")
_IOTA = re.compile(r"replica_groups=\[([\d,]+)\]<=\[([\d,]+)\](?:T\(([\d,]+)\))?")
_MESH = re.compile(
    r"replica_groups=mesh\[([^\]]*)\](?:, device_ids=\(\[([\d,]+)\](?:T\(([\d,]+)\))?\))?"
    r" ?\{([^}]*)\}"
)
_PAIRS = re.compile(r"source_target_pairs=\{(\{[\d,{} ]*\})\}")
# Between TPU slices, each device passes its part to the runtime of its host, which exchanges it
# with the device at the same position in the other slices.
_BETWEEN_SLICES = re.compile(r'_xla_megascale_transfer_type="(\w+)"')
_CHANNEL = re.compile(r"channel_id=(\d+)")


class Collective(NamedTuple):
    """One collective operation of a compiled program.

    Attributes:
      kind: one of KINDS.
      axes: names of the mesh axes that its groups span.
      group_size: devices in a group.
      payload: bytes of the whole array that is gathered, reduced or exchanged.
      sent: bytes that a device sends per run, in a ring.
      runs: how often it runs in a step.
      crosses: whether a group spans more than one slice or node.
    """

    kind: str
    axes: tuple[str, ...]
    group_size: int
    payload: int
    sent: float
    runs: float
    crosses: bool


def collectives(
    computations: dict[str, Computation], mesh: Mesh, *, domain: Sequence[int]
) -> list[Collective]:
    """Lists the collectives of a program, without those over groups of one device.

    Args:
      computations: from `hlo.read`.
      mesh: that the program was compiled for.
      domain: number of the slice or node of each device in `mesh.devices.flat`.
    """
    found: list[Collective] = []
    seen: set[tuple[str, str, str]] = set()
    for computation in computations.values():
        if not computation.runs:
            continue
        for instruction in computation.instructions.values():
            if instruction.opcode == "send" and (
                between := _BETWEEN_SLICES.search(instruction.attributes)
            ):
                found.append(_exchange(instruction, between[1], computation.runs, mesh, domain))
                continue
            kind = instruction.opcode.removesuffix("-start")
            if kind not in KINDS:
                continue
            if computation.fused:
                # The TPU compiler repeats a collective in each fusion that runs beside it.
                channel = _CHANNEL.search(instruction.attributes)
                if channel:
                    key = (computation.caller, kind, channel[1])
                    if key in seen:
                        continue
                    seen.add(key)
            if kind == "all-reduce" and "all-reduce-scatter" in computation.name:
                kind = "reduce-scatter"  # a fusion of the TPU compiler
            groups = _groups(instruction, mesh.size)
            size = max(len(group) for group in groups)
            if size == 1:
                continue
            payload = _payload(kind, instruction, size)
            found.append(
                Collective(
                    kind,
                    _axes(groups, mesh),
                    size,
                    payload,
                    payload * _sent_share(kind, size),
                    computation.runs,
                    any(len({domain[i] for i in group}) > 1 for group in groups),
                )
            )
    return found


def _exchange(instruction, transfer: str, runs: float, mesh: Mesh, domain) -> Collective:
    kind = transfer.lower().replace("_", "-")
    kind = kind if kind in KINDS else "collective-permute"
    size = len(set(domain))
    payload = instruction.arrays[0].num_bytes * (size if kind == "all-gather" else 1)
    places = np.array(domain).reshape(tuple(mesh.shape.values()))
    axes = tuple(name for i, name in enumerate(mesh.axis_names) if np.diff(places, axis=i).any())
    return Collective(kind, axes, size, payload, payload * _sent_share(kind, size), runs, True)


def _payload(kind: str, instruction: Instruction, size: int) -> int:
    """Returns the bytes of the whole array."""
    if kind == "reduce-scatter" and instruction.opcode.startswith("reduce-scatter"):
        return _result_bytes(instruction) * size
    return _result_bytes(instruction)


def _result_bytes(instruction: Instruction) -> int:
    """Returns the bytes of the result alone; the start of an asynchronous operation has more."""
    if not instruction.opcode.endswith("-start") or not instruction.shape.startswith("("):
        return instruction.num_bytes
    if instruction.opcode == "all-reduce-start":
        return instruction.num_bytes
    parts = _parts(instruction.shape)
    # (operands, results, ...)
    return sum(array.num_bytes for array in arrays(parts[1]))


def _parts(shape: str) -> list[str]:
    """Splits "(a, (b, c), d)" at the commas outside of brackets."""
    parts, depth, begin = [], 0, 1
    for i, letter in enumerate(shape):
        depth += (letter in "([{") - (letter in ")]}")
        if (letter == "," and depth == 1) or (letter == ")" and depth == 0):
            parts.append(shape[begin:i])
            begin = i + 1
    return parts


def _sent_share(kind: str, size: int) -> float:
    """Returns the share of the whole array that a device sends in a ring."""
    others = (size - 1) / size
    return {"all-reduce": 2 * others, "collective-permute": 1.0}.get(kind, others)


def _groups(instruction: Instruction, num_devices: int) -> list[list[int]]:
    """Parses the groups of devices that exchange, as device numbers in the mesh."""
    text = instruction.attributes
    if found := _EXPLICIT.search(text) or _PAIRS.search(text):
        groups = [
            [int(number) for number in part.split(",") if number.strip()]
            for part in re.findall(r"\{([\d, ]*)\}", found[1])
        ]
        return [group for group in groups if group] or [list(range(num_devices))]
    if found := _IOTA.search(text):
        shape, source = _numbers(found[1]), _numbers(found[2])
        ids = np.arange(math.prod(source)).reshape(source)
        if found[3]:
            ids = ids.transpose(_numbers(found[3]))
        return ids.reshape(shape).tolist()
    if found := _MESH.search(text):
        axes = re.findall(r"'([^']+)'=(\d+)", found[1])
        sizes = [int(size) for _, size in axes]
        ids = np.arange(math.prod(sizes))
        if found[2]:
            ids = ids.reshape(_numbers(found[2]))
            ids = ids.transpose(_numbers(found[3])) if found[3] else ids
        ids = ids.reshape(sizes)
        along = [i for i, (name, _) in enumerate(axes) if f"'{name}'" in found[4]]
        rest = [i for i in range(len(sizes)) if i not in along]
        size = math.prod(sizes[i] for i in along)
        return ids.transpose(rest + along).reshape(-1, size).tolist()
    return [list(range(num_devices))]


def _numbers(text: str) -> list[int]:
    return [int(number) for number in text.split(",")]


def _axes(groups: list[list[int]], mesh: Mesh) -> tuple[str, ...]:
    """Finds the mesh axes along which the members of a group differ."""
    shape = tuple(mesh.shape.values())
    varying = set()
    for group in groups:
        places = np.array(np.unravel_index(np.array(group), shape))
        varying |= {i for i in range(len(shape)) if len(set(places[i].tolist())) > 1}
    return tuple(name for i, name in enumerate(mesh.axis_names) if i in varying)
