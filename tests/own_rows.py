"""What devices send each other when a batch is spread over them."""

import jax
import numpy as np

from sersl.config.schema import MeshConfig
from sersl.parallel.mesh import make_mesh
from sersl.parallel.sharding import batch_sharding
from sersl.planning.collectives import KINDS, collectives
from sersl.planning.hlo import read
from tests.tolerances import FP32_DEEP


def kinds_sent(function, rows, *whole) -> set[str]:
    """Runs a function of rows, and of arrays that all devices have, on one device and on eight.

    Returns the kinds of collectives of the eight, which give what the one gives.
    """
    mesh = make_mesh(MeshConfig(data=2, fsdp=4))
    alone = jax.jit(function)(rows, *whole)
    with jax.set_mesh(mesh):
        rows = jax.device_put(rows, batch_sharding(mesh))
        whole = jax.device_put(whole, jax.sharding.NamedSharding(mesh, jax.P()))
        compiled = jax.jit(function).lower(rows, *whole).compile()
        found = compiled(rows, *whole)
    for one, other in zip(jax.tree.leaves(found), jax.tree.leaves(alone), strict=True):
        np.testing.assert_allclose(one, other, **FP32_DEEP)
    return {kind for kind in KINDS if kind in compiled.as_text()}


def largest_gather(compiled, mesh) -> int:
    """The largest array, in bytes, that a compiled program gathers on devices of a mesh."""
    computations, _ = read(compiled.as_text())
    found = collectives(computations, mesh, domain=[0] * mesh.size)
    return max((one.payload for one in found if one.kind == "all-gather"), default=0)
