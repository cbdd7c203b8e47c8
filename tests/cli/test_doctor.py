"""`sersl doctor`: what it says of an environment, and what it calls wrong."""

import os
import subprocess
import sys

import pytest

from sersl.cli.doctor import describe, environment_problems
from sersl.parallel.environment import VARIABLES, detect
from tests.multi_process.processes import finish, free_port
from tests.tiny_runs import ROOT, start

TASK = {
    "SLURM_JOB_ID": "7",
    "SLURM_NTASKS": "4",
    "SLURM_PROCID": "1",
    "SLURM_STEP_NODELIST": "n[1-4]",
}
GIVEN = dict(zip(VARIABLES, ("node0:1234", "4", "1"), strict=True))


@pytest.mark.parametrize(
    ("environment", "words"),
    [
        ({}, "none: one process on "),
        (GIVEN, "variables SERSL_...: process 1 of 4 on "),
        (TASK, "Slurm: process 1 of 4 on "),
        ({"SLURM_JOB_ID": "7", "SLURM_NTASKS": "4"}, "Slurm job 7, outside of its tasks"),
        (
            {"PMI_SIZE": "2", "PMI_RANK": "0", "SERSL_COORDINATOR": "node0:1234"},
            "MPI: process 0 of 2 on ",
        ),
        ({"TPU_WORKER_HOSTNAMES": "a,b", "TPU_WORKER_ID": "1"}, "GKE: process 1 of 2 on "),
        ({"KUBERNETES_SERVICE_HOST": "10.0.0.1"}, "a Kubernetes pod on its own"),
    ],
)
def test_doctor_when_in_an_environment_then_says_which(environment, words, tmp_path):
    assert describe(detect(environment, devices=tmp_path), environment).startswith(words)


@pytest.mark.parametrize(
    ("environment", "problem"),
    [
        ({"SLURM_JOB_ID": "7", "SLURM_NTASKS": "4"}, "not a task of Slurm job 7, which has 4"),
        ({**GIVEN, "HTTPS_PROXY": "proxy:80"}, "HTTPS_PROXY may catch the connections"),
    ],
)
def test_doctor_when_something_will_go_wrong_then_says_what_to_do(environment, problem):
    (sentence,) = environment_problems(environment)
    assert problem in sentence


@pytest.mark.parametrize(
    "environment",
    [
        {},
        TASK,
        {"SLURM_JOB_ID": "7", "SLURM_NTASKS": "1"},
        {**TASK, **GIVEN, "CUDA_VISIBLE_DEVICES": "0,1"},
        {**GIVEN, "https_proxy": "proxy:80", "no_proxy": "node0"},
        {"https_proxy": "proxy:80"},
    ],
)
def test_doctor_when_all_is_well_then_finds_nothing(environment):
    assert environment_problems(environment) == []


def doctor(*words, **environment):
    return subprocess.run(
        [sys.executable, "-m", "sersl", "doctor", *map(str, words)],
        cwd=ROOT,
        env={**os.environ, "JAX_PLATFORMS": "cpu", **environment},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_doctor_when_run_on_a_machine_then_says_what_it_sees_and_exits_0(tmp_path):
    done = doctor("--workdir", tmp_path / "new")
    assert done.returncode == 0, done.stderr
    said = dict(line.split(maxsplit=1) for line in done.stdout.splitlines())
    assert said["cluster"].startswith("none")
    assert "jax " in said["versions"] and "cpu" in said["devices"]
    assert "locks hold" in said["workdir"] and said["wrong"] == "nothing"


def test_doctor_when_the_coordinator_is_away_then_exits_2_with_one_sentence():
    address = f"localhost:{free_port()}"
    done = doctor(SERSL_COORDINATOR=address, SERSL_NUM_PROCESSES="2", SERSL_PROCESS_ID="1")
    assert done.returncode == 2
    (sentence,) = done.stderr.splitlines()
    assert sentence.startswith(f"sersl: 1 wrong: the coordinator {address} does not answer")


def test_doctor_when_nobody_tells_where_the_first_is_then_exits_2_with_what_to_set():
    done = doctor("--join", OMPI_COMM_WORLD_SIZE="2", OMPI_COMM_WORLD_RANK="1")
    assert done.returncode == 2
    (sentence,) = done.stderr.splitlines()
    assert sentence.startswith(
        "sersl: 1 wrong: Open MPI does not give process 1 of 2 the address of"
    )
    assert "coordinator unknown" in done.stdout and "jax " in done.stdout


def test_doctor_when_joining_then_lists_every_process():
    address = f"localhost:{free_port()}"
    variables = {"SERSL_COORDINATOR": address, "SERSL_NUM_PROCESSES": "2"}
    both = [
        start(["doctor", "--join"], **variables, SERSL_PROCESS_ID=str(number))
        for number in range(2)
    ]
    for out, err, code in finish(both, timeout=120):
        assert code == 0, err
        assert "2 processes in" in out and "1 of 2 here" in out
