"""Objectives at masked frames: contrastive, prosody and intensity."""

import functools
from collections.abc import Mapping

import jax
from flax import nnx

from sersl.audio.prosody import PROSODY_NAMES
from sersl.config.schema import PretrainConfig
from sersl.models.encoder import FRONTENDS
from sersl.models.pretraining_heads import Projection, RegressionHead
from sersl.models.quantizer import Quantizer, gumbel_temperature
from sersl.objectives.contrastive import contrastive
from sersl.objectives.mean import Mean
from sersl.objectives.regression import prosody_regression, regression
from sersl.pretraining.masking import NO_RULE, frames_to_mask
from sersl.pretraining.terms.term import Term, View


class ContrastiveHeads(nnx.Module):
    """The quantizer of the targets, and the projection of the predictions."""

    def __init__(self, config: PretrainConfig, *, key: jax.Array):
        """Makes both."""
        settings = config.objectives.contrastive
        keys = jax.random.split(key)
        num_features = FRONTENDS[config.frontend.kind].count_features(config.frontend)
        self.quantizer = Quantizer(num_features, settings, key=keys[0])
        self.projection = Projection(config.encoder.width, settings.width, key=keys[1])


class Contrastive(Term[ContrastiveHeads]):
    """wav2vec 2.0: identify the quantized features of each masked frame among distractors."""

    masking = "needed"

    def __init__(self, config: PretrainConfig):
        """Adds the Gumbel temperature to the schedules, so that it is logged."""
        super().__init__(config)
        settings = config.objectives.contrastive
        self.schedules = {
            "gumbel_temperature": functools.partial(gumbel_temperature, config=settings)
        }

    def least_frames(self) -> dict[str, int]:
        """Two masked frames: one to predict, and one as a negative."""
        return {"masking.span": frames_to_mask(2, self.config.masking)}

    def make_heads(self, *, key: jax.Array) -> ContrastiveHeads:
        """Makes the quantizer and the projection."""
        return ContrastiveHeads(self.config, key=key)

    def loss(self, heads: ContrastiveHeads, view: View) -> tuple[jax.Array, dict[str, Mean]]:
        """Quantizes the features and contrasts them, see `contrastive`."""
        settings = self.config.objectives.contrastive
        targets = heads.quantizer(
            view.student.features,
            temperature=gumbel_temperature(view.step, settings),
            key=view.draw("gumbel"),
        )
        return contrastive(
            heads.projection(view.last),
            targets.quantized,
            codes=targets.codes,
            probabilities=targets.probabilities,
            masked=view.masked,
            weights=view.weights,
            config=settings,
            key=view.draw("negatives"),
        )

    def diagnose(self, values: Mapping[str, float]) -> str | None:
        """Reports a codebook of which too few entries are used."""
        perplexity, least = values.get("code_perplexity"), self.config.collapse.min_perplexity
        if perplexity is None or perplexity >= least:
            return None
        return (
            f"the codebook has collapsed: {perplexity:.2f} codes per group are in use, under "
            f"collapse.min_perplexity={least:g}; raise objectives.contrastive.diversity_weight "
            f"(now {self.config.objectives.contrastive.diversity_weight:g}) or lower "
            "optimizer.learning_rate"
        )


class Prosody(Term[RegressionHead]):
    """Regress log-F0, voicing, energy and their deltas at masked frames."""

    needs = frozenset({"annotation"})
    masking = "needed"

    def make_heads(self, *, key: jax.Array) -> RegressionHead:
        """Makes the regression head."""
        hidden = self.config.objectives.prosody.hidden
        return RegressionHead(self.config.encoder.width, hidden, len(PROSODY_NAMES), key=key)

    def loss(self, heads: RegressionHead, view: View) -> tuple[jax.Array, dict[str, Mean]]:
        """Compares predicted with measured prosody, see `prosody_regression`."""
        return prosody_regression(
            heads(view.last), view.batch["prosody"], weights=view.weights, names=PROSODY_NAMES
        )


class Intensity(Term[RegressionHead]):
    """Regress the emotion intensity of masked frames.

    Source: EMS (2406.06646), L1 reconstruction of the intensity. Differs: one scalar per frame,
    which EMS repeats over all feature dimensions.
    """

    needs = frozenset({"annotation"})
    masking = "needed"

    def __init__(self, config: PretrainConfig):
        """Uses all frames with an encoder that does not see the frame it predicts (NPC)."""
        super().__init__(config)
        self.all_frames = config.encoder.kind == "masked_conv" and config.masking.rule == NO_RULE
        if self.all_frames:
            self.masking = "none"

    def make_heads(self, *, key: jax.Array) -> RegressionHead:
        """Makes the regression head."""
        hidden = self.config.objectives.intensity.hidden
        return RegressionHead(self.config.encoder.width, hidden, 1, key=key)

    def loss(self, heads: RegressionHead, view: View) -> tuple[jax.Array, dict[str, Mean]]:
        """Compares predicted with annotated intensity, see `regression` with the L1 error."""
        return regression(
            heads(view.last),
            view.batch["intensity"][..., None],
            weights=view.frame_weights if self.all_frames else view.weights,
            loss="l1",
            name="intensity",
        )
