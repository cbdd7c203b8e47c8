"""From the pooled vectors of a dialogue's utterances to vectors that know their context."""

import jax
import jax.numpy as jnp
from flax import nnx

from sersl.config.conversation import ConversationConfig
from sersl.models.conversation.dialogue_slots import SAME, Turns
from sersl.models.conversation.networks import GraphContext, RecurrentContext, TransformerContext
from sersl.models.layers import LayerNorm, Linear, dropout
from sersl.models.networks.series import keys_of

NETWORKS = {"gru": RecurrentContext, "transformer": TransformerContext, "graph": GraphContext}


class ConversationContext(nnx.Module):
    """Projects utterances, runs a context network, and lines up both.

    Padding, in turns of a dialogue and in dialogues of a batch, changes no real turn.
    """

    def __init__(self, num_inputs: int, config: ConversationConfig, *, key: jax.Array):
        """Makes the network over vectors of `num_inputs` numbers.

        Raises:
          UserError: sizes that do not divide.
        """
        self.config = config
        keys = jax.random.split(key)
        self.inward = Linear(num_inputs, config.width, axes=("embed", None), key=keys[0])
        self.inward_norm = LayerNorm(config.width, axis=None)
        self.network = NETWORKS[config.kind](config, key=keys[1])
        self.norm = LayerNorm(config.width, axis=None)
        self.num_outputs = 2 * config.width

    def __call__(
        self,
        vectors: jax.Array,
        relations: jax.Array | None = None,
        *,
        key: jax.Array | None = None,
    ) -> jax.Array:
        """Adds context to utterances.

        Args:
          vectors: [B, E]; the U slots of a dialogue are neighbours, B is a multiple of U.
          relations: int8 [B, U], see `sersl.corpora.dialogues.relations`; None: every row is a
            dialogue of one turn.
          key: PRNG key of dropout; None: none.

        Returns:
          float32 [B, num_outputs]; 0 in empty slots.
        """
        if relations is None:
            relations = jnp.full((len(vectors), 1), SAME, jnp.int8)
        turns = Turns.of(relations)
        first, second = keys_of(key, 2)
        x = jax.nn.relu(self.inward_norm(self.inward(vectors)))
        x = dropout(x, self.config.dropout, key=first).reshape(*turns.real.shape, -1)
        x = jnp.where(turns.real[..., None], x, 0.0)
        y = self.norm(self.network(x, turns, key=second))
        both = jnp.where(turns.real[..., None], jnp.concatenate([x, y], axis=-1), 0.0)
        return both.reshape(len(vectors), -1)
