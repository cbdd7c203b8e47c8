"""Recordings too short to be masked or predicted: refused if all are, else they count nothing."""

import json

import jax
import numpy as np
import pytest
import soundfile

from sersl.config.load import from_mapping
from sersl.config.schema import MaskingConfig, PretrainConfig
from sersl.core.errors import UserError
from sersl.core.lengths import num_samples
from sersl.corpora.prepare import prepare
from sersl.pretraining.masking import choose_masked, frames_to_mask
from sersl.pretraining.run import pretrain
from sersl.pretraining.task import PretrainTask
from sersl.pretraining.utterance_length import check_lengths
from tests.pretraining.terms.test_frame_terms import GRU, SMALL, merged
from tests.tiny_runs import never

SHORT, LONG = 1_920, 16_000  # 0.12 s and 1 s
CONTRASTIVE = {"objectives": {"contrastive": {"weight": 1.0, "width": 8, "codes": 4}}}


def corpus(folder, *lengths) -> str:
    """Prepares a corpus of recordings of these lengths."""
    rng = np.random.default_rng(0)
    for number, length in enumerate(lengths):
        soundfile.write(folder / f"{number}.wav", rng.normal(size=length) / 9, 16_000)
    rows = [f"{number}.wav" for number in range(len(lengths))]
    (folder / "list.csv").write_text("\n".join(["path", *rows]) + "\n")
    prepare(data_dir=folder / "data", manifest=folder / "list.csv", name="clips")
    return str(folder / "data")


def config_of(data_dir, *changes, num_steps=8) -> PretrainConfig:
    data = {"data_dir": data_dir, "corpora": ("clips",), "seconds_per_batch": 8.0}
    settings = {
        "data": {**data, "num_buckets": 2, "row_multiple": 4},
        "masking": {"rule": "uniform", "span": 10},
        "train": {"num_steps": num_steps, "log_every_steps": 1},
        "collapse": {"after_steps": 1000},
    }
    return from_mapping(PretrainConfig, merged(SMALL, settings, CONTRASTIVE, *changes))


def run(config, workdir):
    pretrain(config, workdir, preempted=never, devices=jax.devices()[:1])
    return [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]


def test_pretrain_when_no_recording_can_be_masked_then_one_sentence_before_anything(tmp_path):
    config = config_of(corpus(tmp_path, *[SHORT] * 8))
    expected = (
        r"masking.span needs utterances of at least 10 frames \(0.2 s\), and the longest in use "
        r"has 5: lower masking.span, or train on longer recordings"
    )
    with pytest.raises(UserError, match=expected):
        run(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_pretrain_when_some_batches_cannot_be_masked_then_their_values_are_left_out(
    tmp_path, capsys
):
    config = config_of(corpus(tmp_path, *[SHORT] * 8, *[LONG] * 8))
    lines = run(config, tmp_path / "run")
    assert "8 of 16 utterances are shorter than the 10 frames (0.2 s)" in capsys.readouterr().out
    assert all(value is not None for line in lines for value in line.values())
    masked = [line["masked_fraction"] > 0 for line in lines]
    assert True in masked and False in masked
    # A batch without a masked frame has no loss, rather than one of 0 that wins comparisons.
    assert [("loss" in line, "contrastive" in line) for line in lines] == [(m, m) for m in masked]
    assert min(line["loss"] for line in lines if "loss" in line) > 0.1


@pytest.mark.parametrize(
    ("changes", "setting", "frames"),
    [
        ({"masking": {"span": 60}}, "masking.span", 60),
        ({"masking": {"rule": "none"}, "objectives": {"apc": {"frames": 60}}}, "apc.frames", 61),
        ({"masking": {"rule": "none"}, "objectives": {"cpc": {"steps": 60}}}, "cpc.steps", 61),
        (
            {"masking": {"rule": "none"}, "objectives": {"workers": {"chunk": 60}}},
            "workers.chunk",
            60,
        ),
        (
            {"masking": {"rule": "none"}, "objectives": {"information": {"chunk": 60}}},
            "information.chunk",
            61,
        ),
    ],
)
def test_check_lengths_when_a_part_of_the_loss_could_never_count_then_one_sentence(
    changes, setting, frames
):
    objective = setting.split(".")[0]
    if objective == "masking":
        objective = "best_rq"
    whole = GRU if objective in ("apc", "cpc") else {}
    weights = {"objectives": {objective: {"weight": 1.0}}}
    task = PretrainTask(from_mapping(PretrainConfig, merged(SMALL, weights, whole, changes)))
    long, short = num_samples(frames), num_samples(frames) - 1

    def check(*corpora, most=2 * long):
        lengths = [np.array(one) for one in corpora]
        return check_lengths(task.config, task.terms.values(), lengths, most_samples=most)

    assert check([long, long]) == []
    (note,) = check([long], [short])
    assert note.startswith("1 of 2 utterances") and setting in note
    for lengths, most in ((short, 2 * long), (long, short)):
        with pytest.raises(UserError, match=rf"{setting} needs utterances of at least {frames} "):
            check([lengths], most=most)


@pytest.mark.parametrize("span", [1, 2, 5])
@pytest.mark.parametrize("wanted", [1, 2])
def test_frames_to_mask_when_counted_for_every_length_then_the_first_that_masks_enough(
    span, wanted
):
    masking = MaskingConfig(rule="uniform", fraction=0.3, span=span)
    valid = np.arange(40) < np.arange(41)[:, None]
    masked = np.asarray(choose_masked(valid, None, jax.random.key(0), masking)).sum(1)
    least = frames_to_mask(wanted, masking)
    assert (masked[least:] >= wanted).all() and (masked[:least] < wanted).all()


def test_diagnose_when_nothing_counts_from_the_start_then_one_sentence():
    def logs(*lines):
        config = from_mapping(PretrainConfig, merged(SMALL, CONTRASTIVE))
        task = PretrainTask(config)
        return [task.diagnose(step, values) for step, values in enumerate(lines)]

    empty, good = {"silent_rows": 0.0}, {"silent_rows": 0.0, "loss": 1.0}
    found = logs(*[empty] * 10)
    assert found[:9] == [None] * 9
    assert "nothing counted in objectives.contrastive in the first 10 logged batches" in found[9]
    assert logs(good, *[empty] * 30) == [None] * 31
