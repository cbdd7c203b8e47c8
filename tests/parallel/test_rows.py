import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sersl.config.schema import MeshConfig
from sersl.parallel.mesh import make_mesh
from sersl.parallel.rows import take_rows
from sersl.parallel.sharding import batch_sharding
from tests.own_rows import largest_gather
from tests.tolerances import FP32

ROWS = np.random.default_rng(0).normal(size=(16, 40)).astype(np.float32)
INDICES = {
    "one": np.random.default_rng(1).integers(0, 16, 16),
    "several": np.random.default_rng(2).integers(0, 16, (16, 3)),
    "all the same": np.full(16, 13),
    "fewer": np.random.default_rng(3).integers(0, 16, 8),
}


def loss(rows, index):
    found = take_rows(rows, index)
    return jnp.square(found).sum(), found


@pytest.mark.parametrize("name", INDICES)
@pytest.mark.parametrize("sizes", [(2, 4, 1), (2, 2, 2), (8, 1, 1)])
def test_take_rows_when_rows_are_spread_then_those_of_one_device_and_none_is_gathered(name, sizes):
    index = INDICES[name]
    data, fsdp, tensor = sizes
    mesh = make_mesh(MeshConfig(data=data, fsdp=fsdp, tensor=tensor))
    run = jax.jit(jax.value_and_grad(loss, has_aux=True))
    with jax.set_mesh(mesh):
        placed = jax.device_put((ROWS, index), batch_sharding(mesh))
        compiled = run.lower(*placed).compile()
        (_, found), gradient = compiled(*placed)
    np.testing.assert_array_equal(found, ROWS[index])
    expected = np.zeros_like(ROWS)
    np.add.at(expected, index, 2 * ROWS[index])
    np.testing.assert_allclose(gradient, expected, **FP32)
    assert largest_gather(compiled, mesh) == 0
    assert "collective-permute" in compiled.as_text()


@pytest.mark.parametrize("dtype", ["bool", "int32", "bfloat16"])
def test_take_rows_when_of_another_dtype_then_as_indexing(dtype):
    rows = jnp.asarray(ROWS > 0, dtype)
    mesh = make_mesh(MeshConfig(data=8))
    with jax.set_mesh(mesh):
        found = jax.jit(take_rows)(rows, INDICES["one"])
    np.testing.assert_array_equal(found, rows[INDICES["one"]])


def test_take_rows_when_rows_do_not_divide_then_as_indexing():
    mesh = make_mesh(MeshConfig(data=8))
    index = np.array([4, 0, 0, 3, 1])
    with jax.set_mesh(mesh):
        found = jax.jit(take_rows)(ROWS[:5], index)
    np.testing.assert_array_equal(found, ROWS[:5][index])
