"""Context networks against plain NumPy, blind to padding and to the future, on eight devices."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from sersl.config.conversation import ConversationConfig
from sersl.core.errors import UserError
from sersl.corpora.dialogues import relations
from sersl.models.conversation.context import ConversationContext
from tests.tolerances import FP32

KINDS = [*itertools.product(("gru", "transformer", "graph"), (True, False))]
WIDTH, INPUTS = 4, 3
SPEAKERS = [np.array([0, 1, 0, 0, 2, 1]), np.array([0, 0, 1]), np.array([0])]


@pytest.fixture(scope="module", params=KINDS, ids=lambda pair: f"{pair[0]}-{pair[1]}")
def made(request):
    """A network with random weights, all of them far from their initial values."""
    kind, causal = request.param
    config = ConversationConfig(
        kind=kind, causal=causal, width=WIDTH, num_layers=2, num_heads=2, past=2, future=1
    )
    model = ConversationContext(INPUTS, config, key=jax.random.key(0))
    graph, state = nnx.split(model)
    rng = np.random.default_rng(1)
    state = jax.tree.map(
        lambda leaf: jnp.asarray(rng.normal(0, 0.6, leaf.shape), jnp.float32), state
    )
    run = jax.jit(lambda *arguments: nnx.merge(graph, state)(*arguments))
    return config, jax.tree.map(np.asarray, nnx.to_pure_dict(state)), run


def batch(size, dialogues=SPEAKERS, vectors=None):
    """Vectors [B, INPUTS] and relations [B, size] of dialogues, padded with rubbish."""
    rng = np.random.default_rng(2)
    vectors = vectors or [rng.normal(size=(len(own), INPUTS)) for own in dialogues]
    padded = np.full((len(dialogues), size, INPUTS), 1e3, np.float32)
    for row, own in enumerate(vectors):
        padded[row, : len(own)] = own
    related = np.stack([relations(own, size) for own in dialogues])
    return padded.reshape(-1, INPUTS), related.reshape(-1, size), vectors


def real(found, size, dialogues=SPEAKERS):
    parts = np.asarray(found).reshape(len(dialogues), size, -1)
    return [part[: len(own)] for part, own in zip(parts, dialogues, strict=True)]


def linear(p, x):
    return x @ p["kernel"] + p.get("bias", 0)


def norm(p, x):
    centred = x - x.mean(-1, keepdims=True)
    return centred / np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-5) * p["scale"] + p["bias"]


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def softmax(x):
    odds = np.exp(x - x.max())
    return odds / odds.sum()


def gru_step(p, state, x):
    width = len(state)
    a, b = linear(p["input"], x), state @ p["kernel"]
    reset, update = sigmoid(a[:width] + b[:width]), sigmoid((a + b)[width : 2 * width])
    new = np.tanh(a[2 * width :] + reset * (b[2 * width :] + p["bias"]))
    return (1 - update) * new + update * state


def speaker_states(p, x, speakers):
    found, state, of_speaker = [], np.zeros(WIDTH), {}
    for turn, who in enumerate(speakers):
        state = gru_step(p["dialogue"], state, x[turn])
        of_speaker[who] = gru_step(p["speaker"], of_speaker.get(who, np.zeros(WIDTH)), x[turn])
        found.append(np.concatenate([state, of_speaker[who]]))
    return linear(p["output"], np.array(found))


def recurrent(p, x, speakers, config):
    for number in range(config.num_layers):
        y = speaker_states(p["forward"][number], x, speakers)
        if not config.causal:
            y = y + speaker_states(p["backward"][number], x[::-1], speakers[::-1])[::-1]
        x = x + y
    return x


def reads(turn, count, config):
    future = 0 if config.causal else config.future
    return range(max(0, turn - config.past), min(count, turn + future + 1))


def transformer(p, x, speakers, config):
    size = WIDTH // config.num_heads
    for number in range(config.num_layers):
        q, k, v = np.split(linear(p["attention"][number]["qkv"], x), 3, axis=-1)
        mixed = np.zeros_like(x)
        for t in range(len(x)):
            seen = list(reads(t, len(x), config))
            for head in range(config.num_heads):
                part = slice(head * size, (head + 1) * size)
                scores = [
                    q[t, part] @ k[s, part] / np.sqrt(size)
                    + p["bias"][int(speakers[s] != speakers[t]), s - t + config.past, head]
                    for s in seen
                ]
                mixed[t, part] = softmax(np.array(scores)) @ v[seen][:, part]
        x = norm(p["norm"][number], x + linear(p["attention"][number]["output"], mixed))
        mlp = p["mlp"][number]
        hidden = np.maximum(linear(mlp["first"], x), 0)
        x = norm(mlp["norm"], x + linear(mlp["second"], hidden))
    return x


def graph(p, x, speakers, config):
    h = recurrent(p["sequence"], x, speakers, config)
    y = np.zeros_like(h)
    for t in range(len(h)):
        seen = list(reads(t, len(h), config))
        scores = np.array([h[t] @ linear(p["edge"], h[s]) / np.sqrt(WIDTH) for s in seen])
        weight = dict(zip(seen, softmax(scores), strict=True))
        y[t] = linear(p["itself"], weight[t] * h[t])
        for number, (other, past) in enumerate(itertools.product((False, True), (True, False))):
            edges = [
                s
                for s in seen
                if s != t and (speakers[s] != speakers[t]) == other and (s < t) == past
            ]
            if edges:
                mean = sum(weight[s] * h[s] for s in edges) / len(edges)
                y[t] += linear(p["relation"][number], mean)
    y = np.maximum(y, 0)
    z = np.zeros_like(y)
    for t in range(len(y)):
        around = [y[s] for s in reads(t, len(y), config) if s != t]
        mean = np.mean(around, axis=0) if around else np.zeros(WIDTH)
        z[t] = np.maximum(linear(p["neighbours"], mean) + linear(p["kept"], y[t]), 0)
    return linear(p["output"], np.concatenate([h, z], axis=-1))


REFERENCES = {"gru": recurrent, "transformer": transformer, "graph": graph}


def test_context_when_padded_then_as_plain_numpy_of_each_dialogue_alone(made):
    config, params, run = made
    vectors, related, given = batch(8)
    for found, x, speakers in zip(real(run(vectors, related), 8), given, SPEAKERS, strict=True):
        x = np.maximum(norm(params["inward_norm"], linear(params["inward"], x)), 0)
        y = REFERENCES[config.kind](params["network"], x, speakers, config)
        want = np.concatenate([x, norm(params["norm"], y)], axis=-1)
        np.testing.assert_allclose(found, want, rtol=1e-4, atol=1e-5)


def test_context_when_padded_more_or_with_other_dialogues_then_the_same(made):
    _, _, run = made
    vectors, related, given = batch(6)
    found = real(run(vectors, related), 6)
    empty = [np.zeros(0, np.int64)] * 2
    more = [*SPEAKERS, *empty]
    vectors, related, _ = batch(11, more, [*given, *(np.zeros((0, INPUTS)) for _ in empty)])
    whole = np.asarray(run(vectors, related))
    for one, other in zip(found, real(whole, 11, more), strict=False):
        np.testing.assert_allclose(one, other, **FP32)
    assert np.isfinite(whole).all() and not whole[related.max(1) == 0].any()


def test_context_when_a_later_turn_changes_then_causal_answers_stay(made):
    config, _, run = made
    vectors, related, given = batch(6)
    first = real(run(vectors, related), 6)[0]
    changed = [np.array(one) for one in given]
    changed[0][3:] += 1.0
    vectors, related, _ = batch(6, vectors=changed)
    then = real(run(vectors, related), 6)[0]
    assert np.abs(then[3:] - first[3:]).max() > 1e-3
    same = bool(np.array_equal(first[:3], then[:3]))
    assert same == config.causal


def test_context_when_on_eight_devices_then_as_on_one(made):
    _, _, run = made
    vectors, related, _ = batch(6, [*SPEAKERS * 3, *SPEAKERS[:1] * 7])
    mesh = Mesh(np.array(jax.devices()[:8]), ("data",))
    rows = NamedSharding(mesh, P("data"))
    found = run(jax.device_put(vectors, rows), jax.device_put(related, rows))
    np.testing.assert_allclose(found, run(vectors, related), **FP32)


def test_context_when_no_dialogue_is_given_then_every_row_is_one_turn(made):
    _, _, run = made
    vectors = np.random.default_rng(3).normal(size=(3, INPUTS)).astype(np.float32)
    alone = relations(np.zeros(1, np.int64), 1)
    np.testing.assert_array_equal(run(vectors), run(vectors, np.repeat(alone, 3, axis=0)))


def test_transformer_when_heads_do_not_divide_then_error_names_the_setting():
    config = ConversationConfig(kind="transformer", width=6, num_heads=4)
    with pytest.raises(UserError, match=r"conversation\.num_heads=4 does not divide"):
        ConversationContext(INPUTS, config, key=jax.random.key(0))
