"""Students that learn the kept statistics of a teacher: whole runs, and what is refused."""

import dataclasses
import json
import shutil

import jax
import numpy as np
import pytest

from sersl.config.load import load_config
from sersl.config.schema import PretrainConfig
from sersl.core.errors import UserError
from sersl.core.lengths import num_frames
from sersl.data.batch import ANNOTATION
from sersl.data.sources import CorpusSource
from sersl.data.speed_view import Views
from sersl.pretraining.kept_teachers import check_kept
from sersl.pretraining.run import open_inputs, pretrain
from sersl.runs.checkpoint import load_params
from sersl.runs.inputs import cut_short
from sersl.training.loop import Preempted
from tests.finetuning.test_kept_outputs import weights_of
from tests.tiny_runs import ROOT, never, values_of

ONE = jax.devices()[:1]
NANO = str(ROOT / "configs" / "pretrain" / "student.py") + ":nano"


def config_of(data_dir, *settings) -> PretrainConfig:
    own = (f"data.data_dir={data_dir}", "kept_teachers=teacher", "train.log_every_steps=1")
    short = ("train.num_steps=4", "views.speeds=1.1", "encoder.num_layers=1", "encoder.width=16")
    # Prosody, which copies do not have.
    workers = ("weight=1", "names=prosody", "hidden=8", "context=0")
    annotated = [f"objectives.workers.{setting}" for setting in workers]
    return load_config(PretrainConfig, NANO, [*own, *short, *annotated, *settings])


@pytest.fixture(scope="module")
def teacher():
    corpora = {"corpus": "acted", "version": "1.0.0", "fingerprint": "f", "labels_used": True}
    return dataclasses.replace(weights_of(), corpora=(corpora,))


@pytest.fixture(scope="module")
def finished(data_dir, teacher, tmp_path_factory):
    """A run on a copy of the small corpus, beside which the teacher's statistics are kept."""
    folder = tmp_path_factory.mktemp("student")
    shutil.copytree(data_dir, folder / "data", ignore=shutil.ignore_patterns("outputs"))
    # As `quick_compilation` compiles the runs of the tests, whose numbers must be the same.
    jax.config.update("jax_disable_most_optimizations", True)
    config = config_of(folder / "data")
    pretrain(config, folder / "run", preempted=never, kept=[teacher], devices=ONE)
    jax.config.update("jax_disable_most_optimizations", False)
    return folder


def stores(folder) -> dict[str, float]:
    """Modification times of the kept outputs."""
    return {path.name: path.stat().st_mtime for path in folder.glob("data/synthetic/*/outputs/*")}


def test_student_when_trained_then_outputs_are_kept_for_each_speed_and_the_origin_is_recorded(
    finished, teacher
):
    assert len(stores(finished)) == 2
    lines = values_of(finished / "run")
    assert [line["step"] for line in lines] == [1, 2, 3, 4]
    names = ("statistics", "workers_prosody")
    assert all(np.isfinite(line[name]) for line in lines for name in names)
    corpora = json.loads((finished / "run" / "corpora.json").read_text())
    assert [corpus["corpus"] for corpus in corpora] == ["synthetic"]
    (origin,) = json.loads((finished / "run" / "origin.json").read_text())
    assert origin["by"] == f"teacher {teacher.source}" and origin["labels_used"]


def test_student_when_interrupted_and_resumed_then_the_same_weights_from_the_same_outputs(
    finished, teacher, tmp_path
):
    before, config = stores(finished), config_of(finished / "data")
    with pytest.raises(Preempted):
        pretrain(config, tmp_path / "run", preempted=lambda s: s == 2, kept=[teacher], devices=ONE)
    pretrain(config, tmp_path / "run", preempted=never, kept=[teacher], devices=ONE)
    assert stores(finished) == before
    pairs = [load_params(folder / "run") for folder in (finished, tmp_path)]
    for a, b in zip(*map(jax.tree.leaves, pairs), strict=True):
        np.testing.assert_array_equal(a, b)


def test_student_when_trained_on_eight_devices_then_the_losses_of_one(finished, teacher, tmp_path):
    config = config_of(finished / "data", "train.num_steps=2")
    mesh = dataclasses.replace(config.mesh, data=8)
    pretrain(
        dataclasses.replace(config, mesh=mesh), tmp_path / "run", preempted=never, kept=[teacher]
    )
    found, alone = values_of(tmp_path / "run"), values_of(finished / "run")[:2]
    for a, b in zip(found, alone, strict=True):
        np.testing.assert_allclose(a["statistics"], b["statistics"], rtol=1e-4)


def test_student_when_the_teacher_has_other_weights_then_its_own_outputs_are_computed(
    finished, tmp_path
):
    before, other = stores(finished), weights_of(seed=1)
    config = config_of(finished / "data", "train.num_steps=1", "views.speeds=")
    pretrain(config, tmp_path / "run", preempted=never, kept=[other], devices=ONE)
    assert len(stores(finished).keys() - before.keys()) == 1


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (("data.max_seconds=1",), "of which the longest has .* s, and data.max_seconds=1 would"),
        (
            ("objectives.statistics.weight=0", "objectives.functionals.weight=1"),
            "kept_teachers are read by objectives.statistics, whose weight is 0",
        ),
    ],
)
def test_student_when_settings_do_not_go_together_then_one_sentence(finished, settings, words):
    config = config_of(finished / "data", *settings)
    sources = [CorpusSource(finished / "data", "synthetic")]
    with pytest.raises(UserError, match=words) as caught:
        check_kept(config, sources)
    assert "\n" not in str(caught.value)


def test_corpora_when_teachers_are_kept_then_the_start_of_long_utterances_is_read(
    finished, monkeypatch
):
    monkeypatch.setattr("sersl.pretraining.run.MAX_EVALUATION_SAMPLES", 8000)
    config = config_of(finished / "data")
    (source,) = open_inputs(config, frozenset({ANNOTATION}))
    assert source.num_samples.max() == 8000 < source.index.column("num_samples").max()
    (line,) = cut_short([source])
    assert "of 64 utterances of corpus 'synthetic' are longer than 0.5 s" in line
    row = int(source.index.column("num_samples").argmax())
    intensity, _ = source.frames(row, num_frames=num_frames(8000))
    assert len(source.waveform(row)) == 8000 and len(intensity) == num_frames(8000)
    (whole,) = open_inputs(dataclasses.replace(config, kept_teachers=()), frozenset())
    assert whole.num_samples.max() > 8000 and not cut_short([whole])


def test_copies_when_made_for_pretraining_then_they_have_no_annotation(finished):
    config = config_of(finished / "data")
    source = CorpusSource(finished / "data", "synthetic", annotator="signal")
    copy = Views([source], config.views, shortest=0).sources[1]
    intensity, prosody = copy.frames(0, start_frame=2, num_frames=7)
    assert intensity.shape == (7,) and prosody.shape == (7, 6)
    assert np.isnan(intensity).all() and np.isnan(prosody).all()
    assert np.isfinite(source.frames(0, num_frames=7)[0]).all()
