"""AdamW by pattern, against plain numpy: what decays, what trains, from when and how fast."""

import dataclasses
from types import MappingProxyType

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from sersl.config.load import from_mapping
from sersl.config.schema import OptimizerConfig, PretrainConfig
from sersl.core.errors import UserError
from sersl.pretraining.task import PretrainTask
from sersl.training.optimizer import (
    NEVER,
    by_pattern,
    decay_roles,
    learning_rate,
    make_optimizer,
    table,
)
from sersl.training.state import TrainState
from sersl.training.step import make_step
from tests.tolerances import FP32

SHAPES = {
    "encoder": {"layers": {0: {"kernel": (3, 4), "bias": (4,)}, 1: {"kernel": (4, 2)}}},
    "head": {"kernel": (2, 2), "scale": (2,)},
}
CONFIG = OptimizerConfig(
    learning_rate=0.1,
    schedule="constant",
    warmup_fraction=0.0,
    weight_decay=0.1,
    clip_norm=1.0,
    decay=((r".*/(bias|scale)", False), (r".*", True)),
)


def trees(seed: int, scale: float = 1.0):
    random = np.random.default_rng(seed)
    return jax.tree.map(
        lambda shape: (scale * random.normal(size=shape)).astype(np.float32),
        SHAPES,
        is_leaf=lambda leaf: isinstance(leaf, tuple),
    )


def flat(tree) -> dict[str, np.ndarray]:
    leaves = jax.tree_util.tree_flatten_with_path(tree)[0]
    return {"/".join(str(entry.key) for entry in path): np.asarray(x) for path, x in leaves}


def run(optimizer, params, gradients):
    """Parameters after each update."""
    state, after = optimizer.init(params), []
    for grads in gradients:
        updates, state = optimizer.update(grads, state, params)
        params = optax.apply_updates(params, updates)
        after.append(flat(params))
    return after, state


def adamw(params, gradients, config, *, rates, starts, scales):
    """Loshchilov & Hutter (2019), algorithm 2, in float64, with clipping before it."""
    params = {name: x.astype(np.float64) for name, x in flat(params).items()}
    first, second = ({name: np.zeros_like(x) for name, x in params.items()} for _ in range(2))
    after = []
    for i, grads in enumerate(gradients):
        grads = {name: g.astype(np.float64) for name, g in flat(grads).items()}
        trained = [name for name in params if starts[name] != NEVER]
        by_now = [name for name in trained if starts[name] <= i]
        norm = np.sqrt(sum((grads[name] ** 2).sum() for name in by_now))
        for name in trained:
            g = grads[name] * min(1.0, config.clip_norm / norm)
            first[name] = config.beta1 * first[name] + (1 - config.beta1) * g
            second[name] = config.beta2 * second[name] + (1 - config.beta2) * g**2
            m = first[name] / (1 - config.beta1 ** (i + 1))
            v = second[name] / (1 - config.beta2 ** (i + 1))
            decay = 0.0 if name.endswith(("bias", "scale")) else config.weight_decay
            update = m / (np.sqrt(v) + config.epsilon) + decay * params[name]
            if i >= starts[name]:
                params[name] = params[name] - rates[i] * scales[name] * update
        after.append(dict(params))
    return after


def check(found, wanted):
    for one, other in zip(found, wanted, strict=True):
        for name in other:
            np.testing.assert_allclose(one[name], other[name], err_msg=name, **FP32)


@pytest.mark.parametrize("size", [0.01, 10.0])
def test_three_updates_are_those_of_plain_adamw_with_decay_mask_and_clipping(size):
    params, gradients = trees(0), [trees(i + 1, size) for i in range(3)]
    found, _ = run(make_optimizer(CONFIG, params, num_steps=10), params, gradients)
    names = flat(params)
    wanted = adamw(
        params,
        gradients,
        CONFIG,
        rates=[0.1] * 3,
        starts=dict.fromkeys(names, 0),
        scales=dict.fromkeys(names, 1.0),
    )
    check(found, wanted)


