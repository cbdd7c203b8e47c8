"""Fine-tuning as a task: the emotion model, its supervised losses, and its answers."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from sersl.config.fusion import ViewConfig
from sersl.config.schema import AugmentConfig, CombineConfig, FinetuneConfig
from sersl.core.errors import UserError
from sersl.corpora.labels import DIMENSIONS
from sersl.data.batch import CATEGORIES, OUTPUTS, RELATIONS, VIEW, VIEW_VALID, VOTES
from sersl.finetuning.beside import (
    CLASS_TASKS,
    Rows,
    Term,
    terms_beside,
    total_loss,
    weighted_losses,
)
from sersl.finetuning.ideas.co_taught import co_taught
from sersl.finetuning.ideas.distillation_terms import TABLES, distillation_terms
from sersl.finetuning.ideas.idea_checks import check_ideas
from sersl.finetuning.loss_checks import check_losses
from sersl.models.combine import combine_rows
from sersl.models.emotion_model import EmotionModel
from sersl.models.frontend import valid_frames
from sersl.models.fusion.view_parts import ViewInput
from sersl.models.heads.category_heads import make_category_head
from sersl.models.heads.emotion_output import EmotionOutput, probabilities
from sersl.models.heads.training_heads import TrainingHeads, shared_width, view_head
from sersl.objectives.binary import binary_cross_entropy
from sersl.objectives.mean import Mean, any_counted
from sersl.objectives.supervision.category_losses import (
    CATEGORY_LOSSES,
    CategoryLabels,
    CategoryScores,
)
from sersl.objectives.supervision.dimension_losses import DIMENSION_LOSSES, DimensionScores
from sersl.objectives.supervision.distillation import corrected_labels
from sersl.objectives.supervision.domain_shift import Sides
from sersl.parallel.random import fold, run_key
from sersl.training.task import Schedule, StepContext

# Labels of a batch, which rows of the test side must not show.
LABELS = (
    *("category", "category_probabilities", "categories", "dimensions", "annotators"),
    *(*CLASS_TASKS, "adversary", "transcript"),
)


class FinetuneTask:
    """The emotion model and its supervised losses.

    Attributes:
      graph: graph definition of the model.
      abstract: state of the model with shapes instead of arrays.
      needs: what batches must hold beside audio and labels.
      dimensions: names of the predicted dimensions, in the order of the outputs.
    """

    teacher = None
    schedules: Mapping[str, Schedule] = MappingProxyType({})

    def __init__(
        self,
        config: FinetuneConfig,
        *,
        num_categories: int,
        dimensions: Sequence[str] = DIMENSIONS,
        multi: bool = False,
        stored: bool = False,
        first_layer: int | None = None,
        other_sizes: Mapping[str, int] = MappingProxyType({}),
        neutral: int | None = None,
        views: Sequence[ViewConfig] = (),
        turns: int = 0,
    ):
        """Checks the settings and lays out the model without making an array.

        Args:
          config: the run; its encoder has the sizes of the weights it starts from.
          num_categories: classes to tell apart; 0 for none.
          dimensions: names of those to predict, in the order of the batches.
          multi: whether several categories of one utterance may apply.
          stored: whether batches hold kept outputs of the encoder, or of its lower layers.
          first_layer: index of the first layer that trains, where batches hold the kept output of
            the layers below; None: the whole encoder is kept, or none of it.
          other_sizes: outputs of each head that only training needs, by name.
          neutral: number of the neutral category; None: there is none.
          views: the views of `fusion.views`, in order.
          turns: slots of a dialogue, where batches have dialogues.

        Raises:
          UserError: nothing to predict, or a name or a size is wrong.
        """
        self.config = config
        self.stored = stored
        self.first_layer = first_layer
        self._other_sizes, self._views = dict(other_sizes), tuple(views)
        self._neutral, self.turns = neutral, turns
        check_ideas(config, multi=multi, categories=num_categories > 0)
        check_losses(config, multi=multi, stored=stored and first_layer is None)
        needs = {OUTPUTS} if stored else set()
        if stored and config.conversation.kind != "none":
            needs.add(RELATIONS)
        if num_categories:
            needs |= {CATEGORIES} if multi else {VOTES} if config.labels.soft else set()
        self.needs = frozenset(needs)
        self.num_categories = num_categories
        self.dimensions = tuple(dimensions)
        self.multi = multi
        if num_categories < (1 if multi else 2) and not self.dimensions:
            raise UserError(
                f"there is nothing to predict: {num_categories} categories and no dimension are "
                "labelled on the training side; check labels.view, labels.dimensions and the "
                "corpus's labels"
            )
        self.graph, self.abstract = nnx.split(nnx.eval_shape(self.make_model))

    def make_model(self) -> EmotionModel:
        """Makes the model with the initial weights of the run's seed."""
        config = self.config
        model = EmotionModel(
            config.frontend,
            config.encoder,
            config.pooling,
            config.heads,
            num_categories=self.num_categories,
            num_dimensions=len(self.dimensions),
            key=run_key(config.train.seed, "init"),
            augment=None if config.augment == AugmentConfig() else config.augment,
            adaptation=config.adaptation,
            fusion=config.fusion,
            views=self._views,
            conversation=config.conversation,
        )
        losses: list[str] = []
        if config.tasks.weighting == "uncertainty":
            losses = weighted_losses(
                config, categories=self.num_categories > 0, dimensions=bool(self.dimensions)
            )
        across_views = config.fusion.contrast_weight and model.has_fusion
        widths = model.fusion.vector_widths if across_views else ()
        across = {view_head(view): config.heads.contrast_width for view in range(len(widths))}
        if self._other_sizes or losses or across or config.co_teaching.noise:
            head = model.category if self.num_categories else model.dimensions
            frames = config.encoder.width
            model.training_heads = TrainingHeads(
                {**self._other_sizes, **across},
                shared_width=shared_width(head, model.num_inputs),
                frame_width=frames,
                losses=losses,
                view_widths=widths,
                key=run_key(config.train.seed, "training_heads"),
            )
        if config.co_teaching.noise:
            model.training_heads.peer = make_category_head(
                model.num_inputs,
                self.num_categories,
                config.heads,
                key=run_key(config.train.seed, "peer"),
            )
        return model

    def mix_rows(self, batch: dict[str, jax.Array], key: jax.Array) -> dict[str, jax.Array]:
        """Combines rows of the global batch [B, ...] by copy-paste and mixup."""
        if self.config.combine == CombineConfig():
            return batch
        return combine_rows(
            batch,
            self.config.combine,
            num_categories=self.num_categories,
            key=fold(key, "combine"),
            neutral=self._neutral,
        )

    def loss(
        self, params: dict[str, Any], batch: dict[str, jax.Array], context: StepContext
    ) -> tuple[jax.Array, dict[str, Mean]]:
        """Computes the losses of categories, dimensions and others on one global batch.

        Each is over the rows with such a label. Rows of the test side, which a run with
        `domain.kind` also reads, have no labels here.

        Args:
          params: of the model.
          batch: waveform [B, N] or hidden_states [B, L, F, D], the views of `fusion.views` whose
            outputs are kept or that are tables, valid [B, N], category [B],
            dimensions [B, D], utterance_index [B], and with labels.soft category_probabilities
            [B, C], or, where several may apply, categories [B, C]; after `mix_rows`.
          context: with constants class_weights, float32 [C], and the tables of
            `sersl.finetuning.other_labels` and `sersl.finetuning.ideas.fold_teacher`.

        Returns:
          (loss, 0 where no row has a label; every term as a Mean, and "loss", which is empty then).
        """
        config = self.config
        model = nnx.merge(self.graph, nnx.State(params))
        output = self._run(model, batch, key=context.key)
        progress = context.step / config.train.num_steps
        batch, sides = self._with_tables(batch, context.constants, progress)
        terms: dict[str, Term] = {}
        if self.num_categories:
            found = self._categories(model, output, batch, context)
            terms["category"] = Term(config.heads.category_weight, *found)
        if self.dimensions:
            compute = DIMENSION_LOSSES[config.heads.dimensions_loss]
            given = DimensionScores(output.dimensions, output.evidence)
            found = compute(given, batch["dimensions"], config.heads, names=self.dimensions)
            terms["dimensions"] = Term(config.heads.dimensions_weight, *found)
        heads = model.training_heads if hasattr(model, "training_heads") else None
        rows = Rows(
            category=batch["category"],
            sides=sides,
            valid=valid_frames(batch["valid"]),
            tables=batch,
        )
        terms |= terms_beside(heads, output, rows, config, progress=progress)
        terms |= distillation_terms(heads, output, rows, config)
        metrics = {name: mean for term in terms.values() for name, mean in term.metrics.items()}
        total = total_loss(terms, heads, config)
        return total, {**metrics, "loss": Mean.of(total, any_counted(metrics.values()))}

    def _categories(
        self,
        model: EmotionModel,
        output: EmotionOutput,
        batch: Mapping[str, jax.Array],
        context: StepContext,
    ) -> tuple[jax.Array, dict[str, Mean]]:
        heads, class_weights = self.config.heads, context.constants["class_weights"]
        if self.multi:
            return binary_cross_entropy(
                output.category,
                batch["categories"],
                positive_weights=class_weights,
                label_smoothing=heads.label_smoothing,
            )
        shares = self.config.labels.soft or self.config.combine != CombineConfig()
        labels = CategoryLabels(
            category=batch["category"],
            probabilities=batch["category_probabilities"] if shares else None,
            class_weights=class_weights,
            by_annotator=batch.get("annotators"),
        )
        given = CategoryScores(output.category, output.by_annotator, context.step)
        compute = CATEGORY_LOSSES[heads.category_loss].compute
        if self.config.co_teaching.noise:
            peer = model.training_heads.peer(output.embedding, key=fold(context.key, "peer"))
            progress = context.step / self.config.train.num_steps
            return co_taught(compute, given, peer, labels, self.config, progress=progress)
        return compute(given, labels, heads)

    def _with_tables(
        self,
        batch: Mapping[str, jax.Array],
        constants: Mapping[str, jax.Array],
        progress: jax.Array,
    ) -> tuple[dict[str, jax.Array], Sides]:
        """Adds the other labels of the rows, and hides every label that may not be used.

        Returns:
          (the batch; which rows are of the labelled side and of the test side, none of both
          without `domain.kind`).
        """
        found = dict(batch)
        nothing = jnp.zeros(len(batch["valid"]), bool)
        names = (*self._other_sizes, "annotators", *TABLES)
        tables = [name for name in names if name in constants]
        if not tables and "target" not in constants:
            return found, Sides(nothing, nothing)
        index = batch["utterance_index"]
        real, row = index >= 0, jnp.maximum(index, 0)
        for name in tables:
            table = constants[name][row]
            unknown = -1 if jnp.issubdtype(table.dtype, jnp.integer) else jnp.nan
            found[name] = jnp.where(real if table.ndim == 1 else real[:, None], table, unknown)
        distill = self.config.distill
        if distill.labels != "given":
            found["category"] = corrected_labels(
                found["category"],
                found["teacher_scores"],
                confidence=distill.confidence,
                noisy=distill.labels == "noisy",
            )
        if "target" not in constants:
            return found, Sides(nothing, nothing)
        target = constants["target"][row] & real
        hidden = target
        if self.config.domain.kind == "pseudo_labels":
            hidden = target | (progress >= self.config.domain.source_share)
        for name in LABELS:
            if name in found:
                values = found[name]
                where = hidden if values.ndim == 1 else hidden[:, None]
                unknown = -1 if jnp.issubdtype(values.dtype, jnp.integer) else jnp.nan
                found[name] = jnp.where(where, unknown, values)
        return found, Sides(real & ~target, target)

    def answer(self, params: dict[str, Any], batch: dict[str, jax.Array]) -> dict[str, jax.Array]:
        """Predicts a batch without dropout.

        Args:
          params: of the model.
          batch: as for `loss`, with utterance_index [B].

        Returns:
          scores [B, C] (probabilities that sum to 1, or of each category where several may
          apply), dimensions [B, D], utterance_index [B].
        """
        model = nnx.merge(self.graph, nnx.State(params))
        output = self._run(model, batch)
        return {
            "scores": probabilities(output.category, multi=self.multi),
            "dimensions": output.dimensions,
            "utterance_index": batch["utterance_index"],
        }

    def pooled(self, params: dict[str, Any], batch: dict[str, jax.Array]) -> jax.Array:
        """Computes what `pooling.standardize_outputs` standardizes, [B, L, F, D]."""
        model = nnx.merge(self.graph, nnx.State(params))
        kept, first = batch["hidden_states"], self.first_layer or 0
        states, valid = model.states_of(kept, batch["valid"], first=first)
        return model.pooling.outputs(states, valid)

    def _run(
        self, model: EmotionModel, batch: Mapping[str, jax.Array], *, key: jax.Array | None = None
    ) -> EmotionOutput:
        views = {
            view.name: ViewInput(batch[VIEW + view.name], batch[VIEW_VALID + view.name])
            for view in self._views
            if VIEW + view.name in batch
        }
        if self.first_layer is not None:
            return model.from_states(
                batch["hidden_states"],
                batch["valid"],
                first=self.first_layer,
                frame_share=self.config.adaptation.frame_share,
                views=views,
                key=key,
            )
        if self.stored:
            kept, valid, related = batch["hidden_states"], batch["valid"], batch.get(RELATIONS)
            return model.from_outputs(kept, valid, views=views, relations=related, key=key)
        return model(batch["waveform"], batch["valid"], views=views, key=key)
