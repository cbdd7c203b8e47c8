"""Labels of one's own in a released folder."""

import dataclasses
import json

import numpy as np
import onnxruntime
import pytest

from sersl.core.errors import UserError
from sersl.release.folder import read_model, write_model
from sersl.release.huggingface.importing import import_folder
from sersl.release.label_facts import LabelFacts
from sersl.release.onnx.exporting import write_onnx
from sersl.release.predict import predictor
from tests.release import fake_model
from tests.release.fake_source import CONFIG, make_tensors, write_source

NAMES, DIMENSIONS = ("low", "tense", "tired"), ("valence", "warmth")
FACTS = LabelFacts(
    multi=True,
    thresholds={"low": 0.4, "tense": 0.5, "tired": 0.6},
    scales={"warmth": (1.0, 7.0)},
    classes=(("stressed", "tense"),),
    raw=True,
)


def write(folder, facts=FACTS):
    config = fake_model.make_config()
    return write_model(
        folder,
        params=fake_model.make_params(config, num_categories=3, num_dimensions=2),
        config=config,
        categories=NAMES,
        dimensions=DIMENSIONS,
        results=None,
        corpora=fake_model.CORPORA,
        labels=facts,
    )


def test_facts_when_written_then_read_back_and_in_the_config_of_transformers(tmp_path):
    released = read_model(write(tmp_path / "model"))
    assert released.labels == FACTS and released.architecture.multi
    assert released.architecture.dimensions == DIMENSIONS
    config = json.loads((tmp_path / "model" / "config.json").read_text())
    assert config["problem_type"] == "multi_label_classification"
    assert list(config["label2id"]) == list(NAMES)
    view = released.labels.view(NAMES)
    assert view.multi and view.raw and view.indices(np.array(["stressed"])).tolist() == [1]


def test_facts_when_labels_are_plain_then_sersl_json_has_no_such_field(tmp_path):
    released = read_model(write(tmp_path / "model", LabelFacts()))
    assert "labels" not in released.about and released.labels == LabelFacts()


@pytest.mark.parametrize(
    "wrong",
    [
        {"multi": "yes"},
        {"multi": True, "thresholds": {"low": 0.5}},
        {"thresholds": dict.fromkeys(NAMES, 0.5)},
        {"scales": {"warmth": [7, 1]}},
        {"scales": {"warmth": 7}},
        {"classes": [["a"]]},
        {"colour": 1},
        {"temperature": "hot"},
        {"temperature": 0},
        {"temperature": True},
        {"multi": True, "thresholds": dict.fromkeys(NAMES, 0.5), "temperature": 2.0},
    ],
)
def test_facts_when_damaged_then_one_sentence_names_the_field(tmp_path, wrong):
    folder = write(tmp_path / "model", LabelFacts())
    about = json.loads((folder / "sersl.json").read_text()) | {"labels": wrong}
    fake_model.seal(folder, about)
    with pytest.raises(UserError, match=r"sersl\.json, 'labels'") as error:
        read_model(folder)
    assert "\n" not in str(error.value)


def test_model_when_several_apply_then_the_graph_and_the_predictor_agree_by_name(tmp_path):
    folder = write(tmp_path / "model")
    path = write_onnx(read_model(folder), folder / "onnx")
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    metadata = session.get_modelmeta().custom_metadata_map
    assert json.loads(metadata["categories"]) == list(NAMES)
    assert json.loads(metadata["labels"])["thresholds"] == FACTS.thresholds
    waveform = (0.1 * np.random.default_rng(0).normal(size=16_000)).astype(np.float32)
    given = {"waveform": waveform[None], "num_samples": np.array([16_000], np.int64)}
    category, dimensions = session.run(["category", "dimensions"], given)
    answer = predictor.load(folder).predict(waveform, sample_rate=16_000)
    np.testing.assert_allclose(category[0], list(answer["scores"].values()), atol=1e-4)
    np.testing.assert_allclose(dimensions[0], list(answer["dimensions"].values()), atol=1e-4)
    assert list(answer["dimensions"]) == list(DIMENSIONS)
    applies = [n for n in NAMES if answer["scores"][n] >= FACTS.thresholds[n]]
    assert answer["applies"] == applies and sum(answer["scores"].values()) != pytest.approx(1)


