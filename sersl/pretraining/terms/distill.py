"""Objectives with an EMA of the student as teacher: frames (data2vec) and utterances."""

import math
from collections.abc import Mapping

import jax
from flax import nnx

from sersl.config.schema import PretrainConfig
from sersl.core.errors import UserError
from sersl.models.decoder import Decoder
from sersl.models.layers import truncated_normal
from sersl.models.pretraining_heads import Projection
from sersl.objectives.distill import distill, teacher_targets, utterance_distill, utterance_targets
from sersl.objectives.mean import Mean
from sersl.pretraining.masking import repeat_rows
from sersl.pretraining.terms.contrast import pool
from sersl.pretraining.terms.term import Term, View


class Distill(Term[Projection | Decoder]):
    """data2vec: regress the averaged layers of an EMA teacher to which every frame is visible."""

    masking = "needed"
    needs_teacher = True

    def __init__(self, config: PretrainConfig):
        """Checks `decoder`."""
        super().__init__(config)
        self.settings = config.objectives.distill
        self.reads_hidden = self.settings.decoder == "linear"

    def make_heads(self, *, key: jax.Array) -> Projection | Decoder:
        """Makes the map to the teacher's layers."""
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
        """Compares predictions at masked frames with the teacher's layers, see `distill`."""
        teacher = view.teacher
        once = teacher_targets(
            teacher.hidden_states_once, teacher.valid_once, top_layers=self.settings.top_layers
        )
        if isinstance(heads, Decoder):
            predicted = heads(
                view.last, valid=view.valid, masked=view.masked, key=view.draw("decoder")
            )
        else:
            predicted = heads(view.last)
        return distill(
            predicted,
            repeat_rows(once, view.clones),
            masked=view.masked,
            weights=view.weights,
        )

    def diagnose(self, values: Mapping[str, float]) -> str | None:
        """Reports targets or predictions that hardly vary over frames."""
        target = self.config.collapse.min_target_deviation
        prediction = self.config.collapse.min_prediction_deviation
        return _collapsed(
            values,
            "distill",
            ("teacher", "target_variance", "min_target_deviation", target),
            ("student", "prediction_variance", "min_prediction_deviation", prediction),
        )


class UtteranceHeads(nnx.Module):
    """The tokens in front of the frames, and the map to the teacher's mean."""

    def __init__(self, config: PretrainConfig, *, num_tokens: int, key: jax.Array):
        """Makes both; there is no parameter of tokens if `num_tokens` is 0."""
        width, keys = config.encoder.width, jax.random.split(key)
        if num_tokens:
            self.tokens = nnx.Param(
                truncated_normal(keys[0], (num_tokens, width), std=1.0),
                axes=(None, "embed"),
                decay=False,
            )
        self.projection = Projection(width, width, key=keys[1])


class Utterance(Term[UtteranceHeads]):
    """emotion2vec: regress the teacher's mean over the utterance."""

    needs_teacher = True
    reads_hidden = False

    def __init__(self, config: PretrainConfig):
        """Checks `kind`, and that tokens go with the encoder."""
        super().__init__(config)
        self.settings = config.objectives.utterance
        kind = self.settings.kind
        self.num_tokens = {"token": 1, "chunk": self.settings.tokens, "global": 0}[kind]
        if self.num_tokens and config.encoder.kind != "transformer":
            raise UserError(
                f"objectives.utterance.kind {kind!r} puts tokens in front of the frames, and in "
                f"encoder.kind {config.encoder.kind!r} they do not depend on the frames: set it "
                "to 'global', or encoder.kind to 'transformer'"
            )

    def make_heads(self, *, key: jax.Array) -> UtteranceHeads:
        """Makes the tokens and the map."""
        return UtteranceHeads(self.config, num_tokens=self.num_tokens, key=key)

    def tokens(self, heads: UtteranceHeads) -> jax.Array | None:
        """Returns the tokens [P, D], or None for the kind "global"."""
        return heads.tokens[...] if self.num_tokens else None

    def loss(self, heads: UtteranceHeads, view: View) -> tuple[jax.Array, dict[str, Mean]]:
        """Compares the student's utterance vector with the teacher's, see `utterance_distill`."""
        teacher = view.teacher
        once = utterance_targets(
            teacher.hidden_states_once, teacher.valid_once, top_layers=self.settings.top_layers
        )
        if self.num_tokens:
            vector = view.student.prefix["utterance"].mean(1)
        else:
            vector = pool(view.last, view.student.present)
        return utterance_distill(
            heads.projection(vector), repeat_rows(once, view.clones), rows=view.valid.any(1)
        )

    def diagnose(self, values: Mapping[str, float]) -> str | None:
        """Reports targets or predictions that hardly vary over utterances."""
        # Utterances of one corpus may be similar: the lower limit is used for both.
        setting = "min_prediction_deviation"
        least = self.config.collapse.min_prediction_deviation
        return _collapsed(
            values,
            "utterance",
            ("teacher", "utterance_target_variance", setting, least),
            ("student", "utterance_prediction_variance", setting, least),
        )


def _collapsed(
    values: Mapping[str, float], name: str, *checks: tuple[str, str, str, float]
) -> str | None:
    """Finds the first standard deviation under its limit.

    Each check is who, the name of a variance, the setting of the limit, and the limit.
    """
    for who, variance, setting, least in checks:
        # Missing if no row of the batch counted.
        deviation = values.get(variance, math.inf) ** 0.5
        if deviation < least:
            return (
                f"the {who} of objectives.{name} has collapsed: its standard deviation is "
                f"{deviation:.2g}, under collapse.{setting}={least:g}; lower "
                "optimizer.learning_rate or raise teacher.decay_start"
            )
    return None
