"""The device mesh with the axes data, fsdp and tensor."""

import math

import jax
import numpy as np
from jax.experimental import mesh_utils
from jax.sharding import AxisType, Mesh

from sersl.config.schema import MeshConfig
from sersl.core.errors import UserError

AXES = ("data", "fsdp", "tensor")


def make_mesh(config: MeshConfig, devices=None) -> Mesh:
    """Arranges the devices of all processes as a mesh with the axes data, fsdp, tensor.

    Args:
      config: devices along each axis; one of them may be -1 for all that remain.
      devices: the devices to use; None: all of them.

    Returns:
      A mesh with `AxisType.Auto` axes (`jax.make_mesh` defaults to Explicit ones, with which stock
      layers fail). Neighbours in the mesh are neighbours in a TPU's torus as far as the sizes
      allow. Each of several TPU slices holds a part of the data axis, so that only gradients are
      exchanged between slices.

    Raises:
      UserError: the product of the sizes is not the number of devices, or the data axis does not
        divide over the slices.
    """
    devices = jax.devices() if devices is None else devices
    sizes = [config.data, config.fsdp, config.tensor]
    asked = f"mesh data={config.data} fsdp={config.fsdp} tensor={config.tensor}"
    if sizes.count(-1) > 1:
        raise UserError(f"{asked}: at most one of them may be -1")
    known = math.prod(size for size in sizes if size != -1)
    if -1 in sizes and len(devices) % known == 0:
        sizes[sizes.index(-1)] = len(devices) // known
    if math.prod(sizes) != len(devices):
        raise UserError(
            f"{asked} does not fit the {len(devices)} devices of this run: choose mesh.data, "
            "mesh.fsdp and mesh.tensor whose product is that number"
        )
    return Mesh(_arrange(sizes, devices, asked), AXES, axis_types=(AxisType.Auto,) * len(AXES))


def _arrange(sizes: list[int], devices, asked: str) -> np.ndarray:
    """Orders the devices so that the inner axes use the fastest links."""
    # GPUs report their node as a slice; there, any axis may cross nodes.
    tpus = devices[0].platform == "tpu"
    num_slices = len({getattr(device, "slice_index", None) for device in devices if tpus})
    if num_slices <= 1:
        # Splitting a side of the torus over two axes is slow, but better than refusing.
        return mesh_utils.create_device_mesh(sizes, devices, allow_split_physical_axes=True)
    data, *rest = sizes
    if data % num_slices:
        raise UserError(
            f"{asked}: data={data} does not divide over the {num_slices} slices, and fsdp and "
            f"tensor may not cross slices: make mesh.data a multiple of {num_slices}"
        )
    return mesh_utils.create_hybrid_device_mesh(
        (data // num_slices, *rest),
        (num_slices, 1, 1),
        devices,
        allow_split_physical_axes=True,
    )


def describe(mesh: Mesh) -> str:
    """Describes the mesh, e.g. "8 cpu devices as data=2 fsdp=2 tensor=2"."""
    kind = mesh.devices.flat[0].platform
    sizes = " ".join(f"{axis}={size}" for axis, size in mesh.shape.items())
    return f"{mesh.size} {kind} device{'s' if mesh.size > 1 else ''} as {sizes}"
