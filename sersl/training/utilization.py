"""What share of its chips' published rate a run uses: the model's operations and the peak."""

import math
from collections.abc import Callable, Iterable, Sequence

import jax
from jax.sharding import Mesh

from sersl.data.buckets import Bucket
from sersl.parallel.chips import CHIPS
from sersl.parallel.flops import count_flops
from sersl.training.state import TrainState
from sersl.training.step import trace_steps

# What jax calls a chip.
_KINDS = {
    "TPU v5 lite": "v5e",
    "TPU v5": "v5p",
    "TPU v5p": "v5p",
    "TPU v6 lite": "v6e",
    "NVIDIA H100 80GB HBM3": "h100",
    "NVIDIA H200": "h200",
}


def peak_flops(devices: Iterable) -> float | None:
    """Adds up the published bfloat16 rates of devices.

    Args:
      devices: with `device_kind`.

    Returns:
      Operations per second; None where the table has no such chip, e.g. a CPU.
    """
    names = [_KINDS.get(device.device_kind) for device in devices]
    return None if None in names else math.fsum(CHIPS[name].flops for name in names)


def flops_per_step(
    step: Callable,
    state: TrainState,
    *,
    buckets: Sequence[Bucket],
    example: Callable[[Bucket], dict[str, jax.ShapeDtypeStruct]],
    constants: dict,
    mesh: Mesh,
) -> dict[int, float]:
    """Counts the operations of a training step for every batch shape, over all devices.

    Args:
      step: of a model that recomputes nothing: utilisation counts what the model asks for.
      state: abstract, with shardings.
      buckets: batch shapes.
      example: gives the shapes of a global batch of a bucket.
      constants: arrays that no step changes.
      mesh: the mesh.

    Returns:
      Samples of a row to multiplications plus additions.
    """
    traced = trace_steps(
        step, state, buckets=buckets, example=example, constants=constants, mesh=mesh
    )
    return {
        bucket.num_samples: count_flops(one.jaxpr)
        for bucket, one in zip(buckets, traced, strict=True)
    }
