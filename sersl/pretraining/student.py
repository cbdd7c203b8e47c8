"""The student run: what it hears, which frames it does not see, what stands in their place."""

import itertools
from collections.abc import Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp

from sersl.config.schema import AlterationConfig, MaskingConfig, PretrainConfig
from sersl.core import lengths
from sersl.core.errors import UserError, unknown_name
from sersl.models.encoder import fit_frames
from sersl.parallel.random import fold
from sersl.pretraining.alteration import alter_features
from sersl.pretraining.masking import NO_RULE, RULES, choose_masked, span_budget
from sersl.pretraining.mixing import mix_utterances


class Student(NamedTuple):
    """What the student saw and said, each row as often as `masking.clones` asks.

    Attributes:
      valid: bool [B, T], real frames.
      masked: bool [B, T], frames hidden from the student.
      present: bool [B, T], frames whose hidden states mean something: the real ones or, with
        `masking.replace=remove`, those of them that are not masked.
      sought: bool [B, T, F], features to be found again: of hidden frames and altered bands.
      features: float32 [B, T, F] of the clean audio, neither masked nor altered, 0 at padding.
      hidden_states: [L + 1, B, T, D].
      prefix: name of an objective to [B, P, D], the last layer at its tokens.
    """

    valid: jax.Array
    masked: jax.Array
    present: jax.Array
    sought: jax.Array
    features: jax.Array
    hidden_states: jax.Array
    prefix: Mapping[str, jax.Array]


def check_student(config: PretrainConfig) -> None:
    """Checks the settings of masking.

    Args:
      config: the run.

    Raises:
      UserError: an unknown name, or settings that make no sense together.
    """
    rule, replace = config.masking.rule, config.masking.replace
    if rule != NO_RULE and rule not in RULES:
        raise unknown_name("masking.rule", rule, (*RULES, NO_RULE))
    if rule == NO_RULE and (replace != "embedding" or config.masking.clones > 1):
        raise UserError(
            f"masking.rule 'none' hides nothing, so masking.replace={replace!r} and masking.clones="
            f"{config.masking.clones} mean nothing: leave them at 'embedding' and 1"
        )
    if replace == "remove" and config.encoder.kind != "transformer":
        raise UserError(
            f"masking.replace 'remove' needs encoder.kind 'transformer', not "
            f"{config.encoder.kind!r}, which cannot pass over frames"
        )
    if replace == "remove" and config.frontend.kind == "whisper":
        raise UserError(
            "masking.replace 'remove' does not go with frontend.kind 'whisper', whose encoder "
            "looks at all of its window: use 'embedding'"
        )
    stays_apart = config.encoder.positions == "rotary" or config.encoder.relative_bias
    if replace == "remove" and stays_apart and config.encoder.attention == "cudnn":
        raise UserError(
            "masking.replace 'remove' leaves gaps between frames whose positions count, and "
            "encoder.attention 'cudnn' looks at the first frames of a row: set it to 'auto'"
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


def repeat_rows(x: jax.Array, clones: int, *, axis: int = 0) -> jax.Array:
    """Gives each row several times, its copies side by side.

    Args:
      x: array [..., B, ...], of any dtype.
      clones: how often.
      axis: that dimension.

    Returns:
      The array with `clones` times the rows; the same where it is 1.
    """
    return x if clones == 1 else jnp.repeat(x, clones, axis=axis)


def run_student(
    model,
    batch: Mapping[str, jax.Array],
    *,
    heard: jax.Array,
    config: PretrainConfig,
    intensity: jax.Array | None,
    tokens: Mapping[str, jax.Array],
    key: jax.Array,
) -> Student:
    """Runs the student on one batch.

    Args:
      model: `PretrainModel`.
      batch: waveform [B, N], clean, and valid [B, N].
      heard: [B, N], what the student hears of it: the same array, or a distorted one.
      config: the run.
      intensity: [B, T]; None where nothing asks for it.
      tokens: name of an objective to [P, D], put in front of the frames; in order.
      key: PRNG key of the step.

    Returns:
      Student, with `masking.clones` times the rows.
    """
    encoder, masking, clones = model.encoder, config.masking, config.masking.clones
    waveform, real = batch["waveform"], batch["valid"]
    if config.mixing.probability:
        heard = mix_utterances(heard, real, config=config.mixing, key=fold(key, "mixing"))
    features, valid = encoder.frontend.features(waveform, real)
    seen = features if heard is waveform else encoder.frontend.features(heard, real)[0]
    features, seen, valid = (repeat_rows(x, clones) for x in (features, seen, valid))
    intensity = None if intensity is None else repeat_rows(intensity, clones)
    # A frontend with a window of its own (whisper) has more frames or fewer than the batch.
    num_frames, num_own = lengths.num_frames(waveform.shape[1]), valid.shape[1]
    valid_own, valid = valid, fit_frames(valid, num_frames, axis=1)
    masked = jnp.zeros_like(valid)
    if masking.rule != NO_RULE:
        masked = choose_masked(valid, intensity, fold(key, "masking"), masking)
    masked_own = fit_frames(masked, num_own, axis=1)
    features = fit_frames(features, num_frames, axis=1)
    sought = jnp.broadcast_to(masked[..., None], features.shape)
    if masking.replace == "features":
        seen, sought = alter_features(
            seen,
            valid=valid,
            masked=masked,
            config=config.alteration,
            num_mels=config.frontend.num_mels,
            key=fold(key, "alteration"),
        )
    x = encoder.frontend.project(seen)
    if config.knowledge.input:
        x = model.intensity_input(
            x,
            fit_frames(intensity, num_own, axis=1),
            masked=masked_own,
            dropout=config.knowledge.input_dropout,
            key=fold(key, "intensity_input"),
        )
    present, most = valid_own, None
    if masking.replace == "remove":
        present, most = valid_own & ~masked_own, most_unmasked(num_own, masking)
    in_front = list(tokens.values())
    hidden_states = encoder.contextualize(
        x,
        present,
        masked=masked_own if masking.replace == "embedding" else None,
        tokens=jnp.concatenate(in_front) if in_front else None,
        most_present=most,
        key=fold(key, "dropout"),
    )
    ends = list(itertools.accumulate(map(len, in_front)))
    prefix = {
        name: hidden_states[-1][:, end - len(own) : end]
        for (name, own), end in zip(tokens.items(), ends, strict=True)
    }
    if ends:
        hidden_states = hidden_states[:, :, ends[-1] :]
    hidden_states = fit_frames(hidden_states, num_frames, axis=2)
    present = fit_frames(present, num_frames, axis=1)
    return Student(valid, masked, present, sought, features, hidden_states, prefix)


def most_unmasked(num_frames: int, masking: MaskingConfig) -> int:
    """Counts the frames that masking leaves of a row at most.

    Args:
      num_frames: T of the batch.
      masking: its budget.

    Returns:
      The most over rows of 0 to T real frames, made even, at most T.
    """
    with jax.ensure_compile_time_eval():
        real = jnp.arange(num_frames + 1)
        left = int((real - masking.span * span_budget(real, masking)).max())
    return min(left + left % 2, num_frames)
