import sys

import numpy as np
import onnxruntime
import pytest

from sersl.core.errors import UserError
from sersl.release.folder import read_model
from sersl.release.onnx.exporting import write_onnx
from sersl.release.predict import predictor
from sersl.release.predict.predictor import padded_batch
from tests.release import fake_model

MOST = 1e-4  # between two runtimes, over a whole model
SECONDS = (0.5, 1.0, 1.63)


def speech():
    rng = np.random.default_rng(0)
    return [
        (
            0.1
            * rng.normal(size=round(s * 16_000))
            * (1.2 + np.sin(np.arange(round(s * 16_000)) / 900))
        ).astype(np.float32)
        for s in SECONDS
    ]


def compare(folder, path):
    """Largest difference between the graph and the model, alone at each length and batched."""
    released = read_model(folder)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    model = predictor.load(folder)
    waveforms = speech()
    batch, valid = padded_batch(waveforms, rows=3, length=max(map(len, waveforms)) + 700)
    if released.architecture.heads is None:
        states = model._hidden(
            model._params, batch, valid, layers=(model.num_layers,), frames=False
        )
        expected = {"embedding": np.asarray(states[0])}
    else:
        expected = {
            k: np.asarray(v) for k, v in model._compiled[False](model._params, batch, valid).items()
        }
    worst = 0.0
    inputs = [(batch, [len(w) for w in waveforms], slice(None))]
    inputs += [(w[None], [len(w)], slice(i, i + 1)) for i, w in enumerate(waveforms)]
    for waveform, counts, rows in inputs:
        found = session.run(None, {"waveform": waveform, "num_samples": np.array(counts, np.int64)})
        for name, values in zip(names, found, strict=True):
            assert values.shape == expected[name][rows].shape
            worst = max(worst, np.abs(values - expected[name][rows]).max())
    assert all(np.ptp(expected[name], axis=0).max() > 1e-3 for name in names)
    return names, worst


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"kind": "mean", "layers": "last", "normalize": "utterance"},
        {"kind": "mean", "layers": "weighted", "head": "tanh", "projection": 6},
    ],
    ids=str,
)
def test_onnx_when_the_model_has_heads_then_equal_at_three_lengths(tmp_path, options):
    folder = fake_model.write_fake(tmp_path / "model", **options)
    path = write_onnx(read_model(folder), tmp_path / "model" / "onnx")
    names, worst = compare(folder, path)
    print(f"{options}: {worst:.1e}")
    assert names == ["category", "dimensions", "embedding"]
    assert worst < MOST


def test_onnx_when_the_model_is_an_encoder_then_it_embeds(tmp_path):
    folder = fake_model.write_fake_encoder(tmp_path / "model")
    names, worst = compare(folder, write_onnx(read_model(folder), tmp_path / "onnx"))
    assert names == ["embedding"]
    assert worst < MOST


def test_onnx_when_the_package_is_missing_then_the_extra_is_named(tmp_path, monkeypatch):
    folder = fake_model.write_fake_encoder(tmp_path / "model")
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(UserError, match=r"sersl\[onnx\]"):
        write_onnx(read_model(folder), tmp_path / "onnx")
    assert not (tmp_path / "onnx").exists()
