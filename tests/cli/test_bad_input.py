"""Everything a user can do wrong, through the command line: one sentence, exit code 2, no loss."""

import json
import sys
import types
from pathlib import Path

import numpy as np
import pytest
import soundfile

from sersl.cli.main import main
from sersl.core.lengths import SAMPLE_RATE
from sersl.parallel import distributed
from tests.release import fake_model

ROOT = Path(__file__).parents[2]
CONSOLE_COMMAND = Path(sys.executable).parent / "sersl"
PRETRAIN = str(ROOT / "configs/pretrain/emotion_aware.py")
FINETUNE = str(ROOT / "configs/finetune/emotion.py")
CONFIGS = {"pretrain": f"{PRETRAIN}:nano", "finetune": f"{FINETUNE}:nano"}


@pytest.fixture
def sersl(monkeypatch, capsys):
    """Runs a command in this process; gives exit code, standard output and standard error.

    A process joins a distributed run once and before it uses a device, so tests do not.
    """
    monkeypatch.setattr(distributed, "initialize", lambda: None)
    monkeypatch.setattr(distributed, "preempted", lambda step: False)

    def run(*words):
        capsys.readouterr()
        code = main([str(word) for word in words])
        return types.SimpleNamespace(code=code, **capsys.readouterr()._asdict())

    return run


@pytest.fixture
def refused(sersl):
    """Runs a command that must end in one sentence and exit code 2, and gives the sentence."""

    def run(*words):
        answer = sersl(*words)
        sentences = [line for line in answer.err.splitlines() if line.startswith("sersl: ")]
        others = [line for line in answer.err.splitlines() if not line.startswith("sersl: ")]
        assert answer.code == 2, answer.err + answer.out
        assert len(sentences) == 1, answer.err
        # What else is said is how far the work had come.
        assert all(" of " in line or " files: " in line for line in others), answer.err
        return sentences[0].removeprefix("sersl: ")

    return run


