"""Which frames the student does not see: every rule hides the same number of frames.

Spans lie on a grid with a random offset per row, so that they never overlap; a rule only scores
them. Overlapping top-intensity spans would hide 3 to 5 % of an utterance whatever was asked for.
"""

import jax
import jax.numpy as jnp

from sersl.config.schema import MaskingConfig
from sersl.core.errors import UserError, unknown_name

_MIN_STD = 1e-6  # of a row's intensity; below it the row is constant and every span scores alike


def choose_masked(
    valid: jax.Array, intensity: jax.Array | None, key: jax.Array, cfg: MaskingConfig
) -> jax.Array:
    """Chooses spans of frames to hide.

    A row of n real frames has round(fraction * n / span) spans hidden, at least one where one
    fits; they are drawn without replacement by Gumbel top-k on their scores.

    Args:
      valid: bool [B, T], True first, then False.
      intensity: [B, T], NaN where unknown; None is fine for a rule that does not need it. It is
        standardised over the real frames of each row, unknown frames count as the row's mean.
      key: PRNG key.
      cfg: rule, fraction, span, temperature.

    Returns:
      bool [B, T], True = hidden; never padding.

    Raises:
      UserError: unknown rule, a setting out of range, or a rule without its intensity.

    Source: spans of wav2vec 2.0 (2006.11477, sec. 3.1), intensity as in EMS (2406.06646). Differs
    from both: spans do not overlap, the budget is exact, and intensity weighs the draw instead of
    ruling it.
    """
    _check(cfg, intensity)
    num_frames, span = valid.shape[1], cfg.span
    num_slots = num_frames // span
    if num_slots == 0:
        return jnp.zeros_like(valid)
    num_real = valid.sum(1)[:, None]
    budget = span_budget(num_real, cfg)
    offset_key, noise_key = jax.random.split(key)
    # The grid starts where it likes, as long as the budget still fits.
    slack = jnp.minimum(span - 1, num_real - budget * span)
    offset = jnp.floor(jax.random.uniform(offset_key, num_real.shape) * (slack + 1))
    offset = jnp.clip(offset.astype(jnp.int32), 0, slack)
    score = RULES[cfg.rule](valid, intensity, offset, num_slots, cfg)
    if cfg.rule == "uniform" or cfg.temperature > 0:
        score = score + jax.random.gumbel(noise_key, score.shape)
    # A slot that reaches into padding ranks behind all others, and the budget fits without it.
    fits = offset + (jnp.arange(num_slots) + 1) * span <= num_real
    order = jnp.argsort(jnp.where(fits, -score, jnp.inf), axis=1, stable=True)
    chosen = jnp.argsort(order, axis=1) < budget
    frames = jnp.arange(num_frames) - offset
    slot = jnp.clip(frames // span, 0, num_slots - 1)
    inside = (frames >= 0) & (frames < num_slots * span)
    return jnp.take_along_axis(chosen, slot, axis=1) & inside


def span_budget(num_real: jax.Array, cfg: MaskingConfig) -> jax.Array:
    """Counts the spans to hide among this many real frames.

    Args:
      num_real: int of any shape, real frames.
      cfg: fraction to hide and frames per span.

    Returns:
      int32 of the same shape: at least 1, and at most what fits without overlap.
    """
    wanted = jnp.round(cfg.fraction * num_real / cfg.span).astype(jnp.int32)
    return jnp.clip(jnp.maximum(wanted, 1), 0, num_real // cfg.span)


def _uniform(valid, intensity, offset, num_slots, cfg):
    """Every span scores alike."""
    return jnp.zeros((valid.shape[0], num_slots))


def _intensity(valid, intensity, offset, num_slots, cfg):
    """Mean standardised intensity over the span, divided by the temperature."""
    known = valid & ~jnp.isnan(intensity)
    num_known = jnp.maximum(known.sum(1, keepdims=True), 1)
    mean = jnp.where(known, intensity, 0.0).sum(1, keepdims=True) / num_known
    centred = jnp.where(known, intensity - mean, 0.0)
    std = jnp.sqrt(jnp.square(centred).sum(1, keepdims=True) / num_known)
    standard = centred / jnp.maximum(std, _MIN_STD)
    at = jnp.minimum(offset + jnp.arange(num_slots * cfg.span), valid.shape[1] - 1)
    spans = jnp.take_along_axis(standard, at, axis=1)
    means = spans.reshape(valid.shape[0], num_slots, cfg.span).mean(-1)
    return means / cfg.temperature if cfg.temperature > 0 else means


# Each gives float scores [B, num_slots]; a higher one is likelier to be hidden.
RULES = {"uniform": _uniform, "intensity": _intensity}


def _check(cfg: MaskingConfig, intensity: jax.Array | None) -> None:
    if cfg.rule not in RULES:
        raise unknown_name("masking.rule", cfg.rule, RULES)
    if not 0.0 < cfg.fraction <= 1.0:
        raise UserError(f"masking.fraction is {cfg.fraction}: set it above 0 and at most to 1")
    if cfg.span < 1:
        raise UserError(f"masking.span is {cfg.span}: set it to 1 frame or more")
    if cfg.temperature < 0.0:
        raise UserError(f"masking.temperature is {cfg.temperature}: set it to 0 or more")
    if cfg.rule == "intensity" and intensity is None:
        raise UserError(
            "masking.rule 'intensity' has no frame intensity to go by: run `sersl annotate` on the "
            "corpus, or set masking.rule to 'uniform'"
        )
