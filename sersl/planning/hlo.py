"""Parser for the text of a compiled program that counts how often each computation runs.

XLA's own cost analysis counts the body of a loop once, and a scanned encoder is such a body. Here
each computation has the product of the trip counts of the loops around it.
"""

import math
import re
from dataclasses import dataclass, field

_BYTES = {
    "pred": 1, "s2": 0.25, "u2": 0.25, "s4": 0.5, "u4": 0.5, "s8": 1, "u8": 1, "s16": 2, "u16": 2,
    "s32": 4, "u32": 4, "s64": 8, "u64": 8, "bf16": 2, "f16": 2, "f32": 4, "f64": 8, "c64": 8,
    "c128": 16, "token": 0, "opaque": 0,
}  # fmt: skip
_ARRAY = re.compile(r"([a-z][a-z0-9]*)\[([0-9,<= ]*)\](\{[^}]*\})?")
_HEAD = re.compile(r"^(ENTRY )?%?([\w.\-]+) (?:\([^\n]*\) -> .*)?\{$")
_INSTRUCTION = re.compile(r"^\s+(?:ROOT )?%?([\w.\-]+) = ")
_NAME = re.compile(r"%([\w.\-]+)")
_CALLED = re.compile(
    r"(?:calls|to_apply|body|condition|called_computations|branch_computations|true_computation|"
    r"false_computation)=\{?((?:%[\w.\-]+(?:, )?)+)\}?"
)
_TRIPS = re.compile(r'"known_trip_count":\{"n":"(\d+)"\}')
_CONSTANT = re.compile(r"constant\((-?\d+)\)")
ON_CHIP = "S(1)"  # marks layouts in the on-chip memory of a TPU, without traffic to HBM


@dataclass(frozen=True)
class Array:
    """An array: its type, its dimensions, and whether it is in on-chip memory."""

    dtype: str
    sizes: tuple[int, ...]
    on_chip: bool

    @property
    def num_bytes(self) -> int:
        """Bytes of the array."""
        return int(math.prod(self.sizes) * _BYTES.get(self.dtype, 1))


@dataclass(frozen=True)
class Instruction:
    """One instruction of a computation.

    Attributes:
      name: unique in its program.
      opcode: e.g. "fusion", "all-gather".
      arrays: of the result; several for a tuple.
      shape: the result as written, with nested tuples.
      operands: names of the arguments.
      inside: the text between the parentheses of the call.
      attributes: the text after them.
      root: whether it is the result of its computation.
    """

    name: str
    opcode: str
    arrays: tuple[Array, ...]
    shape: str
    operands: tuple[str, ...]
    inside: str
    attributes: str
    root: bool

    @property
    def num_bytes(self) -> int:
        """Bytes of the result."""
        return sum(array.num_bytes for array in self.arrays)


@dataclass
class Computation:
    """A list of instructions, and how often it runs.

    Attributes:
      name: of the computation.
      instructions: in order, by name.
      runs: how often it runs in one run of the program; 0 if it is not reached.
      fused: whether it is the body of a fusion or of an asynchronous operation.
      caller: name of the computation that is not fused and runs this one; its own if not fused.
    """

    name: str
    instructions: dict[str, Instruction] = field(default_factory=dict)
    runs: float = 0.0
    fused: bool = False
    caller: str = ""


def read(text: str) -> tuple[dict[str, Computation], list[str]]:
    """Parses the text of a compiled program.

    Args:
      text: `jax.stages.Compiled.as_text()`.

    Returns:
      (computations by name, sentences about loops without a known trip count, whose bodies count
      once).

    Raises:
      ValueError: there is no entry computation.
    """
    computations: dict[str, Computation] = {}
    entry, current = None, None
    for line in text.splitlines():
        # Attributes of a Pallas kernel span several lines, one of which begins "}}, metadata=".
        if line.rstrip() == "}":
            current = None
        elif (found := _HEAD.match(line)) and not line.startswith("HloModule"):
            current = computations[found[2]] = Computation(found[2])
            entry = found[2] if found[1] else entry
        elif current is not None and (found := _INSTRUCTION.match(line)):
            current.instructions[found[1]] = _instruction(
                found[1], line[found.end() :], root=line.lstrip().startswith("ROOT ")
            )
    if entry is None:
        raise ValueError("the text holds no entry computation")
    notes: list[str] = []
    _run(computations, entry, 1.0, fused=False, caller=entry, notes=notes)
    return computations, notes


