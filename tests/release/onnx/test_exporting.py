import copy
import dataclasses
import sys

import numpy as np
import onnxruntime
import pytest

from sersl.config.frame_network import NetworkConfig
from sersl.core.errors import UserError
from sersl.release.folder import read_model
from sersl.release.huggingface.importing import import_folder
from sersl.release.onnx.exporting import write_onnx
from sersl.release.predict import predictor
from sersl.release.predict.padding import padded_batch
from tests.release import fake_model
from tests.release.fake_source import write_source

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
    batch, _ = padded_batch(waveforms, rows=3, length=max(map(len, waveforms)) + 700)
    if released.architecture.heads is None:
        layers = (model.num_layers,)
        outputs = dict(model.network.hidden(waveforms, layers=layers, frames=False))
        expected = {"embedding": np.stack([outputs[i]["states"][0] for i in range(3)])}
    else:
        outputs = dict(model.network.scores(waveforms, frames=False))
        expected = {name: np.stack([outputs[i][name] for i in range(3)]) for name in outputs[0]}
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
        {"kind": "statistics", "layers": "weighted", "head": "linear"},
        {"kind": "max", "layers": "all"},
        {"kind": "statistics", "layers": "1-2", "standardize_outputs": True},
        {"kind": "attention", "layers": "last"},
        {"kind": "attention", "layers": "last", "standardize_outputs": True},
        {"kind": "attention", "projection": 6, "standardize_outputs": True},
        {"kind": "multi_head_attention"},
        {"kind": "attentive_correlation", "projection": 6},
        {"kind": "tokens", "layers": "last"},
        {"kind": "mean", "layers": "all", "side": 2},
        {"kind": "mean", "layers": "all", "side": 2, "onto": 1},
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


@pytest.mark.parametrize(
    ("heads", "others"),
    [
        ({"category_loss": "evidential", "dimensions_loss": "evidential"}, ["vacuity"]),
        ({"category_loss": "prototypes", "prototype_width": 6}, ["open_set"]),
        ({"category_loss": "ordinal"}, []),
        ({"category_loss": "annotators", "annotators": ("ann", "ben")}, []),
        ({"category_loss": "listeners", "annotators": ("ann", "ben"), "listener_width": 3}, []),
    ],
    ids=str,
)
def test_onnx_when_a_loss_needs_another_head_then_equal_at_three_lengths(tmp_path, heads, others):
    folder = fake_model.write_fake(tmp_path / "model", kind="mean", head="tanh", heads=heads)
    names, worst = compare(folder, write_onnx(read_model(folder), tmp_path / "onnx"))
    evidence = ["aleatoric", "epistemic"] if "dimensions_loss" in heads else []
    assert names == ["category", *others, "dimensions", *evidence, "embedding"]
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


KINDS = [
    ("encoder", "kind"),
    ("encoder", "positions"),
    ("encoder", "norm"),
    ("frontend", "kind"),
    ("frontend", "normalize"),
    ("pooling", "kind"),
    ("pooling", "layers"),
    ("heads", "kind"),
    ("heads", "category_loss"),
    ("heads", "dimensions_loss"),
]


@pytest.fixture(scope="module")
def released(tmp_path_factory):
    return read_model(fake_model.write_fake(tmp_path_factory.mktemp("models") / "model"))


def with_kind(released, part, field, kind):
    """The model with a setting whose name no check of the settings looks at."""
    settings = copy.copy(getattr(released.architecture, part))
    object.__setattr__(settings, field, kind)
    architecture = dataclasses.replace(released.architecture, **{part: settings})
    return dataclasses.replace(released, architecture=architecture)


@pytest.mark.parametrize(("part", "field"), KINDS)
def test_onnx_when_a_kind_is_new_then_refused_and_never_taken_for_another(
    released, tmp_path, part, field
):
    planted = with_kind(released, part, field, "brand_new")
    with pytest.raises(UserError, match=rf"{part}.{field}=brand_new cannot be exported to ONNX"):
        write_onnx(planted, tmp_path / "onnx")
    assert not list(tmp_path.iterdir())


def test_onnx_when_the_pooling_has_a_network_then_refused(released, tmp_path):
    planted = with_kind(released, "pooling", "network", NetworkConfig(kind="dwformer"))
    with pytest.raises(UserError, match=r"pooling.network.kind=dwformer cannot be exported"):
        write_onnx(planted, tmp_path / "onnx")
    assert not list(tmp_path.iterdir())


def test_onnx_when_the_norm_of_the_convolutions_is_new_then_refused(tmp_path):
    import_folder(write_source(tmp_path / "source"), tmp_path / "model")
    planted = with_kind(read_model(tmp_path / "model"), "frontend", "conv_norm", "brand_new")
    with pytest.raises(UserError, match=r"frontend.conv_norm=brand_new cannot be exported"):
        write_onnx(planted, tmp_path / "onnx")
    assert not (tmp_path / "onnx").exists()


def test_onnx_when_the_folder_holds_something_else_then_it_stays(released, tmp_path):
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(UserError, match=r"also holds 'thesis.txt'"):
        write_onnx(released, tmp_path)
    assert (tmp_path / "thesis.txt").read_text() == "years of work"
