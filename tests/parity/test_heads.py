"""Classification heads and ONNX graphs of imported models beside `transformers`."""

import jax
import numpy as np
import onnxruntime
import pytest
import torch

from sersl.core.lengths import num_frames
from sersl.models.whisper import whisper_log_mel
from sersl.release.copying import copy_model
from sersl.release.folder import read_model
from sersl.release.huggingface.importing import import_folder
from sersl.release.onnx.exporting import write_onnx
from sersl.release.predict import predictor
from sersl.release.predict.padding import padded_batch
from tests.parity import peers

MOST = 1e-4
SECONDS = (0.63, 1.0, 1.41)
LABELS = {0: "neu", 1: "hap", 2: "ang", 3: "sad"}


class Dimensional(torch.nn.Module):
    """The head of audEERING's models, on mean pooling; transformers has no class for it."""

    def __init__(self, base):
        super().__init__()
        width = base.config.hidden_size
        self.wav2vec2 = base
        self.classifier = torch.nn.Module()
        self.classifier.dense = torch.nn.Linear(width, width)
        self.classifier.out_proj = torch.nn.Linear(width, 3)

    def forward(self, input_values):
        pooled = self.wav2vec2(input_values).last_hidden_state.mean(1)
        return self.classifier.out_proj(torch.tanh(self.classifier.dense(pooled)))


def dimensional(folder):
    base = peers.make("wav2vec2 layer pre")
    base.config.id2label = {0: "arousal", 1: "dominance", 2: "valence"}
    base.config.architectures = ["Wav2Vec2ForSpeechClassification"]
    peers.save(base, folder)
    (folder / "model.safetensors").unlink()
    model = Dimensional(base).eval()
    torch.save(model.state_dict(), folder / "pytorch_model.bin")
    return model


def graph_of(folder, output):
    path = write_onnx(read_model(folder), output)
    return onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])


def run_graph(session, waveforms, *, length):
    batch, valid = padded_batch(waveforms, rows=len(waveforms), length=length)
    values = session.run(None, {"waveform": batch, "num_samples": valid.sum(1)})
    return dict(zip([o.name for o in session.get_outputs()], values, strict=True))


@pytest.mark.parametrize("name", peers.MODELS)
def test_graph_when_made_of_an_imported_encoder_then_equal_to_transformers(tmp_path, name):
    model = peers.make(name)
    peers.save(model, tmp_path / "source")
    import_folder(tmp_path / "source", tmp_path / "model", exact_window=True)
    session = graph_of(tmp_path / "model", tmp_path / "onnx")
    speech = peers.waveforms(*SECONDS)
    expected = []
    for waveform in speech:
        _, last = peers.hidden_states(model, peers.extractor(model), waveform)
        expected.append(last[: num_frames(len(waveform))].mean(0))
    together = run_graph(session, speech, length=24_400)["embedding"]
    alone = [run_graph(session, [w], length=len(w))["embedding"][0] for w in speech]
    worst = max(np.abs(together - expected).max(), np.abs(np.stack(alone) - expected).max())
    print(f"{name}: {worst:.1e}")
    assert worst < MOST


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize(
    "name", ["wav2vec2 group post", "hubert group post", "wavlm group post", "data2vec-audio"]
)
def test_categories_when_imported_then_probabilities_equal_transformers(tmp_path, name, weighted):
    model = peers.make(
        name,
        kind="ForSequenceClassification",
        use_weighted_layer_sum=weighted,
        id2label=LABELS,
        label2id={label: i for i, label in LABELS.items()},
    )
    peers.save(model, tmp_path / "source")
    import_folder(tmp_path / "source", tmp_path / "model")
    preprocess = peers.extractor(model)
    speech, expected = peers.waveforms(*SECONDS), []
    for waveform in speech:
        inputs = preprocess(waveform, sampling_rate=16_000, return_tensors="pt").input_values
        with torch.no_grad():
            expected.append(model(inputs).logits[0].softmax(-1).numpy())
    session = graph_of(tmp_path / "model", tmp_path / "onnx")
    found = run_graph(session, speech, length=24_400)["category"]
    assert np.abs(found - expected).max() < MOST
    assert np.ptp(expected, axis=0).max() > 0.01
    if name != "wav2vec2 group post":
        return  # the graphs are cheap, a program of JAX is not
    answers = predictor.load(tmp_path / "model").predict(speech, sample_rate=16_000)
    for answer, row in zip(answers, expected, strict=True):
        assert list(answer["scores"]) == list(LABELS.values())
        assert np.abs(np.array(list(answer["scores"].values())) - row).max() < MOST


