"""The one place that makes the input of encoders in pretraining: students and EMA teachers."""

import itertools
from collections.abc import Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp

from sersl.config.schema import AlterationConfig, MaskingConfig, PretrainConfig
from sersl.core import lengths
from sersl.core.errors import UserError, unknown_name
from sersl.data.batch import SECOND
from sersl.models.encoder import EncoderInput, SpeechEncoder
from sersl.models.layers import fit_frames
from sersl.models.transformer import Transformer
from sersl.parallel.random import fold
from sersl.pretraining.alteration import alter_features
from sersl.pretraining.intensity_input import IntensityInput
from sersl.pretraining.masking import NO_RULE, RULES, choose_masked, repeat_rows, span_budget


class Student(NamedTuple):
    """Inputs and outputs of a student pass, with `masking.clones` copies of each row.

    Attributes:
      valid: bool [B, T], real frames.
      masked: bool [B, T], frames hidden from the student.
      present: bool [B, T], frames whose hidden states are defined: the real ones or, with
        `masking.replace=remove`, those of them that are not masked.
      sought: bool [B, T, F], features to predict: of masked frames and altered bands.
      features: float32 [B, T, F] of the clean audio, neither masked nor altered, 0 at padding.
      hidden_states: [L + 1, B, T, D].
      token_states: [L + 1, B, P, D], hidden states at the tokens of all objectives.
      prefix: name of an objective to [B, P, D], the last layer at its tokens.
    """

    valid: jax.Array
    masked: jax.Array
    present: jax.Array
    sought: jax.Array
    features: jax.Array
    hidden_states: jax.Array
    token_states: jax.Array
    prefix: Mapping[str, jax.Array]


def check_student(config: PretrainConfig) -> None:
    """Checks the settings of masking, alteration and mixing.

    Raises:
      UserError: an unknown name, or settings that make no sense together.
    """
    rule, replace = config.masking.rule, config.masking.replace
    if rule != NO_RULE and rule not in RULES:
        raise unknown_name("masking.rule", rule, (*RULES, NO_RULE))
    if rule == NO_RULE and (replace != "embedding" or config.masking.clones > 1):
        raise UserError(
            f"masking.rule 'none' masks nothing, so masking.replace={replace!r} and masking.clones="
            f"{config.masking.clones} have no effect: leave them at 'embedding' and 1"
        )
    if replace == "remove" and config.encoder.kind != "transformer":
        raise UserError(
            f"masking.replace 'remove' needs encoder.kind 'transformer', not "
            f"{config.encoder.kind!r}, which cannot skip frames"
        )
    has_window = config.frontend.kind == "whisper" and config.frontend.window_seconds
    if replace == "remove" and has_window:
        raise UserError(
            "masking.replace 'remove' does not go with frontend.kind 'whisper', whose encoder "
            "attends to all of its window: use 'embedding', or frontend.window_seconds 0"
        )
    stays_apart = config.encoder.positions == "rotary" or config.encoder.relative_bias
    if replace == "remove" and stays_apart and config.encoder.attention == "cudnn":
        raise UserError(
            "masking.replace 'remove' leaves gaps between frames whose positions matter, and "
            "encoder.attention 'cudnn' attends to the first frames of a row: set it to 'auto'"
        )
    if replace == "features" and config.frontend.kind != "log_mel":
        raise UserError(
            "masking.replace 'features' alters log-mel features: set frontend.kind to 'log_mel' or "
            "masking.replace to 'embedding'"
        )
    if replace != "features" and config.alteration != AlterationConfig():
        raise UserError(
            f"settings under alteration have no effect with masking.replace {replace!r}: set it to "
            "'features' or leave them out"
        )
    if config.mixing.lowest_db > config.mixing.highest_db:
        raise UserError(
            f"mixing.lowest_db={config.mixing.lowest_db:g} is above mixing.highest_db="
            f"{config.mixing.highest_db:g}: swap them"
        )


