"""Heads with the context of a dialogue: trained, exported, predicted, and streamed."""

import json
import re
import shlex

import numpy as np
import pytest
import soundfile

import sersl
from sersl.cli.main import main
from sersl.config.load import load_config
from sersl.config.schema import FinetuneConfig
from sersl.core.errors import UserError
from sersl.corpora.catalog.registry import CORPORA
from sersl.corpora.dialogues import read_dialogues
from sersl.corpora.index import load_index
from sersl.corpora.labels import LabelView
from sersl.corpora.prepare import prepare
from sersl.corpora.synthetic.dialogues import SyntheticDialogues
from sersl.data.batch import OUTPUTS, OutputShape
from sersl.data.dialogue_batches import DialogueBatches
from sersl.data.sources import CorpusSource
from sersl.eval.answers import Answers
from sersl.finetuning.context.conversation_trainer import check_conversation, slots_of
from tests.finetuning.test_kept_outputs import SMALL, fine_tuned
from tests.release import fake_model
from tests.tiny_runs import ROOT, run, values_of

NANO = str(ROOT / "configs" / "finetune" / "conversation.py") + ":nano"
CORPUS = "synthetic_dialogues"
# Twice 60 steps, with which a network of 32 channels learns eight dialogues by heart.
QUICK = [
    *("--config.protocol.num_folds=2", "--config.protocol.validation_fraction=0.0"),
    *("--config.protocol.folds=('fold1','final')", "--config.train.num_steps=60"),
    *("--config.train.log_every_steps=10", "--config.evaluate_every_steps=60"),
    *("--config.conversation.dropout=0.0", "--config.heads.dropout=0.0"),
    *("--config.conversation.width=32", "--config.optimizer.learning_rate=0.01"),
]
HALF = 2e-2  # kept vectors are float16, and the network multiplies what that changes


class FewDialogues(SyntheticDialogues):
    """Sixteen dialogues of four pairs of speakers."""

    name = CORPUS

    def __init__(self, *, data_dir):
        super().__init__(data_dir=data_dir, num_pairs=4, dialogues_per_pair=4, turns=4)


@pytest.fixture(scope="module")
def talks(tmp_path_factory):
    folder = tmp_path_factory.mktemp("talks")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(CORPORA, CORPUS, FewDialogues)
        prepare(data_dir=folder, corpus=CORPUS)
    return folder


def config_of(data_dir, *settings):
    own = (
        *(f"data.data_dir={data_dir}", f"data.corpora=('{CORPUS}',)", "protocol.num_folds=2"),
        *("protocol.final_model=false", "protocol.validation_fraction=0.0"),
        *(f"encoder.{setting}" for setting in SMALL),
    )
    return load_config(FinetuneConfig, NANO, [*own, *settings])


@pytest.fixture(scope="module")
def guide(tmp_path_factory):
    """A folder in which all commands of docs/conversations.md ran, on small data."""
    folder = tmp_path_factory.mktemp("guide")
    fake_model.write_fake_encoder(folder / "MODEL")
    text = (ROOT / "docs" / "conversations.md").read_text()
    commands = "".join(re.findall(r"```bash\n(.*?)```", text, re.DOTALL)).replace("\\\n", " ")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(CORPORA, CORPUS, FewDialogues)
        patch.chdir(folder)
        for command in commands.splitlines():
            program, verb, *words = shlex.split(command)
            assert program == "sersl"
            if "turns.csv" in words:
                write_list(folder)
            if verb == "finetune":
                # In a process of its own, as it looks for other processes.
                line = " ".join([verb, *words]).replace(":gru", ":nano")
                for name in ("MODEL", "data ", "runs/talk"):
                    line = line.replace(f"={name}", f"={folder}/{name}")
                line = line.replace("--workdir runs", f"--workdir {folder}/runs")
                code, _, problem = run([*line.split(), *QUICK])
                assert code == 0, problem
                continue
            assert main([verb, *words]) == 0, command
        fold = ["--fold", "fold1", "--licence", "CC0-1.0"]
        assert main(["export", "--workdir", "runs/talk", "--output", "first", *fold]) == 0
    return folder