def test_three_updates_with_frozen_late_and_slow_parameters_are_those_of_plain_adamw():
    params, gradients = trees(0), [trees(i + 1, 3.0) for i in range(3)]
    patterns = (
        (r"encoder/layers/0/.*", NEVER),
        (r"encoder/.*", 2),
        (r".*", 0),
    )
    starts = by_pattern(patterns, params, setting="unfreeze")
    scales = by_pattern(
        ((r"encoder/.*", 0.5), (r".*", 1.0)), params, setting="encoder_learning_rate_scale"
    )
    optimizer = make_optimizer(CONFIG, params, num_steps=10, starts=starts, scales=scales)
    found, state = run(optimizer, params, gradients)
    wanted = adamw(
        params,
        gradients,
        CONFIG,
        rates=[0.1] * 3,
        starts={name: int(x) for name, x in flat(starts).items()},
        scales={name: float(x) for name, x in flat(scales).items()},
    )
    check(found, wanted)
    frozen, late = "encoder/layers/0/kernel", "encoder/layers/1/kernel"
    before = flat(params)
    np.testing.assert_array_equal(found[2][frozen], before[frozen])
    np.testing.assert_array_equal(found[1][late], before[late])
    assert np.any(found[2][late] != before[late])
    # Moments only for what trains: two for each of the three other arrays.
    moments = sorted(leaf.shape for leaf in jax.tree.leaves(state) if leaf.ndim)
    assert moments == sorted([(4, 2), (2, 2), (2,)] * 2)


@pytest.mark.parametrize("start", [NEVER, 2])
def test_clipping_when_a_parameter_does_not_train_yet_then_its_gradient_does_not_count(start):
    params, grads = trees(0), trees(1, 0.01)
    patterns = ((r"encoder/.*", start), (r".*", 0))
    starts = by_pattern(patterns, params, setting="unfreeze")
    optimizer = make_optimizer(CONFIG, params, num_steps=10, starts=starts)
    huge = {**grads, "encoder": jax.tree.map(lambda g: g * 1e9, grads["encoder"])}
    small, _ = run(optimizer, params, [grads, grads])
    large, _ = run(optimizer, params, [huge, grads])
    for name in small[1]:
        np.testing.assert_array_equal(small[1][name], large[1][name])
    state = optimizer.init(params)
    norms = [float(optimizer.gradient_norm(tree, state)) for tree in (grads, huge)]
    head = np.concatenate([leaf.ravel() for leaf in jax.tree.leaves(grads["head"])])
    np.testing.assert_allclose(norms, np.linalg.norm(head), **FP32)


def test_learning_rate_when_updates_are_done_then_is_that_of_the_next_one():
    params, grads = trees(0), trees(1)
    config = dataclasses.replace(CONFIG, schedule="linear", warmup_fraction=0.2)
    optimizer = make_optimizer(config, params, num_steps=10)
    _, state = run(optimizer, params, [grads] * 4)
    wanted = [float(learning_rate(config, 10)(step)) for step in (0, 4)]
    found = [float(optimizer.learning_rate(one)) for one in (optimizer.init(params), state)]
    np.testing.assert_allclose(found, wanted, **FP32)


class Line:
    """A task whose loss sees every parameter, and which keeps the gradients it was given."""

    teacher = None
    schedules = MappingProxyType({})

    def mix_rows(self, batch, key):
        return batch

    def loss(self, params, batch, context):
        total = sum(jnp.square(x).sum() for x in jax.tree.leaves(params))
        return total * batch["valid"].sum(), {}


def test_step_computes_no_gradient_for_what_never_trains():
    params = trees(0)
    starts = by_pattern(((r"encoder/.*", NEVER), (r".*", 0)), params, setting="unfreeze")
    optimizer = make_optimizer(CONFIG, params, num_steps=10, starts=starts)
    step = jax.jit(make_step(Line(), optimizer, seed=0))
    state = TrainState(jnp.int32(0), params, None, optimizer.init(params))
    batch = {"valid": jnp.ones([1, 1], bool)}
    after, metrics = step(state, batch, {})
    trained = [x for name, x in flat(params).items() if name.startswith("head")]
    wanted = np.sqrt(sum(((2 * x) ** 2).sum() for x in trained))
    norm = metrics["gradient_norm"]
    np.testing.assert_allclose(norm.total / norm.weight, wanted, **FP32)
    jax.tree.map(np.testing.assert_array_equal, after.params["encoder"], params["encoder"])
    assert int(after.step) == 1


