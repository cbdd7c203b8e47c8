"""`sersl doctor`: checks this machine, its cluster and prepared data, and lists what is wrong."""

import os
import shutil
import socket
import time
from collections.abc import Mapping
from pathlib import Path

import jax
import numpy as np
from jax.experimental import multihost_utils

from sersl.cli.console.progress import Progress
from sersl.core.errors import UserError
from sersl.core.version import ALL, versions
from sersl.corpora.remote import is_remote
from sersl.data.inspection import Inspection, inspect, prepared_folders
from sersl.data.kept_stores import kept_stores
from sersl.parallel import distributed
from sersl.parallel.environment import Cluster, detect
from sersl.parallel.watchdog import ends_together
from sersl.runs.lock import locks_hold

_REACH_SECONDS = 5
_GIB = 2**30


@ends_together
def run(arguments) -> int:
    """Prints what it finds.

    Args:
      arguments: `workdir`, a folder to check, or None; `data_dir`, prepared data to check, or None;
        `join`, whether to join the other processes of the run.

    Returns:
      0 if nothing is wrong.

    Raises:
      UserError: with everything that is wrong.
    """
    cluster = detect(os.environ)
    wrong = environment_problems(os.environ)
    _say("cluster", describe(cluster, os.environ))
    if cluster.problem:
        wrong.append(cluster.problem)
    elif arguments.join:
        begin = time.monotonic()
        distributed.initialize(timeout_seconds=120)
        names = _gather(socket.gethostname())
        _say("joined", f"{len(names)} processes in {time.monotonic() - begin:.1f} s")
        for number, name in enumerate(names):
            _say(f"  {number}", name)
    elif cluster.number and cluster.address:
        reached = distributed.answers(cluster.address, timeout_seconds=_REACH_SECONDS)
        _say("coordinator", f"{cluster.address} {'answers' if reached else 'does not answer'}")
        if not reached:
            wrong.append(
                f"the coordinator {cluster.address} does not answer within {_REACH_SECONDS} s: "
                "start process 0, or open its port"
            )
    _say("versions", ", ".join(f"{name} {version}" for name, version in versions(ALL).items()))
    wrong += _look_at_devices()
    _look_at_host()
    if arguments.workdir:
        wrong += _look_at_workdir(Path(arguments.workdir))
    if arguments.data_dir:
        wrong += _check_data(arguments.data_dir)
    if wrong:
        raise UserError(f"{len(wrong)} wrong: " + "; ".join(wrong))
    _say("wrong", "nothing")
    return 0


def describe(cluster: Cluster, environment: Mapping[str, str]) -> str:
    """Describes the cluster and the place of this process in it.

    Args:
      cluster: as detected.
      environment: variables.

    Returns:
      A line for people.
    """
    host = socket.gethostname()
    if cluster.name == "none":
        if "SLURM_JOB_ID" in environment:
            return f"Slurm job {environment['SLURM_JOB_ID']}, outside of its tasks, on {host}"
        if "KUBERNETES_SERVICE_HOST" in environment:
            return f"a Kubernetes pod on its own, {host}: launch/gke/task.sh makes a run of many"
        return f"none: one process on {host}"
    if cluster.count == 1:
        return f"{cluster.name}: one process on {host}"
    share = "" if cluster.gpus is None else f", GPUs {', '.join(map(str, cluster.gpus))} of it"
    return (
        f"{cluster.name}: process {cluster.number} of {cluster.count} on {host}{share}, "
        f"coordinator {cluster.address or 'unknown'}"
    )


def environment_problems(environment: Mapping[str, str]) -> list[str]:
    """Lists problems that the environment variables of this process will cause.

    Args:
      environment: variables.

    Returns:
      Sentences, each with what to do.
    """
    wrong = []
    alone = detect(environment).count == 1
    tasks = environment.get("SLURM_NTASKS", "1")
    if alone and tasks != "1" and "SLURM_JOB_ID" in environment:
        wrong.append(
            f"this is not a task of Slurm job {environment['SLURM_JOB_ID']}, which has {tasks}: "
            "start sersl with srun launch/slurm/task.sh"
        )
    proxies = [name for name in environment if name.lower() in ("http_proxy", "https_proxy")]
    if proxies and not alone and not _no_proxy(environment):
        wrong.append(
            f"{', '.join(proxies)} may catch the connections between processes: set no_proxy to "
            "the hosts of the run"
        )
    return wrong


def _no_proxy(environment: Mapping[str, str]) -> bool:
    return any(name.lower() == "no_proxy" for name in environment)


