"""The same run on every mesh: losses, memory, one trace, and a teacher where there is one."""

import dataclasses

import jax
import numpy as np
import pytest
import soundfile

from sersl.config.schema import MeshConfig
from sersl.core.errors import UserError
from sersl.corpora.labels import make_view
from sersl.corpora.prepare import prepare
from sersl.data.batch_plan import make_plan
from sersl.data.pipeline import training_batches
from sersl.eval.evaluator import validation_scores
from sersl.finetuning.run import finetune
from sersl.parallel.mesh import make_mesh
from sersl.parallel.sharding import batch_sharding, bytes_per_device, path_name
from sersl.pretraining.run import open_inputs, pretrain
from sersl.pretraining.task import PretrainTask
from sersl.runs.checkpoint import load_params, newest_step
from sersl.runs.startup import MAY_CHANGE
from sersl.training.optimizer import make_optimizer
from sersl.training.program import compile_steps
from sersl.training.step import (
    Layout,
    abstract_state,
    make_step,
    new_state,
    param_shapes,
    shardings_of,
)
from tests.tiny_runs import finetune_config, never, pretrain_config, values_of
from tests.tolerances import FP32, LOSS_ACROSS_MESHES

# All three objectives, six steps.
PRETRAIN = ("train.num_steps=6",)
# One fold; categories by cross-entropy and dimensions by CCC over the global batch.
FINETUNE = ("train.num_steps=6", "evaluate_every_steps=3", "protocol.folds=('fold1',)")
# One layer and one objective: a short compilation.
SMALL = (
    "objectives.contrastive.weight=0.0",
    "objectives.distill.weight=0.0",
    "encoder.num_layers=1",
)


ONE = jax.devices()[:1]
ANNOTATION = frozenset({"annotation"})


def on_mesh(config, sizes):
    data, fsdp, tensor = sizes
    config = dataclasses.replace(config, mesh=MeshConfig(data=data, fsdp=fsdp, tensor=tensor))
    return config, jax.devices()[: data * fsdp * tensor]


def pretrained(data_dir, workdir, sizes) -> list[dict]:
    config, devices = on_mesh(pretrain_config(data_dir, *PRETRAIN), sizes)
    pretrain(config, workdir, preempted=never, devices=devices)
    return values_of(workdir)


def finetuned(data_dir, workdir, sizes) -> list[dict]:
    config, devices = on_mesh(finetune_config(data_dir, *FINETUNE), sizes)
    finetune(config, workdir, score=validation_scores, preempted=never, devices=devices)
    return values_of(workdir / "folds" / "fold1")


def check_losses(found: list[dict], wanted: list[dict]) -> None:
    assert [line["step"] for line in found] == [line["step"] for line in wanted]
    losses = [[line["loss"] for line in lines] for lines in (found, wanted)]
    np.testing.assert_allclose(*losses, **LOSS_ACROSS_MESHES)


@pytest.fixture(scope="module")
def pretrained_alone(data_dir, tmp_path_factory):
    return pretrained(data_dir, tmp_path_factory.mktemp("alone"), (1, 1, 1))


@pytest.fixture(scope="module")
def finetuned_alone(data_dir, tmp_path_factory):
    return finetuned(data_dir, tmp_path_factory.mktemp("alone"), (1, 1, 1))


def test_pretrain_when_the_mesh_has_all_axes_then_the_losses_of_one_device(
    pretrained_alone, data_dir, tmp_path
):
    found = pretrained(data_dir, tmp_path, (2, 2, 2))
    assert len(found) == 6
    check_losses(found, pretrained_alone)
    for name in ("contrastive", "prosody", "distill", "masked_fraction"):
        values = [[line[name] for line in lines] for lines in (found, pretrained_alone)]
        np.testing.assert_allclose(*values, **LOSS_ACROSS_MESHES)


@pytest.mark.slow
@pytest.mark.parametrize("sizes", [(8, 1, 1), (1, 8, 1)])
def test_pretrain_when_on_any_mesh_then_the_losses_of_one_device(
    pretrained_alone, data_dir, tmp_path, sizes
):
    check_losses(pretrained(data_dir, tmp_path, sizes), pretrained_alone)


@pytest.mark.slow
@pytest.mark.parametrize("sizes", [(8, 1, 1), (1, 8, 1), (2, 2, 2)])
def test_finetune_when_on_any_mesh_then_the_losses_of_one_device(
    finetuned_alone, data_dir, tmp_path, sizes
):
    found = finetuned(data_dir, tmp_path, sizes)
    check_losses(found, finetuned_alone)
    for name in ("category_loss", "dimensions_loss", "validation_selection"):
        values = [[line.get(name, 0) for line in lines] for lines in (found, finetuned_alone)]
        np.testing.assert_allclose(*values, **LOSS_ACROSS_MESHES)