def rates(config, num_steps):
    schedule = learning_rate(config, num_steps)
    return np.array([float(schedule(i)) for i in range(num_steps + 1)])


@pytest.mark.parametrize("schedule", ["cosine", "linear", "constant"])
@pytest.mark.parametrize(("warmup", "end"), [(0.0, 0.0), (0.2, 0.1)])
def test_learning_rate_is_that_of_the_formula(schedule, warmup, end):
    num_steps, peak = 50, 0.3
    config = OptimizerConfig(
        learning_rate=peak, schedule=schedule, warmup_fraction=warmup, end_fraction=end
    )
    rise = round(warmup * num_steps)
    wanted = []
    for i in range(num_steps + 1):
        if i < rise:
            # From 1/rise to 1 in `rise` steps.
            wanted.append(peak * (1 / rise + (1 - 1 / rise) * i / rise))
            continue
        progress = (i - rise) / (num_steps - rise)
        factor = {
            "cosine": end + (1 - end) * (1 + np.cos(np.pi * progress)) / 2,
            "linear": 1 - (1 - end) * progress,
            "constant": 1.0,
        }[schedule]
        wanted.append(peak * factor)
    np.testing.assert_allclose(rates(config, num_steps), wanted, **FP32)


def test_learning_rate_of_an_unknown_schedule_names_the_nearest():
    config = dataclasses.replace(CONFIG, schedule="cosin")
    with pytest.raises(UserError, match=r"optimizer.schedule 'cosin'.*cosine"):
        learning_rate(config, 10)


def test_by_pattern_takes_the_first_match_of_the_whole_path():
    values = by_pattern(
        ((r".*/0/.*", "a"), (r"encoder/.*", "b"), (r".*", "c")), trees(0), setting="unfreeze"
    )
    assert values == {
        "encoder": {"layers": {0: {"kernel": "a", "bias": "a"}, 1: {"kernel": "b"}}},
        "head": {"kernel": "c", "scale": "c"},
    }


@pytest.mark.parametrize(
    ("patterns", "sentence"),
    [
        (((r"encoder/.*", 0),), r"unfreeze: no pattern matches parameter head/kernel: add one"),
        (((r"head", 0), (r".*", 0)), r"unfreeze: pattern 'head' is the first match of no param"),
        (((r".*", 0), (r"head/.*", 0)), r"unfreeze: pattern 'head/\.\*' is the first match of no"),
        (((r"(", 0),), r"unfreeze: '\(' is not a regular expression"),
    ],
)
def test_by_pattern_when_the_patterns_do_not_cover_then_one_sentence_says_so(patterns, sentence):
    with pytest.raises(UserError, match=sentence):
        by_pattern(patterns, trees(0), setting="unfreeze")


def test_by_pattern_when_nothing_is_left_for_the_last_pattern_then_it_is_not_refused():
    patterns = ((r"encoder/.*", 1.0), (r"head/.*", 2.0), (r".*", 10.0))
    values = by_pattern(patterns, trees(0), setting="rate_scales")
    assert set(jax.tree.leaves(values)) == {1.0, 2.0}


def test_table_lists_every_treatment_with_its_size():
    params = trees(0)
    starts = by_pattern(((r"encoder/.*", NEVER), (r".*", 5)), params, setting="unfreeze")
    optimizer = make_optimizer(CONFIG, params, num_steps=10, starts=starts)
    assert table(params, optimizer).splitlines() == [
        "  frozen, no decay: 1 arrays, 4 values, e.g. encoder/layers/0/bias",
        "  frozen, decay: 2 arrays, 20 values, e.g. encoder/layers/0/kernel",
        "  trained from step 5, no decay: 1 arrays, 2 values, e.g. head/scale",
        "  trained from step 5, decay: 1 arrays, 4 values, e.g. head/kernel",
    ]


