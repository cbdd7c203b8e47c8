"""Heads and weights that only training needs: other labels, contrast, adversaries."""

from collections.abc import Mapping, Sequence

import jax
import jax.numpy as jnp
from flax import nnx

from sersl.models.heads.head import Head
from sersl.models.layers import Linear, standardize

EXIT = "exit_"  # begins the name of a head on an inner layer, before its number


class TrainingHeads(nnx.Module):
    """Maps the shared vector of an utterance to other labels, and frames to characters.

    The shared vector is what the output layer of the first emotion head reads. These heads are one
    linear layer each, so that what they need is learned in front of it.

    Attributes:
      names: of the heads.
      exits: numbers of the hidden states that have a head.
      peer: second head of categories, of co-teaching.
    """

    peer: Head

    def __init__(
        self,
        sizes: Mapping[str, int],
        *,
        shared_width: int,
        frame_width: int,
        losses: Sequence[str],
        view_widths: Sequence[int] = (),
        key: jax.Array,
    ):
        """Makes the heads.

        Args:
          sizes: outputs of each head by name; "transcript" reads frames, "exit_4" the mean of
            hidden state 4.
          shared_width: U of the shared vector.
          frame_width: D of a frame.
          losses: whose weights are learned, in order; empty: none.
          view_widths: of the vectors that the heads of `view_head` read, in order.
          key: PRNG key of the initial weights.
        """
        self.names = tuple(sizes)
        self.exits = tuple(int(name.removeprefix(EXIT)) for name in sizes if name.startswith(EXIT))
        own = {view_head(view): width for view, width in enumerate(view_widths)}
        for number, (name, size) in enumerate(sizes.items()):
            on_frames = name == "transcript" or name.startswith(EXIT)
            width = frame_width if on_frames else shared_width
            width = own.get(name, width)
            made = Linear(width, size, axes=(None, "classes"), key=jax.random.fold_in(key, number))
            setattr(self, name, made)
        if losses:
            self.log_variances = nnx.Param(jnp.zeros(len(losses)), axes=(None,))

    def scores(self, name: str, x: jax.Array) -> jax.Array:
        """Computes the outputs [..., size] of a head from [..., width]."""
        head: Linear = getattr(self, name)
        return head(x)

    def inner(
        self, hidden_states: jax.Array, valid: jax.Array, *, last_layer: int
    ) -> jax.Array | None:
        """Averages the layers with a head, and the last one, over real frames.

        Args:
          hidden_states: [L, B, T, D], those up to `last_layer`; the lowest ones may be missing.
          valid: bool [B, T].
          last_layer: number of the last hidden state.

        Returns:
          [E + 1, B, D], standardized; None where no layer has a head.
        """
        if not self.exits:
            return None
        chosen = [hidden_states[layer - last_layer - 1] for layer in (*self.exits, last_layer)]
        weights = (valid / jnp.maximum(valid.sum(1, keepdims=True), 1))[..., None]
        return standardize((jnp.stack(chosen).astype(jnp.float32) * weights).sum(2))


def view_head(number: int) -> str:
    """Names the head that maps the vectors of a view for contrast across views."""
    return f"view_contrast_{number}"


def shared_width(head: Head, num_inputs: int) -> int:
    """Gives the width of what the output layer of a head reads, of `num_inputs` pooled numbers."""
    return num_inputs if head.config.kind == "linear" else head.config.hidden
