"""How long a planned step takes at the very best, and what a run then costs."""

from collections import defaultdict
from typing import NamedTuple

from sersl.planning.plan import Plan


class Times(NamedTuple):
    """Lower bounds of one step from the published rates of the chip, and what follows.

    Attributes:
      compute: seconds of products and sums, recomputation included, at the full bfloat16 rate.
      memory: seconds of traffic to and from the chip's memory.
      links: seconds of sending to neighbours of the slice or node.
      network: seconds of sending to other slices or nodes.
      step: the longest of these, as if all overlapped.
      step_in_turn: their sum, as if nothing overlapped.
      mfu: model FLOP utilisation of `step`, an upper bound; without recomputation.
      mfu_in_turn: of `step_in_turn`.
      audio_seconds: real and padded audio of a step, s.
      audio_hours_per_hour: hours of audio in an hour at `step`.
      run_hours: `train.num_steps` steps, h.
    """

    compute: float
    memory: float
    links: float
    network: float
    step: float
    step_in_turn: float
    mfu: float
    mfu_in_turn: float
    audio_seconds: float
    audio_hours_per_hour: float
    run_hours: float

    def days_for(self, hours: float) -> float:
        """Says how many days it takes to go through so many hours of audio once."""
        return hours / self.audio_hours_per_hour / 24

    def chip_hours_for(self, hours: float, num_devices: int) -> float:
        """Says how many hours of a chip it takes to go through audio once.

        Args:
          hours: of audio.
          num_devices: chips that work at the same time.

        Returns:
          Hours of one chip.
        """
        return self.days_for(hours) * 24 * num_devices


def best_times(plan: Plan) -> Times | None:
    """Bounds the time of a step from below.

    Args:
      plan: of a step that the compiler accepted.

    Returns:
      The times; None where the compiler gave up, so that traffic is not known.
    """
    if not plan.compiled.memory_traffic:
        return None
    chip = plan.topology.chip
    compute = plan.hardware_flops / plan.num_devices / chip.flops
    memory = plan.compiled.memory_traffic / chip.memory_bandwidth
    inside = sum(c.sent * c.runs for c in plan.compiled.collectives if not c.crosses)
    across = sum(c.sent * c.runs for c in plan.compiled.collectives if c.crosses)
    links, network = inside / chip.link_bandwidth, across / chip.network_bandwidth
    step, in_turn = max(compute, memory, links, network), compute + memory + links + network
    ideal = plan.model_flops / plan.num_devices / chip.flops
    audio = plan.bucket.rows * plan.bucket.seconds
    return Times(
        compute=compute,
        memory=memory,
        links=links,
        network=network,
        step=step,
        step_in_turn=in_turn,
        mfu=ideal / step,
        mfu_in_turn=ideal / in_turn,
        audio_seconds=audio,
        audio_hours_per_hour=audio / step,
        run_hours=plan.config.train.num_steps * step / 3600,
    )


class Sent(NamedTuple):
    """What a device sends in a step by collectives of one kind along the same mesh axes.

    Attributes:
      kind: of the collectives.
      axes: names of the mesh axes.
      crosses: whether they reach over slices or nodes.
      runs: of all of them in a step.
      payload: bytes of the whole arrays, all runs.
      sent: bytes that one device sends, all runs, in a ring.
    """

    kind: str
    axes: tuple[str, ...]
    crosses: bool
    runs: int
    payload: int
    sent: int


def sent_by_kind(plan: Plan) -> list[Sent]:
    """Adds up the collectives of a plan.

    Args:
      plan: the plan.

    Returns:
      One entry per kind, axes and reach, most sent first.
    """
    sums: dict[tuple, list[float]] = defaultdict(lambda: [0.0, 0.0, 0.0])
    for one in plan.compiled.collectives:
        entry = sums[one.kind, one.axes, one.crosses]
        for i, value in enumerate((1.0, one.payload, one.sent)):
            entry[i] += value * one.runs
    found = [Sent(*key, *(round(value) for value in values)) for key, values in sums.items()]
    return sorted(found, key=lambda one: -one.sent)
