"""Everything a user can do wrong, through the command line: one sentence, exit code 2, no loss."""

import errno
import json
import os
import shutil
import subprocess
import sys
import types
from pathlib import Path

import numpy as np
import pytest
import soundfile

from sersl.cli.main import main
from sersl.config.load import load_config, save_json
from sersl.config.schema import FinetuneConfig, PretrainConfig
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
    monkeypatch.setattr(distributed, "initialize", lambda **options: None)
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
        path.is_file() and path.name not in ("config.json", "lock") for path in workdir.rglob("*")
    )


BOTH = [
    ("data.corpora=mien", ["'mien'", "did you mean 'mine'?"]),
    ("data.corpora=", ["data.corpora=[]"]),
    ("data.data_dir=", ["data.data_dir is not given"]),
    ("data.corpora=mine,mine", ["each once"]),
    ("data.data_dir=no/such", ["no/such", "sersl prepare"]),
    ("data.seconds_per_batch=1.5", ["data.seconds_per_batch=1.5", "data.row_multiple"]),
    ("data.seconds_per_batch=nan", ["'data.seconds_per_batch' takes a number, not 'nan'"]),
    ("data.threads=-1", ["'data.threads' takes a whole number from 1 to 1024, not -1"]),
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
    ("encoder=3", ["'encoder' is a group", "encoder.kind"]),
    ("frontend.kind=wave", ["frontend.kind 'wave'", "log_mel"]),
    ("mesh.data=3", ["mesh data=3", "devices"]),
    ("mesh.fsdp=0", ["'mesh.fsdp' takes 1 or more, or -1 for the devices that remain"]),
    ("data.row_multiple=3", ["data.row_multiple to a multiple of 8"]),
    ("distortion.noise_colour=pnk", ["distortion.noise_colour 'pnk'", "did you mean 'pink'?"]),
    ("distortion.noise_corpora=musan", ["noise_corpora is given", "noise_probability is 0"]),
    ("optimizer.schedule=cosin", ["optimizer.schedule 'cosin'", "did you mean 'cosine'?"]),
    ("optimizer.learning_rate=-1", ["'optimizer.learning_rate' takes a number above 0, not -1"]),
    ("optimizer.decay=(('a(',True),)", ["optimizer.decay", "'a('", "regular expression"]),
    ("optimizer.decay=(('b',True),)", ["optimizer.decay", "no pattern matches parameter"]),
]
ONLY = {
    "pretrain": [
        ("masking.fraction=0", ["'masking.fraction' takes a number above 0, at most 1, not 0"]),
        ("masking.fraction=2", ["'masking.fraction' takes a number above 0, at most 1, not 2"]),
        ("masking.rule=loud", ["masking.rule 'loud'", "bands, intensity"]),
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
        ("data.corpora=calm", ["there is nothing to tell apart"]),
        ("data.corpora=alone", ["speaker"]),
        ("data.corpora=tiny", ["speaker"]),
        ("protocol.name=kfold", ["protocol 'kfold'", "k-fold-by-speaker"]),
        ("protocol.name=emobox", ["emobox", "ravdess"]),
        ("protocol.num_folds=9", ["9 folds", "there are 4", "protocol.num_folds"]),
        ("protocol.num_folds=1", ["'protocol.num_folds' takes 2 or more, not 1"]),
        ("protocol.folds=fold9", ["fold in protocol.folds 'fold9'", "did you mean 'fold"]),
        ("pooling.kind=maximum", ["pooling.kind 'maximum'", "mean"]),
        ("unfreeze=(('.*',-2),)", ["'unfreeze[0][1]' takes -1 or more, not -2"]),
        ("unfreeze=(('.*',-1),)", ["at their random initial values"]),
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


CONFIG_FILES = [
    ("raises.py", "def get_config():\n    return 1 / 0\n", ["line 2", "ZeroDivisionError"]),
    ("imports.py", "import no_such_thing\n", ["no_such_thing"]),
    ("broken.py", "def get_config(:\n", ["SyntaxError"]),
    ("exits.py", "import sys\nsys.exit(7)\n", ["SystemExit", "7"]),
    ("nothing.py", "def get_config():\n    pass\n", ["NoneType", "return a ConfigDict"]),
    ("without.py", "x = 1\n", ["defines no get_config(preset)"]),
    ("typo.py", "def get_config():\n    return {'encodr': {}}\n", ["did you mean 'encoder"]),
    ("string.py", "def get_config():\n    return {'train': 'fast'}\n", ["'train' is a group"]),
    ("text.yaml", "train:\n  num_steps: 3\n", ["text.yaml", "Python file"]),
]


@pytest.mark.parametrize(("name", "content", "words"), CONFIG_FILES, ids=lambda v: str(v)[:12])
def test_config_file_when_it_is_wrong_then_one_sentence_says_where(
    refused, tmp_path, name, content, words
):
    (tmp_path / name).write_text(content)
    sentence = refused("pretrain", "--config", tmp_path / name, "--workdir", tmp_path / "run")
    for word in [name, *words] if name != "typo.py" and name != "string.py" else words:
        assert word in sentence, sentence
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("verb", CONFIGS)
@pytest.mark.parametrize(
    ("config", "words"),
    [
        ("no/such.py", ["'no/such.py' does not exist", "configs/"]),
        ("configs/pretrain", ["'configs/pretrain' does not exist"]),
        (":nan0", ["unknown preset 'nan0': did you mean 'nano'?", "nano, small, tiny"]),
    ],
)
def test_config_when_there_is_none_then_one_sentence(refused, tmp_path, verb, config, words):
    config = CONFIGS[verb].replace(":nano", config) if config.startswith(":") else config
    sentence = refused(verb, "--config", config, "--workdir", tmp_path / "run")
    for word in words:
        assert word in sentence, sentence
    assert not (tmp_path / "run").exists()


def unwritable(tmp_path: Path) -> list[Path]:
    """Gives folders that even root cannot make: under a file, and where no file system is."""
    (tmp_path / "file").write_text("in the way")
    return [tmp_path / "file", tmp_path / "file" / "run", Path("/proc/sersl/run")]


@pytest.mark.parametrize("number", range(3))
@pytest.mark.parametrize("verb", CONFIGS)
def test_workdir_when_it_cannot_be_made_then_one_sentence(refused, data, tmp_path, verb, number):
    workdir = unwritable(tmp_path)[number]
    sentence = refused(*training(verb, data, workdir))
    assert str(workdir) in sentence and "cannot be written" in sentence
    assert (tmp_path / "file").read_text() == "in the way"


@pytest.mark.parametrize("number", range(3))
def test_data_dir_when_it_cannot_be_made_then_one_sentence(refused, tmp_path, number):
    data_dir = unwritable(tmp_path)[number]
    soundfile.write(tmp_path / "a.wav", voice(0.3), SAMPLE_RATE)
    manifest = write_manifest(tmp_path / "own.csv", [("a.wav", "", "", "")])
    sentence = refused("prepare", "--manifest", manifest, "--data_dir", data_dir)
    assert str(data_dir) in sentence and "cannot be written" in sentence


@pytest.mark.parametrize("number", range(3))
def test_output_when_it_cannot_be_made_then_one_sentence(refused, model, tmp_path, number):
    soundfile.write(tmp_path / "a.wav", voice(0.3), SAMPLE_RATE)
    output = unwritable(tmp_path)[number] / "a.csv"
    sentence = refused("predict", "--model", model, tmp_path / "a.wav", "--output", output)
    assert str(output) in sentence and "cannot be written" in sentence


def damaged(folder: Path, model: Path, kind: str) -> Path:
    copy = Path(shutil.copytree(model, folder / kind))
    if kind == "truncated":
        tensors = copy / "model.safetensors"
        tensors.write_bytes(tensors.read_bytes()[:-500])
    elif kind == "not-json":
        (copy / "sersl.json").write_text('{"schema": 1,')
    elif kind == "other-json":
        (copy / "sersl.json").write_text("{}")
    elif kind == "other-width":
        about = json.loads((copy / "sersl.json").read_text())
        about["encoder"]["width"] = 24
        (copy / "sersl.json").write_text(json.dumps(about))
    elif kind == "empty":
        shutil.rmtree(copy)
        copy.mkdir()
    else:
        (copy / kind).unlink()
    return copy


DAMAGES = ["truncated", "not-json", "other-json", "other-width", "empty"]
DAMAGES += ["model.safetensors", "sersl.json", "config.json"]


@pytest.mark.parametrize("kind", DAMAGES)
def test_model_when_damaged_then_every_verb_that_reads_it_says_so(
    refused, data, model, tmp_path, kind
):
    copy = damaged(tmp_path, model, kind)
    soundfile.write(tmp_path / "a.wav", voice(0.3), SAMPLE_RATE)
    evaluate = ("evaluate", "--model", copy, "--corpus", "mine")
    commands = [
        ("predict", "--model", copy, tmp_path / "a.wav", "--output", tmp_path / "a.csv"),
        ("embed", "--model", copy, tmp_path / "a.wav", "--output", tmp_path / "a.npz"),
        (*evaluate, "--data_dir", data, "--output", tmp_path / "scores"),
        training("finetune", data, tmp_path / "run", f"--config.init_from={copy}"),
    ]
    for command in commands:
        assert kind in refused(*command)  # the folder has the name of its damage
    assert not any((tmp_path / name).exists() for name in ("a.csv", "a.npz", "scores", "run"))


@pytest.mark.parametrize("verb", CONFIGS)
def test_init_from_when_it_is_nothing_then_one_sentence(refused, data, model, tmp_path, verb):
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("")
    half = tmp_path / "half"
    (half / "checkpoints").mkdir(parents=True)
    (half / "config.json").write_text("{}")
    (tmp_path / "torn").mkdir()
    (tmp_path / "torn" / "config.json").write_text('{"name": "fi')
    for name in ("none", "empty", "file", "half", "torn"):
        settings = [f"--config.init_from={tmp_path / name}"]
        assert name in refused(*training(verb, data, tmp_path / "run", *settings))
    assert holds_no_run(tmp_path / "run")


@pytest.mark.parametrize("verb", CONFIGS)
def test_workdir_when_it_holds_another_run_then_one_sentence_and_the_run_is_untouched(
    refused, data, tmp_path, verb
):
    workdir = tmp_path / "run"
    settings = [f"data.data_dir={data}", "data.corpora=mine", "train.seed=7"]
    for cls, name in ((PretrainConfig, "pretrain"), (FinetuneConfig, "finetune")):
        shutil.rmtree(workdir, ignore_errors=True)
        (workdir / "checkpoints" / "5").mkdir(parents=True)
        save_json(load_config(cls, CONFIGS[name], settings), workdir / "config.json")
        before = (workdir / "config.json").read_bytes()
        sentence = refused(*training(verb, data, workdir))
        word = "train.seed=7, this one has 0" if name == verb else "another kind of run"
        assert word in sentence and "another workdir" in sentence
        assert (workdir / "config.json").read_bytes() == before


COMMANDS = [
    (["prepare", "--data_dir", "d"], ["nothing to prepare", "--manifest FILE"]),
    (["prepare", "--corpus", "ravdes", "--data_dir", "d"], ["did you mean 'ravdess'?"]),
    (["prepare", "--corpus", "ravdess", "--data_dir", "d"], ["needs --audio_dir"]),
    (["prepare", "--corpus", "ravdess", "--audio_dir", "no/such", "--data_dir", "d"], ["no/such"]),
    (["prepare", "--manifest", "none.csv", "--data_dir", "d"], ["none.csv", "--manifest"]),
    (["prepare", "--manifest", ".", "--data_dir", "d"], ["'.'"]),
    (["annotate", "--corpus", "mien", "--data_dir", "DATA"], ["did you mean 'mine'?"]),
    (["annotate", "--corpus", "mine", "--data_dir", "no/such"], ["no/such", "sersl prepare"]),
    (["annotate", "--corpus", "mine", "--data_dir", "DATA", "--annotator", "sig"], ["'signal'"]),
    (
        ["annotate", "--corpus", "bare", "--data_dir", "DATA", "--processes", "0"],
        ["--processes: takes a whole number from 1 to 1024, not 0"],
    ),
    (["evaluate"], ["--workdir DIR"]),
    (["evaluate", "--workdir", "no/such"], ["no/such"]),
    (["evaluate", "--workdir", "."], ["predictions.csv"]),
    (["evaluate", "--model", "m", "--corpus", "mine"], ["--data_dir"]),
    (["export", "--workdir", "no/such", "--output", "o"], ["no/such"]),
    (["export", "--workdir", ".", "--output", "o"], ["config.json"]),
    (["predict", "--model", "no/such", "a.wav"], ["a.wav"]),
    (["predict", "--model", "no/such", "DATA"], ["holds no audio"]),
    (["predict", "--model", "MODEL", "WAV", "--output", "o.xlsx"], ["'.xlsx'", ".csv, .jsonl"]),
    (["predict", "--model", "MODEL", "WAV", "--output", "o"], [".csv, .jsonl"]),
    (["predict", "--model", "MODEL", "WAV", "--frames"], ["--output FILE.jsonl"]),
    (["predict", "--model", "MODEL", "WAV", "--window", "0"], ["window"]),
    (["predict", "--model", "MODEL", "WAV", "--window", "nan"], ["window"]),
    (["predict", "--model", "MODEL", "WAV", "--window", "-2"], ["window"]),
    (["predict", "--model", "MODEL", "WAV", "--window", "1", "--hop", "0"], ["hop"]),
    (["predict", "--model", "MODEL", "WAV", "--hop", "1"], ["--window"]),
    (["embed", "--model", "MODEL", "WAV", "--output", "o.npy"], [".npz"]),
    (["embed", "--model", "MODEL", "WAV", "--output", "o.npz", "--layers", "9"], ["layers"]),
    (["embed", "--model", "MODEL", "WAV", "--output", "o.npz", "--layers", "top"], ["layers"]),
    (["predict", "--model", "MODEL", "WAV", "--config.a=1"], ["takes no --config.KEY=VALUE"]),
    (["pretrain", "--config", "x.py", "--workdir", "w", "--config.name"], ["has no value"]),
    (["pretrain", "--config.name", "--config", "x.py", "--workdir", "w"], ["has no value"]),
]


@pytest.mark.parametrize(("words", "expected"), COMMANDS, ids=lambda v: " ".join(v)[:60])
def test_command_when_it_cannot_be_done_then_one_sentence_and_nothing_is_written(
    refused, data, model, tmp_path, monkeypatch, words, expected
):
    soundfile.write(tmp_path / "v.wav", voice(0.3), SAMPLE_RATE)
    empty = tmp_path / "here"
    empty.mkdir()
    monkeypatch.chdir(empty)
    real = {"DATA": data, "MODEL": model, "WAV": tmp_path / "v.wav"}
    sentence = refused(*[real.get(word, word) for word in words])
    for word in expected:
        assert word in sentence, sentence
    assert not [path for path in empty.rglob("*") if path.is_file() and path.suffix != ".lock"]


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EACCES])
def test_machine_when_it_refuses_then_one_sentence_names_the_file(refused, monkeypatch, number):
    def fail(arguments):
        raise OSError(number, os.strerror(number), "d/x.bin")

    monkeypatch.setattr("sersl.cli.annotate.run", fail)
    sentence = refused("annotate", "--corpus", "mine", "--data_dir", "d")
    assert sentence.startswith("d/x.bin cannot be used (")


