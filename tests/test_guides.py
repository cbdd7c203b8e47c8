"""Every command and example of docs/guides runs, on generated audio."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

import sersl
from sersl.cli.main import main
from tests.fake_speech import RATE, make_voice
from tests.release import fake_model
from tests.release.fake_source import write_source

ROOT = Path(__file__).parents[1]
GUIDES = ROOT / "docs" / "guides"


def blocks(name, language):
    """Gives the blocks of code of a guide."""
    return re.findall(rf"```{language}\n(.*?)```", (GUIDES / name).read_text(), re.DOTALL)


def commands(name):
    """Gives the words of each command of a guide, with whole paths of its configs."""
    lines = "".join(blocks(name, "bash")).replace("\\\n", " ").splitlines()
    return [shlex.split(line.replace(" configs/", f" {ROOT}/configs/")) for line in lines]


def test_python_guide_when_its_code_is_run_then_all_succeeds(tmp_path, monkeypatch, capsys):
    fake_model.write_fake(tmp_path / "model", kind="mean")
    (tmp_path / "recordings").mkdir()
    for number, name in enumerate("ab"):
        soundfile.write(tmp_path / "recordings" / f"{name}.wav", make_voice(3.0, number), RATE)
    monkeypatch.chdir(tmp_path)
    exec("\n".join(blocks("python.md", "python")), {})
    shown = capsys.readouterr().out
    assert "missing.wav unreadable" in shown and "'arousal'" in shown
    assert re.search(r"\(\d+,\) \(3, 16\) \(1\d\d, 16\)", shown)
    assert "audio file missing.wav does not exist" in shown.splitlines()[-1]


def write_ravdess(folder):
    """Writes noise of 0.2 s under the names of RAVDESS: one recording per actor and emotion."""
    random = np.random.default_rng(0)
    for actor in range(1, 25):
        (folder / f"Actor_{actor:02d}").mkdir(parents=True)
        for emotion in range(1, 9):
            name = f"03-01-{emotion:02d}-01-01-01-{actor:02d}.wav"
            noise = 0.1 * random.standard_normal(3_200)
            soundfile.write(folder / f"Actor_{actor:02d}" / name, noise, RATE)


@pytest.mark.slow
def test_ravdess_guide_when_its_commands_are_run_then_a_model_is_released(
    tmp_path, monkeypatch, capsys
):
    write_ravdess(tmp_path / "ravdess")
    write_source(tmp_path / "whisper-base")
    monkeypatch.chdir(tmp_path)
    run = commands("ravdess.md")
    assert [words[1] for words in run] == [
        *("prepare", "import", "finetune", "evaluate", "export", "export", "predict", "predict")
    ]
    for words in run:
        if words[1] == "prepare":
            words.append("--allow_unexpected_count")
        if words[1] == "finetune":  # one fold, and the model for release
            few = ("train.num_steps=2", "protocol.folds=fold1,final", "data.seconds_per_batch=32")
            words += [f"--config.{setting}" for setting in few]
            # Training joins its processes before JAX starts, and here it has.
            subprocess.run([sys.executable, "-m", *words], check=True)
            continue
        assert main(words[1:]) == 0, (words, capsys.readouterr().err)
    assert len((tmp_path / "emotions.csv").read_text().splitlines()) == 9
    assert len(sersl.load("model").categories) == 8


@pytest.mark.slow
def test_cluster_guide_when_its_commands_are_run_then_all_succeed(tmp_path):
    shutil.copytree(ROOT / "launch", tmp_path / "launch")
    sbatch = (
        'while [ "${1#--}" != "$1" ]; do shift; done; bash -n "$1"; shift; echo "$@" >>submitted'
    )
    for name, script in (
        ("bin/sbatch", sbatch),
        ("bin/sersl", 'exec "$PYTHON" -m sersl "$@"'),
        (".venv/bin/python", 'exec "$PYTHON" "$@"'),
        ("launch/environment.sh", ":"),
    ):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"#!/bin/bash\nset -e\n{script}\n")
        path.chmod(0o755)
    environment = os.environ | {
        "PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}",
        "PYTHON": sys.executable,
        "PYTHONPATH": str(ROOT),
    }
    few = [f"--config.{setting}" for setting in ("train.num_steps=2", "data.num_buckets=1")]
    for words in commands("cluster.md"):
        done = subprocess.run(
            [*words, *(few if "local.sh" in words[0] else ())],
            cwd=ROOT if "tpu_vm" in words[0] else tmp_path,  # it copies what git has
            env=environment,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, (words, done.stdout + done.stderr)
    assert (tmp_path / "runs" / "rehearsal" / "checkpoints" / "2").is_dir()
    submitted = (tmp_path / "submitted").read_text().splitlines()
    assert len(submitted) == 2 and all(line.startswith("pretrain --config ") for line in submitted)
