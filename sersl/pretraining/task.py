"""Pretraining as a task: the student is run once, and every objective looks at what it says."""

import dataclasses
import functools
from collections.abc import Mapping, Sequence

import jax
import jax.numpy as jnp
from flax import nnx
from jax.sharding import Mesh

from sersl.audio.augment import check_distortion, is_on
from sersl.config.schema import PretrainConfig
from sersl.data.batch import DISTORTED
from sersl.models.encoder import SpeechEncoder
from sersl.objectives.mean import Mean
from sersl.parallel.random import fold, run_key
from sersl.parallel.sharding import logical_axes, param_shardings
from sersl.pretraining.intensity_input import IntensityInput, frame_weights
from sersl.pretraining.masking import NO_RULE
from sersl.pretraining.student import check_student, repeat_rows, run_student
from sersl.pretraining.terms.all_terms import make_terms
from sersl.pretraining.terms.term import Term, View
from sersl.runs.initial_weights import InitialWeights
from sersl.training.ema import EmaTeacher
from sersl.training.task import StepContext

ENCODER = "encoder"


class PretrainModel(nnx.Module):
    """The encoder, and under its name what each objective trains beside it."""

    def __init__(self, config: PretrainConfig, terms: Mapping[str, Term], *, key: jax.Array):
        """Makes the model.

        Args:
          config: sizes.
          terms: name to objective.
          key: PRNG key of the initial weights.
        """
        self.encoder = SpeechEncoder(config.frontend, config.encoder, key=fold(key, ENCODER))
        if config.knowledge.input:
            self.intensity_input = IntensityInput(
                config.encoder.width, key=fold(key, "intensity_input")
            )
        for name, term in terms.items():
            heads = term.make_heads(self.encoder, key=fold(key, name))
            if heads is not None:
                setattr(self, name, heads)