def voice(seconds: float, *, pitch: float = 140.0) -> np.ndarray:
    time = np.arange(round(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    wave = np.sin(2 * np.pi * pitch * time) * (1 + np.sin(2 * np.pi * 3 * time))
    return (0.2 * wave).astype(np.float32)


def write_manifest(path: Path, rows, *, header="path,speaker,category,valence") -> Path:
    path.write_text("\n".join([header, *(",".join(row) for row in rows)]) + "\n")
    return path


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Five small corpora in one folder, two of them annotated."""
    folder = tmp_path_factory.mktemp("bad_input")
    rows = []
    for number in range(12):
        soundfile.write(folder / f"{number}.wav", voice(0.5, pitch=100 + 10 * number), SAMPLE_RATE)
        category = ("angry", "sad", "happy")[number % 3]
        rows.append((f"{number}.wav", f"s{number // 3}", category, f"0.{number:02d}"))
    names = {
        "mine": rows,
        "stale": rows[:6],
        "bare": [(path, "", "", "") for path, *_ in rows],
        "alone": [(path, "ann", category, "") for path, _, category, _ in rows],
        "calm": [(path, speaker, "calm", "") for path, speaker, *_ in rows],
        "tiny": [("tiny.wav", "s1", "sad", "")],
    }
    soundfile.write(folder / "tiny.wav", voice(0.05), SAMPLE_RATE)
    data_dir = folder / "data"
    for name, listed in names.items():
        manifest = write_manifest(folder / f"{name}.csv", listed)
        assert main(["prepare", "--manifest", str(manifest), "--data_dir", str(data_dir)]) == 0
    for name in ("mine", "stale"):
        assert main(["annotate", "--corpus", name, "--data_dir", str(data_dir)]) == 0
    stale = next((data_dir / "stale").iterdir()) / "sidecars" / "signal" / "sidecar.json"
    content = json.loads(stale.read_text()) | {"corpus_fingerprint": "0" * 64}
    stale.write_text(json.dumps(content))
    return data_dir


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return fake_model.write_fake(tmp_path_factory.mktemp("models") / "model")


def training(verb, data, workdir, *settings):
    words = {"data.data_dir": data, "data.corpora": "mine"}
    given = [f"--config.{key}={value}" for key, value in words.items()]
    return [verb, "--config", CONFIGS[verb], "--workdir", workdir, *given, *settings]


def holds_no_run(workdir: Path) -> bool:
    """Says whether the same command, mended, can start in this folder as if it were new."""
    return not workdir.exists() or not any(
        path.is_file() and path.name != "config.json" for path in workdir.rglob("*")
    )


BOTH = [
    ("data.corpora=mien", ["'mien'", "did you mean 'mine'?"]),
    ("data.corpora=", ["data.corpora=[]"]),
    ("data.corpora=mine,mine", ["each once"]),
    ("data.data_dir=no/such", ["no/such", "sersl prepare"]),
    ("data.seconds_per_batch=1.5", ["data.seconds_per_batch=1.5", "data.row_multiple"]),
    ("data.seconds_per_batch=nan", ["'data.seconds_per_batch' takes a number, not 'nan'"]),
    ("data.threads=-1", ["'data.threads' takes 1 or more, not -1"]),
    ("data.threads=two", ["'data.threads' takes an integer, not 'two'"]),
    ("data.min_seconds=100", ["data.min_seconds", "100 s"]),
    ("data.weights=1,2", ["data.weights", "1 corpora"]),
    ("data.max_secnds=3", ["'data.max_secnds'", "did you mean 'data.max_seconds'?"]),
    ("train.num_steps=0", ["'train.num_steps' takes 1 or more, not 0"]),
    ("train.num_steps=-5", ["'train.num_steps' takes 1 or more, not -5"]),
    ("train.num_steps=1e3", ["'train.num_steps' takes an integer, not 1000.0"]),
    ("train.log_every_steps=0", ["'train.log_every_steps' takes 1 or more, not 0"]),
    ("train.seed=-1", ["'train.seed' takes a whole number from 0"]),
    ("checkpoint.every_steps=0", ["'checkpoint.every_steps' takes 1 or more, not 0"]),
    ("encoder.dropout=1.5", ["'encoder.dropout' takes a number from 0 to below 1, not 1.5"]),
    ("encoder.width=33", ["encoder.width 33"]),
    ("encoder.dtype=float61", ["float61", "float16", "bfloat16"][:1]),
    ("encoder.remat=al", ["encoder.remat 'al'", "full"]),
    ("encoder=3", ["'encoder' is a group", "encoder.num_layers"]),
    ("frontend.kind=wave", ["frontend.kind 'wave'", "log_mel"]),
    ("mesh.data=3", ["mesh data=3", "devices"]),
    ("mesh.fsdp=0", ["'mesh.fsdp' takes 1 or more, or -1 for what is left, not 0"]),
    ("data.row_multiple=3", ["data.row_multiple to a multiple of 8"]),
    ("optimizer.schedule=cosin", ["optimizer.schedule 'cosin'", "did you mean 'cosine'?"]),
    ("optimizer.learning_rate=-1", ["'optimizer.learning_rate' takes a number above 0, not -1"]),
    ("optimizer.decay=(('a(',True),)", ["optimizer.decay", "'a('", "regular expression"]),
    ("optimizer.decay=(('b',True),)", ["optimizer.decay", "no pattern matches parameter"]),
]
ONLY = {
    "pretrain": [
        ("masking.fraction=0", ["'masking.fraction' takes a number above 0, at most 1, not 0"]),
        ("masking.fraction=2", ["'masking.fraction' takes a number above 0, at most 1, not 2"]),
        ("masking.rule=loud", ["masking.rule 'loud'", "intensity, uniform"]),
        ("data.corpora=bare", ["'bare'", "sersl annotate --annotator signal --corpus bare"]),
        ("data.corpora=stale", ["'stale'", "sersl annotate --annotator signal --corpus stale"]),
        ("data.corpora=tiny", ["annotat"]),
        ("data.annotator=signl", ["'signl'", "signal"]),
        ("labels.view=corpus", ["'labels.view'"]),
        ("resume_from=no/such", ["resume_from='no/such'"]),
        ("objectives.contrastive.weight=-1", ["'objectives.contrastive.weight' takes 0 or more"]),
    ],
    "finetune": [
        ("heads.label_smoothing=2", ["'heads.label_smoothing' takes a number from 0 to below 1"]),
        ("evaluate_every_steps=0", ["'evaluate_every_steps' takes 1 or more, not 0"]),
        ("labels.view=corpse", ["'corpse'", "did you mean 'corpus'?"]),
        ("data.corpora=bare", ["no utterance has an emotion category", "labels.view"]),
        ("data.corpora=calm", ["there is nothing to predict: 1 categories"]),
        ("data.corpora=alone", ["speaker"]),
        ("data.corpora=tiny", ["speaker"]),
        ("protocol.name=kfold", ["protocol 'kfold'", "k-fold-by-speaker"]),
        ("protocol.name=emobox", ["emobox", "ravdess"]),
        ("protocol.num_folds=9", ["9 folds", "there are 4", "protocol.num_folds"]),
        ("protocol.num_folds=1", ["'protocol.num_folds' takes 2 or more, not 1"]),
        ("protocol.folds=fold9", ["fold in protocol.folds 'fold9'", "did you mean 'fold"]),
        ("pooling.kind=maximum", ["pooling.kind 'maximum'", "mean"]),
        ("unfreeze=(('.*',-2),)", ["unfreeze: steps are 0 or more"]),
        ("unfreeze=(('.*',-1),)", ["some parameter must train"]),
        ("unfreeze=(('encodr/.*',-1),('.*',0))", ["unfreeze", "'encodr/.*'"]),
    ],
}
SETTINGS = [(verb, *case) for verb in CONFIGS for case in [*BOTH, *ONLY[verb]]]


@pytest.mark.parametrize(("verb", "setting", "words"), SETTINGS, ids=lambda v: str(v)[:40])
def test_setting_when_it_cannot_be_then_one_sentence_and_no_run(
    refused, data, tmp_path, verb, setting, words
):
    workdir = tmp_path / "run"
    sentence = refused(*training(verb, data, workdir, f"--config.{setting}"))
    for word in words:
        assert word in sentence, sentence
    assert holds_no_run(workdir), sorted(workdir.rglob("*"))
