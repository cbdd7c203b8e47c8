"""Objectives with state and rows cut along data, fsdp and tensor: the loss and gradient of one."""

import jax
import numpy as np
import pytest

from sersl.config.schema import MeshConfig
from sersl.parallel.mesh import make_mesh
from sersl.parallel.sharding import batch_sharding, logical_axes, param_shardings
from sersl.training.step import make_teacher
from tests.pretraining.terms.test_frame_terms import batch_of, compiled, config_of
from tests.tolerances import FP32_DEEP, LOSS_ACROSS_MESHES


@pytest.mark.slow
@pytest.mark.parametrize("name", ["apc", "npc", "best_rq"])  # GRU, masked_conv, Transformer
def test_term_when_all_is_cut_then_the_loss_and_gradient_of_one_device(name):
    task, params, run = compiled(config_of(name))
    batch = batch_of()
    alone, _, gradient = run(params, make_teacher(task, params), batch, 0)
    mesh = make_mesh(MeshConfig(data=2, fsdp=2, tensor=2), jax.devices())
    shardings, _ = param_shardings(params, logical_axes(task.abstract), mesh)
    cut = {axis for sharding in jax.tree.leaves(shardings) for axis in sharding.spec if axis}
    assert cut == {"fsdp", "tensor"}
    with jax.set_mesh(mesh):
        placed = jax.device_put(params, shardings)
        batch = jax.device_put(batch, batch_sharding(mesh))
        found, _, found_gradient = run(placed, make_teacher(task, placed), batch, 0)
    np.testing.assert_allclose(found, alone, **LOSS_ACROSS_MESHES)
    for a, b in zip(*map(jax.tree.leaves, (found_gradient, gradient)), strict=True):
        np.testing.assert_allclose(a, b, **FP32_DEEP)
