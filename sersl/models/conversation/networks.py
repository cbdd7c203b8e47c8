"""Context networks: recurrent, Transformer and graph, over dialogues [G, U, D]."""

import jax
import jax.numpy as jnp
from flax import nnx

from sersl.config.conversation import ConversationConfig
from sersl.config.schema import EncoderConfig
from sersl.core.errors import UserError
from sersl.models.conversation.dialogue_slots import OTHER, SAME, Turns
from sersl.models.layers import LayerNorm, Linear, dropout
from sersl.models.networks.series import NEVER, FeedForward, SelfAttention, keys_of
from sersl.models.recurrent import GatedRecurrentUnit


class SpeakerStates(nnx.Module):
    """Gated recurrent units over all turns, and others over the turns of the same speaker.

    Source: the global and the party states of DialogueRNN, Majumder et al. 2019 (1811.00405),
    sec. 3.3. Differs: party states read utterances alone, without attention to global states.
    """

    def __init__(self, width: int, *, key: jax.Array):
        """Makes `width` units of each kind."""
        keys = jax.random.split(key, 3)
        config = EncoderConfig(width=width)
        self.dialogue = GatedRecurrentUnit(config, key=keys[0])
        self.speaker = GatedRecurrentUnit(config, key=keys[1])
        self.output = Linear(2 * width, width, axes=(None, None), key=keys[2])

    def __call__(self, x: jax.Array, turns: Turns) -> jax.Array:
        """Maps [G, U, D] to the same shape; turn t depends on no later one."""
        own = self._of_speakers(x, turns.previous_of_speaker())
        return self.output(jnp.concatenate([self.dialogue(x), own], axis=-1))

    def _of_speakers(self, x: jax.Array, previous: jax.Array) -> jax.Array:
        """Updates the state after the previous turn of each speaker, int32 [G, U]."""
        given = jnp.moveaxis(self.speaker.input(x), 1, 0)
        slots = jnp.arange(x.shape[1])

        def step(states: jax.Array, at: tuple[jax.Array, ...]) -> tuple[jax.Array, None]:
            frame, slot, before = at
            last = jnp.take_along_axis(states, jnp.maximum(before, 0)[:, None, None], axis=1)[:, 0]
            last = jnp.where(before[:, None] >= 0, last, 0.0)
            new = self.speaker.update(last, frame)
            return jnp.where((slots == slot)[None, :, None], new[:, None], states), None

        start = jnp.zeros(x.shape, jnp.float32)
        return jax.lax.scan(step, start, (given, slots, previous.T))[0]


class RecurrentContext(nnx.Module):
    """Layers of `SpeakerStates`, in both directions unless causal; each adds to its input."""

    def __init__(self, config: ConversationConfig, *, key: jax.Array):
        """Makes the layers."""
        self.config = config
        directions = 1 if config.causal else 2
        keys = jax.random.split(key, directions * config.num_layers)
        layers = [SpeakerStates(config.width, key=k) for k in keys]
        self.forward = nnx.List(layers[: config.num_layers])
        self.backward = nnx.List(layers[config.num_layers :])

    def __call__(self, x: jax.Array, turns: Turns, *, key: jax.Array | None) -> jax.Array:
        """Maps [G, U, D] to the same shape."""
        for number, layer_key in enumerate(keys_of(key, self.config.num_layers)):
            y = self.forward[number](x, turns)
            if not self.config.causal:
                order = turns.backwards[..., None]
                back = self.backward[number](
                    jnp.take_along_axis(x, order, axis=1), turns.reversed()
                )
                y = y + jnp.take_along_axis(back, order, axis=1)
            x = x + dropout(y, self.config.dropout, key=layer_key)
        return x


