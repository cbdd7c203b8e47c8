"""From a pooled vector to dimensions, and to the evidence for them."""

import jax
import jax.numpy as jnp

from sersl.config.schema import HeadsConfig
from sersl.core.errors import unknown_name
from sersl.models.heads.head import Head

# Of `heads.dimensions_loss`: whether the head also gives evidence, see
# `sersl.objectives.supervision.dimension_losses.DIMENSION_LOSSES`.
DIMENSION_HEADS = {"ccc": False, "mse": False, "mae": False, "evidential": True}


class DimensionHead(Head):
    """Values of dimensions; with a loss of evidence, also a normal-inverse-gamma distribution each.

    Source: Amini et al. 2020 (1910.02600), sec. 3.3: nu, alpha - 1 and beta by softplus.
    """

    def __init__(self, num_inputs: int, num_outputs: int, config: HeadsConfig, *, key: jax.Array):
        """Makes the head.

        Raises:
          UserError: unknown loss.
        """
        if config.dimensions_loss not in DIMENSION_HEADS:
            raise unknown_name("heads.dimensions_loss", config.dimensions_loss, DIMENSION_HEADS)
        self.num_dimensions = num_outputs
        self.gives_evidence = DIMENSION_HEADS[config.dimensions_loss]
        each = 4 if self.gives_evidence else 1
        super().__init__(num_inputs, each * num_outputs, config, key=key)

    def __call__(self, x: jax.Array, *, key: jax.Array | None = None) -> jax.Array:
        """Computes values [..., D] from [..., E], in 0..1 where `heads.bounded`."""
        return self.both(x, key=key)[0]

    def both(
        self, x: jax.Array, *, key: jax.Array | None = None
    ) -> tuple[jax.Array, jax.Array | None]:
        """Computes values and evidence from pooled vectors.

        Args:
          x: [..., E].
          key: PRNG key of the dropout; None: none.

        Returns:
          (values [..., D]; nu > 0, alpha > 1 and beta > 0 as [..., D, 3], or None).
        """
        raw = super().__call__(x, key=key)
        values = raw[..., : self.num_dimensions]
        if self.config.bounded:
            values = jax.nn.sigmoid(values)
        if not self.gives_evidence:
            return values, None
        rest = raw[..., self.num_dimensions :].reshape(*raw.shape[:-1], 3, self.num_dimensions)
        # A little more than 0, so that logarithms and quotients stay finite.
        positive = jax.nn.softplus(jnp.moveaxis(rest, -2, -1)) + 1e-6
        return values, positive + jnp.array([0.0, 1.0, 0.0])


def doubt(evidence: jax.Array) -> dict[str, jax.Array]:
    """Computes the standard deviations that a normal-inverse-gamma distribution expects.

    Args:
      evidence: [..., D, 3].

    Returns:
      {"aleatoric": [..., D], of the ratings themselves, "epistemic": [..., D], of their mean}: the
      roots of beta / (alpha - 1), and of the same over nu.

    Source: Amini et al. 2020 (1910.02600), eq. 5.
    """
    nu, alpha, beta = jnp.moveaxis(evidence, -1, 0)
    variance = beta / (alpha - 1.0)
    return {"aleatoric": jnp.sqrt(variance), "epistemic": jnp.sqrt(variance / nu)}
