"""Objectives taught by an average of the student itself: frames (data2vec) and utterances."""

from collections.abc import Mapping

import jax
from flax import nnx

from sersl.config.schema import PretrainConfig
from sersl.core.errors import UserError
from sersl.models.decoder import Decoder
from sersl.models.encoder import SpeechEncoder
from sersl.models.layers import truncated_normal
from sersl.models.pretraining_heads import Projection
from sersl.objectives.distill import distill, teacher_targets, utterance_distill, utterance_targets
from sersl.objectives.mean import Mean
from sersl.pretraining.student import repeat_rows
from sersl.pretraining.terms.contrast import pool
from sersl.pretraining.terms.term import Term, View


class Distill(Term):
    """data2vec: regress the averaged layers of an EMA teacher that sees every frame."""

    masking = "needed"
    needs_teacher = True

    def __init__(self, config: PretrainConfig):
        """Checks the name of the decoder."""
        super().__init__(config)
        self.settings = config.objectives.distill
        self.reads_hidden = self.settings.decoder == "linear"

    def make_heads(self, encoder: SpeechEncoder, *, key: jax.Array) -> Projection | Decoder:
        """Makes the map to the teacher's layers.

        Args:
          encoder: unused; its width is in the config.
          key: PRNG key.

        Returns:
          The head.
        """
        width, settings = self.config.encoder.width, self.settings
        if settings.decoder == "linear":
            return Projection(width, width, key=key)
        return Decoder(
            width,
            width=settings.decoder_width,
            num_layers=settings.decoder_layers,
            kernel=settings.decoder_kernel,
            groups=settings.decoder_groups,
            key=key,
        )

    def loss(self, heads: Projection | Decoder, view: View) -> tuple[jax.Array, dict[str, Mean]]:
        """Compares with the teacher's layers.

        Args:
          heads: the map.
          view: the batch.

        Returns:
          See `distill`.
        """
        once = teacher_targets(
            view.taught_once, view.valid_once, top_layers=self.settings.top_layers
        )
        if self.settings.decoder == "linear":
            predicted = heads(view.last)
        else:
            predicted = heads(
                view.last, valid=view.valid, masked=view.masked, key=view.draw("decoder")
            )
        return distill(
            predicted,
            repeat_rows(once, view.clones),
            masked=view.masked,
            weights=view.weights,
        )

    def diagnose(self, values: Mapping[str, float]) -> str | None:
        """Tells when the teacher's or the student's frames have become alike.

        Args:
          values: logged.

        Returns:
          A sentence, or None.
        """
        target = self.config.collapse.min_target_deviation
        prediction = self.config.collapse.min_prediction_deviation
        return _alike(
            values,
            "distill",
            ("teacher", "target_variance", "min_target_deviation", target),
            ("student", "prediction_variance", "min_prediction_deviation", prediction),
        )


class UtteranceHeads(nnx.Module):
    """The tokens in front of the frames, and the map to the teacher's mean."""

    def __init__(self, config: PretrainConfig, *, num_tokens: int, key: jax.Array):
        """Makes both; no token with 0."""
        width, keys = config.encoder.width, jax.random.split(key)
        if num_tokens:
            self.tokens = nnx.Param(
                truncated_normal(keys[0], (num_tokens, width), std=1.0), axes=(None, "embed")
            )
        self.projection = Projection(width, width, key=keys[1])


class Utterance(Term):
    """emotion2vec: regress the teacher's mean over the utterance."""

    needs_teacher = True
    reads_hidden = False

    def __init__(self, config: PretrainConfig):
        """Checks the kind.

        Raises:
          UserError: an unknown one, or tokens that would not hear the utterance.
        """
        super().__init__(config)
        self.settings = config.objectives.utterance
        kind = self.settings.kind
        self.num_tokens = {"token": 1, "chunk": self.settings.tokens, "global": 0}[kind]
        if self.num_tokens and config.encoder.kind != "transformer":
            raise UserError(
                f"objectives.utterance.kind {kind!r} puts tokens in front of the frames, where "
                f"encoder.kind {config.encoder.kind!r} does not hear the utterance: set it to "
                "'global', or encoder.kind to 'transformer'"
            )

    def make_heads(self, encoder: SpeechEncoder, *, key: jax.Array) -> UtteranceHeads:
        """Makes tokens and map.

        Args:
          encoder: unused; its width is in the config.
          key: PRNG key.

        Returns:
          The heads.
        """
        return UtteranceHeads(self.config, num_tokens=self.num_tokens, key=key)

    def tokens(self, heads: UtteranceHeads) -> jax.Array | None:
        """Puts the tokens in front of the frames.

        Args:
          heads: with them.

        Returns:
          [P, D], or None for the kind "global".
        """
        return heads.tokens[...] if self.num_tokens else None

    def loss(self, heads: UtteranceHeads, view: View) -> tuple[jax.Array, dict[str, Mean]]:
        """Compares the student's vector of the utterance with the teacher's mean.

        Args:
          heads: the map.
          view: the batch.

        Returns:
          See `utterance_distill`.
        """
        once = utterance_targets(
            view.taught_once, view.valid_once, top_layers=self.settings.top_layers
        )
        if self.num_tokens:
            said = view.prefix["utterance"].mean(1)
        else:
            said = pool(view.last, view.present)
        return utterance_distill(
            heads.projection(said), repeat_rows(once, view.clones), rows=view.valid.any(1)
        )

    def diagnose(self, values: Mapping[str, float]) -> str | None:
        """Tells when the teacher's or the student's utterances have become alike.

        Args:
          values: logged.

        Returns:
          A sentence, or None.
        """
        # Utterances of one corpus may be much alike: both are held to the lower limit.
        setting = "min_prediction_deviation"
        least = self.config.collapse.min_prediction_deviation
        return _alike(
            values,
            "utterance",
            ("teacher", "utterance_target_variance", setting, least),
            ("student", "utterance_prediction_variance", setting, least),
        )


def _alike(
    values: Mapping[str, float], name: str, *checks: tuple[str, str, str, float]
) -> str | None:
    """Finds the first deviation under its limit; each check is who, variance, setting and limit."""
    for who, variance, setting, least in checks:
        deviation = values[variance] ** 0.5
        if deviation < least:
            return (
                f"the {who} of objectives.{name} has collapsed: its deviation is {deviation:.2g}, "
                f"under collapse.{setting}={least:g}; lower optimizer.learning_rate or raise "
                "teacher.decay_start"
            )
    return None
