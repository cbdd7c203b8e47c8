"""Every command of docs/continue.md runs."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from sersl.corpora.prepare import prepare
from tests.fake_speech import RATE, make_voice
from tests.release import fake_model

ROOT = Path(__file__).parents[1]
GUIDE = ROOT / "docs" / "continue.md"
# Of the commands that train: small, and for an encoder of two layers.
SMALL = {
    "pretrain": ("train.num_steps=2", "data.seconds_per_batch=25.6", "optimizer.warmup_fraction=0"),
    "side": ("encoder.side_from=1", "encoder.side_onto=1", "encoder.side_layers=1"),
    "finetune": ("protocol.num_folds=2", "views.speeds=()", "protocol.final_model=False"),
}


def run_python(*words: str) -> int:
    """Runs Python in a process of its own, as training needs."""
    path = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run([sys.executable, *words], check=False, env=path).returncode


def run(*words: str) -> int:
    return run_python("-m", "sersl", *words)


@pytest.mark.slow
def test_guide_when_its_commands_are_run_then_the_start_is_kept_beside(tmp_path, monkeypatch):
    fake_model.write_fake_encoder(tmp_path / "whisper")
    (tmp_path / "recordings").mkdir()
    rows = []
    for number in range(8):
        path = tmp_path / "recordings" / f"{number}.wav"
        soundfile.write(path, make_voice(1.5, number), RATE)
        rows.append(f"{path},{number // 2},{('angry', 'sad')[number % 2]}\n")
    (tmp_path / "labelled.csv").write_text("path,speaker,emotion\n" + "".join(rows))
    monkeypatch.chdir(tmp_path)
    for name in ("configs", "docs"):
        (tmp_path / name).symlink_to(ROOT / name)
    prepare(data_dir=tmp_path / "data", manifest=tmp_path / "labelled.csv", name="labelled")
    blocks = re.findall(r"```bash\n(.*?)```", GUIDE.read_text(), re.DOTALL)
    commands = [line for block in blocks for line in block.splitlines()]
    assert len(commands) == 7
    for command in commands:
        program, verb, *words = shlex.split(command)
        if program == "python":
            assert run_python(verb, *words) == 0
            pieces = (tmp_path / "recordings.csv").read_text().splitlines()
            assert pieces[0] == "path,channel,start,end" and len(pieces) >= 9
            continue
        assert program == "sersl"
        small = list(SMALL.get(verb, ()))
        if verb == "pretrain" and "anchored" not in words[1]:
            small += SMALL["side"]
        words += [f"--config.{value}" for value in small]
        assert run(verb, *words) == 0, command
    with np.load(tmp_path / "vectors.npz") as file:
        both = file["embeddings"]
    words = ["--model", "whisper", "recordings", "--layers", "all", "--output", "start.npz"]
    assert run("embed", *words) == 0
    with np.load(tmp_path / "start.npz") as file:
        start = file["embeddings"]
    assert both.shape[1] == 4 and start.shape[1] == 3
    np.testing.assert_allclose(both[:, :3], start, rtol=1e-4, atol=1e-5)
