"""The batch scripts on a real Slurm: two tasks, stopped, requeued and resumed."""

import jax
import numpy as np
import pytest

from sersl.pretraining.run import pretrain
from sersl.training.observe import read_metrics
from tests.launch.slurm_cluster import missing, running
from tests.tiny_runs import PRETRAIN_SETTINGS, ROOT, never, pretrain_config
from tests.tolerances import LOSS_ACROSS_MESHES

pytestmark = pytest.mark.usefixtures("quick_compilation")

SETTINGS = ("mesh.data=2", "optimizer.schedule=constant", "optimizer.warmup_fraction=0")

# The nano preset with as many steps as a file says: the run is made to end once it was resumed.
_CONFIG = """
import pathlib, runpy
def get_config():
    config = runpy.run_path({preset!r})["get_config"]("nano")
    config.train.num_steps = int(pathlib.Path({file!r}).read_text())
    return config
"""


@pytest.mark.slow
@pytest.mark.slurm
def test_job_when_told_to_stop_then_requeued_resumed_and_its_losses_are_those_of_an_unbroken_run(
    data_dir,
    tmp_path,
):
    assert not missing(), f"install slurm-wlm and munge: {missing()} are missing"
    (tmp_path / "slurm").mkdir()
    workdir, log = tmp_path / "run", tmp_path / "job.log"
    steps = tmp_path / "num_steps"
    steps.write_text("100000")
    config = tmp_path / "config.py"
    preset = str(ROOT / "configs" / "pretrain" / "emotion_aware.py")
    config.write_text(_CONFIG.format(preset=preset, file=str(steps)))
    settings = (f"data.data_dir={data_dir}", *PRETRAIN_SETTINGS, *SETTINGS)
    with running(tmp_path / "slurm") as cluster:
        job = cluster.ask(
            *("sbatch", "--parsable", "--nodes=2", "--gpus-per-node=0", "--cpus-per-task=1"),
            *(f"--output={log}", "launch/slurm/multi_node.sbatch"),
            *("pretrain", "--config", str(config), "--workdir", str(workdir)),
            *(f"--config.{setting}" for setting in settings),
            cwd=ROOT,
            environment={
                "JAX_PLATFORMS": "cpu",
                "JAX_NUM_CPU_DEVICES": "1",
                "JAX_COMPILATION_CACHE_DIR": str(ROOT / ".cache" / "jax"),
                "JAX_DISABLE_MOST_OPTIMIZATIONS": "1",
            },
        )

        def logged():
            assert cluster.state(job) not in ("FAILED", "CANCELLED", "COMPLETED"), log.read_text()
            return len(read_metrics(workdir / "metrics.jsonl")) >= 4

        cluster.wait_for(logged, "the fourth step", seconds=240)
        cluster.ask("scancel", "--signal=TERM", job)
        cluster.wait_for((workdir / "stopped").exists, "the stop")
        last = int((workdir / "stopped").read_text()) + 5
        steps.write_text(str(last))
        # By itself Slurm waits two minutes before it starts a job again; in the same second the
        # nodes would take it for the one that they have just ended.
        cluster.wait_for(lambda: cluster.state(job) == "PENDING", "the requeue")
        cluster.ask("scontrol", "update", f"JobId={job}", "StartTime=now+5seconds")

        def ended():
            state = cluster.state(job)
            assert state not in ("FAILED", "CANCELLED"), log.read_text() + cluster.logs()
            return state == "COMPLETED"

        cluster.wait_for(ended, "the end", seconds=240)
        restarts = cluster.ask("scontrol", "--oneliner", "show", "job", job)
        assert "Restarts=1" in restarts
    text = log.read_text()
    assert f"stopped by SIGTERM, saved at step {last - 5}" in text
    assert "requeuing job" in text
    assert f"resumed from {workdir / 'checkpoints'} at step {last - 5}" in text
    assert "processes: 2" in text

    unbroken = tmp_path / "unbroken"
    pretrain(
        pretrain_config(data_dir, *SETTINGS, f"train.num_steps={last}"),
        unbroken,
        preempted=never,
        devices=jax.devices()[:2],
    )
    lines = [read_metrics(folder / "metrics.jsonl") for folder in (workdir, unbroken)]
    assert [line["step"] for line in lines[0]] == list(range(1, last + 1))
    losses = [[line["loss"] for line in one] for one in lines]
    np.testing.assert_allclose(*losses, **LOSS_ACROSS_MESHES)
