"""Pretraining as a task: the model with its heads, and the weighted sum of objectives."""

import jax
import jax.numpy as jnp
from flax import nnx

from sersl.audio.prosody import PROSODY_NAMES
from sersl.config.schema import PretrainConfig
from sersl.core.errors import UserError, unknown_name
from sersl.knowledge.masking import RULES, choose_masked
from sersl.models.encoder import SpeechEncoder
from sersl.models.frontend import valid_frames
from sersl.models.predictor import Projection, ProsodyHead
from sersl.models.quantizer import Quantizer, gumbel_temperature
from sersl.objectives.contrastive import contrastive
from sersl.objectives.distill import distill, ema_decay, ema_update, teacher_targets
from sersl.objectives.mean import Mean
from sersl.objectives.workers import prosody_regression
from sersl.parallel.random import fold, run_key


class PretrainModel(nnx.Module):
    """The encoder and the heads of the objectives whose weight is not 0."""

    def __init__(self, config: PretrainConfig, *, key: jax.Array):
        """Makes the model.

        Args:
          config: sizes and weights.
          key: PRNG key of the initial weights.
        """
        objectives, width = config.objectives, config.encoder.width
        keys = jax.random.split(key, 5)
        self.encoder = SpeechEncoder(config.frontend, config.encoder, key=keys[0])
        if objectives.contrastive.weight:
            self.quantizer = Quantizer(
                self.encoder.frontend.num_features, objectives.contrastive, key=keys[1]
            )
            self.contrastive_head = Projection(width, objectives.contrastive.width, key=keys[2])
        if objectives.prosody.weight:
            self.prosody_head = ProsodyHead(
                width, objectives.prosody.hidden, len(PROSODY_NAMES), key=keys[3]
            )
        if objectives.distill.weight:
            self.distill_head = Projection(width, width, key=keys[4])


