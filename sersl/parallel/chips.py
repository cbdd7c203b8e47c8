"""Published rates of accelerators, from which plans and utilisation are computed."""

from typing import NamedTuple

from sersl.core.errors import unknown_name

GIB = 2**30


class Chip(NamedTuple):
    """Published rates of one chip; the times in a plan are bounds that follow from them.

    Attributes:
      flops: dense bfloat16 FLOP per second.
      memory_bytes: memory available to a program.
      memory_bandwidth: bytes per second to and from that memory.
      link_bandwidth: bytes per second that the chip sends over all its links to neighbours in the
        same slice (TPU) or node (GPU).
      network_bandwidth: bytes per second that the chip's share of its host sends to other slices
        or nodes.
      per_host: chips per host.
      source: where the numbers are published.
    """

    flops: float
    memory_bytes: int
    memory_bandwidth: float
    link_bandwidth: float
    network_bandwidth: float
    per_host: int
    source: str


# Links are published in bits per second summed over a chip's ports, one direction ("1600 Gbps" is
# the "400 GBps bidirectional" of newer pages). Memory is what the compiler may use ("exceeds
# available HBM (15.75G)"), a quarter of a GiB less than published.
CHIPS: dict[str, Chip] = {
    "v5e": Chip(
        flops=197e12,
        memory_bytes=int(15.75 * GIB),
        memory_bandwidth=819e9,
        link_bandwidth=1600e9 / 8,
        network_bandwidth=2 * 100e9 / 8 / 8,  # two NICs of 100 Gbps for 8 chips
        per_host=8,
        source="https://cloud.google.com/tpu/docs/v5e",
    ),
    "v5p": Chip(
        flops=459e12,
        memory_bytes=int(94.75 * GIB),
        memory_bandwidth=2765e9,
        link_bandwidth=4800e9 / 8,
        network_bandwidth=200e9 / 8 / 4,  # one NIC of 200 Gbps for 4 chips
        per_host=4,
        source="https://cloud.google.com/tpu/docs/v5p",
    ),
    "v6e": Chip(
        flops=918e12,
        memory_bytes=int(31.25 * GIB),
        memory_bandwidth=1640e9,
        link_bandwidth=3200e9 / 8,
        network_bandwidth=4 * 200e9 / 8 / 8,  # four NICs of 200 Gbps for 8 chips
        per_host=8,
        source="https://cloud.google.com/tpu/docs/v6e",
    ),
    "h100": Chip(
        flops=989e12,
        memory_bytes=int(0.75 * 84_929_347_584),  # jax takes three quarters of a GPU's memory
        memory_bandwidth=3.35e12,
        link_bandwidth=900e9 / 2,  # 900 GB/s counts both directions
        network_bandwidth=400e9 / 8,  # one 400 Gbps port per GPU (DGX H100)
        per_host=8,
        source="https://www.nvidia.com/en-us/data-center/h100",
    ),
    "h200": Chip(
        flops=989e12,
        memory_bytes=int(0.75 * 150_122_528_768),
        memory_bandwidth=4.8e12,
        link_bandwidth=900e9 / 2,
        network_bandwidth=400e9 / 8,
        per_host=8,
        source="https://www.nvidia.com/en-us/data-center/h200",
    ),
    # Not a real chip: round numbers, so that a plan can be made without libtpu.
    "cpu": Chip(
        flops=100e9,
        memory_bytes=4 * GIB,
        memory_bandwidth=10e9,
        link_bandwidth=10e9,
        network_bandwidth=1e9,
        per_host=8,
        source="made up",
    ),
}


def chip(name: str) -> Chip:
    """Looks up a chip by its key in CHIPS; raises UserError for an unknown one."""
    if name not in CHIPS:
        raise unknown_name("chip", name, CHIPS)
    return CHIPS[name]
