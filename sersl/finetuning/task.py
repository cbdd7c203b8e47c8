"""Fine-tuning as a task: the emotion model, its supervised losses, and its answers."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from sersl.config.schema import AugmentConfig, CombineConfig, FinetuneConfig
from sersl.core.errors import UserError
from sersl.corpora.labels import DIMENSIONS
from sersl.data.batch import CATEGORIES, OUTPUTS, VOTES
from sersl.models.combine import combine_rows
from sersl.models.emotion_model import EmotionModel, EmotionOutput, probabilities
from sersl.objectives.binary import binary_cross_entropy
from sersl.objectives.mean import Mean, any_counted
from sersl.objectives.supervised import concordance, cross_entropy
from sersl.parallel.random import fold, run_key
from sersl.training.task import Schedule, StepContext


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

        Raises:
          UserError: nothing to predict, or a name or a size is wrong.
        """
        self.config = config
        self.stored = stored
        self.first_layer = first_layer
        needs = {OUTPUTS} if stored else set()
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
        return EmotionModel(
            config.frontend,
            config.encoder,
            config.pooling,
            config.heads,
            num_categories=self.num_categories,
            num_dimensions=len(self.dimensions),
            key=run_key(config.train.seed, "init"),
            augment=None if config.augment == AugmentConfig() else config.augment,
            adaptation=config.adaptation,
        )

    def mix_rows(self, batch: dict[str, jax.Array], key: jax.Array) -> dict[str, jax.Array]:
        """Combines rows of the global batch [B, ...] by copy-paste and mixup."""
        if self.config.combine == CombineConfig():
            return batch
        return combine_rows(
            batch,
            self.config.combine,
            num_categories=self.num_categories,
            key=fold(key, "combine"),
        )

    def loss(
        self, params: dict[str, Any], batch: dict[str, jax.Array], context: StepContext
    ) -> tuple[jax.Array, dict[str, Mean]]:
        """Computes the losses of categories and dimensions on one global batch.

        Each is over the rows with such a label: cross-entropy, or binary cross-entropy where
        several categories may apply, and concordance.

        Args:
          params: of the model.
          batch: waveform [B, N] or hidden_states [B, L, F, D], valid [B, N], category [B],
            dimensions [B, D], and with labels.soft category_probabilities [B, C], or, where
            several may apply, categories [B, C]; after `mix_rows`.
          context: with constants {"class_weights": float32 [C]}.

        Returns:
          (loss, 0 where no row has a label; every term as a Mean, and "loss", which is empty then).
        """
        heads = self.config.heads
        model = nnx.merge(self.graph, nnx.State(params))
        combined = self.config.combine != CombineConfig()
        output = self._run(model, batch, key=context.key)
        total = jnp.float32(0.0)
        metrics: dict[str, Mean] = {}
        if self.multi:
            loss, found = binary_cross_entropy(
                output.category,
                batch["categories"],
                positive_weights=context.constants["class_weights"],
                label_smoothing=heads.label_smoothing,
            )
            total, metrics = total + heads.category_weight * loss, metrics | found
        elif self.num_categories:
            loss, found = cross_entropy(
                output.category,
                batch["category"],
                probabilities=(
                    batch["category_probabilities"] if self.config.labels.soft or combined else None
                ),
                class_weights=context.constants["class_weights"],
                label_smoothing=heads.label_smoothing,
            )
            total, metrics = total + heads.category_weight * loss, metrics | found
        if self.dimensions:
            loss, found = concordance(output.dimensions, batch["dimensions"], names=self.dimensions)
            total, metrics = total + heads.dimensions_weight * loss, metrics | found
        terms = [metrics[name] for name in ("category_loss", "dimensions_loss") if name in metrics]
        return total, {**metrics, "loss": Mean.of(total, any_counted(terms))}

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
        """Computes what `pooling.standardize_outputs` standardizes, [B, L, F, D].

        Args:
          params: of the model.
          batch: as for `loss`, with kept output of the lower layers.
        """
        model = nnx.merge(self.graph, nnx.State(params))
        states, valid = model.states_of(
            batch["hidden_states"], batch["valid"], first=self.first_layer or 0
        )
        return model.pooling.outputs(states, valid)

    def _run(
        self, model: EmotionModel, batch: Mapping[str, jax.Array], *, key: jax.Array | None = None
    ) -> EmotionOutput:
        if self.first_layer is not None:
            return model.from_states(
                batch["hidden_states"],
                batch["valid"],
                first=self.first_layer,
                frame_share=self.config.adaptation.frame_share,
                key=key,
            )
        if self.stored:
            return model.from_outputs(batch["hidden_states"], batch["valid"], key=key)
        return model(batch["waveform"], batch["valid"], key=key)
