"""Two processes of four devices are one process of eight: losses, checkpoints, SIGTERM."""

import os
import re
import signal
import subprocess
import sys

import numpy as np
import pytest

from sersl.runs.checkpoint import load_params, newest_step
from sersl.training.observe import read_metrics
from tests.multi_process.processes import finish, free_port, start_all, wait_for_steps
from tests.tiny_runs import ROOT, arguments, run, values_of
from tests.tolerances import LOSS_ACROSS_MESHES

# Its threads tear each other's lines apart.
GLOO = r"\[Gloo\]|Rank|\d+|is connected to|peer ranks|Expected number of connected|is|[.:\s]"
SETTINGS = ("mesh.data=2", "mesh.fsdp=4", "checkpoint.every_steps=3")


@pytest.mark.slow
def test_two_processes_when_compared_with_one_then_have_its_losses_and_one_resumes_them(
    data_dir,
    tmp_path,
):
    two, one = tmp_path / "two", tmp_path / "one"
    short = (*SETTINGS, "train.num_steps=6", "optimizer.schedule=constant")
    (first, second) = finish(
        start_all(arguments("pretrain", data_dir, two, *short), count=2, devices=4)
    )
    assert first[2] == 0 and second[2] == 0, first[1] + second[1]
    assert "pretrain 6/6" in first[0]
    # Only the first process prints and writes; threads of Gloo print their connections.
    assert re.sub(GLOO, "", second[0]) == ""
    assert [line["step"] for line in values_of(two)] == list(range(1, 7))
    assert len(list(two.glob("events.out.tfevents.*"))) == 1

    code, out, err = run(arguments("pretrain", data_dir, one, *short), devices=8)
    assert code == 0, out + err
    losses = [[line["loss"] for line in read_metrics(w / "metrics.jsonl")] for w in (two, one)]
    np.testing.assert_allclose(*losses, **LOSS_ACROSS_MESHES)

    before = load_params(two)
    longer = (*short[:-2], "train.num_steps=7", short[-1])
    code, out, err = run(arguments("pretrain", data_dir, two, *longer), devices=8)
    assert code == 0, out + err
    assert "at step 6" in out
    assert newest_step(two / "checkpoints") == 7
    assert set(load_params(two)) == set(before)
    assert [line["step"] for line in values_of(two)] == list(range(1, 8))


@pytest.mark.slow
def test_processes_when_one_gets_sigterm_then_both_save_at_one_step_and_exit_0(
    data_dir,
    tmp_path,
):
    words = arguments("pretrain", data_dir, tmp_path, *SETTINGS, "train.num_steps=100000")
    processes = start_all(words, count=2, devices=4)
    wait_for_steps(tmp_path, processes, steps=4)
    processes[1].send_signal(signal.SIGTERM)
    (first, second) = finish(processes)
    assert first[2] == 0 and second[2] == 0, first[1] + second[1]
    step = newest_step(tmp_path / "checkpoints")
    assert f"stopped by SIGTERM, saved at step {step}" in first[0]
    load_params(tmp_path)  # whole, as its checksums say


_JOIN = """
import sys
from sersl.core.errors import UserError
from sersl.parallel import distributed
try:
    distributed.initialize(timeout_seconds=3)
except UserError as error:
    print(error)
    sys.exit(2)
"""


def test_process_when_the_coordinator_does_not_start_then_one_sentence():
    environment = {
        "SERSL_COORDINATOR": f"localhost:{free_port()}",
        "SERSL_NUM_PROCESSES": "2",
        "SERSL_PROCESS_ID": "1",
        "JAX_PLATFORMS": "cpu",
    }
    done = subprocess.run(
        [sys.executable, "-c", _JOIN],
        cwd=ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 2, done.stdout + done.stderr
    assert "process 1 of 2 on " in done.stdout
    assert f"did not reach the coordinator {environment['SERSL_COORDINATOR']}" in done.stdout


def test_process_when_variables_are_incomplete_then_one_sentence(data_dir, tmp_path):
    code, out, err = run(arguments("pretrain", data_dir, tmp_path), SERSL_PROCESS_ID="1")
    assert code == 2, out + err
    (sentence,) = err.strip().splitlines()
    assert sentence.startswith("sersl: SERSL_PROCESS_ID is set but SERSL_COORDINATOR, SERSL_NUM")
