"""Memory traffic: bytes that a compiled program moves between the chip and its memory per step."""

from sersl.planning.hlo import Computation, Instruction

# These move nothing themselves, or the computations that they call are counted instead.
_FREE = {
    "parameter", "constant", "get-tuple-element", "tuple", "bitcast", "while", "conditional",
    "call", "after-all", "opt-barrier", "partition-id", "replica-id", "iota", "copy-done",
    "async-done", "async-update", "all-gather-done", "all-reduce-done", "collective-permute-done",
    "reduce-scatter-done", "all-to-all-done", "domain", "slice-done",
}  # fmt: skip
_SLICES = ("dynamic-slice", "slice", "gather")
_PREFETCHES = ("copy-start", "slice-start")  # between memory and chip, concurrent with other work


def memory_traffic(computations: dict[str, Computation]) -> int:
    """Adds up the bytes per device and step that every operation or fusion reads and writes.

    A slice of a large array counts as the slice, an update in place as the update, and arrays that
    the TPU compiler keeps on the chip do not count. Caches are ignored, so a profiler would measure
    less.

    Args:
      computations: from `hlo.read`.
    """
    total = 0.0
    for computation in computations.values():
        if not computation.runs or computation.fused:
            continue
        for instruction in computation.instructions.values():
            if instruction.opcode not in _FREE:
                total += computation.runs * _moved(computations, computation, instruction)
    return int(total)


def _moved(computations, computation: Computation, instruction: Instruction) -> int:
    inside = _fused_computation(computations, instruction)
    if inside is not None:
        return _moved_by_fusion(computation, instruction, inside)
    given = [
        computation.instructions[name]
        for name in instruction.operands
        if name in computation.instructions
    ]
    if instruction.opcode in _SLICES:
        return 2 * _off_chip(instruction)
    if instruction.opcode in _PREFETCHES:
        # The tuple holds source and destination; what one sends, the other receives.
        ends = instruction.arrays[:2]
        return min(end.num_bytes for end in ends) * sum(not end.on_chip for end in ends)
    if instruction.opcode == "dynamic-update-slice":
        return 2 * _off_chip(given[1])
    if instruction.opcode == "scatter":
        return 2 * sum(_off_chip(one) for one in given[len(given) // 2 + 1 :])
    return _off_chip(instruction) + sum(_off_chip(one) for one in given)


def _fused_computation(computations, instruction: Instruction) -> Computation | None:
    if instruction.opcode != "fusion":
        return None
    name = instruction.attributes.partition("calls=%")[2].split(",")[0].split(" ")[0]
    return computations.get(name)


def _moved_by_fusion(outside: Computation, fusion: Instruction, inside: Computation) -> int:
    users: dict[str, list[tuple[Instruction, int]]] = {}
    for instruction in inside.instructions.values():
        for place, name in enumerate(instruction.operands):
            users.setdefault(name, []).append((instruction, place))
    read = 0
    for parameter in inside.instructions.values():
        if parameter.opcode != "parameter":
            continue
        number = int(parameter.inside)
        given = outside.instructions.get(
            fusion.operands[number] if number < len(fusion.operands) else ""
        )
        if given is None or not _off_chip(given):
            continue
        uses = users.get(parameter.name, [])
        if uses and all(use.opcode in _SLICES and place == 0 for use, place in uses):
            read += sum(use.num_bytes for use, _ in uses)
        elif uses and all(
            use.opcode == "dynamic-update-slice" and place == 0 for use, place in uses
        ):
            continue  # updated in place
        else:
            read += _off_chip(given)
    return read + _written(fusion, inside)


def _written(fusion: Instruction, inside: Computation) -> int:
    """Counts the bytes of the results, and of an update in place only the update."""
    if not _off_chip(fusion):
        return 0
    root = next(i for i in inside.instructions.values() if i.root)
    results = (
        [inside.instructions[name] for name in root.operands if name in inside.instructions]
        if root.opcode == "tuple"
        else [root]
    )
    return sum(_update_bytes(result, inside) for result in results)


def _update_bytes(result: Instruction, inside: Computation) -> int:
    seen = result
    while seen.opcode in ("bitcast", "copy", "convert") and seen.operands:
        if seen.operands[0] not in inside.instructions:
            return result.num_bytes
        seen = inside.instructions[seen.operands[0]]
    if seen.opcode == "dynamic-update-slice" and seen.operands[1] in inside.instructions:
        return 2 * inside.instructions[seen.operands[1]].num_bytes
    return result.num_bytes


def _off_chip(instruction: Instruction) -> int:
    return sum(array.num_bytes for array in instruction.arrays if not array.on_chip)
