"""Topologies: devices to compile for, whether they are present or not."""

import contextlib
import importlib.util
import math
import os
import re
from collections.abc import Iterable
from typing import Any, NamedTuple

import jax
from jax.experimental import topologies

from sersl.core.errors import UserError
from sersl.core.extras import install_hint
from sersl.parallel.chips import Chip, chip

GPUS = ("h100", "h200")
MOST_DEVICES = 65_536
# No TPU is used, so libtpu must not query which one this machine has, lock it, or complain that
# there is none.
_NO_TPU_HERE = {
    "TPU_SKIP_MDS_QUERY": "1",
    "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",
    "TPU_WORKER_HOSTNAMES": "localhost",
    "TPU_WORKER_ID": "0",
    "TPU_ACCELERATOR_TYPE": "v5litepod-4",
    "TPU_STDERR_LOG_LEVEL": "3",
    "TPU_MIN_LOG_LEVEL": "3",
}
_HOW = "write CHIP:SHAPE, e.g. v5e:4x4, v5p:4x4x4, h100:2x8 (nodes x GPUs of a node) or cpu:8"


class Topology(NamedTuple):
    """Devices that a program can be compiled for.

    Attributes:
      name: as on the command line, e.g. "v5e:16x16".
      chip: rates of one device.
      devices: for `make_mesh`.
      num_slices: groups of devices with fast links inside: slices of TPUs, nodes of GPUs.
    """

    name: str
    chip: Chip
    devices: list[Any]
    num_slices: int

    @property
    def title(self) -> str:
        """The name, with the number of slices of that shape."""
        several = self.num_slices > 1 and self.name.partition(":")[0] not in GPUS
        return f"{self.num_slices} x {self.name}" if several else self.name

    def domain(self, devices: Iterable[Any]) -> list[int]:
        """Returns the number of the slice or node of each of these devices of the topology."""
        devices = list(devices)
        if devices[0].platform == "tpu":
            return [getattr(device, "slice_index", None) or 0 for device in devices]
        # A GPU that is not present reports slice 0, whatever its node.
        size = len(self.devices) // self.num_slices
        return [device.id // size for device in devices]


def describe_topology(name: str, *, slices: int = 1) -> Topology:
    """Creates the devices of a topology.

    Args:
      name: e.g. "v5e:16x16" for TPUs, "h100:2x8" for 2 nodes of 8 GPUs, "cpu:8" for simulated CPU
        devices.
      slices: number of TPU slices of this shape.

    Raises:
      UserError: there is no such chip or shape, or its compiler is not installed.
    """
    kind, _, shape = name.partition(":")
    rates = chip(kind)
    if not re.fullmatch(r"\d{1,5}(x\d{1,5})*", shape) or not 1 <= slices <= MOST_DEVICES:
        raise UserError(f"--topology {name} with {slices} slices is not a topology: {_HOW}")
    sizes = [int(size) for size in shape.split("x")]
    count = slices * math.prod(sizes)
    if not 1 <= count <= MOST_DEVICES:
        raise UserError(
            f"--topology {name} has {count:,} devices, not 1 to {MOST_DEVICES:,}: {_HOW}"
        )
    if kind == "cpu":
        return _cpus(name, rates, count, slices)
    if kind in GPUS:
        return _gpus(name, rates, kind, sizes, slices)
    return _tpus(name, rates, slices)


def _cpus(name: str, rates: Chip, count: int, slices: int) -> Topology:
    with contextlib.suppress(RuntimeError):  # the devices exist already, as many as there are
        now: int = jax.config.jax_num_cpu_devices  # type: ignore[attr-defined]  # set at run time
        jax.config.update("jax_num_cpu_devices", max(count, now))
    devices = jax.devices("cpu")
    if len(devices) < count:
        raise UserError(
            f"--topology {name} needs {count} CPU devices and this process has {len(devices)}: "
            f"set JAX_NUM_CPU_DEVICES={count}"
        )
    return Topology(name, rates, devices[:count], slices)


def _tpus(name: str, rates: Chip, slices: int) -> Topology:
    if importlib.util.find_spec("libtpu") is None:
        raise UserError(
            f"planning for {name} needs the TPU compiler, which is not installed: "
            f"{install_hint('tpu')}, or pip install 'jax[tpu]=={jax.__version__}'"
        )
    for variable, value in _NO_TPU_HERE.items():
        os.environ.setdefault(variable, value)
    options = {"num_slices": slices} if slices > 1 else {}
    try:
        found = topologies.get_topology_desc(platform="tpu", topology_name=name, **options)
    except jax.errors.JaxRuntimeError as error:
        cause = " ".join(str(error).split())
        raise UserError(
            f"--topology {name} does not exist ({cause}): the smallest are v5e:2x2, v6e:2x2 and "
            "v5p:2x2x1, and sizes are powers of two"
        ) from error
    return Topology(name, rates, list(found.devices), slices)


def _gpus(name: str, rates: Chip, kind: str, sizes: list[int], slices: int) -> Topology:
    if len(sizes) > 2 or slices > 1:
        raise UserError(f"--topology {name} with {slices} slices is not a GPU cluster: {_HOW}")
    nodes, per_node = (1, *sizes)[-2:]
    os.environ.setdefault("JAX_SKIP_CUDA_CONSTRAINTS_CHECK", "1")
    # Without a GPU there is no autotuning, and Triton finds no tile sizes.
    flags = os.environ.get("XLA_FLAGS", "")
    if "xla_gpu_enable_triton_gemm" not in flags:
        os.environ["XLA_FLAGS"] = f"{flags} --xla_gpu_enable_triton_gemm=false".strip()
    try:
        found = topologies.get_topology_desc(
            platform="cuda",
            topology_name=kind,
            target_config=_target(rates, kind),
            topology=f"1x{nodes}x{per_node}",
        )
    except (NotImplementedError, RuntimeError) as error:
        raise UserError(
            f"planning for {name} needs jax's CUDA plugin, which is not installed or did not load "
            f"({' '.join(str(error).split())}): pip install 'jax[cuda13]=={jax.__version__}'"
        ) from error
    return Topology(name, rates, list(found.devices), nodes)


def _target(rates: Chip, kind: str) -> str:
    """Describes a Hopper GPU to XLA, in the format of `xla/service/gpu/gpu_device_info`."""
    memory = round(rates.memory_bytes / 0.75)
    return f"""gpu_device_info {{
  threads_per_block_limit: 1024 threads_per_warp: 32 shared_memory_per_block: 49152
  shared_memory_per_core: 233472 threads_per_core_limit: 2048 core_count: 132 fpus_per_core: 128
  block_dim_limit_x: 2147483647 block_dim_limit_y: 65535 block_dim_limit_z: 65535
  memory_bandwidth: {round(rates.memory_bandwidth)} l2_cache_size: 52428800 clock_rate_ghz: 1.98
  device_memory_size: {memory} shared_memory_per_block_optin: 232448
  cuda_compute_capability {{ major: 9 }} registers_per_core_limit: 65536
  registers_per_block_limit: 65536 }}
platform_name: "CUDA"
dnn_version_info {{ major: 9 minor: 12 }}
runtime_version {{ major: 13 minor: 0 patch: 0 }}
device_description_str: "NVIDIA {kind.upper()}"
"""
