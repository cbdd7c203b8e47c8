"""Masking rules: which spans of frames are hidden from the student.

Spans are on a grid with a random offset per row, so that they never overlap. A rule only scores
them, and every rule masks the same number of frames. Overlapping top-intensity spans would mask 3
to 5 % of an utterance with any setting.
"""

import jax
import jax.numpy as jnp

from sersl.config.schema import MaskingConfig
from sersl.core.errors import UserError, unknown_name

# Population standard deviation of a row's intensity below which all of its spans score the same.
_MIN_STD = 1e-6


def choose_masked(
    valid: jax.Array, intensity: jax.Array | None, key: jax.Array, cfg: MaskingConfig
) -> jax.Array:
    """Chooses spans of frames to mask.

    In a row of n real frames, round(fraction * n / span) spans are masked: at least one if one
    fits, and none in a row shorter than a span. They are drawn without replacement by Gumbel top-k
    on their scores.

    Args:
      valid: bool [B, T], real frames, which come first.
      intensity: [B, T]; NaN where unknown, which counts as the row's mean. None if the rule does
        not use it.
      key: PRNG key.
      cfg: rule, fraction, span, temperature.

    Returns:
      bool [B, T], True = masked; never padding.

    Raises:
      UserError: an unknown rule, or a rule without its intensity.

    Source: spans of wav2vec 2.0 (2006.11477, sec. 3.1), intensity as in EMS (2406.06646). Differs
    from both: spans do not overlap, the number of masked frames is exact, and intensity weights the
    draw instead of determining it.
    """
    _check(cfg, intensity)
    num_frames, span = valid.shape[1], cfg.span
    num_slots = num_frames // span
    if num_slots == 0:
        return jnp.zeros_like(valid)
    num_real = valid.sum(1)[:, None]
    budget = span_budget(num_real, cfg)
    offset_key, noise_key = jax.random.split(key)
    # The grid offset is random, as long as the masked spans still fit.
    slack = jnp.minimum(span - 1, num_real - budget * span)
    offset = jnp.floor(jax.random.uniform(offset_key, num_real.shape) * (slack + 1))
    offset = jnp.clip(offset.astype(jnp.int32), 0, slack)
    # A slot with padding ranks behind all others; enough spans fit without it.
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
    """Returns the number of spans to mask among `num_real` real frames, an int array of any shape.

    It is int32 of the same shape, at least 1, and at most what fits without overlap.
    """
    wanted = jnp.round(cfg.fraction * num_real / cfg.span).astype(jnp.int32)
    return jnp.clip(jnp.maximum(wanted, 1), 0, num_real // cfg.span)


def frames_to_mask(num_masked: int, cfg: MaskingConfig) -> int:
    """Returns the fewest real frames of a row of which at least `num_masked` are masked."""
    num_real = max(num_masked, cfg.span)
    with jax.ensure_compile_time_eval():
        while int(span_budget(jnp.int32(num_real), cfg)) * cfg.span < num_masked:
            num_real += 1
    return num_real


def repeat_rows(x: jax.Array, clones: int, *, axis: int = 0) -> jax.Array:
    """Repeats each row of an array [..., B, ...] `clones` times, copies side by side."""
    return x if clones == 1 else jnp.repeat(x, clones, axis=axis)


class _Slots:
    """Intensity of each span.

    Attributes:
      means: [B, num_slots], mean intensity; unknown frames count as the row's mean.
      standard: the same, standardised with mean and population standard deviation of the row.
      relative: the same, divided by the row's largest frame.
    """

    def __init__(
        self,
        valid: jax.Array,
        intensity: jax.Array,
        offset: jax.Array,
        *,
        num_slots: int,
        span: int,
    ):
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


def _rank(score: jax.Array) -> jax.Array:
    """Ranks the spans of each row; the highest score has rank 0."""
    return jnp.argsort(jnp.argsort(-score, axis=1, stable=True), axis=1)


def _uniform(slots, noise, budget, cfg):
    """All spans have the same score."""
    return noise


def _intensity(slots, noise, budget, cfg):
    """Mean standardised intensity over the span, divided by the temperature (Gumbel top-k)."""
    # At temperature 0 the noise only breaks ties, as in an utterance of constant intensity, whose
    # first spans would otherwise be masked in every step.
    temperature = cfg.temperature if cfg.temperature > 0 else _COLDEST
    return slots.standard / temperature + noise


def _threshold(slots, noise, budget, cfg):
    """Spans above a mean intensity first, in random order, then the others (EMS)."""
    return jnp.where(slots.means >= cfg.threshold, _FIRST, 0.0) + noise


def _bands(slots, noise, budget, cfg):
    """Half of the spans from each of two bands of relative intensity, others if a band has too few.

    Source: Vesper (2307.10757), energy-guided masking; thresholds are relative to each row as in
    the paper, not compounded over rows as in its published code.
    """
    high, low = ((slots.relative >= start) & (slots.relative < end) for start, end in VESPER_BANDS)
    share = (budget + 1) // 2
    from_high = high & (_rank(jnp.where(high, noise, -jnp.inf)) < share)
    from_low = low & (_rank(jnp.where(low, noise, -jnp.inf)) < budget - share)
    return jnp.where(from_high | from_low, _FIRST, 0.0) + noise


_COLDEST = 1e-4  # temperature used for 0: differences of 1e-4 standard deviations decide
_FIRST = 1e4  # far above any Gumbel noise
# Bands of intensity relative to the row's largest (Vesper, get_rms_mask).
VESPER_BANDS = ((0.5, float("inf")), (0.2, 0.5))

NO_RULE = "none"  # value of masking.rule without masking

# Each returns float scores [B, num_slots]; the spans with the highest scores are masked.
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
            f"masking.rule {cfg.rule!r} needs frame intensity: run `sersl annotate` on the corpus, "
            "or set masking.rule to 'uniform'"
        )
