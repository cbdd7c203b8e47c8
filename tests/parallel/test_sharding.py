"""Where arrays live: by the name of each dimension, and nothing whole without a word."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

from sersl.config.schema import MeshConfig
from sersl.core.errors import UserError
from sersl.parallel.mesh import make_mesh
from sersl.parallel.sharding import (
    Axes,
    batch_sharding,
    bytes_per_device,
    check_rows,
    global_arrays,
    like_params,
    local_rows,
    logical_axes,
    param_shardings,
)

MESHES = [(1, 1, 8), (8, 1, 1), (1, 8, 1), (2, 2, 2), (4, 2, 1), (2, 1, 4)]


def mesh_of(data, fsdp, tensor):
    return make_mesh(MeshConfig(data=data, fsdp=fsdp, tensor=tensor))


def shape(*sizes):
    return jax.ShapeDtypeStruct(sizes, jnp.float32)


class Layer(nnx.Module):
    def __init__(self):
        self.up = nnx.Param(jnp.zeros([16, 32]), axes=("embed", "mlp"))
        self.bias = nnx.Param(jnp.zeros([32]), axes=("mlp",))
        self.scale = nnx.Param(jnp.zeros([]), axes=())


class Model(nnx.Module):
    def __init__(self):
        self.layers = nnx.List([Layer(), Layer()])
        self.head = nnx.Param(jnp.zeros([16, 5]), axes=("embed", None))


def laid_out(mesh):
    state = nnx.split(nnx.eval_shape(Model))[1]
    shapes = nnx.to_pure_dict(state)
    return shapes, *param_shardings(shapes, logical_axes(state), mesh)


def test_param_shardings_when_given_a_model_then_follow_the_names_of_its_dimensions():
    shapes, shardings, notes = laid_out(mesh_of(2, 2, 2))
    assert notes == []
    assert shardings["layers"][0]["up"].spec == P("fsdp", "tensor")
    assert shardings["layers"][1]["bias"].spec == P("tensor")
    assert shardings["layers"][1]["scale"].spec == P()
    assert shardings["head"].spec == P("fsdp", None)
    assert jax.tree.structure(shapes) == jax.tree.structure(shardings)


def test_param_shardings_when_a_dimension_is_indivisible_then_it_stays_whole_and_is_noted():
    shardings, notes = param_shardings(
        {"a": {"kernel": shape(12, 32)}},
        {"a": {"kernel": Axes(("embed", "mlp"))}},
        mesh_of(1, 8, 1),
    )
    assert shardings["a"]["kernel"].spec == P(None, "tensor")
    assert notes == ["a/kernel (12, 32): embed=12 is replicated because fsdp=8 does not divide it"]


def test_param_shardings_when_an_axis_is_used_twice_then_raises():
    with pytest.raises(ValueError, match=r"a: axes .* use a mesh axis twice"):
        param_shardings({"a": shape(8, 8)}, {"a": Axes(("heads", "mlp"))}, mesh_of(2, 2, 2))


def test_param_shardings_when_an_axis_has_no_rule_then_the_nearest_is_named():
    with pytest.raises(UserError, match=r"'embedd'.*embed"):
        param_shardings({"a": shape(8)}, {"a": Axes(("embedd",))}, mesh_of(2, 2, 2))


@pytest.mark.parametrize("axes", [{}, {"axes": ("embed",)}])
def test_logical_axes_when_a_parameter_declares_too_few_then_it_is_named(axes):
    class Bad(nnx.Module):
        def __init__(self):
            self.kernel = nnx.Param(jnp.zeros([2, 3]), **axes)

    with pytest.raises(ValueError, match=r"parameter kernel \(2, 3\) declares axes"):
        logical_axes(nnx.split(Bad())[1])


def test_like_params_when_given_an_optax_state_then_moments_are_sharded_like_parameters():
    mesh = mesh_of(2, 2, 2)
    shapes, shardings, _ = laid_out(mesh)
    optimizer = optax.chain(optax.clip_by_global_norm(1.0), optax.adamw(1e-3))
    state = jax.eval_shape(optimizer.init, shapes)
    found = like_params(state, shapes, shardings, mesh)
    moments = found[1][0]
    assert moments.mu == shardings
    assert moments.nu == shardings
    assert moments.count == NamedSharding(mesh, P())


def test_like_params_when_a_leaf_belongs_to_no_parameter_then_it_is_named():
    mesh = mesh_of(2, 2, 2)
    shapes, shardings, _ = laid_out(mesh)
    with pytest.raises(ValueError, match=r"no parameter has the shape of sums \(3, 4\)"):
        like_params({"sums": shape(3, 4)}, shapes, shardings, mesh)


@pytest.mark.parametrize("sizes", MESHES)
def test_global_arrays_when_given_the_local_rows_then_are_the_global_batch(sizes):
    mesh = mesh_of(*sizes)
    rows = local_rows(mesh, 16)
    np.testing.assert_array_equal(rows, np.arange(16))  # one process holds every row
    whole = {
        "waveform": np.random.default_rng(0).normal(size=(16, 40)).astype(np.float32),
        "category": np.arange(16, dtype=np.int32),
        "valid": np.arange(16 * 40).reshape(16, 40) % 3 == 0,
    }
    placed = global_arrays({name: x[rows] for name, x in whole.items()}, mesh, rows=16)
    for name, array in placed.items():
        assert array.sharding == batch_sharding(mesh)
        assert array.dtype == whole[name].dtype
        np.testing.assert_array_equal(array, whole[name])
        part = 16 // (sizes[0] * sizes[1])
        assert {shard.data.shape[0] for shard in array.addressable_shards} == {part}


def test_check_rows_when_they_do_not_divide_then_the_setting_is_named():
    mesh = mesh_of(2, 4, 1)
    check_rows(16, mesh)
    with pytest.raises(UserError, match=r"12 rows .*set data.row_multiple to a multiple of 8"):
        check_rows(12, mesh)


def test_bytes_per_device_when_fsdp_grows_then_fall_in_proportion():
    found = {}
    for fsdp in (1, 2, 8):
        mesh = make_mesh(MeshConfig(data=-1, fsdp=fsdp))
        shapes = {"a": shape(16, 32), "b": shape(32)}
        axes = {"a": Axes(("embed", "mlp")), "b": Axes(("mlp",))}
        found[fsdp] = bytes_per_device(shapes, param_shardings(shapes, axes, mesh)[0])
    assert found == {1: 4 * (16 * 32 + 32), 2: 4 * (8 * 32 + 32), 8: 4 * (2 * 32 + 32)}