def test_dimensions_when_imported_in_audeerings_layout_then_equal_by_name(tmp_path):
    (tmp_path / "source").mkdir()
    model = dimensional(tmp_path / "source")
    report = import_folder(tmp_path / "source", tmp_path / "model")
    assert report.architecture.dimensions == ("arousal", "dominance", "valence")
    speech = peers.waveforms(*SECONDS)
    preprocess = peers.extractor(model.wav2vec2)
    answers = predictor.load(tmp_path / "model").predict(speech, sample_rate=16_000)
    expected = []
    for waveform, answer in zip(speech, answers, strict=True):
        inputs = preprocess(waveform, sampling_rate=16_000, return_tensors="pt").input_values
        with torch.no_grad():
            expected.append(model(inputs)[0].numpy())
        assert list(answer["dimensions"]) == ["arousal", "dominance", "valence"]
        found = np.array(list(answer["dimensions"].values()))
        assert np.abs(found - expected[-1]).max() < MOST
    session = graph_of(tmp_path / "model", tmp_path / "onnx")
    assert np.abs(run_graph(session, speech, length=24_400)["dimensions"] - expected).max() < MOST


@pytest.mark.parametrize("weighted", [False, True])
def test_whisper_when_imported_with_its_head_then_probabilities_equal_transformers(
    tmp_path, weighted
):
    """Its mean is over the whole window, with the silence after the audio."""
    model = peers.make(
        "whisper",
        kind="ForAudioClassification",
        use_weighted_layer_sum=weighted,
        id2label=LABELS,
        label2id={label: i for i, label in LABELS.items()},
    )
    peers.save(model, tmp_path / "source")
    import_folder(tmp_path / "source", tmp_path / "model")
    copy_model(tmp_path / "model", tmp_path / "copy", licence="MIT")
    speech, expected = peers.waveforms(*SECONDS), []
    for waveform in speech:
        inputs = peers.extractor(model)(waveform, sampling_rate=16_000, return_tensors="pt")
        with torch.no_grad():
            expected.append(model(inputs.input_features).logits[0].softmax(-1).numpy())
    assert np.ptp(expected, axis=0).max() > 0.01
    session = graph_of(tmp_path / "copy", tmp_path / "onnx")
    found = run_graph(session, speech, length=24_400)["category"]
    assert np.abs(found - expected).max() < MOST
    answers = predictor.load(tmp_path / "copy").predict(speech, sample_rate=16_000, frames=True)
    for answer, row, waveform in zip(answers, expected, speech, strict=True):
        assert np.abs(np.array(list(answer["scores"].values())) - row).max() < MOST
        assert len(answer["frames"]["time"]) == num_frames(len(waveform))


def test_whisper_features_when_computed_then_equal_to_transformers():
    waveform = np.concatenate([*peers.waveforms(3.3), np.zeros(200_000, np.float32)])
    waveform = np.pad(waveform, (0, 480_000 - len(waveform)))
    for num_mels in (80, 128):
        preprocess = peers.transformers.WhisperFeatureExtractor(feature_size=num_mels)
        expected = preprocess(waveform, sampling_rate=16_000, return_tensors="np").input_features
        found = jax.jit(lambda x, n=num_mels: whisper_log_mel(x, num_mels=n))(waveform[None])
        assert np.abs(np.asarray(found)[0].T - expected[0]).max() < MOST
