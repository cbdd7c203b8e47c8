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
      intensity: [B, T], NaN where unknown, which counts as the row's mean; None is fine for a
        rule that does not need it.
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
    # A slot that reaches into padding ranks behind all others, and the budget fits without it.
    fits = offset + (jnp.arange(num_slots) + 1) * span <= num_real
    slots = None
    if intensity is not None:
        slots = _Slots(valid, intensity, offset, num_slots=num_slots, span=span)
    noise = jax.random.gumbel(noise_key, fits.shape)
    score = RULES[cfg.rule](slots, noise, budget, cfg)
    chosen = _rank(jnp.where(fits, score, -jnp.inf)) < budget
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


def repeat_rows(x: jax.Array, clones: int, *, axis: int = 0) -> jax.Array:
    """Repeats each row of an array [..., B, ...] `clones` times, copies side by side."""
    return x if clones == 1 else jnp.repeat(x, clones, axis=axis)


class _Slots:
    """Intensity by span.

    Attributes:
      means: [B, num_slots], mean intensity; unknown frames count as the row's mean.
      standard: the same in deviations of the row's frames from the row's mean.
      relative: the same as a share of the row's largest frame.
    """

    def __init__(self, valid, intensity, offset, *, num_slots, span):
        known = valid & ~jnp.isnan(intensity)
        num_known = jnp.maximum(known.sum(1, keepdims=True), 1)
        mean = jnp.where(known, intensity, 0.0).sum(1, keepdims=True) / num_known
        centred = jnp.where(known, intensity - mean, 0.0)
        std = jnp.sqrt(jnp.square(centred).sum(1, keepdims=True) / num_known)
        largest = jnp.where(known, intensity, 0.0).max(1, keepdims=True)
        at = jnp.minimum(offset + jnp.arange(num_slots * span), valid.shape[1] - 1)
        spans = jnp.take_along_axis(centred, at, axis=1)
        centred = spans.reshape(valid.shape[0], num_slots, span).mean(-1)
        self.means = centred + mean
        self.standard = centred / jnp.maximum(std, _MIN_STD)
        self.relative = self.means / jnp.maximum(largest, _MIN_STD)


def _rank(score):
    """Numbers the spans of each row from the highest score, 0, to the lowest."""
    return jnp.argsort(jnp.argsort(-score, axis=1, stable=True), axis=1)


def _uniform(slots, noise, budget, cfg):
    """Every span scores alike."""
    return noise


def _intensity(slots, noise, budget, cfg):
    """Mean standardised intensity over the span, divided by the temperature (Gumbel top-k)."""
    # At temperature 0 chance decides between equals alone, such as all spans of an utterance that
    # has one intensity; else the first ones would be hidden in every step.
    temperature = cfg.temperature if cfg.temperature > 0 else _COLDEST
    return slots.standard / temperature + noise


def _threshold(slots, noise, budget, cfg):
    """Spans of at least a mean intensity first, in random order, then the others (EMS)."""
    return jnp.where(slots.means >= cfg.threshold, _FIRST, 0.0) + noise


def _bands(slots, noise, budget, cfg):
    """Half the spans from each of two bands of the row's largest intensity, others if they lack.

    Source: Vesper (2307.10757), energy-guided masking; thresholds are each row's own, as the paper
    says and its published code does not do.
    """
    high, low = ((slots.relative >= start) & (slots.relative < end) for start, end in VESPER_BANDS)
    share = (budget + 1) // 2
    from_high = high & (_rank(jnp.where(high, noise, -jnp.inf)) < share)
    from_low = low & (_rank(jnp.where(low, noise, -jnp.inf)) < budget - share)
    return jnp.where(from_high | from_low, _FIRST, 0.0) + noise


_COLDEST = 1e-4  # deviations of intensity that Gumbel noise of 1 outweighs at temperature 0
_FIRST = 1e4  # far above any Gumbel noise
VESPER_BANDS = ((0.5, float("inf")), (0.2, 0.5))  # of the row's largest (Vesper, get_rms_mask)

NO_RULE = "none"  # of masking.rule: nothing is hidden, and `choose_masked` is not asked

# Each gives float scores [B, num_slots]; the highest are hidden.
RULES = {
    "uniform": _uniform,
    "intensity": _intensity,
    "threshold": _threshold,
    "bands": _bands,
}


def _check(cfg: MaskingConfig, intensity: jax.Array | None) -> None:
    if cfg.rule not in RULES:
        raise unknown_name("masking.rule", cfg.rule, RULES)
    if cfg.rule != "uniform" and intensity is None:
        raise UserError(
            f"masking.rule {cfg.rule!r} has no frame intensity to go by: run `sersl annotate` on "
            "the corpus, or set masking.rule to 'uniform'"
        )