@pytest.mark.parametrize("loss", ["cross_entropy", "evidential", "ordinal"])
def test_model_when_it_has_a_temperature_then_predictor_frames_and_graph_use_it(tmp_path, loss):
    config = fake_model.make_config(heads={"category_loss": loss})
    folders = {}
    for temperature in (None, 2.5):
        folders[temperature] = write_model(
            tmp_path / f"model{temperature}",
            params=fake_model.make_params(config, num_categories=3, num_dimensions=0),
            config=config,
            categories=NAMES,
            dimensions=(),
            results=None,
            corpora=fake_model.CORPORA,
            labels=LabelFacts(temperature=temperature),
        )
    waveform = (0.1 * np.random.default_rng(0).normal(size=16_000)).astype(np.float32)
    plain, calibrated = (
        predictor.load(folder).predict(waveform, sample_rate=16_000, frames=True)
        for folder in folders.values()
    )
    for before, after in (
        (plain["scores"], calibrated["scores"]),
        ({n: plain["frames"][n] for n in NAMES}, {n: calibrated["frames"][n] for n in NAMES}),
    ):
        powers = np.stack([np.asarray(before[name], np.float64) ** (1 / 2.5) for name in NAMES])
        found = np.stack([after[name] for name in NAMES])
        np.testing.assert_allclose(found, powers / powers.sum(0), atol=1e-5)
    assert calibrated.get("uncertainty") == plain.get("uncertainty")
    assert max(calibrated["scores"].values()) < max(plain["scores"].values())
    released = read_model(folders[2.5])
    assert released.about["labels"] == {"temperature": 2.5}
    session = onnxruntime.InferenceSession(
        write_onnx(released, folders[2.5] / "onnx"), providers=["CPUExecutionProvider"]
    )
    given = {"waveform": waveform[None], "num_samples": np.array([16_000], np.int64)}
    category = session.run(["category"], given)[0][0]
    np.testing.assert_allclose(category, list(calibrated["scores"].values()), atol=1e-4)


@pytest.mark.parametrize(
    ("temperature", "sentence"),
    [(1.25, "a temperature of 1.250"), (None, "They are not calibrated: there are no validation")],
)
def test_card_when_there_is_a_temperature_or_none_then_it_says_so(tmp_path, temperature, sentence):
    folder = write(tmp_path / "model", LabelFacts(temperature=temperature))
    assert sentence in (folder / "README.md").read_text()


def test_card_when_labels_are_of_ones_own_then_it_names_scales_and_thresholds(tmp_path):
    facts = dataclasses.replace(FACTS, scales={"warmth": (1.0, 7.0), "valence": (-3.0, 3.0)})
    card = " ".join((write(tmp_path / "model", facts) / "README.md").read_text().split())
    assert "Several may apply" in card and "low 0.40, tense 0.50, tired 0.60" in card
    assert "warmth 1 to 7, valence -3 to 3" in card and "stressed as tense" in card


@pytest.mark.parametrize(
    ("problem", "labels"),
    [
        ("multi_label_classification", ("Tense", "Tired")),
        ("regression", ("Warmth", "Pace")),
        ("single_label_classification", ("stressed", "relaxed")),
    ],
)
def test_import_when_the_source_has_labels_of_its_own_then_by_name(tmp_path, problem, labels):
    config = {
        **CONFIG,
        "architectures": ["Wav2Vec2ForSequenceClassification"],
        "problem_type": problem,
        "classifier_proj_size": 6,
        "id2label": {str(i): name for i, name in enumerate(labels)},
        "label2id": {name: i for i, name in enumerate(labels)},
    }
    rng = np.random.default_rng(0)
    shapes = {"projector.weight": (6, 32), "projector.bias": (6,)}
    shapes |= {"classifier.weight": (2, 6), "classifier.bias": (2,)}
    tensors = make_tensors() | {n: rng.normal(size=s).astype("f4") for n, s in shapes.items()}
    import_folder(write_source(tmp_path / "source", tensors, config=config), tmp_path / "model")
    released = read_model(tmp_path / "model")
    regression = problem == "regression"
    assert released.architecture.categories == (() if regression else labels)
    assert released.architecture.dimensions == (("warmth", "pace") if regression else ())
    assert released.labels.multi == problem.startswith("multi")
    assert set(released.labels.thresholds) == (set(labels) if released.labels.multi else set())
