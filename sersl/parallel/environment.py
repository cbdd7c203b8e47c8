"""Detects the cluster in which this process was started, from its environment variables.

A launcher gives each process of a run its number and the number of processes; most launchers also
give the address of process 0. Everything is detected here, so that every kind of cluster is joined
the same way and jax does not detect it once more.
"""

import dataclasses
import itertools
import re
import zlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from sersl.core.errors import UserError
from sersl.parallel.metadata import attribute

VARIABLES = ("SERSL_COORDINATOR", "SERSL_NUM_PROCESSES", "SERSL_PROCESS_ID")
JAX_VARIABLES = ("JAX_COORDINATOR_ADDRESS", "JAX_NUM_PROCESSES", "JAX_PROCESS_ID")
PORT = 8476  # of the coordinator on machines that are not shared, as in launch/gke, launch/tpu_vm
_PORTS = range(20_000, 30_000)  # on machines that jobs share: chosen by the number of the job
# Number of processes, of this process, of processes on this host, of this one among those.
_MPI = {
    "Open MPI": (
        "OMPI_COMM_WORLD_SIZE",
        "OMPI_COMM_WORLD_RANK",
        "OMPI_COMM_WORLD_LOCAL_SIZE",
        "OMPI_COMM_WORLD_LOCAL_RANK",
    ),
    # MPICH, Intel MPI and MVAPICH2, all with the process manager Hydra
    "MPI": ("PMI_SIZE", "PMI_RANK", "MPI_LOCALNRANKS", "MPI_LOCALRANKID"),
}
# With any of these a process sees only its own GPUs, or jax selects them itself.
_BOUND = ("SLURM_GPUS_PER_TASK", "SLURM_GPU_BIND", "JAX_LOCAL_DEVICE_IDS")


@dataclasses.dataclass(frozen=True)
class Cluster:
    """A cluster, and the place of this process in its run.

    Attributes:
      name: "variables SERSL_...", "Slurm", "Open MPI", "MPI", "GKE", "TPU VM" or "none".
      count: processes in the run.
      number: of this process.
      address: host:port of process 0; None in a run of one process, or where it is unknown.
      gpus: the share of this process where several processes of a host see the same GPUs; None:
        all of them.
    """

    name: str
    count: int = 1
    number: int = 0
    address: str | None = None
    gpus: tuple[int, ...] | None = None

    @property
    def host(self) -> str | None:
        """Host of process 0; None where it is unknown."""
        return None if self.address is None else self.address.rpartition(":")[0]

    @property
    def problem(self) -> str | None:
        """Why the processes cannot find each other, and what to do; None if they can."""
        if self.count == 1 or self.address is not None:
            return None
        return (
            f"{self.name} does not give process {self.number} of {self.count} the address of "
            "process 0: set SERSL_COORDINATOR=HOST:PORT in all of them, with the host of process 0 "
            "and a port that is free there"
        )


def detect(
    environment: Mapping[str, str],
    *,
    devices: Path = Path("/dev"),
    ask: Callable[[str], str] = attribute,
) -> Cluster:
    """Detects the cluster; the variables of sersl itself take precedence.

    Args:
      environment: variables.
      devices: folder of the device files.
      ask: returns an attribute of this machine from the metadata server, "" if there is none.

    Returns:
      The cluster; a single process if no launcher is detected.

    Raises:
      UserError: the variables are incomplete or invalid.
    """
    for names in (VARIABLES, JAX_VARIABLES):
        given = [name for name in names if name in environment]
        # The address alone is combined with the numbers that a launcher gives.
        if given and (given != [names[0]] or _launched(environment, devices, ask) is None):
            return _from_variables(environment, names, given)
    found = _launched(environment, devices, ask)
    if found is None:
        return Cluster("none")
    for names in (VARIABLES, JAX_VARIABLES):
        if names[0] in environment:
            return dataclasses.replace(found, address=_address(environment, names[0]))
    return found


def _launched(environment, devices: Path, ask) -> Cluster | None:
    """Detects the launcher of a run of many processes; None if there is none."""
    return (
        _mpi("Open MPI", environment, devices)
        or _slurm(environment, devices)  # whose tasks may have the variables of PMI as well
        or _mpi("MPI", environment, devices)
        or _gke(environment)
        or _tpu_vm(environment, devices, ask)
    )


def _from_variables(environment, names: tuple[str, ...], given: list[str]) -> Cluster:
    if len(given) < len(names):
        missing = sorted(set(names) - set(given))
        raise UserError(f"{', '.join(given)} is set but {', '.join(missing)} is not: set all three")
    try:
        count, number = (int(environment[name]) for name in names[1:])
    except ValueError as error:
        raise UserError(f"{names[1]} and {names[2]}: {error}") from error
    if not 0 <= number < count:
        raise UserError(
            f"{names[2]}={number} is not one of the {count} processes of {names[1]}: "
            f"number them 0 to {count - 1}"
        )
    prefix = names[0].partition("_")[0]
    return Cluster(f"variables {prefix}_...", count, number, _address(environment, names[0]))


def _address(environment, name: str) -> str:
    address = environment[name]
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal():
        raise UserError(f"{name}={address!r} is not an address: write host:port")
    return address


