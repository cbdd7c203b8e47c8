"""A real Slurm of two nodes on this machine: munge, slurmctld and two slurmd in one folder."""

import contextlib
import os
import secrets
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "scontrol", "squeue", "scancel")

_CONFIG = """
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
CredType=cred/munge
SlurmUser=root
SlurmdUser=root
StateSaveLocation={folder}/state
SlurmctldPidFile={folder}/slurmctld.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdSpoolDir={folder}/spool-%n
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmdLogFile={folder}/slurmd-%n.log
SlurmdParameters=config_overrides
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
SelectType=select/linear
MpiDefault=none
ReturnToService=2
KillWait=60
NodeName=n1 NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[1]} CPUs=1
NodeName=n2 NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[2]} CPUs=1
PartitionName=all Nodes=n1,n2 Default=YES MaxTime=INFINITE State=UP
"""


def missing() -> list[str]:
    """Names the programs of Slurm that are not installed."""
    path = os.environ["PATH"] + ":/usr/sbin"
    return [name for name in PROGRAMS if shutil.which(name, path=path) is None]


class Cluster:
    """Talks to the Slurm of one folder."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.environment = {
            **{key: value for key, value in os.environ.items() if not key.startswith("SLURM_")},
            "PATH": os.environ["PATH"] + ":/usr/sbin",
            "SLURM_CONF": str(folder / "slurm.conf"),
        }

    def ask(self, *words: str, check: bool = True, **options) -> str:
        """Runs a command of Slurm and gives what it says."""
        environment = self.environment | options.pop("environment", {})
        done = subprocess.run(
            words, env=environment, capture_output=True, text=True, check=False, **options
        )
        assert not check or done.returncode == 0, (
            f"{words}: {done.stdout}{done.stderr}{self.logs()}"
        )
        return done.stdout.strip()

    def state(self, job: str) -> str:
        """Gives the state of a job, e.g. RUNNING."""
        text = self.ask("scontrol", "--oneliner", "show", "job", job)
        return dict(part.split("=", 1) for part in text.split() if "=" in part)["JobState"]

    def wait_for(self, wanted, what: str, *, seconds: float = 120):
        """Waits until a condition holds and gives its value."""
        deadline = time.monotonic() + seconds
        while not (value := wanted()):
            assert time.monotonic() < deadline, f"{what} did not happen{self.logs()}"
            time.sleep(0.3)
        return value

    def logs(self) -> str:
        """Gives the end of every log of the cluster."""
        files = sorted(self.folder.glob("*.log"))
        return "".join(f"\n== {f.name}\n{f.read_text(errors='replace')[-3000:]}" for f in files)


@contextlib.contextmanager
def running(folder: Path) -> Iterator[Cluster]:
    """Starts the cluster, and stops what it started."""
    ports = []
    with contextlib.ExitStack() as held:
        for _ in range(3):
            server = held.enter_context(socket.socket())
            server.bind(("127.0.0.1", 0))
            ports.append(server.getsockname()[1])
    (folder / "state").mkdir()
    (folder / "slurm.conf").write_text(
        _CONFIG.format(folder=folder, host=socket.gethostname(), ports=ports)
    )
    key = folder / "munge.key"
    key.write_bytes(secrets.token_bytes(128))
    key.chmod(0o400)
    cluster = Cluster(folder)
    munge = ["munged", "--force", "--foreground", f"--key-file={key}"]
    munge += [f"--{name}-file={folder}/munge.{name}" for name in ("pid", "log", "seed")]
    own = ["-D", "-f", cluster.environment["SLURM_CONF"]]
    daemons = [[*munge, f"--socket={folder}/munge.socket"], ["slurmctld", "-c", *own]]
    daemons += [["slurmd", "-N", node, *own] for node in ("n1", "n2")]
    started = []
    try:
        for number, words in enumerate(daemons):
            with (folder / f"daemon{number}.log").open("w") as log:
                started.append(
                    subprocess.Popen(words, env=cluster.environment, stdout=log, stderr=log)
                )
            if number == 0:
                cluster.wait_for((folder / "munge.socket").exists, "munged", seconds=20)
        idle = ("sinfo", "--noheader", "--format=%T %D")
        cluster.wait_for(lambda: cluster.ask(*idle, check=False) == "idle 2", "two idle nodes")
        yield cluster
    finally:
        for daemon in reversed(started):
            daemon.terminate()
        for daemon in reversed(started):
            try:
                daemon.wait(timeout=20)
            except subprocess.TimeoutExpired:
                daemon.kill()
                daemon.wait()
