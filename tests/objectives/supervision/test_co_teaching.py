"""Rows of small loss: against plain NumPy, and refused for batches in parts."""

import jax.numpy as jnp
import numpy as np
import pytest

from sersl.core.errors import UserError
from sersl.objectives.supervision.co_teaching import kept_share, small_losses
from sersl.objectives.whole_batch import collecting

rng = np.random.default_rng(0)


def test_share_when_steps_go_on_then_down_to_one_minus_noise_as_published():
    progress = np.array([0.0, 0.05, 0.1, 0.7])
    found = kept_share(jnp.asarray(progress), noise=0.4, ramp=0.1)
    np.testing.assert_allclose(found, [1.0, 0.8, 0.6, 0.6], rtol=1e-6)


@pytest.mark.parametrize(("share", "number"), [(1.0, 10), (0.8, 8), (0.55, 6), (0.01, 1)])
def test_rows_when_chosen_then_those_of_smallest_cross_entropy(share, number):
    scores = rng.normal(size=(13, 4)).astype(np.float32)
    category = np.where(np.arange(13) % 5 == 1, -1, rng.integers(0, 4, 13)).astype(np.int32)
    logs = scores - np.log(np.exp(scores).sum(-1, keepdims=True))
    losses = np.where(category < 0, np.inf, -logs[np.arange(13), category])
    kept = small_losses(jnp.asarray(scores), jnp.asarray(category), jnp.float32(share))
    assert sorted(np.flatnonzero(kept)) == sorted(np.argsort(losses)[:number])


def test_rows_when_the_batch_comes_in_parts_then_user_error():
    with collecting(2), pytest.raises(UserError, match=r"co_teaching\.noise"):
        small_losses(jnp.zeros((4, 2)), jnp.zeros(4, jnp.int32), jnp.float32(0.5))
