"""The pretraining task: one student pass per batch, shared by every objective."""

import dataclasses
import functools
from collections.abc import Mapping, Sequence

import jax
import jax.numpy as jnp
from flax import nnx
from jax.sharding import Mesh

from sersl.audio.augment import check_distortion, is_on
from sersl.config.schema import PretrainConfig
from sersl.data.batch import DISTORTED, SECOND
from sersl.models.encoder import SpeechEncoder
from sersl.objectives.distill import channel_variance
from sersl.objectives.mean import Mean, any_counted
from sersl.parallel.random import fold, run_key
from sersl.parallel.sharding import logical_axes, param_shardings, place
from sersl.pretraining.intensity_input import IntensityInput, frame_weights
from sersl.pretraining.masking import NO_RULE, repeat_rows
from sersl.pretraining.mixing import mix_utterances
from sersl.pretraining.student import Passes, Student, check_student
from sersl.pretraining.terms.all_terms import make_terms
from sersl.pretraining.terms.term import Teacher, Term, View
from sersl.runs.initial_weights import InitialWeights
from sersl.training.ema import EmaTeacher
from sersl.training.task import StepContext

ENCODER = "encoder"
MOST_EMPTY_LOGS = 10  # log steps in which nothing counted, after which a run stops


class PretrainModel(nnx.Module):
    """The encoder, and the heads of each objective as an attribute of its name."""

    def __init__(self, config: PretrainConfig, terms: Mapping[str, Term], *, key: jax.Array):
        """Makes the encoder and the heads of `terms` (name to objective) from an init key."""
        self.encoder = SpeechEncoder(config.frontend, config.encoder, key=fold(key, ENCODER))
        if config.knowledge.input:
            self.intensity_input = IntensityInput(
                config.encoder.width, key=fold(key, "intensity_input")
            )
        for name, term in terms.items():
            heads = term.make_heads(key=fold(key, name))
            if heads is not None:
                setattr(self, name, heads)