def write_list(folder):
    """Writes the recordings of two turns, the second first, and their list."""
    source = CorpusSource(folder / "data", CORPUS)
    lines = ["path,dialogue,turn,speaker"]
    for turn, name, speaker in ((1, "b.wav", "customer"), (0, "a.wav", "agent")):
        soundfile.write(folder / name, source.waveform(turn), 16_000)
        lines.append(f"{name},d,{turn},{speaker}")
    (folder / "turns.csv").write_text("\n".join(lines))


@pytest.mark.slow
def test_guide_when_its_commands_ran_then_a_row_per_turn_and_its_python_runs(
    guide, monkeypatch, capsys
):
    rows = [row.split(",") for row in (guide / "answers.csv").read_text().splitlines()[1:]]
    assert [(row[0].rsplit("/", 1)[-1], row[3]) for row in rows] == [
        ("b.wav", "customer"),
        ("a.wav", "agent"),
    ]
    monkeypatch.chdir(guide)
    text = (ROOT / "docs" / "conversations.md").read_text()
    exec("\n".join(re.findall(r"```python\n(.*?)```", text, re.DOTALL)), {})
    assert capsys.readouterr().out.startswith("agent ")


@pytest.mark.slow
def test_finetune_when_eight_dialogues_then_learns_them_by_heart(guide):
    logged = values_of(guide / "runs" / "talk" / "folds" / "fold1")
    assert logged[-1]["category_accuracy"] > 0.95 > logged[0]["category_accuracy"]


@pytest.mark.slow
def test_predict_dialogue_when_exported_then_as_the_run_and_turn_by_turn_the_same(guide):
    model = sersl.load(guide / "first")
    answers = Answers.load(guide / "runs" / "talk" / "folds" / "fold1" / "answers.npz")
    source = CorpusSource(guide / "data", CORPUS)
    dialogues = read_dialogues([source.index])
    rows = dialogues.rows[int(dialogues.of_row[answers.rows[0]])].tolist()
    speakers = source.index.column("speaker")[rows].tolist()
    waveforms = [source.waveform(row) for row in rows]
    found = model.predict_dialogue(waveforms, speakers, sample_rate=16_000)
    got = np.array([list(one["scores"].values()) for one in found])
    want = answers.scores[[int(np.flatnonzero(answers.rows == row)[0]) for row in rows]]
    np.testing.assert_allclose(got, want, atol=HALF)
    assert [one["speaker"] for one in found] == speakers
    conversation = model.conversation()
    for waveform, speaker, one in zip(waveforms, speakers, found, strict=True):
        then = conversation.add(waveform, speaker=speaker, sample_rate=16_000)
        np.testing.assert_allclose(
            [*then["scores"].values(), *then["dimensions"].values()],
            [*one["scores"].values(), *one["dimensions"].values()],
            rtol=1e-5,
            atol=1e-5,
        )
    alone = model.predict(waveforms[-1], sample_rate=16_000)
    assert alone["scores"] != found[-1]["scores"]
    with pytest.raises(UserError, match="a turn needs its speaker"):
        conversation.add(waveforms[0], speaker="", sample_rate=16_000)
    silence = np.zeros(16_000, np.float32)
    with pytest.raises(UserError, match="is silent"):
        conversation.add(silence, speaker="a", sample_rate=16_000)
    silent = model.predict_dialogue([waveforms[0], silence], ["a", "b"], sample_rate=16_000)
    assert silent[0]["scores"] and "silent" in silent[1]["error"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("path,dialogue,turn,speaker\n0.wav,d,1,a\n1.wav,d,1,b\n", "two turns of number 1"),
        ("path,dialogue,turn,speaker\n0.wav,d,1,\n1.wav,d,2,b\n", "'0.wav' has no speaker"),
        ("path,turn,speaker\n0.wav,1,a\n", "has no column 'dialogue'"),
        ("path,dialogue,turn,speaker\n", "has no rows"),
    ],
)
def test_predict_when_a_list_of_dialogues_is_wrong_then_one_sentence(
    tmp_path, capsys, text, message
):
    table = tmp_path / "list.csv"
    table.write_text(text)
    assert main(["predict", "--dialogues", str(table)]) == 2
    assert message in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["transformer", "graph"])