class PretrainTask:
    """What the training step needs to know of pretraining.

    Attributes:
      graph: graph definition of the model; `nnx.merge(graph, nnx.State(params))` rebuilds it.
      abstract: state of the model with shapes instead of arrays.
      terms: name to objective.
      needs: what batches must hold beside the waveform, see `Term.needs`.
      teacher: how the EMA teacher follows the student; None when no objective has one.
      schedules: name to setting that changes during training, for the log.
    """

    def __init__(self, config: PretrainConfig, *, frozen: Sequence[InitialWeights] = ()):
        """Checks the settings and lays out the model without making an array.

        Args:
          config: the run.
          frozen: encoders of `config.frozen_teachers`, in their order.

        Raises:
          UserError: no objective has a weight, or a name or a size is wrong.
        """
        self.terms = make_terms(config)
        for term in self.terms.values():
            term.meet([weights.encoder for weights in frozen])
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
        self._teacher_graphs = {}
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

    def make_model(self) -> PretrainModel:
        """Makes the model with the initial weights of the run's seed."""
        return PretrainModel(self.config, self.terms, key=run_key(self.config.train.seed, "init"))

    def constants(self, mesh: Mesh) -> dict:
        """Places what every step reads and none changes: the parameters of frozen teachers.

        Args:
          mesh: each array is cut over it as the student's are.

        Returns:
          {"frozen": {number: nested dict of arrays}}, or {} without any.
        """
        if not self._frozen:
            return {}
        return {"frozen": {i: teacher.place(mesh) for i, teacher in enumerate(self._frozen)}}

    def loss(
        self, params: dict, batch: dict, context: StepContext
    ) -> tuple[jax.Array, dict[str, Mean]]:
        """Computes the weighted sum of the objectives on one global batch.

        Args:
          params: of the model.
          batch: waveform, valid, and what `needs` names; see `sersl.data.batch`.
          context: with the EMA of the encoder (and of some heads), and the arrays of `constants`.

        Returns:
          (loss, every term and guard as a Mean).
        """
        model = nnx.merge(self.graph, nnx.State(params))
        view = self._look(model, batch, context)
        total = jnp.float32(0.0)
        metrics: dict[str, Mean] = {}
        for name, term in self.terms.items():
            loss, found = term.loss(getattr(model, name, None), view)
            total = total + getattr(self.config.objectives, name).weight * loss
            metrics |= found
        return total, metrics | {
            "masked_fraction": Mean.of(view.masked, view.valid),
            "silent_rows": _silent_rows(batch),
            "feature_variance": _variance(view.last, view.present),
        }

    def _look(self, model: PretrainModel, batch: dict, context: StepContext) -> View:
        """Runs the student, and the teachers where there are any."""
        config = self.config
        teacher, constants, step, key = context
        repeat = functools.partial(repeat_rows, clones=config.masking.clones)
        intensity = batch["intensity"] if "annotation" in self.needs else None
        # The student hears the distorted waveform; targets and teachers keep to the other.
        heard = batch[DISTORTED if DISTORTED in self.needs else "waveform"]
        student = run_student(
            model,
            batch,
            heard=heard,
            config=config,
            intensity=intensity,
            tokens=self._tokens(model),
            key=key,
        )
        weights = frame_weights(
            student.valid,
            None if intensity is None else repeat(intensity),
            loss_weight=config.knowledge.loss_weight,
        )
        teachers = {
            name: nnx.merge(graph, nnx.State(jax.lax.stop_gradient((teacher or {})[name])))
            for name, graph in self._teacher_graphs.items()
        }
        taught = None
        if teachers:
            taught = teachers[ENCODER](batch["waveform"], batch["valid"]).hidden_states
        return View(
            batch={name: repeat(array) for name, array in batch.items()},
            step=step,
            key=key,
            clones=config.masking.clones,
            valid=student.valid,
            masked=student.masked,
            present=student.present,
            sought=student.sought,
            weights=jnp.where(student.masked, weights, 0.0),
            frame_weights=weights,
            features=student.features,
            hidden_states=student.hidden_states,
            prefix=student.prefix,
            encode=model.encoder,
            teacher_encode=teachers.pop(ENCODER, None),
            teacher_heads=teachers,
            taught_once=None if taught is None else jax.lax.stop_gradient(taught),
            valid_once=student.valid[:: config.masking.clones],
            frozen=tuple(
                repeat(one.hidden_states(constants["frozen"][i], batch), axis=1)
                for i, one in enumerate(self._frozen)
            ),
        )

    def _tokens(self, model) -> dict[str, jax.Array]:
        """Collects what objectives put in front of the frames."""
        tokens = {
            name: term.tokens(getattr(model, name, None)) for name, term in self.terms.items()
        }
        return {name: own for name, own in tokens.items() if own is not None}

    def diagnose(self, step: int, values: dict[str, float]) -> str | None:
        """Looks for silence and for a collapsed representation in the logged values.

        Args:
          step: of the values.
          values: name to value, as logged.

        Returns:
          A sentence that says what is wrong and what to change, or None.
        """
        if values["silent_rows"] == 1.0:
            return (
                f"at step {step}: every recording of the batch is digital silence from end to end, "
                "of which there is nothing to learn: listen to the corpora, and leave out what is "
                "silent (`sersl prepare` counts it)"
            )
        limits = self.config.collapse
        if step <= limits.after_steps:
            return None
        variance = values["feature_variance"]
        if variance < limits.min_variance:
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
    """An encoder that teaches and never learns."""

    def __init__(self, weights: InitialWeights):
        # Weights in host memory have their layers apart.
        settings = dataclasses.replace(weights.encoder, scan_layers=False)
        encoder = nnx.eval_shape(
            functools.partial(SpeechEncoder, weights.frontend, settings, key=jax.random.key(0))
        )
        self.graph, self.abstract = nnx.split(encoder)
        self.params = weights.params[ENCODER]

    def place(self, mesh: Mesh) -> dict:
        shardings, _ = param_shardings(self.params, logical_axes(self.abstract), mesh)
        return jax.tree.map(
            lambda array, sharding: jax.make_array_from_callback(
                array.shape, sharding, lambda index: array[index]
            ),
            self.params,
            shardings,
        )

    def hidden_states(self, params: dict, batch: dict) -> jax.Array:
        encoder = nnx.merge(self.graph, nnx.State(params))
        output = encoder(batch["waveform"], batch["valid"])
        return jax.lax.stop_gradient(output.hidden_states)


def _silent_rows(batch: dict) -> Mean:
    """Share of the rows with audio in which every sample is 0."""
    sounds = (batch["valid"] & (batch["waveform"] != 0)).any(1)
    return Mean.of(~sounds, batch["valid"].any(1))


def _variance(hidden: jax.Array, valid: jax.Array) -> Mean:
    """Variance over real frames of each channel, averaged over channels."""
    hidden = hidden.astype(jnp.float32)
    weights = valid[..., None].astype(jnp.float32)
    num = jnp.maximum(weights.sum(), 1.0)
    centred = hidden - (hidden * weights).sum((0, 1)) / num
    variance = (jnp.square(centred) * weights).sum((0, 1)) / num
    return Mean.of(jax.lax.stop_gradient(variance.mean()), 1.0)