def _slurm(environment, devices: Path) -> Cluster | None:
    # A batch script has the variables of its job but is not a task of a step.
    count = _number(environment, "SLURM_STEP_NUM_TASKS") or _number(environment, "SLURM_NTASKS")
    if count < 2 or not {"SLURM_PROCID", "SLURM_STEP_NODELIST"} <= environment.keys():
        return None
    names = environment["SLURM_STEP_NODELIST"]
    job = _number(environment, "SLURM_JOB_ID") + _number(environment, "SLURM_STEP_ID")
    port = _port(environment, _PORTS[job % len(_PORTS)])
    tasks = list(_tasks_per_node(environment.get("SLURM_STEP_TASKS_PER_NODE", "")))
    node = _number(environment, "SLURM_NODEID")
    here = tasks[node] if node < len(tasks) else 1
    return Cluster(
        "Slurm",
        count,
        _number(environment, "SLURM_PROCID"),
        f"{_first_node(names)}:{port}",
        _share(environment, devices, number=_number(environment, "SLURM_LOCALID"), count=here),
    )


def _first_node(names: str) -> str:
    """Returns the first node of a list such as "gpu[007-015,020],cpu1": "gpu007"."""
    plain = re.match(r"([^,\[]+)(?:\[([^\],-]+))?", names)
    return "" if plain is None else plain[1] + (plain[2] or "")


def _tasks_per_node(text: str) -> Iterator[int]:
    """Reads "2(x3),1", the tasks on each node, as 2, 2, 2, 1."""
    for count, times in re.findall(r"(\d+)(?:\(x(\d+)\))?", text):
        yield from itertools.repeat(int(count), int(times or 1))


def _mpi(name: str, environment, devices: Path) -> Cluster | None:
    count, number, here, place = (_number(environment, variable) for variable in _MPI[name])
    if count < 2:
        return None
    address = None
    # The name of the run is the same in all of its processes and in no other run.
    run = environment.get("PMIX_NAMESPACE") or environment.get("OMPI_MCA_ess_base_jobid")
    if here == count and run:
        port = _port(environment, _PORTS[zlib.crc32(run.encode()) % len(_PORTS)])
        address = f"localhost:{port}"
    gpus = _share(environment, devices, number=place, count=here)
    return Cluster(name, count, number, address, gpus)


def _gke(environment) -> Cluster | None:
    # Each host with or without a port.
    told = environment.get("TPU_PROCESS_ADDRESSES") or environment.get("TPU_WORKER_HOSTNAMES", "")
    hosts = [name.partition(":")[0] for name in told.split(",") if name]
    return _tpu(
        "GKE", hosts, _number(environment, "TPU_WORKER_ID"), environment, _port(environment, PORT)
    )


def _tpu_vm(environment, devices: Path, ask) -> Cluster | None:
    if "TPU_WORKER_HOSTNAMES" in environment:
        return None  # a pod, see `_gke`
    if not any(devices.glob("accel[0-9]*")) and not any(devices.glob("vfio/[0-9]*")):
        return None
    # Workers in order, each as host or as name:number:host.
    told = ask("worker-network-endpoints")
    hosts = [name.rpartition(":")[2] for name in told.split(",") if name]
    lines = (line.partition(":") for line in ask("tpu-env").splitlines())
    slices = {name.strip(): value.strip().strip("'") for name, _, value in lines}
    worker = ask("agent-worker-number")
    number = int(worker) if worker.isdecimal() else 0
    return _tpu("TPU VM", hosts, number, slices, PORT) or Cluster("TPU VM")


def _tpu(name: str, hosts: list[str], worker: int, environment, port: int) -> Cluster | None:
    """Describes one or more slices of TPU hosts; None for a single host."""
    slices = max(1, _number(environment, "MEGASCALE_NUM_SLICES"))
    if len(hosts) * slices < 2:
        return None
    # The host of worker 0 of slice 0.
    first = environment.get("MEGASCALE_COORDINATOR_ADDRESS", "").partition(":")[0]
    first = first or (hosts[0] if slices == 1 else "")
    number = _number(environment, "MEGASCALE_SLICE_ID") * len(hosts) + worker
    return Cluster(name, len(hosts) * slices, number, f"{first}:{port}" if first else None)


def _share(environment, devices: Path, *, number: int, count: int) -> tuple[int, ...] | None:
    """Divides the GPUs that all processes of a host see.

    Args:
      environment: variables.
      devices: folder of the device files.
      number: of this process on its host.
      count: processes on its host.

    Returns:
      The share of this process; None if each process sees its own GPUs, or there are none.
    """
    if "CUDA_VISIBLE_DEVICES" in environment:
        seen = len([gpu for gpu in environment["CUDA_VISIBLE_DEVICES"].split(",") if gpu])
    else:
        seen = len(list(devices.glob("nvidia[0-9]*")))
    if count < 2 or seen < count or any(name in environment for name in _BOUND):
        return None
    each = seen // count
    return tuple(range(number * each, (number + 1) * each))


def _port(environment, usual: int) -> int:
    """Returns the port of JAX_COORDINATOR_PORT, or the usual one."""
    return _number(environment, "JAX_COORDINATOR_PORT") or usual


def _number(environment: Mapping[str, str], name: str) -> int:
    text = environment.get(name, "")
    return int(text) if text.isdecimal() else 0
