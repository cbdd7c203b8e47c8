"""Files and folders that the user may not read or write: one sentence and exit code 2."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from sersl.core.lengths import SAMPLE_RATE
from tests.eval.fake_run import write_run
from tests.release.fake_model import write_fake
from tests.release.fake_source import write_source

ROOT = Path(__file__).parents[2]
# Root is asked for permissions too once it has given these capabilities away (linux/prctl.h,
# linux/capability.h); that lasts from the next program on.
_DROP = """
import contextlib, ctypes, io, json, os, sys
if os.environ.get("WITHOUT_CAPABILITIES") is None:
    os.environ["WITHOUT_CAPABILITIES"] = "1"
    PR_CAPBSET_DROP, CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH = 24, 1, 2
    for capability in (CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH):
        ctypes.CDLL(None).prctl(PR_CAPBSET_DROP, capability, 0, 0, 0)
    os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])
"""
_PROGRAM = """
from sersl.cli.main import main
from sersl.parallel import distributed
distributed.initialize = lambda **options: None  # only once per process
answers = {}
for name, (path, mode, words) in json.loads(sys.argv[1]).items():
    before = os.stat(path).st_mode
    os.chmod(path, mode)
    with contextlib.redirect_stdout(io.StringIO()) as out:
        with contextlib.redirect_stderr(io.StringIO()) as err:
            try:
                code = main(words)
            except BaseException as error:
                code = repr(error)
    os.chmod(path, before)
    answers[name] = [code, out.getvalue(), err.getvalue()]
