"""Runs with a teacher, which teachers are refused, and runs with enrolled speakers."""

import dataclasses
import shutil

import pytest

from sersl.cli.main import main
from sersl.config.load import load_config, load_json
from sersl.config.schema import FinetuneConfig
from sersl.core.errors import UserError
from sersl.core.files import read_json, write_json
from sersl.eval.workdir_files import read_folds
from sersl.finetuning.ideas import fold_teacher
from sersl.release.starting_weights import labels_of
from sersl.runs.provenance import read_origin
from tests.finetuning.test_kept_outputs import fine_tuned
from tests.tiny_runs import ROOT, values_of

NANO = str(ROOT / "configs" / "finetune" / "frozen.py") + ":nano"
SETTINGS = (
    *("protocol.num_folds=2", "protocol.final_model=false", "protocol.folds=('fold1',)"),
    *("protocol.validation_fraction=0.3", "train.log_every_steps=5", "heads.dropout=0.0"),
    *("distill.temperature=2.0",),
)


def config_of(data_dir, *settings):
    return load_config(FinetuneConfig, NANO, [f"data.data_dir={data_dir}", *SETTINGS, *settings])


def run(config, workdir):
    return values_of(fine_tuned(config, workdir))


@pytest.fixture(scope="module")
def data(data_dir, tmp_path_factory):
    folder = tmp_path_factory.mktemp("distilled") / "data"
    shutil.copytree(data_dir, folder, ignore=shutil.ignore_patterns("outputs"))
    return folder


@pytest.fixture(scope="module")
def teacher(data, tmp_path_factory):
    workdir = tmp_path_factory.mktemp("teacher")
    run(config_of(data), workdir)
    return workdir


def taught(data, teacher, *settings):
    return config_of(data, f"distill.teacher={teacher}", *settings)


def test_finetune_when_it_has_a_teacher_then_it_comes_nearer_to_its_answers(
    data, teacher, tmp_path
):
    first, *_, last = run(taught(data, teacher, "distill.kind=cubic"), tmp_path)
    for name in ("teacher_loss", "teacher_scores_relation"):
        assert 0 <= last[name] < first[name]
    # The teacher is among what the run was made from, and its labels are known to be used.
    (entry,) = read_origin(tmp_path)
    assert entry["by"] == f"teacher {teacher}" and labels_of([entry])


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        (("train.seed=5",), "carry labels of other speakers"),
        (("protocol.folds=('fold1','fold2')",), "'fold2' is not a finished fold"),
        (("labels.mapping=('angry=sad',)",), "predicts .* this run"),
        (("baseline.kind=majority",), "is for networks, and baseline"),
        (("combine.copy_paste_probability=0.5",), "combine mixes utterances"),
        (("labels.kind=multi",), "one category per utterance"),
        (("distill.exit_weight=1.0",), "a layer that trains below the last one"),
    ],
)
def test_finetune_when_the_teacher_does_not_fit_then_user_error(
    data, teacher, tmp_path, settings, sentence
):
    with pytest.raises(UserError, match=sentence):
        run(taught(data, teacher, *settings), tmp_path)


def test_finetune_when_the_teacher_was_changed_or_leaks_then_user_error(data, teacher, tmp_path):
    with pytest.raises(UserError, match="is not the workdir of a `sersl finetune` run"):
        run(taught(data, tmp_path / "nothing"), tmp_path / "own")
    with pytest.raises(UserError, match=r"there is none: give distill\.teacher"):
        run(config_of(data, "distill.labels=missing"), tmp_path / "own")
    copy = tmp_path / "copy"
    shutil.copytree(teacher, copy)
    config = read_json(copy / "config.json", what="", remedy="")
    config["train"]["seed"] = 5
    write_json(copy / "config.json", config)
    with pytest.raises(UserError, match="has changed since the run wrote it"):
        run(taught(data, copy), tmp_path / "own")


@pytest.mark.parametrize(
    ("part", "setting"), [("fusion", "fusion.kind"), ("conversation", "conversation.kind")]
)
def test_finetune_when_the_teacher_reads_more_than_one_utterance_then_user_error(
    data, teacher, tmp_path, monkeypatch, part, setting
):
    own = load_json(FinetuneConfig, teacher / "config.json")
    kind = {"fusion": "early", "conversation": "gru"}[part]
    other = dataclasses.replace(getattr(own, part), kind=kind)
    other = dataclasses.replace(own, **{part: other})
    monkeypatch.setattr(fold_teacher, "load_json", lambda *_: other)
    with pytest.raises(UserError, match=f"has {setting}='{kind}', and a teacher answers"):
        run(taught(data, teacher), tmp_path)


def test_finetune_when_the_teacher_was_co_taught_then_it_teaches_with_its_released_head(
    data, tmp_path
):
    few = ("train.num_steps=5", "evaluate_every_steps=5")
    run(config_of(data, "co_teaching.noise=0.2", *few), tmp_path / "teacher")
    (line,) = run(taught(data, tmp_path / "teacher", *few), tmp_path / "own")
    assert line["teacher_loss"] > 0


def test_finetune_when_speakers_are_enrolled_and_heads_choose_rows_then_said_and_not_exported(
    data, tmp_path, capsys
):
    settings = ("enrolment.utterances=2", "co_teaching.noise=0.2", "distill.exit_weight=0")
    first, *_, last = run(config_of(data, *settings), tmp_path)
    assert last["category_loss"] < first["category_loss"]
    assert last["peer_loss"] < first["peer_loss"]
    (fold,) = read_folds(tmp_path)
    assert "information about the test speakers" in fold["checks"]["warnings"][-1]
    # Two of the 16 utterances of each of two speakers.
    assert fold["num_test"] == 28 and fold["num_on_no_side"] >= 4
    out = str(tmp_path / "out")
    assert main(["export", "--workdir", str(tmp_path), "--fold", "fold1", "--output", out]) == 2
    assert "enrolment.utterances=0 to export" in capsys.readouterr().err
