"""Lower bounds of the time of a planned step, and what a run then costs."""

from collections import defaultdict
from typing import NamedTuple

from sersl.planning.plan import Plan


class Times(NamedTuple):
    """Lower bounds of one step from the published rates of the chip, and what follows.

    Attributes:
      compute: seconds of FLOPs including recomputation, at the full bfloat16 rate.
      memory: seconds of traffic to and from the memory of the chip.
      links: seconds of sending to neighbours in the slice or node.
      network: seconds of sending to other slices or nodes.
      step: the longest of these, as if all overlapped.
      step_in_turn: their sum, as if nothing overlapped.
      mfu: model FLOP utilisation of `step`, an upper bound; excludes recomputation.
      mfu_in_turn: model FLOP utilisation of `step_in_turn`.
      audio_seconds: audio of a step including padding, s.
      audio_hours_per_hour: hours of audio per hour at `step`.
      run_hours: hours of `train.num_steps` steps.
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
        """Returns the days of an epoch over so many hours of audio."""
        return hours / self.audio_hours_per_hour / 24

    def chip_hours_for(self, hours: float, num_devices: int) -> float:
        """Returns the chip-hours of an epoch over so many hours of audio."""
        return self.days_for(hours) * 24 * num_devices


def best_times(plan: Plan) -> Times | None:
    """Bounds the time of a step from below; None if its memory traffic is unknown."""
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
      crosses: whether they cross slices or nodes.
      runs: how often they run in a step, together.
      payload: bytes of the whole arrays, over all runs.
      sent: bytes that one device sends in a ring, over all runs.
    """

    kind: str
    axes: tuple[str, ...]
    crosses: bool
    runs: int
    payload: int
    sent: int


def sent_by_kind(plan: Plan) -> list[Sent]:
    """Adds up the collectives of a plan by kind, axes and `crosses`, most sent first."""
    sums: dict[tuple, list[float]] = defaultdict(lambda: [0.0, 0.0, 0.0])
    for one in plan.compiled.collectives:
        entry = sums[one.kind, one.axes, one.crosses]
        for i, value in enumerate((1.0, one.payload, one.sent)):
            entry[i] += value * one.runs
    found = [Sent(*key, *(round(value) for value in values)) for key, values in sums.items()]
    return sorted(found, key=lambda one: -one.sent)
