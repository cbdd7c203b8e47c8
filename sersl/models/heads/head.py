"""A head: one or two layers from a pooled vector to scores."""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import nnx

from sersl.config.schema import HeadsConfig
from sersl.core.errors import unknown_name
from sersl.models.layers import Linear, dropout, standardize

# Between the layers of a head, by kind; None: there is one layer only.
ACTIVATIONS: dict[str, Callable[[jax.Array], jax.Array] | None] = {
    "gelu": functools.partial(jax.nn.gelu, approximate=False),
    "tanh": jnp.tanh,
    "linear": None,
}


class Head(nnx.Module):
    """Maps a pooled vector to scores, with dropout before each layer.

    "gelu" standardises the vector and has a hidden layer, "tanh" has a hidden layer (as RoBERTa's
    head, and audEERING's for dimensions), "linear" is the output layer alone.
    """

    def __init__(
        self,
        num_inputs: int,
        num_outputs: int,
        config: HeadsConfig,
        *,
        key: jax.Array,
        std: float | None = None,
    ):
        """Makes the head, with output weights of this deviation, or `heads.output_deviation`."""
        if config.kind not in ACTIVATIONS:
            raise unknown_name("heads.kind", config.kind, ACTIVATIONS)
        self.config = config
        keys = jax.random.split(key)
        width, axis = num_inputs, None
        if ACTIVATIONS[config.kind] is not None:
            self.hidden = Linear(num_inputs, config.hidden, axes=(None, "mlp"), key=keys[0])
            width, axis = config.hidden, "mlp"
        self.output = Linear(
            width,
            num_outputs,
            axes=(axis, "classes"),
            key=keys[1],
            std=config.output_deviation if std is None else std,
        )

    def units(self, x: jax.Array, *, key: jax.Array | None = None) -> jax.Array:
        """Computes what the output layer reads: [..., hidden], or [..., E] of kind linear."""
        keys = (None, None) if key is None else jax.random.split(key)
        if self.config.kind == "gelu":
            x = standardize(x)
        x = dropout(x, self.config.dropout, key=keys[0])
        activation = ACTIVATIONS[self.config.kind]
        if activation is None:
            return x
        return dropout(activation(self.hidden(x)), self.config.dropout, key=keys[1])

    def __call__(self, x: jax.Array, *, key: jax.Array | None = None) -> jax.Array:
        """Computes [..., num_outputs] from [..., E]; without a key there is no dropout."""
        return self.output(self.units(x, key=key))
