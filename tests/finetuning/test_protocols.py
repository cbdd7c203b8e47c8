"""Every protocol of docs/protocols.md, from a manifest to scores."""

import csv
import json
import re
from pathlib import Path

import numpy as np
import pytest
import soundfile

from sersl.cli.finetune import report
from sersl.config.load import load_config
from sersl.config.schema import FinetuneConfig
from sersl.corpora.prepare import prepare
from sersl.corpora.protocols.protocol import PROTOCOLS
from sersl.eval.evaluator import validation_scores
from sersl.finetuning.run import finetune
from tests.tiny_runs import FINETUNE, never

ROOT = Path(__file__).parents[2]
RATE = 16_000
CATEGORIES = ("angry", "excited", "neutral", "sad")
# Six speakers in three sessions; sides, and numbered folds, go with the speaker.
SPEAKERS = ("s1", "s2", "s3", "s4", "s5", "s6")
SMALL = (
    *("encoder.num_layers=1", "encoder.width=16", "encoder.num_heads=2", "encoder.mlp_width=16"),
    *("frontend.num_mels=16", "pooling.hidden=8", "heads.hidden=8"),
    *("data.num_buckets=1", "data.max_seconds=0.6", "data.seconds_per_batch=4.8"),
    *("train.num_steps=2", "train.log_every_steps=1", "evaluate_every_steps=2"),
    *("protocol.final_model=false", "protocol.num_folds=2", "labels.view=4class"),
)


def write_corpus(
    folder: Path, name: str, *, seed: int, dimensions=("arousal",), dialogues: bool = False
) -> Path:
    """Writes two utterances of every category by every speaker, and a manifest of them."""
    rng = np.random.default_rng(seed)
    rows = []
    for number, speaker in enumerate(SPEAKERS):
        for category in CATEGORIES:
            for take in range(2):
                path = folder / f"{name}-{speaker}-{category}-{take}.wav"
                samples = 0.1 * rng.normal(size=int(RATE * rng.uniform(0.3, 0.6)))
                soundfile.write(path, samples, RATE)
                row = {"path": path.name, "speaker": speaker, "emotion": category}
                row |= {"session": f"Ses0{number // 2 + 1}"}
                row |= {"fold": ("train", "train", "train", "train", "dev", "test")[number]}
                if dialogues:  # of two speakers, one after the other
                    row |= {"dialogue": f"talk{number // 2}", "turn": str(len(rows))}
                rows.append(row | {key: f"{rng.uniform():.3f}" for key in dimensions})
    manifest = folder / f"{name}.csv"
    with manifest.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    return manifest


@pytest.fixture(scope="module")
def two_corpora(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("protocols")
    with pytest.MonkeyPatch.context() as monkeypatch:
        # Published protocols ask for the names of known corpora, which manifests may not have.
        monkeypatch.setattr("sersl.corpora.prepare.CORPORA", {})
        for seed, name in enumerate(("iemocap", "emodb")):
            manifest = write_corpus(folder, name, seed=seed)
            prepare(data_dir=folder / "data", manifest=manifest, name=name)
    manifest = write_corpus(folder, "talks", seed=2, dialogues=True)
    prepare(data_dir=folder / "data", manifest=manifest, name="talks")
    return folder / "data"


def scored(data_dir: Path, workdir: Path, *settings: str) -> tuple[dict, list[dict]]:
    overrides = [f"data.data_dir={data_dir}", *SMALL, *settings]
    config = load_config(FinetuneConfig, FINETUNE, overrides)
    finetune(config, workdir, score=validation_scores, preempted=never)
    report(config, workdir)
    results = json.loads((workdir / "results.json").read_text())
    return results, json.loads((workdir / "folds.json").read_text())


def emobox_lists(folder: Path) -> Path:
    """Writes EmoBox's lists of one fold of the corpus emodb."""
    place = folder / "lists" / "fold_1"
    place.mkdir(parents=True)
    for side, speakers in (("train", SPEAKERS[:3]), ("valid", SPEAKERS[3:4]), ("test", "s5 s6")):
        lines = [
            {"key": f"emodb-emodb-{s}-{c}-{t}", "dataset": "emodb"}
            | {"wav": f"emodb-{s}-{c}-{t}.wav"}
            for s in (speakers.split() if isinstance(speakers, str) else speakers)
            for c in CATEGORIES
            for t in range(2)
        ]
        text = "".join(json.dumps(line) + "\n" for line in lines)
        (place / f"emodb_{side}_fold_1.jsonl").write_text(text)
    return folder / "lists"


BOTH = "data.corpora=iemocap,emodb"
# Name of a protocol to its settings, and how many utterances of how many folds it tests.
CASES = {
    "k-fold-by-speaker": (BOTH, "protocol.num_folds=2"),
    "leave-one-speaker-out": ("data.corpora=emodb", "protocol.folds=speaker-s1,speaker-s6"),
    "leave-one-session-out": ("data.corpora=emodb",),
    "official": (BOTH,),
    "superb-er": ("data.corpora=iemocap", "protocol.allow_speaker_overlap=true"),
    "emobox": ("data.corpora=iemocap", "protocol.allow_speaker_overlap=true"),
    "emobox-emodb": ("data.corpora=emodb", "protocol.allow_speaker_overlap=true"),
    "cross-corpus": (BOTH, "data.weights=0.5,0.5"),
    "few-shot": (BOTH, "protocol.shots=2"),
    "k-fold-by-dialogue": ("data.corpora=talks", "protocol.num_folds=3"),
}
TESTED = {
    "k-fold-by-speaker": 96,
    "leave-one-speaker-out": 16,
    "leave-one-session-out": 48,
    "official": 16,
    "superb-er": 48,
    "emobox": 48,
    "emobox-emodb": 16,
    "cross-corpus": 96,
    "few-shot": 96,
    "k-fold-by-dialogue": 48,
}


@pytest.mark.parametrize("name", CASES)
def test_protocol_when_run_from_a_manifest_then_every_fold_is_trained_and_scored(
    name, two_corpora, tmp_path
):
    settings = [*CASES[name], f"protocol.name={name}"]
    if name == "emobox-emodb":
        settings.append(f"protocol.file={emobox_lists(tmp_path)}")
    results, folds = scored(two_corpora, tmp_path / "run", *settings)
    assert results["corpus"]["num_utterances"] == TESTED[name]
    assert 0 <= results["metrics"]["uar"] <= 1
    assert results["dimensions"] == ["arousal"]
    assert [fold["fold"] for fold in results["folds"]] == [fold["fold"] for fold in folds]
    if name == "k-fold-by-speaker":
        again, _ = scored(
            two_corpora,
            tmp_path / "again",
            BOTH,
            "protocol.name=file",
            f"protocol.file={tmp_path / 'run' / 'protocol.json'}",
        )
        assert again["metrics"] == results["metrics"]


def test_protocols_when_listed_in_the_docs_then_each_has_a_case_here():
    text = (ROOT / "docs" / "protocols.md").read_text()
    rows = re.findall(r"^\| (`[^|]+) \|", text, flags=re.M)
    named = {name for row in rows for name in re.findall(r"`([^`]+)`", row)} & set(PROTOCOLS)
    assert named - {"file"} <= set(CASES)
