"""Which cluster this process was started in, read from its environment.

Whoever starts the processes of a run tells each of them its number and how many there are; where
process 0 is, most of them tell too. All of it is found here, so that every cluster is joined the
same way, and jax is not left to look for itself.
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
PORT = 8476  # of the coordinator where machines are not shared, as in launch/gke and launch/tpu_vm
_PORTS = range(20_000, 30_000)  # where jobs share a machine: each takes one by its number
# Processes, number of this one, processes on this host, number of this one among them.
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
# With any of these a process sees its own GPUs only, or jax has been told which to take.
_BOUND = ("SLURM_GPUS_PER_TASK", "SLURM_GPU_BIND", "JAX_LOCAL_DEVICE_IDS")


@dataclasses.dataclass(frozen=True)
class Cluster:
    """What the environment says of a run of many processes.

    Attributes:
      name: for people: "variables SERSL_...", "Slurm", "Open MPI", "GKE", "TPU VM" or "none".
      count: processes in the run.
      number: of this process.
      address: host:port of process 0; None in a run of one, or where nobody tells.
      gpus: which of the GPUs that this process sees are its share, where several processes of one
        host see the same ones; None: all.
    """

    name: str
    count: int = 1
    number: int = 0
    address: str | None = None
    gpus: tuple[int, ...] | None = None

    @property
    def host(self) -> str | None:
        """The host of process 0, where it is known."""
        return None if self.address is None else self.address.rpartition(":")[0]

    @property
    def problem(self) -> str | None:
        """Why the processes cannot find each other, and what to do; None where they can."""
        if self.count == 1 or self.address is not None:
            return None
        return (
            f"{self.name} does not tell process {self.number} of {self.count} where process 0 is: "
            "set SERSL_COORDINATOR=HOST:PORT in all of them, to the host of process 0 and a port "
            "that is free there"
        )


def detect(
    environment: Mapping[str, str],
    *,
    devices: Path = Path("/dev"),
    ask: Callable[[str], str] = attribute,
) -> Cluster:
    """Recognises the cluster; the variables of sersl itself come first.

    Args:
      environment: variables.
      devices: where the device files are.
      ask: gives an attribute of this machine from the metadata server, "" where there is none.

    Returns:
      The cluster; of one process where nothing says otherwise.

    Raises:
      UserError: variables that tell the place of a process are incomplete or make no sense.
    """
    for names in (VARIABLES, JAX_VARIABLES):
        given = [name for name in names if name in environment]
        # The address alone goes with the numbers that a launcher tells.
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
    """Recognises who started this process as one of many; None where nobody did."""
    return (
        _mpi("Open MPI", environment, devices)
        or _slurm(environment, devices)  # its tasks may speak PMI as well
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
            f"{names[2]}={number} is none of the {count} processes of {names[1]}: "
            f"number them 0 to {count - 1}"
        )
    prefix = names[0].partition("_")[0]
    return Cluster(f"variables {prefix}_...", count, number, _address(environment, names[0]))


def _address(environment, name: str) -> str:
    address = environment[name]
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal():
        raise UserError(f"{name}={address!r} is no address: write host:port")
    return address


def _slurm(environment, devices: Path) -> Cluster | None:
    # A batch script has the variables of its job and is no task of a step.
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
    """Gives the first of the nodes "gpu[007-015,020],cpu1": "gpu007"."""
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
    # The name of the run is the same in all its processes, and in no other run.
    run = environment.get("PMIX_NAMESPACE") or environment.get("OMPI_MCA_ess_base_jobid")
    if here == count and run:
        port = _port(environment, _PORTS[zlib.crc32(run.encode()) % len(_PORTS)])
        address = f"localhost:{port}"
    gpus = _share(environment, devices, number=place, count=here)
    return Cluster(name, count, number, address, gpus)


def _gke(environment) -> Cluster | None:
    # With or without a port behind each host.
    told = environment.get("TPU_PROCESS_ADDRESSES") or environment.get("TPU_WORKER_HOSTNAMES", "")
    hosts = [name.partition(":")[0] for name in told.split(",") if name]
    return _tpu(
        "GKE", hosts, _number(environment, "TPU_WORKER_ID"), environment, _port(environment, PORT)
    )


def _tpu_vm(environment, devices: Path, ask) -> Cluster | None:
    if "TPU_WORKER_HOSTNAMES" in environment:
        return None  # a pod, which knows its slice
    if not any(devices.glob("accel[0-9]*")) and not any(devices.glob("vfio/[0-9]*")):
        return None
    # Workers in order, as host or as name:number:host.
    told = ask("worker-network-endpoints")
    hosts = [name.rpartition(":")[2] for name in told.split(",") if name]
    lines = (line.partition(":") for line in ask("tpu-env").splitlines())
    slices = {name.strip(): value.strip().strip("'") for name, _, value in lines}
    worker = ask("agent-worker-number")
    number = int(worker) if worker.isdecimal() else 0
    return _tpu("TPU VM", hosts, number, slices, PORT) or Cluster("TPU VM")


def _tpu(name: str, hosts: list[str], worker: int, environment, port: int) -> Cluster | None:
    """Describes one or several slices of TPU hosts; None for a single host."""
    slices = max(1, _number(environment, "MEGASCALE_NUM_SLICES"))
    if len(hosts) * slices < 2:
        return None
    # That of slice 0, worker 0.
    first = environment.get("MEGASCALE_COORDINATOR_ADDRESS", "").partition(":")[0]
    first = first or (hosts[0] if slices == 1 else "")
    number = _number(environment, "MEGASCALE_SLICE_ID") * len(hosts) + worker
    return Cluster(name, len(hosts) * slices, number, f"{first}:{port}" if first else None)


def _share(environment, devices: Path, *, number: int, count: int) -> tuple[int, ...] | None:
    """Divides the GPUs that the processes of one host all see.

    Args:
      environment: variables.
      devices: where the device files are.
      number: of this process on its host.
      count: processes of its host.

    Returns:
      The share of this process; None where each sees its own, or there are none to divide.
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
    """Gives the port that somebody chose, as jax reads it, or the usual one."""
    return _number(environment, "JAX_COORDINATOR_PORT") or usual


def _number(environment: Mapping[str, str], name: str) -> int:
    text = environment.get(name, "")
    return int(text) if text.isdecimal() else 0