print(json.dumps(answers))
"""
NANO = [f"{ROOT}/configs/{verb}/{name}.py:nano" for verb, name in
        (("pretrain", "emotion_aware"), ("finetune", "emotion"))]  # fmt: skip
PREDICT = ["predict", "--model", "model", "audio", "--output", "out/p.jsonl"]
EMBED = ["embed", "--model", "model", "audio", "--output", "out/e.npz"]
PREPARE = ["prepare", "--manifest", "audio/list.csv", "--data_dir", "out/data"]
IMPORT = ["import", "--source", "source", "--output", "out/m"]
DATA = ["--corpus", "synthetic", "--data_dir", "data"]
PRETRAIN = ["pretrain", "--config", NANO[0], "--config.data.data_dir=data"]
FINETUNE = ["finetune", "--config", NANO[1], "--config.data.data_dir=data"]
INDEX = "data/synthetic/1.0.0/index.parquet"
NONE, READ = 0o000, 0o555
# Path without permissions, its mode, the command, and words of the sentence.
CASES = {
    "predict, folder of audio": ("audio", NONE, PREDICT, "none of 1 files could be scored"),
    "predict, model": ("model", NONE, PREDICT, "sersl.json cannot be used"),
    "predict, weights": ("model/model.safetensors", NONE, PREDICT, "cannot be read"),
    "predict, settings": ("model/config.json", NONE, PREDICT, "cannot be read"),
    "predict, output": ("out", READ, PREDICT, "p.jsonl cannot be written"),
    "embed, output": ("out", READ, EMBED, "e.npz cannot be written"),
    "prepare, manifest": ("audio/list.csv", NONE, PREPARE, "list.csv cannot be used"),
    "prepare, data_dir": ("out", READ, PREPARE, "out/data cannot be written"),
    "prepare, audio_dir": (
        "audio",
        NONE,
        ["prepare", "--corpus", "ravdess", "--audio_dir", "audio", "--data_dir", "out/data"],
        "folder cannot be read",
    ),
    "annotate, index": (INDEX, NONE, ["annotate", *DATA], "index.parquet cannot be read"),
    "annotate, corpus": ("data/synthetic", NONE, ["annotate", *DATA], "data/synthetic"),
    "cluster, output": (
        "out",
        READ,
        ["cluster", *DATA, "--output", "out/book", "--num_codes", "4"],
        "out cannot be written",
    ),
    "pretrain, data": ("data", NONE, [*PRETRAIN, "--workdir", "out/w"], "data"),
    "pretrain, workdir": ("out", READ, [*PRETRAIN, "--workdir", "out/w"], "cannot be written"),
    "finetune, data": (INDEX, NONE, [*FINETUNE, "--workdir", "out/w"], "index.parquet"),
    "finetune, workdir": ("out", READ, [*FINETUNE, "--workdir", "out/w"], "cannot be written"),
    "finetune, model": (
        "model/model.safetensors",
        NONE,
        [*FINETUNE, "--workdir", "out/w", "--config.init_from=model"],
        "model.safetensors cannot be read",
    ),
    "evaluate, workdir": ("run", NONE, ["evaluate", "--workdir", "run"], "run"),
    "evaluate, predictions": (
        "run/predictions.csv",
        NONE,
        ["evaluate", "--workdir", "run"],
        "predictions.csv",
    ),
    "evaluate, report": ("run", READ, ["evaluate", "--workdir", "run"], "run"),
    "compare, run": ("run", NONE, ["compare", "run", "run2", "--output", "out/c"], "run"),
    "export, workdir": ("run", NONE, ["export", "--workdir", "run", "--output", "out/m"], "run"),
    "export, output": ("out", READ, ["export", "--workdir", "model", "--output", "out/m"], "out"),
    "check, weights": (
        "model/model.safetensors",
        NONE,
        ["export", "--check", "model"],
        "model.safetensors",
    ),
    "import, source": ("source", NONE, IMPORT, "source"),
    "import, weights": ("source/model.safetensors", NONE, IMPORT, "model.safetensors"),
    "import, output": ("out", READ, IMPORT, "out cannot be written"),
    "doctor, data": ("data", NONE, ["doctor", "--data_dir", "data"], "data"),
    "doctor, corpus": ("data/synthetic", NONE, ["doctor", "--data_dir", "data"], "synthetic"),
    "doctor, index": (INDEX, NONE, ["doctor", "--data_dir", "data"], "index.parquet"),
}


def as_user(folder, cases):
    """Runs commands in a process that permissions apply to, each with one path locked."""
    done = subprocess.run(
        [sys.executable, "-c", _DROP + _PROGRAM, json.dumps(cases)],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu"},
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def folder(tmp_path_factory, data_dir):
    """A corpus, a model, a Hugging Face folder, a finished run and audio."""
    folder = tmp_path_factory.mktemp("locked")
    (folder / "data").mkdir()
    subprocess.run(["cp", "-r", data_dir / "synthetic", folder / "data"], check=True)
    write_fake(folder / "model")
    write_source(folder / "source")
    write_run(folder / "run")
    write_run(folder / "run2")
    (folder / "audio").mkdir()
    (folder / "out").mkdir()
    sound = 0.1 * np.sin(np.arange(SAMPLE_RATE) / 20)
    for name in ("a", "b"):
        soundfile.write(folder / "audio" / f"{name}.wav", sound, SAMPLE_RATE)
    (folder / "audio" / "list.csv").write_text("path,emotion\na.wav,sad\nb.wav,happy\n")
    return folder


@pytest.fixture(scope="module")
def answers(folder):
    return as_user(folder, {name: case[:3] for name, case in CASES.items()})


@pytest.mark.parametrize("name", CASES)
def test_verb_when_it_may_not_use_a_path_then_one_sentence(answers, name):
    code, out, err = answers[name]
    sentences = [line for line in (out + err).splitlines() if line.startswith("sersl: ")]
    assert code == 2, (code, out, err)
    assert "Traceback" not in err
    # A model of the embedded corpus says so at every use.
    assert len([s for s in sentences if "embedded synthetic corpus" not in s]) == 1, err
    assert CASES[name][3] in sentences[-1]
    assert "ermission" in sentences[-1], sentences[-1]


def test_batch_when_one_file_may_not_be_read_then_it_is_listed_and_the_others_are_done(folder):
    answers = as_user(
        folder,
        {
            "prepare": ("audio/b.wav", NONE, [*PREPARE[:-1], "out/data2"]),
            "embed": ("audio/b.wav", NONE, EMBED),
        },
    )
    code, out, err = answers["prepare"]
    assert code == 0 and "1 x cannot be opened: Permission denied: b.wav" in out, out + err
    code, out, err = answers["embed"]
    assert code == 0 and "b.wav cannot be opened: Permission denied" in out + err, out + err
