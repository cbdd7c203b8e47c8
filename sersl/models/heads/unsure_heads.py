"""How unsure the heads of a model are."""

import jax
from flax import nnx

from sersl.models.heads.category_heads import uncertainty
from sersl.models.heads.dimension_head import doubt
from sersl.models.heads.emotion_output import EmotionOutput
from sersl.models.heads.head import Head


class DoubtfulModel(nnx.Module):
    """A model whose heads may give more than a prediction.

    Attributes:
      num_categories: 0 without the head of categories.
      category: the head of categories.
    """

    num_categories: int
    category: Head

    def uncertainty(self, output: EmotionOutput) -> dict[str, jax.Array]:
        """Computes how unsure the heads are, where their losses give more than a prediction.

        Args:
          output: of a call.

        Returns:
          Name to [B]: vacuity or open_set of categories; to [B, D]: aleatoric and epistemic
          standard deviation of dimensions.
        """
        found: dict[str, jax.Array] = {}
        if self.num_categories:
            found |= uncertainty(output.category, self.category.config)
        if output.evidence is not None:
            found |= doubt(output.evidence)
        return found
