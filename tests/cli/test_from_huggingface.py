"""From a Hugging Face folder through training and back into stock `transformers`."""

import csv
import shutil
import types

import numpy as np
import pytest
import soundfile
import torch
import transformers

import sersl as package
from sersl.cli.main import main
from sersl.parallel import distributed
from sersl.release.folder import read_model
from tests.release.fake_source import write_source

MOST = 1e-4
ACTORS = ("01", "02", "03", "04")
EMOTIONS = ("neutral", "happy", "sad", "angry")


@pytest.fixture
def sersl(monkeypatch, capsys):
    """Runs a command in this process; it must succeed. Gives its output."""
    monkeypatch.setattr(distributed, "initialize", lambda **options: None)
    monkeypatch.setattr(distributed, "preempted", lambda step: False)

    def run(*words):
        capsys.readouterr()
        code = main([str(word) for word in words])
        said = types.SimpleNamespace(**capsys.readouterr()._asdict())
        assert code == 0, said.err
        return said.out

    return run


@pytest.fixture
def speech(corpora_dir, tmp_path):
    """A manifest of a part of RAVDESS: four actors, four emotions."""
    folder = corpora_dir / "ravdess"
    with open(folder / "manifest.csv", newline="") as file:
        rows = [
            row
            for row in csv.DictReader(file)
            if row["speaker"] in ACTORS and row["emotion"] in EMOTIONS and row["text_id"] == "01"
        ]
    assert len(rows) >= 4 * len(EMOTIONS)
    (tmp_path / "audio").mkdir()
    for row in rows:
        name = row["path"].replace("/", "_")
        shutil.copy(folder / row["path"], tmp_path / "audio" / name)
        row["path"] = f"audio/{name}"
    with open(tmp_path / "part.csv", "w", newline="") as file:
        writer = csv.DictWriter(file, ["path", "speaker", "emotion"], extrasaction="ignore")
        writer.writeheader()
        writer.writerows(rows)
    return tmp_path / "part.csv"


@pytest.mark.slow
@pytest.mark.corpora
def test_wav2vec2_when_imported_then_pretrains_finetunes_and_goes_back_to_transformers(
    sersl, speech, tmp_path
):
    source, imported = write_source(tmp_path / "wav2vec2"), tmp_path / "imported"
    sersl("import", "--source", source, "--output", imported)

    data = tmp_path / "data"
    sersl("prepare", "--manifest", speech, "--data_dir", data)
    sersl("annotate", "--corpus", "part", "--data_dir", data)
    where = [f"--config.data.data_dir={data}", "--config.data.corpora=part"]
    said = sersl(
        *("pretrain", "--config", "configs/pretrain/emotion_aware.py:nano"),
        *("--workdir", tmp_path / "pretrain", f"--config.init_from={imported}", *where),
        *("--config.train.num_steps=4", "--config.data.seconds_per_batch=16"),
        *("--config.data.max_seconds=2", "--config.data.num_buckets=1"),
    )
    assert "0 not used" in said and f"weights from {imported}" in said

    workdir, model = tmp_path / "finetune", tmp_path / "model"
    said = sersl(
        *("finetune", "--config", "configs/finetune/from_huggingface.py:nano"),
        *("--workdir", workdir, f"--config.init_from={imported}", *where),
        *("--config.train.num_steps=6", "--config.evaluate_every_steps=3"),
        "--config.protocol.num_folds=2",
    )
    assert "0 not used" in said
    sersl("export", "--workdir", workdir, "--output", model, "--onnx", "--licence=MIT")
    assert (model / "onnx" / "model.onnx").is_file()

    file = sorted((tmp_path / "audio").iterdir())[0]
    answer = package.load(model).predict(file)["scores"]
    waveform, rate = soundfile.read(file, dtype="float32")
    stock = transformers.AutoModelForAudioClassification.from_pretrained(model).eval()
    preprocess = transformers.AutoFeatureExtractor.from_pretrained(model)
    with torch.no_grad():
        logits = stock(**preprocess(waveform, sampling_rate=rate, return_tensors="pt")).logits[0]
    assert list(answer) == [stock.config.id2label[i] for i in range(len(answer))]
    # Transformers knows nothing of the temperature that calibrates the answers of sersl.
    temperature = read_model(model).labels.temperature
    expected = (logits / temperature).softmax(-1).numpy()
    assert np.abs(np.array(list(answer.values())) - expected).max() < MOST
    # The convolutions were left alone, the rest was not.
    before, after = (transformers.AutoModel.from_pretrained(f) for f in (source, model))
    name = "feature_extractor.conv_layers.0.conv.weight"
    assert torch.equal(before.state_dict()[name], after.state_dict()[name])
    name = "encoder.layers.0.attention.q_proj.weight"
    assert not torch.equal(before.state_dict()[name], after.state_dict()[name])
