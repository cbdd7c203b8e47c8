"""The largest batch that fits, under each way of recomputing."""

import dataclasses
from collections.abc import Callable
from typing import NamedTuple

from sersl.config.schema import PretrainConfig
from sersl.models.transformer import REMAT_POLICIES
from sersl.parallel.topology import Topology
from sersl.train.plan import Plan, make_plan

MOST_COMPILES = 6  # per policy: each takes minutes for a large model


class Choice(NamedTuple):
    """What fits under one policy.

    Attributes:
      remat: the policy.
      plan: with the most rows that fit; None where not even the fewest do.
      smallest: the fewest rows of a device that were tried.
    """

    remat: str
    plan: Plan | None
    smallest: int


def fit(
    config: PretrainConfig,
    topology: Topology,
    *,
    rows_per_device: int,
    report: Callable[[str], None],
) -> list[Choice]:
    """Finds the most rows a device can hold under each policy, from the cheapest to the dearest.

    Memory grows linearly with the rows, so each try is where the line through the tries before
    meets the chip's memory; the answer itself is always compiled.

    Args:
      config: of the run; its `encoder.remat` is not looked at.
      topology: the devices.
      rows_per_device: to start from.
      report: told one line per try.

    Returns:
      One choice per policy, in the order of `REMAT_POLICIES`.
    """
    return [
        _most_rows(
            dataclasses.replace(config, encoder=dataclasses.replace(config.encoder, remat=remat)),
            topology,
            start=rows_per_device,
            report=report,
        )
        for remat in REMAT_POLICIES
    ]


def cheapest(choices: list[Choice], rows_per_device: int) -> Choice | None:
    """Picks the policy that recomputes least and holds so many rows.

    Args:
      choices: from `fit`, cheapest policy first.
      rows_per_device: that the run needs.

    Returns:
      The choice, or None where no policy holds them.
    """
    for choice in choices:
        if choice.plan is not None and choice.plan.rows_per_device >= rows_per_device:
            return choice
    return None


def _most_rows(config: PretrainConfig, topology: Topology, *, start: int, report) -> Choice:
    unit = config.train.accumulate_steps
    tried: dict[int, int] = {}  # rows to peak bytes
    best: Plan | None = None
    too_many, rows = None, max(start // unit, 1) * unit
    for _ in range(MOST_COMPILES):
        plan = make_plan(config, topology, rows_per_device=rows)
        tried[rows] = plan.compiled.peak_bytes
        report(
            f"remat {config.encoder.remat}, {rows} rows a device: "
            f"{plan.compiled.peak_bytes / 2**30:.2f} GiB, "
            f"{'fits' if plan.compiled.fits else 'does not fit'} ({plan.compiled.seconds:.0f} s)"
        )
        if plan.compiled.fits:
            best = plan
        else:
            too_many = rows
        held = best.rows_per_device if best else 0
        if too_many is not None and too_many - held <= unit:
            break
        rows = _next(tried, held, too_many, plan, unit)
    return Choice(config.encoder.remat, best, min(tried))


def _next(tried: dict[int, int], held: int, too_many: int | None, plan: Plan, unit: int) -> int:
    """Guesses the most rows that fit: between what is held and what was too many."""
    points = sorted(tried.items())
    state = plan.memory.params + plan.memory.optimizer + plan.memory.teacher
    (low, low_bytes), (high, high_bytes) = points[-2:] if len(points) > 1 else [(0, state), *points]
    slope = max((high_bytes - low_bytes) / (high - low), 1.0)
    guess = int(low + (plan.compiled.available_bytes - low_bytes) / slope) // unit * unit
    lowest = held + unit
    highest = too_many - unit if too_many is not None else 64 * max(held, unit)
    return min(max(guess, lowest), highest)
