"""Losses of dimensions by name: arrays in, (loss, means) out."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.scipy.special import gammaln

from sersl.config.schema import HeadsConfig
from sersl.objectives.mean import Mean, at_least_float32
from sersl.objectives.regression import regression
from sersl.objectives.supervised import concordance

Found = tuple[jax.Array, dict[str, Mean]]


class DimensionScores(NamedTuple):
    """What a head gives.

    Attributes:
      dimensions: [B, D], the predictions.
      evidence: [B, D, 3], nu, alpha and beta of a normal-inverse-gamma distribution, or None.
    """

    dimensions: jax.Array
    evidence: jax.Array | None = None


def agreement(
    given: DimensionScores, target: jax.Array, heads: HeadsConfig, *, names: Sequence[str]
) -> Found:
    """Computes `concordance` of predictions with [B, D] targets; NaN none."""
    return concordance(given.dimensions, target, names=names)


def squared(
    given: DimensionScores, target: jax.Array, heads: HeadsConfig, *, names: Sequence[str]
) -> Found:
    """Computes the mean squared error over all known values of [B, D] targets."""
    return _error(given, target, "squared")


def absolute(
    given: DimensionScores, target: jax.Array, heads: HeadsConfig, *, names: Sequence[str]
) -> Found:
    """Computes the mean absolute error over all known values of [B, D] targets."""
    return _error(given, target, "l1")


def evidential(
    given: DimensionScores, target: jax.Array, heads: HeadsConfig, *, names: Sequence[str]
) -> Found:
    """Computes the negative log-likelihood of a normal-inverse-gamma distribution.

    With Omega = 2 beta (1 + nu) and the error e: 1/2 ln(pi / nu) - alpha ln Omega + (alpha + 1/2)
    ln(e^2 nu + Omega) + ln Gamma(alpha) - ln Gamma(alpha + 1/2), plus
    `heads.dimension_evidence_weight` times |e| (2 nu + alpha), over all known values.

    Args:
      given: with evidence.
      target: [B, D]; NaN none.
      heads: settings.
      names: the D dimensions.

    Returns:
      (loss, {dimensions_loss, dimensions_error: the mean absolute error}).

    Source: Amini et al. 2020 (1910.02600), eq. 8 and 9; for speech emotion 2306.06760.
    """
    if given.evidence is None:
        raise ValueError("there is no evidence")
    nu, alpha, beta = jnp.moveaxis(at_least_float32(given.evidence), -1, 0)
    known = ~jnp.isnan(target)
    error = jnp.where(known, given.dimensions - jnp.where(known, target, 0.0), 0.0)
    omega = 2.0 * beta * (1.0 + nu)
    fit = (
        0.5 * jnp.log(jnp.pi / nu)
        - alpha * jnp.log(omega)
        + (alpha + 0.5) * jnp.log(jnp.square(error) * nu + omega)
        + gammaln(alpha)
        - gammaln(alpha + 0.5)
    )
    penalty = jnp.abs(error) * (2.0 * nu + alpha)
    mean = Mean.of(fit + heads.dimension_evidence_weight * penalty, known)
    return mean.value(empty=0.0), {
        "dimensions_loss": mean,
        "dimensions_error": Mean.of(jnp.abs(error), known),
    }


def _error(given: DimensionScores, target: jax.Array, loss: str) -> Found:
    weights = jnp.ones(len(target), jnp.float32)
    return regression(given.dimensions, target, weights=weights, loss=loss, name="dimensions_loss")


DIMENSION_LOSSES: dict[str, Callable[..., Found]] = {
    "ccc": agreement,
    "mse": squared,
    "mae": absolute,
    "evidential": evidential,  # whose head gives the evidence of each dimension too
}
