"""The scripts of launch/, with doubles of what they call."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.tiny_runs import ROOT


def write_script(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/usr/bin/env bash\n{text}\n")
    path.chmod(0o755)


@pytest.fixture
def tree(tmp_path):
    """A root with the launch scripts, and an environment that is ready and holds no sersl."""
    root = tmp_path / "root"
    (root / "launch").mkdir(parents=True)
    for name in ("local.sh", "quickstart.sh", "tpu_vm", "slurm"):
        (root / "launch" / name).symlink_to(ROOT / "launch" / name)
    # The scripts find the root by their own path.
    for name in ("local.sh", "quickstart.sh"):
        (root / "launch" / name).unlink()
        write_script(root / "launch" / name, (ROOT / "launch" / name).read_text())
    write_script(root / "launch" / "environment.sh", "exit 0")
    return root


def run(*words, env=None, cwd=None):
    return subprocess.run(
        [str(word) for word in words],
        env={**os.environ, **(env or {})},
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


# A python that finds ports, and as `-m sersl` says who it is and does as its third word says.
_PYTHON = """
if [[ $1 == -c ]]; then echo 12345; exit; fi
devices="${CUDA_VISIBLE_DEVICES:-} ${JAX_NUM_CPU_DEVICES:-}"
echo "$SERSL_PROCESS_ID of $SERSL_NUM_PROCESSES at $SERSL_COORDINATOR: $devices ${*:3}"
[[ $3 != token ]] || echo "$SERSL_TOKEN"
case $3 in
    fail) [[ $SERSL_PROCESS_ID == 0 ]] || exit 2 ;;
    wait) trap 'exit 0' TERM; touch "$4/$SERSL_PROCESS_ID"; while true; do sleep 0.1; done ;;
    deaf) trap '' TERM; touch "$4/$SERSL_PROCESS_ID"; while true; do sleep 0.1; done ;;