def test_prepare_when_files_are_bad_then_each_is_counted_and_listed_and_the_rest_is_kept(
    sersl, tmp_path
):
    soundfile.write(tmp_path / "good.wav", voice(1.0), SAMPLE_RATE)
    soundfile.write(tmp_path / "short.wav", voice(0.05), SAMPLE_RATE)
    soundfile.write(tmp_path / "silent.wav", np.zeros(SAMPLE_RATE), SAMPLE_RATE)
    soundfile.write(tmp_path / "nan.wav", np.full(800, np.nan), SAMPLE_RATE, subtype="FLOAT")
    soundfile.write(tmp_path / "cut.flac", voice(3.0), SAMPLE_RATE)
    whole = (tmp_path / "cut.flac").read_bytes()
    (tmp_path / "cut.flac").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "empty.wav").write_bytes(b"")
    (tmp_path / "text.wav").write_text("hello")
    bad = ["nan.wav", "cut.flac", "empty.wav", "text.wav", "missing.wav"]
    names = ["good.wav", "short.wav", "silent.wav", *bad]
    text = "\ufeffpath;emotion;speaker\r\n" + "".join(f"{name};sad;ann\r\n" for name in names)
    (tmp_path / "own.csv").write_bytes(text.encode())
    answer = sersl("prepare", "--manifest", tmp_path / "own.csv", "--data_dir", tmp_path / "data")
    assert answer.code == 0
    assert "utterances   3\n" in answer.out and "skipped: 5 files" in answer.out
    for name in bad:
        assert name in answer.out
    assert "silent.wav" in answer.out or "silent (kept): 1: silent" in answer.out
    folder = next((tmp_path / "data" / "own").iterdir())
    skipped = json.loads((folder / "prepare.json").read_text())["skipped"]
    assert sorted(item["path"] for item in skipped) == sorted(bad)
    assert all(item["reason"] for item in skipped)