class TransformerContext(nnx.Module):
    """Transformer layers whose scores have a bias by distance and by same or other speaker.

    Source: Vaswani et al. 2017 (1706.03762), post-norm, with the relative bias of T5 (1910.10683,
    sec. 2.1) for each of the two relations of speakers.
    """

    def __init__(self, config: ConversationConfig, *, key: jax.Array):
        """Makes the layers.

        Raises:
          UserError: the heads do not divide the width.
        """
        if config.width % config.num_heads:
            raise UserError(
                f"conversation.num_heads={config.num_heads} does not divide "
                f"conversation.width={config.width}: choose one that does"
            )
        self.config = config
        keys = jax.random.split(key, 2 * config.num_layers)
        self.attention = nnx.List(
            [SelfAttention(config.width, config.num_heads, key=k) for k in keys[::2]]
        )
        self.norm = nnx.List([LayerNorm(config.width, axis=None) for _ in keys[::2]])
        self.mlp = nnx.List(
            [FeedForward(config.width, 2 * config.width, key=k) for k in keys[1::2]]
        )
        distances = config.past + self.future + 1
        self.bias = nnx.Param(jnp.zeros((2, distances, config.num_heads)), axes=(None, None, None))

    @property
    def future(self) -> int:
        """Turns after an utterance that it reads."""
        return 0 if self.config.causal else self.config.future

    def __call__(self, x: jax.Array, turns: Turns, *, key: jax.Array | None) -> jax.Array:
        """Maps [G, U, D] to the same shape."""
        past = self.config.past
        seen = turns.window(past, self.future)
        slots = jnp.arange(x.shape[1])
        distance = jnp.clip(slots - slots[:, None], -past, self.future) + past
        other = (turns.relations == OTHER).astype(jnp.int32)
        bias = jnp.moveaxis(self.bias[...][other, distance], -1, 1)
        layers = zip(self.attention, self.norm, self.mlp, strict=True)
        for (attention, norm, mlp), own in zip(
            layers, keys_of(key, self.config.num_layers), strict=True
        ):
            first, second = keys_of(own, 2)
            mixed, _ = attention.with_weights(x, seen, bias=bias)
            x = norm(x + dropout(mixed, self.config.dropout, key=first))
            x = mlp(x, rate=self.config.dropout, key=second)
        return x


class GraphContext(nnx.Module):
    """Recurrent context, then graph convolutions along edges between the turns of a window.

    Edges have four relations, each with weights of its own: same or other speaker, in the past or
    in the future. Their weights come from attention.

    Source: DialogueGCN, Ghosal et al. 2019 (1908.11540), sec. 3.2 and 3.3, eq. 3 to 6. Differs:
    relations are by same or other speaker, as in COGMEN (2205.02455), instead of one for each pair
    of speakers, so that any number of speakers and new ones are possible; the last convolution
    takes the mean over neighbours; without attention over the whole dialogue before the classifier.
    """

    def __init__(self, config: ConversationConfig, *, key: jax.Array):
        """Makes the layers."""
        self.config = config
        width = config.width
        keys = jax.random.split(key, 10)
        self.sequence = RecurrentContext(config, key=keys[0])
        self.edge = Linear(width, width, axes=(None, None), key=keys[1], bias=False)
        self.relation = nnx.List(
            [Linear(width, width, axes=(None, None), key=k, bias=False) for k in keys[2:6]]
        )
        self.itself, self.neighbours, self.kept = (
            Linear(width, width, axes=(None, None), key=k) for k in keys[6:9]
        )
        self.output = Linear(2 * width, width, axes=(None, None), key=keys[9])

    def __call__(self, x: jax.Array, turns: Turns, *, key: jax.Array | None) -> jax.Array:
        """Maps [G, U, D] to the same shape."""
        first, second = keys_of(key, 2)
        config = self.config
        h = self.sequence(x, turns, key=first)
        window = turns.window(config.past, 0 if config.causal else config.future)
        scores = jnp.einsum("gtd,gsd->gts", h, self.edge(h)) * h.shape[-1] ** -0.5
        weights = jax.nn.softmax(jnp.where(window, scores, NEVER), axis=-1)
        slots = jnp.arange(x.shape[1])
        before = slots < slots[:, None]
        itself = jnp.eye(x.shape[1], dtype=bool)
        y = self.itself(jnp.diagonal(weights, axis1=1, axis2=2)[..., None] * h)
        sides = [(kind, side) for kind in (SAME, OTHER) for side in (before, before.T)]
        for layer, (kind, side) in zip(self.relation, sides, strict=True):
            edges = window & (turns.relations == kind) & side
            count = jnp.maximum(edges.sum(-1, keepdims=True), 1)
            y = y + layer(jnp.einsum("gts,gsd->gtd", jnp.where(edges, weights, 0.0) / count, h))
        y = jax.nn.relu(y)
        edges = window & ~itself
        count = jnp.maximum(edges.sum(-1, keepdims=True), 1)
        around = jnp.einsum("gts,gsd->gtd", edges / count, y)
        y = jax.nn.relu(self.neighbours(around) + self.kept(y))
        y = dropout(y, config.dropout, key=second)
        return self.output(jnp.concatenate([h, y], axis=-1))
