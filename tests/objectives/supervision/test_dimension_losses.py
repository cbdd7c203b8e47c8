"""Losses of dimensions against scikit-learn and SciPy."""

import numpy as np
import pytest
import scipy.stats
from sklearn.metrics import mean_absolute_error, mean_squared_error

from sersl.config.schema import HeadsConfig
from sersl.objectives.supervised import concordance
from sersl.objectives.supervision.dimension_losses import DIMENSION_LOSSES, DimensionScores
from tests.objectives.gradients import check_gradient
from tests.tolerances import FP32

RNG = np.random.default_rng(3)
PREDICTED = RNG.uniform(size=(8, 2))
TARGET = RNG.uniform(size=(8, 2))
TARGET[[0, 5], [1, 0]] = np.nan
KNOWN = ~np.isnan(TARGET)
NAMES = ("arousal", "warmth")


def loss_of(name, predicted=PREDICTED, evidence=None, **settings):
    given = DimensionScores(predicted, evidence)
    heads = HeadsConfig(dimensions_loss=name, **settings)
    return DIMENSION_LOSSES[name](given, TARGET, heads, names=NAMES)


@pytest.mark.parametrize(
    ("name", "reference"), [("mse", mean_squared_error), ("mae", mean_absolute_error)]
)
def test_error_when_compared_with_scikit_learn_then_equal_over_known_values(name, reference):
    loss, metrics = loss_of(name)
    expected = reference(TARGET[KNOWN], PREDICTED[KNOWN])
    np.testing.assert_allclose(loss, expected, **FP32)
    np.testing.assert_allclose(metrics["dimensions_loss"].value(), expected, **FP32)


def test_ccc_when_chosen_then_the_concordance():
    expected = concordance(PREDICTED, TARGET, names=NAMES)[0]
    np.testing.assert_allclose(loss_of("ccc")[0], expected, **FP32)


def evidence():
    rng = np.random.default_rng(4)
    return np.stack(
        [rng.uniform(0.5, 2, (8, 2)), rng.uniform(1.5, 3, (8, 2)), rng.uniform(0.1, 1, (8, 2))], -1
    )


def test_evidential_when_compared_with_students_t_then_its_negative_log_likelihood():
    nu, alpha, beta = np.moveaxis(evidence(), -1, 0)
    # The marginal of a normal-inverse-gamma distribution (Amini et al. 2020, eq. 7).
    scale = np.sqrt(beta * (1 + nu) / (nu * alpha))
    fit = -scipy.stats.t.logpdf(TARGET, 2 * alpha, loc=PREDICTED, scale=scale)
    penalty = np.abs(TARGET - PREDICTED) * (2 * nu + alpha)
    loss, metrics = loss_of("evidential", evidence=evidence(), dimension_evidence_weight=0.2)
    np.testing.assert_allclose(loss, (fit + 0.2 * penalty)[KNOWN].mean(), **FP32)
    error = np.abs(TARGET - PREDICTED)[KNOWN].mean()
    np.testing.assert_allclose(metrics["dimensions_error"].value(), error, **FP32)


def test_evidential_when_differentiated_then_equals_central_differences():
    check_gradient(lambda x: loss_of("evidential", x, evidence())[0], PREDICTED)
    check_gradient(lambda x: loss_of("evidential", PREDICTED, x)[0], evidence())
