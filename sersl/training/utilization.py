"""Utilisation: the operations of the model per second, and the published peak of its chips."""

import math
from collections.abc import Iterable

import jax

from sersl.parallel.chips import CHIPS
from sersl.parallel.flops import count_flops
from sersl.training.state import TrainState
from sersl.training.step import Layout, Step, trace_steps

# jax's name of a chip to ours.
_KINDS = {
    "TPU v5 lite": "v5e",
    "TPU v5": "v5p",
    "TPU v5p": "v5p",
    "TPU v6 lite": "v6e",
    "NVIDIA H100 80GB HBM3": "h100",
    "NVIDIA H200": "h200",
}


def peak_flops(devices: Iterable[jax.Device]) -> float | None:
    """Adds up the published bfloat16 rates of devices.

    Returns:
      Operations per second; None where a device is not in the table, e.g. a CPU.
    """
    kinds = [device.device_kind for device in devices]
    if not set(kinds) <= set(_KINDS):
        return None
    return math.fsum(CHIPS[_KINDS[kind]].flops for kind in kinds)


def flops_per_step(step: Step, state: TrainState, layout: Layout) -> dict[int, float]:
    """Counts the operations of a training step for every batch shape, over all devices.

    Args:
      step: of a model that recomputes nothing, since utilisation counts only what the model needs.
      state: abstract, with shardings.
      layout: of the other arguments.

    Returns:
      Samples of a row to multiplications plus additions.
    """
    traced = trace_steps(step, state, layout)
    return {
        bucket.num_samples: count_flops(one.jaxpr)
        for bucket, one in zip(layout.buckets, traced, strict=True)
    }
