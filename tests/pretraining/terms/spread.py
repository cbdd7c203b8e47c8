"""A term's loss and gradient on eight devices against one."""

import jax
import numpy as np

from sersl.config.schema import MeshConfig
from sersl.parallel.mesh import make_mesh
from sersl.parallel.sharding import batch_sharding
from tests.tolerances import LOSS_ACROSS_MESHES


def assert_same_on_eight_devices(run, params, batch):
    """Calls `run(params, batch) -> ((loss, more), gradient)` with the rows on one device, on 8."""
    (alone, _), gradient = run(params, batch)
    mesh = make_mesh(MeshConfig(data=4, fsdp=2), jax.devices())
    with jax.set_mesh(mesh):
        (found, _), spread = run(params, jax.device_put(batch, batch_sharding(mesh)))
    np.testing.assert_allclose(found, alone, **LOSS_ACROSS_MESHES)
    for a, b in zip(*map(jax.tree.leaves, (spread, gradient)), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5)
