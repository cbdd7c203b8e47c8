"""A process killed in mid-step: the others say which, and the run goes on with another number."""

import json
import time

import numpy as np
import pytest

from sersl.pretraining.run import pretrain
from sersl.training.observe import read_metrics
from tests.multi_process.processes import finish, start_all, wait_for_steps
from tests.tiny_runs import arguments, never, pretrain_config
from tests.tolerances import LOSS_ACROSS_MESHES

pytestmark = pytest.mark.usefixtures("quick_compilation")

SETTINGS = (
    "mesh.data=2",
    "mesh.fsdp=4",
    "checkpoint.every_steps=2",
    "train.num_steps=200",
    "optimizer.schedule=constant",
    "optimizer.warmup_fraction=0",
)


@pytest.mark.slow
def test_processes_when_the_first_is_killed_then_the_others_name_it_and_another_number_goes_on(
    data_dir,
    tmp_path,
):
    # The first is the coordinator: without the relay jax would abort the others.
    processes = start_all(arguments("pretrain", data_dir, tmp_path, *SETTINGS), count=4, devices=2)
    wait_for_steps(tmp_path, processes, steps=3)
    processes[0].kill()
    killed = time.monotonic()
    for _, err, code in finish(processes, timeout=60)[1:]:
        assert code == 1, err
        (sentence,) = err.strip().splitlines()
        assert sentence.startswith("sersl: process 0 on ")
        assert "is gone (its connection" in sentence
    assert time.monotonic() - killed < 60

    last = len(read_metrics(tmp_path / "metrics.jsonl")) + 2
    unbroken = tmp_path / "unbroken"
    for folder in (tmp_path, unbroken):
        config = pretrain_config(data_dir, *SETTINGS, f"train.num_steps={last}")
        pretrain(config, folder, preempted=never)
    lines = [read_metrics(folder / "metrics.jsonl") for folder in (tmp_path, unbroken)]
    assert [line["step"] for line in lines[0]] == list(range(1, last + 1))
    losses = [[line["loss"] for line in one] for one in lines]
    np.testing.assert_allclose(*losses, **LOSS_ACROSS_MESHES)
    starts = [json.loads(line) for line in (tmp_path / "starts.jsonl").read_text().splitlines()]
    assert [start["processes"] for start in starts] == [4, 1]
    assert starts[0]["step"] == 0 < starts[1]["step"]
