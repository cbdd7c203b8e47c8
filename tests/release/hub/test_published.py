"""Folders in the layouts of published models with emotion heads load by name."""

import json

import numpy as np
import pytest
import torch
from safetensors.numpy import save

import sersl
from tests.fake_speech import RATE, make_voice
from tests.release import fake_source
from tests.release.hub.small_hub import Repo

CLASSES = {"wav2vec2": "Wav2Vec2", "hubert": "Hubert"}
EMOTIONS = ("neu", "hap", "ang", "sad")
DIMENSIONS = ("arousal", "dominance", "valence")
LARGE = {"do_stable_layer_norm": True, "feat_extract_norm": "layer", "conv_bias": True}
TRAINING = {  # fields of training that such configs also have
    "activation_dropout": 0.1,
    "apply_spec_augment": True,
    "bos_token_id": 1,
    "ctc_loss_reduction": "sum",
    "ctc_zero_infinity": False,
    "feat_extract_dropout": 0.0,
    "final_dropout": 0.1,
    "gradient_checkpointing": False,
    "hidden_dropout_prob": 0.1,
    "layerdrop": 0.1,
    "mask_time_prob": 0.05,
    "torch_dtype": "float32",
    "transformers_version": "4.17.0.dev0",
    "vocab_size": None,
}


def published(family, head, labels, **more):
    """The files of a small model: config as published, random weights, a card."""
    config = {**fake_source.CONFIG, **TRAINING, **more, "model_type": family}
    config["architectures"] = [
        f"{CLASSES[family]}For{'Sequence' if head == 'projector' else 'Speech'}Classification"
    ]
    config["id2label"] = {str(i): name for i, name in enumerate(labels)}
    config["label2id"] = {name: i for i, name in enumerate(labels)}
    width, layers = config["hidden_size"], config["num_hidden_layers"]
    shapes = {
        "classifier.dense.weight": (width, width),
        "classifier.dense.bias": (width,),
        "classifier.out_proj.weight": (len(labels), width),
        "classifier.out_proj.bias": (len(labels),),
    }
    if head == "projector":
        config |= {"use_weighted_layer_sum": True, "classifier_proj_size": 256}
        shapes = {
            "layer_weights": (layers + 1,),
            "projector.weight": (256, width),
            "projector.bias": (256,),
            "classifier.weight": (len(labels), 256),
            "classifier.bias": (len(labels),),
        }
    rng = np.random.default_rng(0)
    tensors = fake_source.make_tensors(config, prefix=f"{family}.")
    for name, shape in shapes.items():
        tensors[name] = (0.1 * rng.standard_normal(shape)).astype(np.float32)
    return config, tensors


def as_bin(tensors, path):
    torch.save({name: torch.from_numpy(array) for name, array in tensors.items()}, path)
    return {"pytorch_model.bin": path.read_bytes()}


@pytest.mark.parametrize(
    ("name", "family", "head", "labels", "more"),
    [
        ("superb/wav2vec2-base-superb-er", "wav2vec2", "projector", EMOTIONS, {}),
        ("superb/hubert-large-superb-er", "hubert", "projector", EMOTIONS, LARGE),
        (
            "audeering/wav2vec2-large-robust-12-ft-emotion-msp-dim",
            "wav2vec2",
            "dense",
            DIMENSIONS,
            {**LARGE, "finetuning_task": "wav2vec2_reg"},
        ),
    ],
)
def test_load_when_a_folder_has_a_published_layout_then_its_heads_answer(
    hub, tmp_path, name, family, head, labels, more
):
    config, tensors = published(family, head, labels, **more)
    weights = {"model.safetensors": save(tensors)}
    if head == "projector":
        weights = as_bin(tensors, tmp_path / "pytorch_model.bin")
    files = {
        "config.json": json.dumps(config).encode(),
        "preprocessor_config.json": json.dumps(fake_source.PREPROCESSOR).encode(),
        "README.md": b"---\nlicense: cc-by-nc-sa-4.0\n---\n# Model\n",
        "vocab.json": b"{}",
    }
    hub.repos[name] = Repo({**files, **weights})
    model = sersl.load(name, needs_heads=True)
    answer = model.predict(make_voice(1.0, 1), sample_rate=RATE)
    if head == "dense":
        assert tuple(answer["dimensions"]) == labels
    else:
        assert tuple(answer["scores"]) == labels
        assert sum(answer["scores"].values()) == pytest.approx(1, abs=1e-5)
    assert model.about["licence"] == "cc-by-nc-sa-4.0"
    assert model.about["imported"]["source"].startswith(f"{name}@")
