"""Published rates of accelerators: the one table that plans and utilisation are computed from."""

from typing import NamedTuple

from sersl.core.errors import unknown_name

GIB = 2**30


class Chip(NamedTuple):
    """What the maker says of one chip; a plan's times are bounds that follow from these numbers.

    Attributes:
      flops: bfloat16 products and sums per second, dense.
      memory_bytes: memory that a program can have.
      memory_bandwidth: bytes per second from and to that memory.
      link_bandwidth: bytes per second that the chip sends over all its links to neighbours of the
        same slice (TPU) or node (GPU).
      network_bandwidth: bytes per second that the chip's share of its host sends to other slices
        or nodes.
      per_host: chips of one host.
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
# the "400 GBps bidirectional" of newer pages). Memory is what the compiler says it may use
# ("exceeds available HBM (15.75G)"), a quarter of a GiB less than published.
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
    # Not a chip to plan for: round numbers, so that a plan can be made where there is no libtpu.
    "cpu": Chip(
        flops=100e9,
        memory_bytes=4 * GIB,
        memory_bandwidth=10e9,
        link_bandwidth=10e9,
        network_bandwidth=1e9,
        per_host=8,
        source="pretended",
    ),
}


def chip(name: str) -> Chip:
    """Looks a chip up.

    Args:
      name: a key of CHIPS.

    Returns:
      Its rates.

    Raises:
      UserError: unknown chip.
    """
    if name not in CHIPS:
        raise unknown_name("chip", name, CHIPS)
    return CHIPS[name]
