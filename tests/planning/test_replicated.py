"""Parameters that stay whole are listed with the reason."""

import jax
import jax.numpy as jnp

from sersl.config.schema import MeshConfig
from sersl.parallel.mesh import make_mesh
from sersl.parallel.sharding import Axes, param_shardings
from sersl.planning.replicated import left_whole


def found(shapes, axes, sizes, *, small=1):
    mesh = make_mesh(MeshConfig(**dict(zip(("data", "fsdp", "tensor"), sizes, strict=True))))
    shapes = {name: jax.ShapeDtypeStruct(shape, jnp.float32) for name, shape in shapes.items()}
    axes = {name: Axes(names) for name, names in axes.items()}
    shardings, _ = param_shardings(shapes, axes, mesh)
    return left_whole(shapes, axes, shardings, mesh, small=small)


def test_left_whole_when_listed_then_has_size_and_reason_largest_first():
    shapes = {"cut": (16, 32), "odd": (12, 32), "free": (10, 10)}
    axes = {"cut": ("embed", "mlp"), "odd": ("embed", "mlp"), "free": (None, "mel")}
    whole = found(shapes, axes, (1, 8, 1))
    assert [(one.path, one.axis, one.num_bytes) for one in whole] == [
        ("odd", "fsdp", 12 * 32 * 4),
        ("free", "fsdp", 400),
    ]
    assert whole[0].why == "embed=12 does not divide by fsdp=8"
    assert whole[1].why == "no rule shards (10, mel) along fsdp"


def test_left_whole_when_on_two_axes_then_lists_both_without_small_parameters():
    shapes, axes = {"norm": (64,), "up": (64, 30)}, {"norm": ("embed",), "up": ("embed", "mlp")}
    whole = found(shapes, axes, (2, 1, 4), small=100)
    assert [(one.path, one.axis) for one in whole] == [("up", "tensor")]
    assert whole[0].num_bytes == 64 * 30 * 4
    assert found(shapes, axes, (8, 1, 1)) == []
