"""Gradient reversal: what a classifier of speakers or corpora finds is unlearned behind it."""

import jax
import jax.numpy as jnp

_STEEPNESS = 10.0  # of the schedule (DANN, sec. 5.2.2)


@jax.custom_vjp
def reverse_gradient(x: jax.Array, scale: jax.Array) -> jax.Array:
    """Returns x of any shape as it is; its gradient is multiplied by minus `scale`, a scalar.

    Source: the gradient reversal layer of DANN (1505.07818), sec. 4.2.
    """
    return x


def _forward(x: jax.Array, scale: jax.Array) -> tuple[jax.Array, jax.Array]:
    return x, scale


def _backward(scale: jax.Array, gradient: jax.Array) -> tuple[jax.Array, jax.Array]:
    return -scale * gradient, jnp.zeros_like(scale)


reverse_gradient.defvjp(_forward, _backward)


def reversal_scale(progress: jax.Array) -> jax.Array:
    """Computes 2 / (1 + exp(-10 p)) - 1 of the progress of training p, a scalar in 0..1.

    Source: DANN (1505.07818), sec. 5.2.2.
    """
    return 2.0 / (1.0 + jnp.exp(-_STEEPNESS * progress)) - 1.0