@pytest.mark.slow
def test_step_when_there_are_three_buckets_then_traced_once_for_each(
    data_dir, tmp_path, monkeypatch
):
    config = pretrain_config(
        data_dir,
        *SMALL,
        "data.num_buckets=3",
        "data.max_seconds=4.0",
        "data.seconds_per_batch=32.0",
        "train.num_steps=24",
    )
    sources = open_inputs(config, needs=ANNOTATION)
    plan = make_plan([source.num_samples for source in sources], data=config.data, seed=0)
    visits = np.bincount([plan.batch(step).bucket for step in range(24)], minlength=3)
    assert len(plan.buckets) == 3 and visits.min() >= 2, visits
    traced = []
    loss = PretrainTask.loss

    def counted(self, params, batch, context):
        traced.append(batch["waveform"].shape[1])
        return loss(self, params, batch, context)

    monkeypatch.setattr(PretrainTask, "loss", counted)
    pretrain(config, tmp_path, preempted=never, devices=ONE)
    assert sorted(traced) == [bucket.num_samples for bucket in plan.buckets]
    assert len(values_of(tmp_path)) == 24


class Prepared:
    """A compiled step of a config on a mesh, a state and a batch."""

    def __init__(self, config, sizes):
        config, devices = on_mesh(config, sizes)
        self.config, self.mesh = config, make_mesh(config.mesh, devices)
        self.task = PretrainTask(config)
        self.sources = open_inputs(config, needs=ANNOTATION)
        lengths = [source.num_samples for source in self.sources]
        self.plan = make_plan(lengths, data=config.data, seed=0)
        self.optimizer = make_optimizer(config.optimizer, param_shapes(self.task), num_steps=20)
        with jax.set_mesh(self.mesh):
            self.abstract, _ = abstract_state(self.task, self.optimizer, self.mesh)
            (self.compiled,) = compile_steps(
                make_step(self.task, self.optimizer, seed=0),
                self.abstract,
                Layout(mesh=self.mesh, buckets=self.plan.buckets, needs=ANNOTATION),
                say=lambda line: None,
            ).values()

    def state(self):
        make = jax.jit(
            lambda: new_state(self.task, self.optimizer), out_shardings=shardings_of(self.abstract)
        )
        with jax.set_mesh(self.mesh):
            return make()

    def batches(self):
        for batch in training_batches(
            self.sources,
            self.plan,
            make_view("none", ()),
            start_step=0,
            num_steps=self.config.train.num_steps,
            data=self.config.data,
        ):
            yield jax.device_put(batch, batch_sharding(self.mesh))


def test_bytes_per_device_when_the_state_is_sharded_then_fewer(data_dir):
    config = pretrain_config(data_dir, *SMALL)
    found = {}
    for sizes in ((8, 1, 1), (1, 8, 1)):
        one = Prepared(config, sizes)
        counted = bytes_per_device(one.abstract, shardings_of(one.abstract))
        found[sizes] = one.compiled.memory_analysis().argument_size_in_bytes, counted
    (whole, whole_counted), (cut, cut_counted) = found.values()
    # The batch is cut eight ways on both meshes: what is saved is saved on the state.
    assert whole - cut == whole_counted - cut_counted
    # Biases without a name and small heads stay whole.
    assert cut_counted < whole_counted / 3


def test_step_when_run_then_its_state_is_donated_and_the_teacher_moves(data_dir):
    one = Prepared(pretrain_config(data_dir, "encoder.num_layers=1"), (1, 2, 1))
    state, batches = one.state(), one.batches()
    with jax.set_mesh(one.mesh):
        # Before anything is read: on CPU numpy looks into the buffer itself, which keeps it alive.
        old = jax.tree_util.tree_flatten_with_path(state)[0]
        state, _ = one.compiled(state, next(batches), {})
        assert [path_name(path) for path, leaf in old if not leaf.is_deleted()] == []
        for step in range(1, 3):
            before = jax.device_get(state.teacher)
            state, _ = one.compiled(state, next(batches), {})
            decay_range = 0.9999 - 0.9
            decay = np.float32(0.9 + decay_range * step / 30_000)
            student = jax.device_get({"encoder": state.params["encoder"]})
            moved = jax.tree.map(lambda t, p, d=decay: d * t + (1 - d) * p, before, student)
            jax.tree.map(
                lambda a, b: np.testing.assert_allclose(a, b, **FP32), state.teacher, moved
            )
            assert any(
                np.any(a != b)
                for a, b in zip(
                    jax.tree.leaves(before),
                    jax.tree.leaves(jax.device_get(state.teacher)),
                    strict=True,
                )
            )
    assert int(state.step) == 3