class PretrainTask:
    """What the training step needs to know of pretraining.

    Attributes:
      graph: graph definition of the model; `nnx.merge(graph, nnx.State(params))` rebuilds it.
      abstract: state of the model with shapes instead of arrays.
      needs_annotation: whether batches must hold intensity and prosody.
    """

    def __init__(self, config: PretrainConfig):
        """Checks the settings and lays out the model without making an array.

        Args:
          config: the run.

        Raises:
          UserError: no objective has a weight, or a name or a size is wrong.
        """
        weights = config.objectives
        if not (weights.contrastive.weight or weights.prosody.weight or weights.distill.weight):
            raise UserError("every weight under objectives is 0: give one of them a weight")
        if config.masking.rule not in RULES:
            raise unknown_name("masking.rule", config.masking.rule, RULES)
        self.config = config
        self.needs_annotation = config.masking.rule != "uniform" or weights.prosody.weight > 0
        self.graph, self.abstract = nnx.split(nnx.eval_shape(self.make_model))
        encoder = nnx.eval_shape(
            lambda: SpeechEncoder(config.frontend, config.encoder, key=jax.random.key(0))
        )
        self._encoder_graph = nnx.graphdef(encoder)

    def make_model(self) -> PretrainModel:
        """Makes the model with the initial weights of the run's seed."""
        return PretrainModel(self.config, key=run_key(self.config.train.seed, "init"))

    def teacher_part(self, params: dict) -> dict | None:
        """Picks what has a teacher from a tree like the parameters; None when nothing has one."""
        return params["encoder"] if self.config.objectives.distill.weight else None

    def make_teacher(self, params: dict) -> dict | None:
        """Copies what the teacher starts from, or gives None when no objective has one."""
        return jax.tree.map(jnp.copy, self.teacher_part(params))

    def update_teacher(self, teacher: dict | None, params: dict, step: jax.Array) -> dict | None:
        """Moves the teacher after an update.

        Args:
          teacher: of the step before, or None.
          params: after the update.
          step: updates done before this one.

        Returns:
          The new teacher, or None.
        """
        if teacher is None:
            return None
        decay = ema_decay(step, self.config.objectives.distill)
        return ema_update(teacher, self.teacher_part(params), decay)

    def loss(
        self,
        params: dict,
        teacher: dict | None,
        batch: dict,
        *,
        constants: dict,
        step: jax.Array,
        key: jax.Array,
    ) -> tuple[jax.Array, dict[str, Mean]]:
        """Computes the weighted sum of the objectives on one global batch.

        Args:
          params: of the model.
          teacher: EMA of the encoder, or None.
          batch: waveform, valid, intensity, prosody; see `sersl.data.transforms`.
          constants: unused by pretraining.
          step: updates done.
          key: PRNG key of this step.

        Returns:
          (loss, every term and guard as a Mean).
        """
        del constants
        objectives = self.config.objectives
        model = nnx.merge(self.graph, nnx.State(params))
        keys = {
            purpose: fold(key, purpose) for purpose in ("masking", "dropout", "gumbel", "negatives")
        }
        frames = valid_frames(batch["valid"])
        intensity = batch["intensity"] if self.needs_annotation else None
        masked = choose_masked(frames, intensity, keys["masking"], self.config.masking)
        output = model.encoder(
            batch["waveform"], batch["valid"], masked=masked, key=keys["dropout"]
        )
        last = output.hidden_states[-1]
        metrics = {
            "masked_fraction": Mean.of(masked, frames),
            "feature_variance": _variance(last, frames),
        }
        total = jnp.float32(0.0)
        if objectives.contrastive.weight:
            targets = model.quantizer(
                output.features,
                temperature=gumbel_temperature(step, objectives.contrastive),
                key=keys["gumbel"],
            )
            loss, found = contrastive(
                model.contrastive_head(last),
                targets.quantized,
                codes=targets.codes,
                probabilities=targets.probabilities,
                masked=masked,
                config=objectives.contrastive,
                key=keys["negatives"],
            )
            total, metrics = total + objectives.contrastive.weight * loss, metrics | found
        if objectives.prosody.weight:
            loss, found = prosody_regression(
                model.prosody_head(last), batch["prosody"], masked=masked, names=PROSODY_NAMES
            )
            total, metrics = total + objectives.prosody.weight * loss, metrics | found
        if objectives.distill.weight:
            encoder = nnx.merge(self._encoder_graph, nnx.State(teacher))
            seen = encoder(batch["waveform"], batch["valid"])
            targets = teacher_targets(
                seen.hidden_states, seen.valid, top_layers=objectives.distill.top_layers
            )
            loss, found = distill(model.distill_head(last), targets, masked=masked)
            total, metrics = total + objectives.distill.weight * loss, metrics | found
        return total, metrics

    def diagnose(self, step: int, values: dict[str, float]) -> str | None:
        """Looks for a collapsed representation in the logged values.

        Args:
          step: of the values.
          values: name to value, as logged.

        Returns:
          A sentence that says what has collapsed and what to change, or None.
        """
        limits = self.config.collapse
        if step <= limits.after_steps:
            return None
        variance = values["feature_variance"]
        if variance < limits.min_variance:
            return (
                f"the encoder has collapsed at step {step}: the variance of its output is "
                f"{variance:.2g}, under collapse.min_variance={limits.min_variance:g}; lower "
                "optimizer.learning_rate or lengthen optimizer.warmup_fraction"
            )
        if self.config.objectives.contrastive.weight:
            perplexity = values["code_perplexity"]
            if perplexity < limits.min_perplexity:
                weight = self.config.objectives.contrastive.diversity_weight
                return (
                    f"the codebook has collapsed at step {step}: {perplexity:.2f} codes per group "
                    f"are in use, under collapse.min_perplexity={limits.min_perplexity:g}; raise "
                    f"objectives.contrastive.diversity_weight (now {weight:g}) or lower "
                    "optimizer.learning_rate"
                )
        return None


def _variance(hidden: jax.Array, valid: jax.Array) -> Mean:
    """Variance over real frames of each channel, averaged over channels."""
    hidden = hidden.astype(jnp.float32)
    weights = valid[..., None].astype(jnp.float32)
    num = jnp.maximum(weights.sum(), 1.0)
    centred = hidden - (hidden * weights).sum((0, 1)) / num
    variance = (jnp.square(centred) * weights).sum((0, 1)) / num
    return Mean.of(jax.lax.stop_gradient(variance.mean()), 1.0)