class PretrainTask:
    """Pretraining for the training step: model, loss, teacher and collapse checks.

    Attributes:
      graph: graph definition of the model; `nnx.merge(graph, nnx.State(params))` rebuilds it.
      abstract: state of the model with shapes instead of arrays.
      terms: name to objective.
      needs: what batches must hold besides the waveform, see `Term.needs`.
      teacher: how the EMA teacher follows the student; None if no objective needs one.
      schedules: name to a setting that changes during training, for the log.
    """

    def __init__(
        self,
        config: PretrainConfig,
        *,
        frozen: Sequence[InitialWeights] = (),
        kept: Sequence[InitialWeights] = (),
    ):
        """Checks the settings and derives the shapes of the model; no array is made.

        Args:
          config: the run.
          frozen: encoders of `config.frozen_teachers`, in order.
          kept: encoders of `config.kept_teachers`, in order.

        Raises:
          UserError: no objective has a weight, or a name or a size is wrong.
        """
        self.terms = make_terms(config)
        for term in self.terms.values():
            term.set_teachers([weights.encoder for weights in frozen])
            term.set_kept_teachers([weights.encoder for weights in kept])
        check_student(config)
        self.config = config
        self.needs = frozenset().union(*(term.needs for term in self.terms.values()))
        led = config.masking.rule not in ("uniform", NO_RULE)
        if led or config.knowledge.input or config.knowledge.loss_weight:
            self.needs |= {"annotation"}
        check_distortion(config.distortion, keep_time=True)
        if is_on(config.distortion):
            self.needs |= {DISTORTED}
        self.graph, self.abstract = nnx.split(nnx.eval_shape(self.make_model))
        model = nnx.merge(self.graph, self.abstract)
        self._teacher_graphs: dict[str, nnx.GraphDef] = {}
        self.teacher: EmaTeacher | None = None
        if any(term.needs_teacher for term in self.terms.values()):
            self._teacher_graphs = {ENCODER: nnx.graphdef(model.encoder)} | {
                name: nnx.graphdef(getattr(model, name))
                for name, term in self.terms.items()
                if term.teaches_heads
            }
            self.teacher = EmaTeacher(tuple(self._teacher_graphs), config.teacher)
        self.schedules = {} if self.teacher is None else {"teacher_decay": self.teacher.decay}
        for term in self.terms.values():
            self.schedules |= term.schedules
        self._frozen = [_Frozen(weights) for weights in frozen]
        # Log steps without a loss so far; None once there was one.
        self._empty_logs: int | None = 0

    def make_model(self) -> PretrainModel:
        """Makes the model with initial weights from the run's seed."""
        return PretrainModel(self.config, self.terms, key=run_key(self.config.train.seed, "init"))

    def constants(self, mesh: Mesh) -> dict:
        """Places the parameters of frozen teachers on a mesh, sharded as the student's are.

        Returns:
          {"frozen": {number: nested dict of arrays}}, or {} without frozen teachers.
        """
        if not self._frozen:
            return {}
        return {"frozen": {i: teacher.place(mesh) for i, teacher in enumerate(self._frozen)}}

    def mix_rows(self, batch: dict[str, jax.Array], key: jax.Array) -> dict[str, jax.Array]:
        """Mixes utterances of the global batch [B, ...] into the inputs of the student.

        Targets and teachers use the clean waveform, which stays.
        """
        mixing = self.config.mixing
        if not mixing.probability:
            return batch
        mixed = {
            name: mix_utterances(
                batch.get(name, batch["waveform"]),
                batch["valid"],
                config=mixing,
                key=fold(key, purpose),
            )
            for name, purpose in ((DISTORTED, "mixing"), (SECOND, "second mixing"))
            if name == DISTORTED or name in self.needs
        }
        return batch | mixed

    def loss(
        self, params: dict, batch: dict, context: StepContext
    ) -> tuple[jax.Array, dict[str, Mean]]:
        """Computes the weighted sum of the objectives on one global batch.

        Args:
          params: of the model.
          batch: waveform, valid, and what `needs` names, see `sersl.data.batch`; after
            `mix_rows`.
          context: with the EMA of the encoder (and of some heads), and the arrays of `constants`.

        Returns:
          (loss, metrics of every objective and of the collapse checks).
        """
        model = nnx.merge(self.graph, nnx.State(params))
        view = self._look(model, batch, context)
        total, present = jnp.float32(0.0), view.student.present
        metrics: dict[str, Mean] = {}
        for name, term in self.terms.items():
            loss, found = term.loss(getattr(model, name, None), view)
            total = total + getattr(self.config.objectives, name).weight * loss
            metrics |= found
        return total, metrics | {
            "loss": Mean.of(total, any_counted(metrics[name] for name in self.terms)),
            "masked_fraction": Mean.of(view.masked, view.valid),
            "silent_rows": _silent_rows(batch),
            "feature_variance": Mean.of(channel_variance(view.last, present), jnp.any(present)),
        }

    def _look(self, model: PretrainModel, batch: dict, context: StepContext) -> View:
        """Runs the student, and the teachers if there are any."""
        config, clones = self.config, self.config.masking.clones
        teacher, constants, step, key = context
        # The teacher reads the student's current tokens and intensity input.
        passes = Passes(
            batch,
            config=config,
            intensity_input=model.intensity_input if config.knowledge.input else None,
            tokens=self._tokens(model),
            key=key,
        )
        # The student's input may be distorted; targets and teachers use the clean waveform.
        altered = DISTORTED in self.needs or config.mixing.probability
        name = DISTORTED if altered else "waveform"
        student = passes.student(model.encoder, name)
        intensity = batch["intensity"] if "annotation" in self.needs else None
        weights = frame_weights(
            student.valid,
            None if intensity is None else repeat_rows(intensity, clones),
            loss_weight=config.knowledge.loss_weight,
        )
        return View(
            batch={name: repeat_rows(array, clones) for name, array in batch.items()},
            step=step,
            key=key,
            clones=clones,
            encoder=model.encoder,
            student=student,
            weights=jnp.where(student.masked, weights, 0.0),
            frame_weights=weights,
            passes=passes,
            ema=self._run_teacher(teacher, passes, student),
            frozen=tuple(
                repeat_rows(one.hidden_states(constants["frozen"][i], batch), clones, axis=1)
                for i, one in enumerate(self._frozen)
            ),
        )

    def _run_teacher(self, params: dict | None, passes: Passes, student: Student) -> Teacher | None:
        if params is None:
            return None
        modules = {
            name: nnx.merge(graph, nnx.State(jax.lax.stop_gradient(params[name])))
            for name, graph in self._teacher_graphs.items()
        }
        encoder = modules.pop(ENCODER)
        return Teacher(
            encoder=encoder,
            heads=modules,
            hidden_states_once=passes.teacher(encoder, "waveform"),
            valid_once=student.valid[:: self.config.masking.clones],
        )

    def _tokens(self, model: PretrainModel) -> dict[str, jax.Array]:
        """Collects the tokens of all objectives."""
        tokens = {
            name: term.tokens(getattr(model, name, None)) for name, term in self.terms.items()
        }
        return {name: own for name, own in tokens.items() if own is not None}

    def diagnose(self, step: int, values: dict[str, float]) -> str | None:
        """Checks the values logged at a step for silence and for a collapsed representation.

        Returns:
          A sentence with the problem and what to change, or None.
        """
        if "loss" in values:
            self._empty_logs = None
        elif self._empty_logs is not None:
            self._empty_logs += 1
        if self._empty_logs == MOST_EMPTY_LOGS:
            return (
                f"at step {step}: nothing counted in objectives."
                f"{' or objectives.'.join(self.terms)} in the first {MOST_EMPTY_LOGS} logged "
                "batches: check the labels and annotations of the corpora, and "
                "data.seconds_per_batch"
            )
        if values.get("silent_rows") == 1.0:
            return (
                f"at step {step}: every recording in this batch is digital silence: remove silent "
                "files from the corpora (`sersl prepare` counts them)"
            )
        limits = self.config.collapse
        if step <= limits.after_steps:
            return None
        variance = values.get("feature_variance")
        if variance is not None and variance < limits.min_variance:
            return (
                f"at step {step}: the encoder has collapsed: the variance of its output is "
                f"{variance:.2g}, under collapse.min_variance={limits.min_variance:g}; lower "
                "optimizer.learning_rate or lengthen optimizer.warmup_fraction"
            )
        for term in self.terms.values():
            found = term.diagnose(values)
            if found is not None:
                return f"at step {step}: {found}"
        return None


class _Frozen:
    """A frozen teacher: an encoder with fixed parameters."""

    def __init__(self, weights: InitialWeights):
        # Weights in host memory are stored with one subtree per layer.
        settings = dataclasses.replace(weights.encoder, scan_layers=False)
        encoder = nnx.eval_shape(
            functools.partial(SpeechEncoder, weights.frontend, settings, key=jax.random.key(0))
        )
        self.graph, self.abstract = nnx.split(encoder)
        self.params = weights.params[ENCODER]

    def place(self, mesh: Mesh) -> dict:
        shardings, _ = param_shardings(self.params, logical_axes(self.abstract), mesh)
        return jax.tree.map(place, self.params, shardings)

    def hidden_states(self, params: dict, batch: dict) -> jax.Array:
        encoder = nnx.merge(self.graph, nnx.State(params))
        output = encoder(batch["waveform"], batch["valid"])
        return jax.lax.stop_gradient(output.hidden_states)


def _silent_rows(batch: dict) -> Mean:
    """Fraction of the rows with audio in which every sample is 0."""
    sounds = (batch["valid"] & (batch["waveform"] != 0)).any(1)
    return Mean.of(~sounds, batch["valid"].any(1))