def test_state_when_an_objective_needs_a_teacher_then_has_one_and_else_none(data_dir):
    for weight in (0.0, 1.0):
        config = pretrain_config(data_dir, f"objectives.distill.weight={weight}")
        task = PretrainTask(config)
        optimizer = make_optimizer(config.optimizer, param_shapes(task), num_steps=20)
        state, _ = abstract_state(task, optimizer, make_mesh(MeshConfig()))
        assert (state.teacher is not None) == bool(weight)
        if weight:
            assert jax.tree.structure(state.teacher) == jax.tree.structure(
                {"encoder": state.params["encoder"]}
            )
            assert {leaf.dtype for leaf in jax.tree.leaves(state.teacher)} == {np.dtype("float32")}


def test_pretrain_when_it_collapses_then_stops_with_a_diagnosis_and_keeps_checkpoints(
    data_dir, tmp_path
):
    config = pretrain_config(
        data_dir,
        *PRETRAIN,
        "checkpoint.every_steps=2",
        "collapse.after_steps=3",
        "collapse.min_perplexity=1000.0",
    )
    expected = (
        r"at step 4: the codebook has collapsed: .* codes per group are in use, under "
        r"collapse.min_perplexity=1000; raise objectives.contrastive.diversity_weight"
    )
    config, devices = on_mesh(config, (2, 2, 2))  # compiled by a test above
    with pytest.raises(UserError, match=expected):
        pretrain(config, tmp_path, preempted=never, devices=devices)
    assert [line["step"] for line in values_of(tmp_path)] == [1, 2, 3, 4]
    assert newest_step(tmp_path / "checkpoints") == 2


HEALTHY = {
    "silent_rows": 0.5,
    "feature_variance": 1.0,
    "code_perplexity": 9.0,
    "target_variance": 0.5,
    "prediction_variance": 0.5,
}


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"feature_variance": 1e-6}, "the encoder has collapsed"),
        ({"code_perplexity": 1.1}, "the codebook has collapsed"),
        ({"target_variance": 1e-3}, "the teacher of objectives.distill has collapsed"),
        ({"prediction_variance": 1e-5}, "the student of objectives.distill has collapsed"),
        ({}, None),
    ],
)
def test_diagnose_when_after_the_grace_period_then_names_what_has_collapsed(
    data_dir, values, sentence
):
    task = PretrainTask(pretrain_config(data_dir))
    values = HEALTHY | values
    assert task.diagnose(200, values) is None
    found = task.diagnose(201, values)
    assert found is None if sentence is None else sentence in found


def test_sources_when_an_objective_goes_by_categories_that_no_utterance_has_then_one_sentence(
    tmp_path,
):
    soundfile.write(tmp_path / "a.wav", np.random.default_rng(0).normal(size=16_000) / 9, 16_000)
    (tmp_path / "few.csv").write_text("path\na.wav\n")
    prepare(data_dir=tmp_path / "data", manifest=tmp_path / "few.csv", name="few")
    config = pretrain_config(tmp_path / "data", "data.corpora=few")
    assert len(open_inputs(config, frozenset())) == 1
    with pytest.raises(UserError, match=r"the corpora \['few'\] have none: prepare them"):
        open_inputs(config, needs=frozenset({"category"}))


def test_pretrain_when_the_workdir_is_of_another_run_then_refused_and_a_longer_one_resumes(
    data_dir, tmp_path
):
    workdir, other = tmp_path / "run", tmp_path / "other"
    config = pretrain_config(data_dir, *SMALL, "train.num_steps=2")
    pretrain(config, workdir, preempted=never, devices=ONE)
    changed = dataclasses.replace(config, train=dataclasses.replace(config.train, seed=1))
    with pytest.raises(
        UserError, match=r"has a run with train.seed=0, this one has 1: use another workdir"
    ):
        pretrain(changed, workdir, preempted=never, devices=ONE)
    assert "train.num_steps" in MAY_CHANGE
    longer = dataclasses.replace(config, train=dataclasses.replace(config.train, num_steps=4))
    state = pretrain(longer, workdir, preempted=never, devices=ONE)
    assert int(state.step) == 4
    assert [line["step"] for line in values_of(workdir)] == [1, 2, 3, 4]
    # Another workdir goes on from there, step and optimizer included.
    longest = dataclasses.replace(
        config,
        train=dataclasses.replace(config.train, num_steps=5),
        resume_from=str(workdir),
    )
    pretrain(longest, other, preempted=never, devices=ONE)
    assert [line["step"] for line in values_of(other)] == [5]
    assert newest_step(workdir / "checkpoints") == 4  # only read
    assert set(load_params(other)) == set(load_params(workdir))
    # A wider model does not fit the checkpoint, whoever's config says so.
    encoder = dataclasses.replace(config.encoder, mlp_width=96)
    wider = dataclasses.replace(longest, encoder=encoder)
    with pytest.raises(UserError, match=r"holds another model: .* use the config of that run"):
        pretrain(wider, tmp_path / "wider", preempted=never, devices=ONE)