esac
"""


@pytest.fixture
def local(tree):
    write_script(tree / ".venv" / "bin" / "python", _PYTHON)
    return tree / "launch" / "local.sh"


def test_local_when_run_then_every_process_knows_its_place_and_its_devices(local):
    done = run(local, "--processes", "2", "--gpus_each=4", "pretrain", "--config", "a b")
    assert done.returncode == 0, done.stderr
    assert sorted(done.stdout.splitlines()) == [
        "0 of 2 at localhost:12345: 0,1,2,3  pretrain --config a b",
        "1 of 2 at localhost:12345: 4,5,6,7  pretrain --config a b",
    ]
    done = run(local, "--processes=1", "--cpu_devices", "8", "doctor")
    assert done.stdout == "0 of 1 at localhost:12345:  8 doctor\n"


def test_local_when_run_then_all_processes_have_one_token_that_no_other_run_has(local):
    tokens = []
    for _ in range(2):
        lines = run(local, "--processes", "3", "token").stdout.splitlines()
        (token,) = {line for line in lines if " of " not in line}
        assert re.fullmatch("[0-9a-f]{32}", token)
        tokens.append(token)
    assert tokens[0] != tokens[1]
    own = run(local, "--processes=1", "token", env={"SERSL_TOKEN": "mine"})
    assert own.stdout.splitlines()[1] == "mine"


def test_local_when_a_process_fails_then_its_code_is_the_answer(local):
    assert run(local, "--processes", "3", "fail").returncode == 2


def test_local_when_told_to_stop_then_every_process_is_told(local, tmp_path):
    process = subprocess.Popen([local, "--processes", "2", "wait", tmp_path])
    deadline = time.monotonic() + 30
    while not all((tmp_path / str(number)).exists() for number in range(2)):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=20) == 0


@pytest.mark.parametrize(
    ("verb", "interrupts", "code"), [("wait", 1, 0), ("deaf", 2, 128 + signal.SIGKILL)]
)
def test_local_when_interrupted_then_processes_are_told_to_stop_and_the_second_time_ended(
    local, tmp_path, verb, interrupts, code
):
    # Whoever starts the tests may ignore SIGINT, and the script could not take it back.
    hears = "import os, signal, sys; signal.signal(signal.SIGINT, signal.SIG_DFL); "
    command = [sys.executable, "-c", hears + "os.execv(sys.argv[1], sys.argv[1:])"]
    process = subprocess.Popen([*command, local, "--processes", "2", verb, tmp_path])
    deadline = time.monotonic() + 30
    while not all((tmp_path / str(number)).exists() for number in range(2)):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    for _ in range(interrupts):
        process.send_signal(signal.SIGINT)
        time.sleep(0.5)
    assert process.wait(timeout=20) == code


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("pretrain",), "--processes is missing"),
        (("--processes", "0", "pretrain"), "--processes needs a whole number above 0, not '0'"),
        (("--processes", "2"), "a verb is missing"),
        (("--procs", "2"), "unknown option --procs"),
        (("--processes=2", "--cpu_devices=2", "--gpus_each=1", "x"), "not both"),
    ],
)
def test_local_when_called_wrongly_then_one_sentence_says_so(local, words, sentence):
    done = run(local, *words)
    assert done.returncode == 2 and sentence in done.stderr
    assert done.stderr.count("\n") == 1


def test_quickstart_when_pretraining_is_told_to_stop_then_does_not_go_on(tree, tmp_path):
    stop = 'mkdir -p "$5" && echo 3 >"$5/stopped"'
    text = f'echo "$1" >>"{tmp_path}/verbs"\n[[ $1 != pretrain ]] || {{ {stop}; }}'
    write_script(tree / ".venv" / "bin" / "sersl", text)
    done = run(tree / "launch" / "quickstart.sh", "--workdir", tmp_path / "run", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "verbs").read_text().split() == ["prepare", "annotate", "pretrain"]
    assert "quickstart: stopped; rerun the same command to resume" in done.stderr


@pytest.fixture
def frozen(tree, tmp_path):
    """Runs quickstart.sh on an encoder with a `sersl` that notes its words; gives them by verb."""
    script = f'echo "$*" >>"{tmp_path}/words"; echo done'
    write_script(tree / ".venv" / "bin" / "sersl", script)
    write_script(tree / ".venv" / "bin" / "python", "echo done")

    def quickstart(*words):
        (tmp_path / "words").unlink(missing_ok=True)
        done = run(tree / "launch" / "quickstart.sh", *words, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        lines = (tmp_path / "words").read_text().splitlines()
        return {line.split()[0]: line for line in lines}

    return quickstart


def test_quickstart_when_given_an_encoder_then_trains_heads_on_it_alone(frozen, tmp_path):
    (tmp_path / "audio").mkdir()
    (tmp_path / "whisper").mkdir()
    corpus = ("--corpus=ravdess", "--audio_dir=audio")
    verbs = frozen(*corpus, "--init_from=whisper", "--workdir=run")
    assert list(verbs) == ["prepare", "import", "finetune", "evaluate", "export", "predict"]
    assert verbs["import"].endswith("--source whisper --output run/encoder")
    assert "configs/finetune/frozen.py:functionals" in verbs["finetune"]
    assert "--config.init_from=run/encoder" in verbs["finetune"]
    assert "--config.protocol.name=emobox" in verbs["finetune"]
    # A folder of sersl is used as it is.
    (tmp_path / "whisper" / "sersl.json").touch()
    verbs = frozen(*corpus, "--init_from", "whisper", "--preset", "nano")
    assert list(verbs) == ["prepare", "finetune", "evaluate", "export", "predict"]
    assert "configs/finetune/frozen.py:nano" in verbs["finetune"]
    assert "--config.init_from=whisper" in verbs["finetune"]
    assert "--workdir runs/quickstart-ravdess-frozen/finetune" in verbs["finetune"]


def test_quickstart_when_given_the_name_of_an_encoder_then_imports_it_by_name(frozen, tmp_path):
    verbs = frozen("--init_from", "openai/whisper-base", "--workdir=run")
    assert verbs["import"].endswith("--source openai/whisper-base --output run/encoder")
    assert "--config.init_from=run/encoder" in verbs["finetune"]


def test_quickstart_when_the_encoder_is_missing_then_one_sentence_says_so(tree, tmp_path):
    done = run(tree / "launch" / "quickstart.sh", "--init_from", "nowhere", cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr == (
        "quickstart: --init_from nowhere does not exist: give the folder of an encoder, or "
        "OWNER/NAME\n"
    )


def test_tpu_vm_when_run_dry_then_shows_the_commands_and_calls_nothing(tmp_path):
    write_script(tmp_path / "gcloud", "echo called; exit 1")
    env = {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
    folder = ROOT / "launch" / "tpu_vm"
    own = ("--name=a", "--zone", "us-west4-a", "--dry_run")
    done = run(folder / "create.sh", *own, "--type=v5litepod-16", "--spot", env=env)
    assert done.returncode == 0, done.stderr
    create, copy, install = done.stdout.splitlines()
    assert create.startswith("gcloud compute tpus tpu-vm create a --zone=us-west4-a ")
    assert "--accelerator-type=v5litepod-16" in create and "--spot" in create
    assert "scp" in copy and "--worker=all" in copy and "--worker=all" in install
    done = run(folder / "run.sh", *own, "pretrain", "--config", "x y", env=env)
    assert re.search(r"SERSL_TOKEN=[0-9a-f]{32}\\ \./launch/tpu_vm/worker\.sh", done.stdout)
    assert r"./launch/tpu_vm/worker.sh\ pretrain\ --config\ x\\\ y" in done.stdout
    done = run(folder / "delete.sh", *own, env=env)
    assert done.stdout.split()[:6] == ["gcloud", "compute", "tpus", "tpu-vm", "delete", "a"]


@pytest.mark.parametrize(
    ("script", "words", "sentence"),
    [
        ("create.sh", ("--name=a", "--zone=b"), "--type is missing"),
        ("run.sh", ("--name=a", "--zone=b"), "a verb is missing"),
        ("delete.sh", ("--zone=b", "--dry_run"), "--name is missing"),
        ("delete.sh", ("--zoen=b",), "unknown option --zoen=b"),
        ("delete.sh", ("--zone",), "--zone needs a value"),
    ],
)
def test_tpu_vm_when_called_wrongly_then_one_sentence_says_so(script, words, sentence):
    done = run(ROOT / "launch" / "tpu_vm" / script, *words)
    assert done.returncode == 2 and done.stderr == f"tpu_vm: {done.stderr[8:]}"
    assert sentence in done.stderr


@pytest.mark.parametrize(
    "endpoints", ["10.0.0.1,10.0.0.2,10.0.0.3", "w-0:0:10.0.0.1,w-1:1:10.0.0.2,w-2:2:10.0.0.3"]
)
def test_tpu_worker_when_started_then_asks_the_metadata_server_who_it_is(tree, tmp_path, endpoints):
    write_script(tree / ".venv" / "bin" / "python", _PYTHON)
    (tree / "launch" / "tpu_vm").unlink()
    worker = tree / "launch" / "tpu_vm" / "worker.sh"
    write_script(worker, (ROOT / "launch" / "tpu_vm" / "worker.sh").read_text())
    write_script(
        tmp_path / "curl",
        f'case ${{*: -1}} in *endpoints) echo "{endpoints}";; *number) echo 2;; esac',
    )
    done = run(worker, "doctor", env={"PATH": f"{tmp_path}:{os.environ['PATH']}"})
    assert done.stdout.startswith("2 of 3 at 10.0.0.1:8476:"), done.stderr


def test_folds_when_submitted_then_an_array_and_a_job_that_waits_for_it(tmp_path):
    write_script(
        tmp_path / "sbatch", f'echo "$SERSL_FOLDS $SERSL_WORKDIR $*" >>"{tmp_path}/jobs"; echo 41'
    )
    done = run(
        *(ROOT / "launch" / "slurm" / "folds.sh", "--folds=fold1,fold2,final", "--workdir", "w"),
        *("--sbatch", "--partition=gpu", "--config", "c.py:nano", "--config.train.seed=1"),
        env={"PATH": f"{tmp_path}:{os.environ['PATH']}"},
    )
    assert done.returncode == 0, done.stderr
    array, gather = (tmp_path / "jobs").read_text().splitlines()
    same = "--config c.py:nano --config.train.seed=1"
    assert array == (
        "fold1,fold2,final w --parsable --array=0-2 --partition=gpu launch/slurm/fold.sbatch "
        + same
    )
    assert gather == (
        "fold1,fold2,final w --parsable --dependency=afterok:41 --partition=gpu "
        "launch/slurm/gather.sbatch " + same
    )
    done = run(ROOT / "launch" / "slurm" / "folds.sh", "--workdir", "w")
    assert done.returncode == 2 and "--folds is missing" in done.stderr


def test_sweep_when_submitted_then_an_array_of_jobs_and_one_that_chooses(tmp_path):
    write_script(
        tmp_path / "sbatch", f'echo "$SERSL_JOBS|$SERSL_WORKDIR $*" >>"{tmp_path}/jobs"; echo 41'
    )
    script = ROOT / "launch" / "slurm" / "sweep.sh"
    done = run(
        *(script, "--jobs=3", "--workdir", "w", "--sbatch", "--partition=gpu"),
        *("--config", "c.py:nano"),
        env={"PATH": f"{tmp_path}:{os.environ['PATH']}"},
    )
    assert done.returncode == 0, done.stderr
    array, gather = (tmp_path / "jobs").read_text().splitlines()
    last = "--partition=gpu launch/slurm/trials.sbatch --config c.py:nano"
    assert array == f"3|w --parsable --array=0-2 {last}"
    assert gather == f"|w --parsable --dependency=afterok:41 {last}"
    done = run(script, "--jobs", "0", "--workdir", "w")
    assert done.returncode == 2 and "--jobs is missing" in done.stderr


def test_prepare_array_when_run_then_every_job_has_its_share(tree):
    write_script(tree / ".venv" / "bin" / "python", 'echo "$*"')
    slurm = {"SLURM_SUBMIT_DIR": str(tree), "SLURM_CPUS_PER_TASK": "8"}
    slurm |= {"SLURM_ARRAY_TASK_MIN": "1", "SLURM_ARRAY_TASK_COUNT": "4"}
    for job in range(1, 5):
        done = run(
            *(ROOT / "launch" / "slurm" / "prepare.sbatch", "--corpus", "a b", "--data_dir", "d"),
            env=slurm | {"SLURM_ARRAY_TASK_ID": str(job)},
        )
        assert done.stdout == (
            f"-m sersl prepare --corpus a b --data_dir d --shard {job - 1}/4 --processes 8\n"
        )