def _look_at_devices() -> list[str]:
    """Says what jax computes on, and whether it overlooks an accelerator."""
    try:
        devices = jax.local_devices()
    except RuntimeError as error:
        _say("devices", "none")
        return [f"jax finds no device ({error}): see JAX_PLATFORMS and who else holds it"]
    kinds = sorted({device.device_kind for device in devices})
    _say("devices", f"{len(devices)} of {len(jax.devices())} here, {', '.join(kinds)}")
    for device in devices:
        stats = device.memory_stats() or {}
        if "bytes_limit" in stats:
            _say(f"  {device.id}", f"{stats['bytes_limit'] / _GIB:.1f} GiB for jax")
    if devices[0].platform != "cpu" or os.environ.get("JAX_PLATFORMS") == "cpu":
        return []
    version = jax.__version__
    if shutil.which("nvidia-smi"):
        return [
            f'there is an NVIDIA GPU and jax uses the CPU: pip install "jax[cuda13]=={version}"'
        ]
    if any(Path("/dev").glob("accel[0-9]*")) or any(Path("/dev").glob("vfio/[0-9]*")):
        return [f'there is a TPU and jax uses the CPU: pip install "jax[tpu]=={version}"']
    return []


def _look_at_host() -> None:
    allowed, there = len(os.sched_getaffinity(0)), os.cpu_count() or 1
    _say("cores", f"{allowed} of {there}" + (" (see --cpus-per-task)" * (allowed < there)))
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    _say("memory", f"{pages / _GIB:.1f} GiB")


def _look_at_workdir(workdir: Path) -> list[str]:
    """Says how much room a folder has and whether two runs in it would notice each other."""
    try:
        workdir.mkdir(parents=True, exist_ok=True)
        room = shutil.disk_usage(workdir).free
        held = locks_hold(workdir)
    except OSError as error:
        _say("workdir", f"{workdir}: {error.strerror}")
        return [f"workdir {workdir} cannot be written ({error.strerror}): use another"]
    _say(
        "workdir", f"{workdir}: {room / _GIB:.1f} GiB free, {'locks hold' if held else 'no locks'}"
    )
    if not held:
        return [f"the file system of {workdir} has no locks: see to it that one run uses a workdir"]
    return []


def _check_data(data_dir: str) -> list[str]:
    """Checks every file of prepared data, and prints a line for each fault."""
    if is_remote(data_dir):
        return [f"--data_dir {data_dir} is not a local folder: check the one it was copied from"]
    folders = prepared_folders(data_dir)
    if not folders:
        return [f"--data_dir {data_dir} holds no prepared corpus: give the one of `sersl prepare`"]
    wrong = []
    for folder in folders:
        found = _inspect(folder)
        how = "as written" if found.has_digests else "without digests; records agree with the index"
        beside = "".join(f", {name}" for name in found.beside)
        state = f"{len(found.faults)} faults" if found.faults else how
        _say("data", f"{found.name}: {found.num_utterances} utterances{beside}: {state}")
        for fault in found.faults:
            _say("fault", f"{found.name}: {fault}")
        _list_stores(found.name, folder)
        if found.faults:
            more = f" and {len(found.faults) - 1} more" if len(found.faults) > 1 else ""
            wrong.append(f"corpus {found.name}: {found.faults[0]}{more}")
    return wrong


def _list_stores(name: str, folder: Path) -> None:
    """Prints the kept outputs of frozen encoders, which stay until they are deleted."""
    for store in kept_stores(folder):
        state = f"stale ({store.reason})" if store.reason else "usable by its encoder and settings"
        _say(
            "store",
            f"{name}: outputs/{store.folder.name}: {store.num_bytes / 1e6:,.1f} MB, {state}; to "
            f"delete it: {store.remove}",
        )


def _inspect(folder: Path) -> Inspection:
    read = 0
    with Progress(folder.parent.name) as progress:

        def advance(count: int) -> None:
            nonlocal read
            read += count
            progress.show(folder.parent.name, read, None, unit="B")

        return inspect(folder, progress=advance)


def _gather(text: str, *, length: int = 256) -> list[str]:
    """Collects a text of every process, in their order."""
    own = np.frombuffer(text.encode()[:length].ljust(length, b"\0"), np.uint8)
    rows = np.asarray(multihost_utils.process_allgather(own)).reshape(-1, length)
    return [bytes(row).rstrip(b"\0").decode(errors="replace") for row in rows]


def _say(name: str, value: str) -> None:
    print(f"{name:<12} {value}", flush=True)
