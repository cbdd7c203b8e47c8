"""Objectives at hidden frames: contrast, prosody and intensity."""

import functools
from collections.abc import Mapping

import jax
from flax import nnx

from sersl.audio.prosody import PROSODY_NAMES
from sersl.config.schema import PretrainConfig
from sersl.models.encoder import SpeechEncoder
from sersl.models.pretraining_heads import Projection, RegressionHead
from sersl.models.quantizer import Quantizer, gumbel_temperature
from sersl.objectives.contrastive import contrastive
from sersl.objectives.intensity import intensity_regression
from sersl.objectives.mean import Mean
from sersl.objectives.workers import prosody_regression
from sersl.pretraining.masking import NO_RULE
from sersl.pretraining.terms.term import Term, View


class ContrastiveHeads(nnx.Module):
    """The codebook, and the map into the space of comparison."""

    def __init__(self, encoder: SpeechEncoder, config: PretrainConfig, *, key: jax.Array):
        """Makes both."""
        settings = config.objectives.contrastive
        keys = jax.random.split(key)
        self.quantizer = Quantizer(encoder.frontend.num_features, settings, key=keys[0])
        self.projection = Projection(config.encoder.width, settings.width, key=keys[1])


class Contrastive(Term):
    """wav2vec 2.0: tell the frame's code among others of the utterance."""

    masking = "needed"

    def __init__(self, config: PretrainConfig):
        """Names the temperature as a schedule, so that it is logged."""
        super().__init__(config)
        settings = config.objectives.contrastive
        self.schedules = {
            "gumbel_temperature": functools.partial(gumbel_temperature, config=settings)
        }

    def make_heads(self, encoder: SpeechEncoder, *, key: jax.Array) -> ContrastiveHeads:
        """Makes the quantiser and the projection.

        Args:
          encoder: for its widths.
          key: PRNG key.

        Returns:
          The heads.
        """
        return ContrastiveHeads(encoder, self.config, key=key)

    def loss(self, heads: ContrastiveHeads, view: View) -> tuple[jax.Array, dict[str, Mean]]:
        """Quantises the features and contrasts them.

        Args:
          heads: quantiser and projection.
          view: the batch.

        Returns:
          See `contrastive`.
        """
        settings = self.config.objectives.contrastive
        targets = heads.quantizer(
            view.features,
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
        """Tells when too few codes are in use.

        Args:
          values: logged.

        Returns:
          A sentence, or None.
        """
        perplexity, least = values["code_perplexity"], self.config.collapse.min_perplexity
        if perplexity >= least:
            return None
        return (
            f"the codebook has collapsed: {perplexity:.2f} codes per group are in use, under "
            f"collapse.min_perplexity={least:g}; raise objectives.contrastive.diversity_weight "
            f"(now {self.config.objectives.contrastive.diversity_weight:g}) or lower "
            "optimizer.learning_rate"
        )


class Prosody(Term):
    """Regress log-F0, voicing, energy and their deltas at hidden frames."""

    needs = frozenset({"annotation"})
    masking = "needed"

    def make_heads(self, encoder: SpeechEncoder, *, key: jax.Array) -> RegressionHead:
        """Makes the regression head.

        Args:
          encoder: unused; its width is in the config.
          key: PRNG key.

        Returns:
          The head.
        """
        settings = self.config.objectives.prosody
        return RegressionHead(
            self.config.encoder.width, settings.hidden, len(PROSODY_NAMES), key=key
        )

    def loss(self, heads: RegressionHead, view: View) -> tuple[jax.Array, dict[str, Mean]]:
        """Compares predicted with measured prosody.

        Args:
          heads: the head.
          view: the batch.

        Returns:
          See `prosody_regression`.
        """
        return prosody_regression(
            heads(view.last), view.batch["prosody"], weights=view.weights, names=PROSODY_NAMES
        )


class Intensity(Term):
    """Regress the emotion intensity of hidden frames (EMS)."""

    needs = frozenset({"annotation"})
    masking = "needed"

    def __init__(self, config: PretrainConfig):
        """Lets a network that looks past every frame (NPC) tell the intensity of all frames."""
        super().__init__(config)
        self.all_frames = config.encoder.kind == "masked_conv" and config.masking.rule == NO_RULE
        if self.all_frames:
            self.masking = "none"

    def make_heads(self, encoder: SpeechEncoder, *, key: jax.Array) -> RegressionHead:
        """Makes the regression head.

        Args:
          encoder: unused; its width is in the config.
          key: PRNG key.

        Returns:
          The head.
        """
        settings = self.config.objectives.intensity
        return RegressionHead(self.config.encoder.width, settings.hidden, 1, key=key)

    def loss(self, heads: RegressionHead, view: View) -> tuple[jax.Array, dict[str, Mean]]:
        """Compares predicted with annotated intensity.

        Args:
          heads: the head.
          view: the batch.

        Returns:
          See `intensity_regression`.
        """
        return intensity_regression(
            heads(view.last)[..., 0],
            view.batch["intensity"],
            weights=view.frame_weights if self.all_frames else view.weights,
        )