def test_finetune_when_nano_steps_then_every_utterance_is_answered(talks, tmp_path, kind):
    config = config_of(talks, f"conversation.kind={kind}", "protocol.folds=('fold1',)")
    fine_tuned(config, tmp_path / "run")
    answers = Answers.load(tmp_path / "run" / "folds" / "fold1" / "answers.npz")
    assert np.isfinite(answers.scores).all() and len(answers.rows) == 32
    lines = (tmp_path / "run" / "folds" / "fold1" / "metrics.jsonl").read_text().splitlines()
    logged = json.loads(lines[0])
    seconds = logged["audio_seconds_per_second"] * logged["step_seconds"]  # of a batch
    lengths = CorpusSource(talks, CORPUS).num_samples / 16_000
    turns = 4 * config.conversation.dialogues_per_batch
    assert turns * lengths.min() <= seconds <= turns * lengths.max()


class Kept:
    """Kept outputs of a corpus, all zero."""

    shape, dtype = OutputShape(1, 2, 3), "float16"

    def read(self, row):
        return np.zeros((1, 2, 3), np.float16)


def test_batches_when_of_dialogues_then_seconds_are_those_of_the_utterances(talks):
    source = CorpusSource(talks, CORPUS)
    source.outputs = Kept()
    dialogues = read_dialogues([source.index])
    sizes = {"num_dialogues": 3, "slots": 6, "dimensions": (), "needs": {OUTPUTS}}
    batches = DialogueBatches([source], dialogues, LabelView(()), **sizes)
    found = np.zeros(len(source))
    own_rows = np.arange(1, 18)  # as a second process has them
    for batch in batches.of(np.arange(len(source)), own_rows=own_rows):
        row = batch["utterance_index"]
        assert (batch["seconds"][row < 0] == 0).all()
        found[row[row >= 0]] = batch["seconds"][row >= 0]
    seen = found > 0
    assert seen.sum() > 0.8 * len(source)
    np.testing.assert_allclose(found[seen], source.num_samples[seen] / 16_000, rtol=1e-6)


@pytest.mark.parametrize(
    ("setting", "named"),
    [
        ("solver.kind=ridge", "solver"),
        ("baseline.kind=logistic", "baseline.kind"),
        ("combine.mixup_probability=0.5", "combine"),
        ("train.accumulate_steps=2", "train.accumulate_steps"),
    ],
)
def test_conversation_when_a_setting_does_not_go_with_it_then_error_names_it(setting, named):
    config = load_config(FinetuneConfig, NANO, [setting])
    with pytest.raises(UserError, match=f"does not go with {named}"):
        check_conversation(config)


def test_conversation_when_a_dialogue_is_too_long_then_error_names_it(talks):
    dialogues = read_dialogues([load_index(talks, CORPUS)])
    config = load_config(FinetuneConfig, NANO, ["conversation.most_turns=3"])
    with pytest.raises(UserError, match=r"dialogue 'pair00-00' .* has 4 turns, more than"):
        slots_of(dialogues, config, multiple=1)
    config = load_config(FinetuneConfig, NANO, [])
    assert slots_of(dialogues, config, multiple=8) == 8


def test_model_when_it_reads_single_utterances_then_dialogues_are_refused():
    with pytest.raises(UserError, match="this model reads single utterances"):
        sersl.load().conversation()
