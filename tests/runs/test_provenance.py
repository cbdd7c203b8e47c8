"""What a run is made from goes with it, so that labels of tested speakers cannot come in unseen."""

import json
import shutil
import types

import pytest

from sersl.annotation.annotate import load_sidecar_info
from sersl.cli.main import main
from sersl.config.schema import PretrainConfig
from sersl.core.errors import UserError
from sersl.data.sources import CorpusSource
from sersl.release.folder import read_model
from sersl.release.model_annotator import ModelAnnotator
from sersl.release.starting_weights import read_weights
from sersl.runs.provenance import corpora_of_run, gather_origin, read_origin
from tests.data import doubles
from tests.release.fake_model import write_fake
from tests.tiny_runs import arguments, run

FEW = ("train.num_steps=2", "checkpoint.every_steps=2")


def known(corpus, *, labels_used, fingerprint="f"):
    return {
        "corpus": corpus,
        "version": "1.0.0",
        "fingerprint": fingerprint,
        "num_utterances": 7,
        "licence": "CC0",
        "labels_used": labels_used,
    }


def ancestor(source, *corpora):
    return types.SimpleNamespace(source=source, corpora=corpora)


def test_origin_when_weights_teachers_and_another_run_are_taken_then_all_they_heard(tmp_path):
    own, inherited = known("a", labels_used=False), known("d", labels_used=True)
    (tmp_path / "corpora.json").write_text(json.dumps([own]))
    (tmp_path / "origin.json").write_text(json.dumps([{"by": "annotator x", **inherited}]))
    config = PretrainConfig(resume_from=str(tmp_path))
    assert gather_origin(config, [], weights=None) == []  # it holds no run
    (tmp_path / "checkpoints").mkdir()
    listed = gather_origin(
        config,
        [],
        weights=ancestor("runs/first", known("b", labels_used=False)),
        frozen=[ancestor("runs/teacher", known("c", labels_used=True))],
    )
    assert [(one["by"], one["corpus"], one["labels_used"]) for one in listed] == [
        ("init_from runs/first", "b", False),
        ("teacher runs/teacher", "c", True),
        (f"resume_from {tmp_path}", "a", False),
        (f"resume_from {tmp_path}", "d", True),
    ]
    assert listed[0]["licence"] == "CC0" and "num_utterances" not in listed[0]


def test_origin_when_nothing_is_taken_then_nothing(tmp_path):
    doubles.prepare(tmp_path, "alpha", [8000], annotator="signal")
    sources = [CorpusSource(tmp_path, "alpha")]
    assert gather_origin(PretrainConfig(), sources, weights=None) == []
    assert read_origin(tmp_path) == []


@pytest.mark.parametrize("text", ["", "{}}", '["a"]', '[{"corpus": "a"}]'])
def test_heard_when_a_file_is_damaged_then_a_sentence(text, tmp_path):
    (tmp_path / "corpora.json").write_text(text)
    with pytest.raises(UserError, match=r"corpora\.json cannot be read"):
        corpora_of_run(tmp_path)


def test_model_when_it_annotates_or_is_clustered_then_the_labels_it_knows_go_along(
    data_dir, tmp_path
):
    shutil.copytree(data_dir, tmp_path / "data")
    folder = write_fake(tmp_path / "model")
    (corpus,) = read_model(folder).about["corpora"]
    own = {key: corpus[key] for key in ("corpus", "version", "fingerprint")}
    assert ModelAnnotator(folder, measure="neutral").labels_of(None) == [own]
    where = ["--corpus", "synthetic", "--data_dir", str(tmp_path / "data")]
    assert main(["annotate", *where, "--annotator", str(folder)]) == 0
    info = load_sidecar_info("model-neutral", "synthetic", data_dir=tmp_path / "data")
    assert info["labels_of"] == [own]
    book = ["--output", str(tmp_path / "k4"), "--num_codes", "4", "--max_frames", "200"]
    assert main(["cluster", *where, *book, "--features", str(folder), "--layer", "1"]) == 0
    source = CorpusSource(tmp_path / "data", "synthetic", books={"k4": 4})
    assert source.books[0].labels_of == (own,)
    (one,) = gather_origin(PretrainConfig(), [source], weights=None)
    assert one == {"by": "codes k4", **own, "labels_used": True}


@pytest.mark.slow
def test_finetune_when_pretraining_went_by_labels_of_the_tested_then_refused(data_dir, tmp_path):
    data = tmp_path / "data"
    shutil.copytree(data_dir, data)
    where = ["--corpus", "synthetic", "--data_dir", str(data)]
    ranker, network = tmp_path / "ranker", tmp_path / "network"
    sizes = {"num_mels": 8, "width": 6, "recurrent": 4, "num_steps": 2, "batch": 4}
    settings = [f"--config.strength.{name}={value}" for name, value in sizes.items()]
    settings += [f"--config.strength.ranker={ranker}"]
    assert main(["annotate", "--fit", "ranker", *where, "--output", str(ranker)]) == 0
    assert main(["annotate", "--fit", "strength", *where, "--output", str(network), *settings]) == 0
    shutil.rmtree(ranker)  # what the network knows does not hang on it
    assert main(["annotate", *where, "--annotator", str(network)]) == 0

    first = tmp_path / "first"
    led = ("masking.rule=intensity", "data.annotator=network", *FEW)
    code, out, err = run(arguments("pretrain", data, first, *led))
    assert code == 0, out + err
    (one,) = json.loads((first / "origin.json").read_text())
    assert (one["by"], one["corpus"], one["labels_used"]) == (
        "annotator network",
        "synthetic",
        True,
    )
    export = ["export", "--workdir", str(first), "--output", str(tmp_path / "encoder")]
    assert main(export) == 2 and main([*export, "--licence=MIT"]) == 0
    card = (tmp_path / "encoder" / "README.md").read_text()
    assert "| annotator network | synthetic | " in card and " | yes | " in card

    second = tmp_path / "second"  # led by nothing, but started from the first
    code, out, err = run(
        arguments("pretrain", data, second, "masking.rule=uniform", f"init_from={first}", *FEW)
    )
    assert code == 0, out + err
    for start in (first, tmp_path / "encoder", second):
        assert any(one["labels_used"] for one in read_weights(start).corpora)
        words = arguments("finetune", data, tmp_path / "tuned", f"init_from={start}", *FEW)
        code, out, err = run(words)
        assert code == 2 and f"{start} were trained with labels of synthetic" in err, out + err
    allowed = (*FEW, "protocol.allow_speaker_overlap=true", "evaluate_every_steps=2")
    words = arguments("finetune", data, tmp_path / "tuned", f"init_from={second}", *allowed)
    code, out, err = run(words)
    assert code == 0 and "LEAK" in out, out + err
    origin = json.loads((tmp_path / "tuned" / "origin.json").read_text())
    assert {one["by"] for one in origin} == {f"init_from {second}"}
