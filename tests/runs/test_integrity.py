"""Checksums: the same wherever an array lies, and another when anything in it changes."""

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

from sersl.config.schema import MeshConfig
from sersl.parallel.mesh import make_mesh
from sersl.runs.integrity import changed, checksums

RANDOM = np.random.default_rng(0)
ARRAYS = {
    "float32": RANDOM.normal(size=(16, 24)).astype(np.float32),
    "bfloat16": RANDOM.normal(size=(8, 6)).astype(ml_dtypes.bfloat16),
    "int32": RANDOM.integers(-9, 9, (40,)).astype(np.int32),
    "uint8": RANDOM.integers(0, 9, (4, 2, 3)).astype(np.uint8),
    "bool": RANDOM.random((5, 3)) > 0.5,
    "scalar": np.array(3, np.int32),
}


@pytest.mark.parametrize("name", ARRAYS)
def test_checksums_in_host_memory_and_on_a_device_are_equal(name):
    array = ARRAYS[name]
    assert checksums({"a": array}) == checksums({"a": jnp.asarray(array)})


@pytest.mark.parametrize("sizes", [(8, 1, 1), (2, 2, 2), (1, 8, 1)])
def test_checksums_on_any_mesh_are_equal(sizes):
    mesh = make_mesh(MeshConfig(data=sizes[0], fsdp=sizes[1], tensor=sizes[2]))
    array = ARRAYS["float32"]
    for spec in (P(), P("fsdp", "tensor"), P(("data", "fsdp"), "tensor")):
        placed = jax.device_put(array, NamedSharding(mesh, spec))
        assert checksums({"a": placed}) == checksums({"a": array})


@pytest.mark.parametrize("name", ARRAYS)
def test_checksums_when_any_bit_flips_then_differ(name):
    before = checksums({"a": ARRAYS[name]})
    num_bytes = ARRAYS[name].nbytes
    for place in RANDOM.integers(0, num_bytes, 20):
        data = bytearray(ARRAYS[name].tobytes())
        data[place] ^= 1 if name == "bool" else 1 << int(RANDOM.integers(8))
        other = np.frombuffer(bytes(data), ARRAYS[name].dtype).reshape(ARRAYS[name].shape)
        assert checksums({"a": other}) != before


def test_checksums_when_values_swap_then_differ():
    ordered = np.arange(12, dtype=np.float32).reshape(3, 4)
    seen = {checksums({"a": x})["a"] for x in (ordered, ordered[::-1], ordered[:, ::-1])}
    seen.add(checksums({"a": ordered.reshape(4, 3).T})["a"])
    assert len(seen) == 4


def test_checksums_of_zeros_of_other_sizes_differ():
    seen = {checksums({"a": np.zeros(n, np.float32)})["a"] for n in (1, 2, 3, 100)}
    assert len(seen) == 4


def test_changed_names_the_first_array_that_is_not_as_stored():
    tree = {"a": {"b": np.ones(3, np.float32)}, "c": np.ones(2, np.float32)}
    stored = checksums(tree)
    assert changed(tree, stored) is None
    assert changed({**tree, "c": np.array([1.0, 2.0], np.float32)}, stored) == "c"
