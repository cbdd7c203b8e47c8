"""Central differences in float64, against which every loss's gradient is tested."""

import jax
import numpy as np

from tests.tolerances import GRADIENT

STEP = 1e-5


def check_gradient(loss, x, *, num_values=20):
    """Compares jax.grad of a scalar loss at x with central differences at some of its values.

    Args:
      loss: float64 array to scalar.
      x: where.
      num_values: how many of x's values to move, spread evenly.
    """
    with jax.enable_x64(True):
        x = np.asarray(x, np.float64)
        compiled = jax.jit(loss)
        gradient = np.asarray(jax.jit(jax.grad(loss))(x)).ravel()
        assert np.isfinite(gradient).all()
        where = np.unique(np.linspace(0, x.size - 1, num_values).astype(int))
        for i in where:
            moved = np.zeros(x.size)
            moved[i] = STEP
            moved = moved.reshape(x.shape)
            difference = (float(compiled(x + moved)) - float(compiled(x - moved))) / (2 * STEP)
            np.testing.assert_allclose(gradient[i], difference, **GRADIENT)
