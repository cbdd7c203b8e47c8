"""Late fusion: the weighted mean of the decisions of several heads."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import nnx

from sersl.config.fusion import FusionConfig
from sersl.config.schema import HeadsConfig
from sersl.core.errors import UserError
from sersl.models.heads.category_heads import CATEGORY_HEADS
from sersl.models.heads.dimension_head import DIMENSION_HEADS, DimensionHead
from sersl.models.heads.head import Head


class Decisions(nnx.Module):
    """Heads for each vector but the first, whose heads are those of the model.

    The mean is over logits, which multiplies the odds of the categories (logarithmic opinion pool,
    Genest and Zidek 1986), and over the values of dimensions. Weights are learned as a softmax that
    starts uniform, or given; those of the views that a row lacks are left out and the others sum
    to 1.
    """

    def __init__(
        self,
        names: Sequence[str],
        widths: Sequence[int],
        config: FusionConfig,
        heads: HeadsConfig,
        *,
        num_categories: int,
        num_dimensions: int,
        key: jax.Array,
    ):
        """Makes the heads.

        Args:
          names: of the decisions, that of the model's own heads first.
          widths: of the vectors of the others.
          config: of the fusion.
          heads: as those of the model.
          num_categories: C; 0 for none.
          num_dimensions: D; 0 for none.
          key: PRNG key of the initial weights.

        Raises:
          UserError: weights of another number, or heads that give more than one score.
        """
        if config.weights and (len(config.weights) != len(names) or not sum(config.weights)):
            raise UserError(
                f"fusion.weights has {len(config.weights)} values that sum to "
                f"{sum(config.weights):g}, and the decisions are {', '.join(names)}: give one for "
                "each, not all of them 0"
            )
        if num_categories and CATEGORY_HEADS[heads.category_loss] is not Head:
            raise UserError(
                f"fusion.kind={config.kind!r} averages the logits of plain heads, and "
                f"heads.category_loss={heads.category_loss!r} has another head: set it to "
                "cross_entropy or focal, or fusion.kind to early"
            )
        if num_dimensions and DIMENSION_HEADS[heads.dimensions_loss]:
            raise UserError(
                f"fusion.kind={config.kind!r} averages values, and heads.dimensions_loss="
                f"{heads.dimensions_loss!r} gives distributions: set it to ccc, mse or mae, or "
                "fusion.kind to early"
            )
        self.names, self.given = tuple(names), config.weights
        for number, (name, width) in enumerate(zip(names[1:], widths, strict=True)):
            keys = jax.random.split(jax.random.fold_in(key, number))
            if num_categories:
                made = Head(width, num_categories, heads, key=keys[0])
                setattr(self, f"category_{name}", made)
            if num_dimensions:
                own = DimensionHead(width, num_dimensions, heads, key=keys[1])
                setattr(self, f"dimensions_{name}", own)
        if not config.weights:
            self.scores = nnx.Param(jnp.zeros(len(names)), axes=(None,))

    def category(
        self,
        own: jax.Array,
        vectors: Sequence[jax.Array],
        present: jax.Array,
        *,
        key: jax.Array | None,
    ) -> jax.Array:
        """Averages logits.

        Args:
          own: [B, C], of the model's own head.
          vectors: [B, E] of each other decision.
          present: bool [B, V], own first.
          key: PRNG key of dropout; None: none.

        Returns:
          float32 [B, C].
        """
        return self._mean("category", own, vectors, present, key)

    def dimensions(
        self,
        own: jax.Array,
        vectors: Sequence[jax.Array],
        present: jax.Array,
        *,
        key: jax.Array | None,
    ) -> jax.Array:
        """Averages dimensions, [B, D]; the arguments are those of `category`."""
        return self._mean("dimensions", own, vectors, present, key)

    def shares(self, present: jax.Array) -> jax.Array:
        """Computes the weight of each decision, [B, V], from bool [B, V]."""
        weights = jnp.array(self.given) if self.given else jax.nn.softmax(self.scores[...])
        weights = jnp.where(present, weights, 0)
        total = weights.sum(-1, keepdims=True)
        # Where only views of weight 0 are there, they count the same.
        count = jnp.maximum(present.sum(-1, keepdims=True), 1)
        return jnp.where(total > 0, weights / jnp.where(total > 0, total, 1), present / count)

    def _mean(
        self,
        what: str,
        own: jax.Array,
        vectors: Sequence[jax.Array],
        present: jax.Array,
        key: jax.Array | None,
    ) -> jax.Array:
        found = [own]
        for number, (name, vector) in enumerate(zip(self.names[1:], vectors, strict=True)):
            drawn = None if key is None else jax.random.fold_in(key, number)
            head: Head | DimensionHead = getattr(self, f"{what}_{name}")
            found.append(head(vector, key=drawn))
        return jnp.einsum("bv,vbc->bc", self.shares(present), jnp.stack(found))