class Passes:
    """Runs encoders on inputs made from one batch: the student's, a second one, the teacher's.

    All of them get the tokens of objectives and the emotion intensity of the same rows. Identical
    audio, shown without masks and dropout, therefore has identical hidden states in every pass.
    """

    def __init__(
        self,
        batch: Mapping[str, jax.Array],
        *,
        config: PretrainConfig,
        intensity_input: IntensityInput | None = None,
        tokens: Mapping[str, jax.Array],
        key: jax.Array,
    ):
        """Stores what the passes share.

        Args:
          batch: arrays of the batch; waveform [B, N] and valid [B, N] are read and, if the
            settings need it, intensity [B, T].
          config: of the run.
          intensity_input: adds intensity to projected features; None: nothing does.
          tokens: name of an objective to [P, D], put in front of the frames, in order.
          key: PRNG key of the step.
        """
        self._batch, self._config, self._key = batch, config, key
        self._intensity = batch.get("intensity")
        self._intensity_input, self._tokens = intensity_input, tokens

    def student(self, encoder: SpeechEncoder, name: str) -> Student:
        """Runs the student, each row `masking.clones` times.

        Args:
          encoder: of the student.
          name: of its input in the batch: the clean waveform, or a distorted one.
        """
        config, clones = self._config, self._config.masking.clones
        clean, real = self._batch["waveform"], self._batch["valid"]
        waveform = self._batch[name]
        features, valid = encoder.frontend.features(clean, real)
        seen = features if waveform is clean else encoder.frontend.features(waveform, real)[0]
        features, seen, valid = (repeat_rows(x, clones) for x in (features, seen, valid))
        # A frontend with a window of its own (whisper) has more or fewer frames than the batch.
        num_frames = lengths.num_frames(clean.shape[1])
        valid = fit_frames(valid, num_frames, axis=1)
        masked = self._choose_masked(valid)
        features = fit_frames(features, num_frames, axis=1)
        sought = jnp.broadcast_to(masked[..., None], features.shape)
        if config.masking.replace == "features":
            seen, sought = self._alter(seen, valid, masked, purpose="alteration")
        hidden_states, token_states, present = self._encode(
            encoder, seen, valid, masked=masked, clones=clones, key=fold(self._key, "dropout")
        )
        ends = list(itertools.accumulate(map(len, self._tokens.values())))
        prefix = {
            objective: token_states[-1][:, end - len(own) : end]
            for (objective, own), end in zip(self._tokens.items(), ends, strict=True)
        }
        return Student(
            valid, masked, present, sought, features, hidden_states, token_states, prefix
        )

    def second(self, encoder: SpeechEncoder, first: Student) -> jax.Array:
        """Runs the student again, on the second distortion of the same audio.

        Dropout and alteration are drawn anew; masks are those of the first pass.

        Returns:
          hidden_states [L + 1, B * clones, T, D].
        """
        masking = self._config.masking
        seen, _ = encoder.frontend.features(self._batch[SECOND], self._batch["valid"])
        seen = repeat_rows(seen, masking.clones)
        if masking.replace == "features":
            seen, _ = self._alter(seen, first.valid, first.masked, purpose="second alteration")
        return self._encode(
            encoder,
            seen,
            first.valid,
            masked=first.masked,
            clones=masking.clones,
            key=fold(self._key, "second"),
        )[0]

    def teacher(self, encoder: SpeechEncoder, name: str) -> jax.Array:
        """Runs the EMA teacher: every frame is visible, and nothing is altered or dropped.

        Args:
          encoder: of the teacher.
          name: of its input in the batch.

        Returns:
          hidden_states [L + 1, B, T, D], without gradient.
        """
        waveform = self._batch[name]
        features, valid = encoder.frontend.features(waveform, self._batch["valid"])
        valid = fit_frames(valid, lengths.num_frames(waveform.shape[1]), axis=1)
        hidden_states, _, _ = self._encode(
            encoder, features, valid, masked=None, clones=1, key=None
        )
        return jax.lax.stop_gradient(hidden_states)

    def upper(
        self,
        encoder: SpeechEncoder,
        frames: jax.Array,
        first: Student,
        *,
        start: int,
        key: jax.Array,
    ) -> jax.Array:
        """Runs the layers of a Transformer from `start` on again, on other inputs of that layer.

        Args:
          encoder: of the student.
          frames: [B, T, D], the new inputs of layer `start`.
          first: the student pass, whose tokens and real frames are used again.
          start: index of a layer, from 0.
          key: PRNG key of dropout.

        Returns:
          [B, T, D], the last layer.
        """
        network = encoder.context
        assert isinstance(network, Transformer)
        tokens = first.token_states[start]
        x = jnp.concatenate([tokens, frames], axis=1)
        valid = jnp.pad(first.valid, ((0, 0), (tokens.shape[1], 0)), constant_values=True)
        return network(x, valid, key=key, first=start)[-1][:, tokens.shape[1] :]

    def _choose_masked(self, valid: jax.Array) -> jax.Array:
        config = self._config.masking
        if config.rule == NO_RULE:
            return jnp.zeros_like(valid)
        intensity = self._intensity
        if intensity is not None:
            intensity = repeat_rows(intensity, config.clones)
        return choose_masked(valid, intensity, fold(self._key, "masking"), config)

    def _alter(
        self, features: jax.Array, valid: jax.Array, masked: jax.Array, *, purpose: str
    ) -> tuple[jax.Array, jax.Array]:
        return alter_features(
            features,
            valid=valid,
            masked=masked,
            config=self._config.alteration,
            num_mels=self._config.frontend.num_mels,
            key=fold(self._key, purpose),
        )

    def _encode(
        self,
        encoder: SpeechEncoder,
        features: jax.Array,
        valid: jax.Array,
        *,
        masked: jax.Array | None,
        clones: int,
        key: jax.Array | None,
    ) -> tuple[jax.Array, jax.Array, jax.Array]:
        """Encodes features: (hidden states of the frames, of the tokens, bool [B, T] `present`).

        Nothing is masked if `masked` is None; there is no dropout if `key` is None.
        """
        masking, added, present, most_valid = self._config.masking, None, valid, None
        if self._intensity_input is not None:
            added = self._intensity_input(
                self._batch["intensity"],
                masked=masked,
                clones=clones,
                dropout=self._config.knowledge.input_dropout,
                key=fold(self._key, "intensity_input"),
            )
        if masking.replace == "remove" and masked is not None:
            present, most_valid = valid & ~masked, most_unmasked(features.shape[1], masking)
        tokens = list(self._tokens.values())
        hidden_states, token_states = encoder.encode(
            EncoderInput(
                features=features,
                valid=present,
                masked=masked if masking.replace == "embedding" else None,
                added=added,
                tokens=jnp.concatenate(tokens) if tokens else None,
                most_valid=most_valid,
            ),
            key=key,
        )
        return hidden_states, token_states, present


def most_unmasked(num_frames: int, masking: MaskingConfig) -> int:
    """Returns the largest number of frames that masking leaves in a row of 0 to T real frames.

    It is made even, and is at most `num_frames`, T of the batch.
    """
    with jax.ensure_compile_time_eval():
        real = jnp.arange(num_frames + 1)
        left = int((real - masking.span * span_budget(real, masking)).max())
    return min(left + left % 2, num_frames)