MANIFESTS = [
    ("sound,emotion\na.wav,sad\n", ["line 1", "no column 'path'", "sound, emotion"]),
    ("path,emotion\na.wav,sad\na.wav,sad\n", ["line 3", "'a'", "already on own.csv line 2"]),
    ("path,emotion\na.wav,sad,sad\n", ["line 2"]),
    ("path,valence\na.wav,very\n", ["line 2", "valence", "'very'"]),
    ("path,start,end\na.wav,2,1\n", ["line 2", "end"]),
    ("path,emotion\n", ["no"]),
    ("", ["own.csv", "lists no utterance"]),
    ("path\nnone.wav\n", ["none.wav"]),
]


@pytest.mark.parametrize(("text", "words"), MANIFESTS, ids=lambda v: str(v)[:25])
@pytest.mark.parametrize("verb", ["prepare", "finetune"])
def test_manifest_when_it_is_wrong_then_one_sentence_with_the_line(
    refused, tmp_path, verb, text, words
):
    soundfile.write(tmp_path / "a.wav", voice(0.5), SAMPLE_RATE)
    manifest = tmp_path / "own.csv"
    manifest.write_text(text)
    where = {
        "prepare": ["--data_dir", tmp_path / "out"],
        "finetune": ["--config", CONFIGS["finetune"], "--workdir", tmp_path / "out"],
    }
    sentence = refused(verb, "--manifest", manifest, *where[verb])
    for word in words:
        assert word in sentence, sentence
    assert not list(tmp_path.glob("out/**/prepare.json"))


CONSOLE = [
    (["predict", "--model", "none", "none.wav"], "none.wav does not exist"),
    (["prepare", "--manifest", "none.csv", "--data_dir", "d"], "none.csv"),
    (["pretrain", "--config", f"{PRETRAIN}:nano", "--workdir", "w"], "data.data_dir"),
    (["finetune", "--config", f"{FINETUNE}:nan0", "--workdir", "w"], "did you mean 'nano'?"),
    (
        ["pretrain", "--config", PRETRAIN, "--workdir", "w", "--config.train.num_steps=0"],
        "'train.num_steps' takes 1 or more, not 0",
    ),
]


@pytest.mark.parametrize(("words", "expected"), CONSOLE, ids=lambda v: str(v[0])[:10])
def test_console_command_when_the_user_is_wrong_then_one_line_and_code_2(tmp_path, words, expected):
    answer = subprocess.run([CONSOLE_COMMAND, *words], cwd=tmp_path, capture_output=True, text=True)
    assert answer.returncode == 2, answer.stderr
    assert answer.stderr.startswith("sersl: ") and answer.stderr.count("\n") == 1, answer.stderr
    assert expected in answer.stderr