def _run(computations, name, runs, *, fused, caller, notes) -> None:
    """Adds `runs` to a computation, and the runs that follow to all computations that it calls."""
    here = computations[name]
    here.runs += runs
    here.fused, here.caller = fused, caller if fused else name
    for instruction in here.instructions.values():
        called = [
            part
            for group in _CALLED.findall(instruction.attributes)
            for part in _NAME.findall(group)
            if part in computations
        ]
        if not called or _is_applied_per_element(instruction.opcode):
            continue
        times = runs
        if instruction.opcode == "while":
            trips = _trip_count(computations, instruction)
            if trips is None:
                notes.append(f"loop {instruction.name}: trip count unknown, counted once")
            times = runs * (1 if trips is None else trips)
        inside = fused or instruction.opcode in ("fusion", "async-start")
        for part in called:
            _run(
                computations,
                part,
                times,
                fused=inside,
                caller=caller if fused else name,
                notes=notes,
            )


def _is_applied_per_element(opcode: str) -> bool:
    """Tells whether the called computation is the scalar function of a reduction or a sort."""
    base = opcode.removesuffix("-start")
    return base in {
        "reduce", "reduce-window", "all-reduce", "reduce-scatter", "scatter", "sort", "map",
        "select-and-scatter", "top-k", "custom-call",
    }  # fmt: skip


def _trip_count(computations, loop: Instruction) -> int | None:
    known = _TRIPS.search(loop.attributes)
    if known:
        return int(known[1])
    # A loop of `lax.scan` counts from 0 up to a constant: `i < constant`.
    condition = re.search(r"condition=%?([\w.\-]+)", loop.attributes)
    if condition is None:
        return None
    inside = computations[condition[1]].instructions
    for test in inside.values():
        if test.root and test.opcode == "compare" and "direction=LT" in test.attributes:
            for operand in test.operands:
                if operand in inside and inside[operand].opcode == "constant":
                    return int(inside[operand].inside)
    numbers = [int(i.inside) for i in inside.values() if _is_number(i)]
    # The comparison may be fused; then the only constant of the condition is the bound.
    return numbers[0] if len(numbers) == 1 else None


def _is_number(instruction: Instruction) -> bool:
    return instruction.opcode == "constant" and bool(re.fullmatch(r"\d+", instruction.inside))


def _instruction(name: str, rest: str, *, root: bool) -> Instruction:
    shape_end = _end(rest, " ")
    shape, rest = rest[:shape_end], rest[shape_end + 1 :]
    opcode, _, rest = rest.partition("(")
    inside_end = _end(rest, ")")
    inside = rest[:inside_end]
    return Instruction(
        name=name,
        opcode=opcode.strip(),
        arrays=arrays(shape),
        shape=shape,
        operands=tuple(_NAME.findall(inside)),
        inside=inside,
        attributes=rest[inside_end + 1 :],
        root=root,
    )


def arrays(shape: str) -> tuple[Array, ...]:
    """Parses a shape such as "(f32[8,400]{1,0}, s32[])" into its arrays, from left to right."""
    return tuple(
        Array(
            dtype,
            tuple(int(size.replace("<=", "")) for size in sizes.split(",") if size.strip()),
            ON_CHIP in layout,
        )
        for dtype, sizes, layout in _ARRAY.findall(shape)
    )


def _end(text: str, stop: str) -> int:
    """Finds `stop` outside of brackets; the length of the text if there is none."""
    depth = 0
    for i, letter in enumerate(text):
        if letter == stop and depth == 0:
            return i
        if letter in "([{":
            depth += 1
        elif letter in ")]}":
            depth -= 1
    return len(text)
