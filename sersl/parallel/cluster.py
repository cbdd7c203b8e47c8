"""Which cluster this process was started in, read from its environment."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path

from sersl.core.errors import UserError

VARIABLES = ("SERSL_COORDINATOR", "SERSL_NUM_PROCESSES", "SERSL_PROCESS_ID")


@dataclasses.dataclass(frozen=True)
class Cluster:
    """What the environment says of a run of many processes.

    Attributes:
      name: for people: "variables SERSL_...", "Slurm", "Open MPI", "GKE", "TPU VM" or "none".
      count: processes in the run; None where only jax can ask for it.
      number: of this process; None likewise.
      address: host:port of process 0; None where jax finds it.
    """

    name: str
    count: int | None = 1
    number: int | None = 0
    address: str | None = None

    @property
    def joins(self) -> bool:
        """Whether jax is to recognise the cluster by itself."""
        return self.address is None and self.count != 1

    @property
    def host(self) -> str | None:
        """The host of process 0, where it is known."""
        return None if self.address is None else self.address.rpartition(":")[0]


def detect(environment: Mapping[str, str], *, devices: Path = Path("/dev")) -> Cluster:
    """Recognises the cluster; the variables of sersl itself come first.

    Args:
      environment: variables.
      devices: where the device files are.

    Returns:
      The cluster; of one process where nothing says otherwise.

    Raises:
      UserError: the variables of sersl are incomplete or make no sense.
    """
    given = [name for name in VARIABLES if name in environment]
    if given:
        return _from_variables(environment, given)
    if _number(environment, "SLURM_NTASKS") > 1 and "SLURM_PROCID" in environment:
        return Cluster(
            "Slurm", int(environment["SLURM_NTASKS"]), _number(environment, "SLURM_PROCID")
        )
    if _number(environment, "OMPI_COMM_WORLD_SIZE") > 1:
        return Cluster(
            "Open MPI",
            int(environment["OMPI_COMM_WORLD_SIZE"]),
            _number(environment, "OMPI_COMM_WORLD_RANK"),
        )
    hosts = [name for name in environment.get("TPU_WORKER_HOSTNAMES", "").split(",") if name]
    slices = max(1, _number(environment, "MEGASCALE_NUM_SLICES"))
    if len(hosts) * slices > 1:
        place = _number(environment, "MEGASCALE_SLICE_ID") * len(hosts)
        worker = _number(environment, "TPU_WORKER_ID")
        return Cluster("GKE", len(hosts) * slices, place + worker)
    if any(devices.glob("accel[0-9]*")) or any(devices.glob("vfio/[0-9]*")):
        # A TPU VM says how many workers there are to its metadata server, which jax asks.
        return Cluster("TPU VM")
    return Cluster("none")


def _from_variables(environment: Mapping[str, str], given: list[str]) -> Cluster:
    if len(given) < len(VARIABLES):
        missing = sorted(set(VARIABLES) - set(given))
        raise UserError(f"{', '.join(given)} is set but {', '.join(missing)} is not: set all three")
    address = environment["SERSL_COORDINATOR"]
    try:
        count, number = (int(environment[name]) for name in VARIABLES[1:])
    except ValueError as error:
        raise UserError(f"SERSL_NUM_PROCESSES and SERSL_PROCESS_ID: {error}") from error
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal():
        raise UserError(f"SERSL_COORDINATOR={address!r} is no address: write host:port")
    if not 0 <= number < count:
        raise UserError(
            f"SERSL_PROCESS_ID={number} is none of the {count} processes of SERSL_NUM_PROCESSES: "
            f"number them 0 to {count - 1}"
        )
    return Cluster("variables SERSL_...", count, number, address)


def _number(environment: Mapping[str, str], name: str) -> int:
    text = environment.get(name, "")
    return int(text) if text.isdecimal() else 0