class Roles(nnx.Module):
    """Parameters whose names say nothing of their role."""

    def __init__(self, *, layers=()):
        stacked = ("layers",) * len(layers)
        self.a = nnx.Param(jnp.ones([*layers, 3, 4]), axes=(*stacked, None, None))
        self.b = nnx.Param(jnp.ones([*layers, 4]), axes=(*stacked, None))
        self.kernel = nnx.Param(jnp.ones([*layers, 2, 4]), axes=(*stacked, None, None), decay=False)


@pytest.mark.parametrize("layers", [(), (5,)])
def test_decay_when_no_pattern_is_given_then_goes_by_role(layers):
    model = Roles(layers=layers)
    state = nnx.split(model)[1]
    roles = decay_roles(state)
    assert roles == {"a": True, "b": False, "kernel": False}
    params = nnx.to_pure_dict(state)
    config = dataclasses.replace(CONFIG, decay=(), clip_norm=1e9)
    optimizer = make_optimizer(config, params, num_steps=10, roles=roles)
    updates, _ = optimizer.update(
        jax.tree.map(jnp.zeros_like, params), optimizer.init(params), params
    )
    assert [bool(np.any(updates[name])) for name in ("a", "b", "kernel")] == [True, False, False]
    # Patterns in the config go before roles.
    config = dataclasses.replace(config, decay=((".*", True),))
    optimizer = make_optimizer(config, params, num_steps=10, roles=roles)
    assert all(jax.tree.leaves(optimizer.decay))


def test_decay_when_a_run_has_tokens_directions_and_gates_then_they_do_not_decay():
    names = {}
    for settings in (
        {"objectives": {"utterance": {"weight": 1.0, "kind": "chunk"}}},
        {"knowledge": {"input": True}, "objectives": {"contrastive": {"weight": 1.0}}},
        {"encoder": {"relative_bias": True}, "objectives": {"contrastive": {"weight": 1.0}}},
    ):
        config = from_mapping(PretrainConfig, {"masking": {"rule": "uniform"}} | settings)
        names |= flat(decay_roles(PretrainTask(config).abstract))
    left_alone = ("utterance/tokens", "intensity_input/direction", "encoder/mask_embedding")
    assert not any(names[name] for name in left_alone)
    assert not any(decays for name, decays in names.items() if name.endswith("gate_scale"))
    assert all(decays for name, decays in names.items() if name.endswith("kernel"))
    assert any(name.endswith("gate_scale") for name in names)


def test_first_moment_in_bfloat16_halves_its_bytes_and_hardly_moves_the_update():
    params = {"kernel": np.linspace(-1, 1, 12, dtype=np.float32).reshape(3, 4)}
    gradient = {"kernel": np.cos(np.arange(12, dtype=np.float32)).reshape(3, 4)}
    updates, dtypes = {}, {}
    for dtype in ("float32", "bfloat16"):
        config = OptimizerConfig(first_moment=dtype, decay=((r".*", True),))
        optimizer = make_optimizer(config, params, num_steps=100)
        state = optimizer.init(params)
        for _ in range(3):
            updates[dtype], state = optimizer.update(gradient, state, params)
        dtypes[dtype] = sorted(str(x.dtype) for x in jax.tree.leaves(state) if x.shape == (3, 4))
    assert dtypes == {"float32": ["float32"] * 2, "bfloat16": ["bfloat16", "float32"]}
    # bfloat16 has 8 bits: 1 in 256.
    np.testing.assert_allclose(
        updates["bfloat16"]["kernel"], updates["float32"]["kernel"], rtol=2 / 256
    )
    with pytest.raises(UserError, match=r"unknown optimizer.first_moment 'float16'"):
        make_optimizer(OptimizerConfig(first_moment="float16"), params, num_steps=1)
