"""The mesh from its config: what is left is taken, and what does not fit is refused."""

import jax
import pytest

from sersl.config.schema import MeshConfig
from sersl.core.errors import UserError
from sersl.parallel.mesh import AXES, describe, make_mesh


@pytest.mark.parametrize(
    ("sizes", "expected"),
    [
        ((-1, 1, 1), (8, 1, 1)),
        ((2, -1, 2), (2, 2, 2)),
        ((1, 8, 1), (1, 8, 1)),
        ((2, 2, -1), (2, 2, 2)),
    ],
)
def test_make_mesh_when_there_are_eight_devices_then_has_the_requested_sizes(sizes, expected):
    mesh = make_mesh(MeshConfig(**dict(zip(AXES, sizes, strict=True))))
    assert tuple(mesh.shape[axis] for axis in AXES) == expected
    assert mesh.axis_names == AXES
    assert set(mesh.axis_types) == {jax.sharding.AxisType.Auto}
    assert len(set(mesh.devices.flat)) == 8


def test_make_mesh_when_given_some_devices_then_uses_only_these():
    devices = jax.devices()[2:4]
    mesh = make_mesh(MeshConfig(data=1, fsdp=-1), devices)
    assert list(mesh.devices.flat) == devices


@pytest.mark.parametrize("sizes", [(3, 1, 1), (-1, 3, 1), (16, 1, 1), (4, 1, 1)])
def test_make_mesh_when_the_sizes_do_not_fit_then_one_sentence_says_so(sizes):
    with pytest.raises(UserError, match=r"does not fit the 8 devices of this run: choose mesh"):
        make_mesh(MeshConfig(**dict(zip(AXES, sizes, strict=True))))


@pytest.mark.parametrize("sizes", [(-1, -1, 1), (-1, 2, -1)])
def test_make_mesh_when_two_sizes_are_left_open_then_one_sentence_says_so(sizes):
    with pytest.raises(UserError, match="at most one of them may be -1"):
        make_mesh(MeshConfig(**dict(zip(AXES, sizes, strict=True))))


def test_describe_when_given_a_mesh_then_has_devices_and_axes():
    mesh = make_mesh(MeshConfig(data=2, fsdp=2, tensor=2))
    assert describe(mesh) == "8 cpu devices as data=2 fsdp=2 tensor=2"
