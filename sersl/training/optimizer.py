"""AdamW by role and pattern: which parameters decay, which train, from when, and how fast."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import nnx

from sersl.config.schema import OptimizerConfig
from sersl.core.errors import UserError, unknown_name
from sersl.core.patterns import Pattern
from sersl.parallel.sharding import path_name

NEVER = -1  # in `unfreeze`: this parameter does not train

SCHEDULES = {
    "cosine": lambda peak, steps, end: optax.cosine_decay_schedule(peak, steps, alpha=end),
    "linear": lambda peak, steps, end: optax.linear_schedule(peak, peak * end, steps),
    "constant": lambda peak, steps, end: optax.constant_schedule(peak),
}


def by_pattern(patterns: Sequence[tuple[str, object]], params, *, setting: str):
    """Assigns to every parameter the value of the first pattern that matches its whole path.

    Args:
      patterns: (regular expression, value) pairs.
      params: nested dict of arrays or shapes; a path is "encoder/layers/0/mlp/up/kernel".
      setting: name of the setting, for messages.

    Returns:
      Values, shaped like `params`.

    Raises:
      UserError: see `Pattern`; a pattern that is the first match of no parameter, other than '.*'
        for the rest, or a parameter that no pattern matches.
    """
    compiled = [(Pattern(pattern, setting=setting), value) for pattern, value in patterns]
    uses = [0] * len(compiled)

    def find(path, _):
        name = path_name(path)
        for i, (pattern, value) in enumerate(compiled):
            if pattern.fullmatch(name):
                uses[i] += 1
                return value
        raise UserError(f"{setting}: no pattern matches parameter {name}: add one, or '.*' last")

    values = jax.tree_util.tree_map_with_path(find, params)
    for (pattern, _), count in zip(patterns, uses, strict=True):
        if not count and pattern != ".*":
            some = path_name(jax.tree_util.tree_flatten_with_path(params)[0][0][0])
            raise UserError(
                f"{setting}: pattern {pattern!r} is the first match of no parameter: "
                f"paths are such as {some!r}"
            )
    return values


def decay_roles(state: nnx.State) -> dict[str, Any]:
    """Decides by the role of each parameter whether its weight decays.

    Matrices, filters and tables decay. Vectors (biases, scales, gates, directions) do not, nor do
    parameters declared with `decay=False`, such as tokens that take the place of an input.

    Args:
      state: `nnx.split(model)[1]`, abstract or not.

    Returns:
      Nested dict of bool, shaped like the parameters.
    """
    roles = {}
    for path, variable in nnx.to_flat_state(state):
        metadata = variable.get_metadata()
        # Of a scanned encoder each layer has its own array.
        own = [axis for axis in metadata["axes"] if axis != "layers"]
        roles[path] = metadata.get("decay", len(own) > 1)
    return nnx.traversals.unflatten_mapping(roles)


def learning_rate(config: OptimizerConfig, num_steps: int) -> optax.Schedule:
    """Builds linear warm-up, then the configured decay.

    Args:
      config: peak, schedule, warm-up and end as fractions.
      num_steps: updates of the whole run.

    Returns:
      A function of the step.

    Raises:
      UserError: unknown schedule.
    """
    if config.schedule not in SCHEDULES:
        raise unknown_name("optimizer.schedule", config.schedule, SCHEDULES)
    warmup = round(config.warmup_fraction * num_steps)
    decay = SCHEDULES[config.schedule](
        config.learning_rate, max(1, num_steps - warmup), config.end_fraction
    )
    if warmup == 0:
        return decay
    # From 1/warmup, not 0: the first update would otherwise do nothing.
    rise = optax.linear_schedule(config.learning_rate / warmup, config.learning_rate, warmup)
    return optax.join_schedules([rise, decay], [warmup])


MOMENTS = {"float32": jnp.float32, "bfloat16": jnp.bfloat16}


class Optimizer(NamedTuple):
    """AdamW and what else the engine must know of it.

    Attributes:
      init: params -> optimizer state.
      update: (gradients, state, params) -> (updates, state).
      starts: int per parameter, the step from which it trains, or `NEVER`.
      decay: bool per parameter, whether its weight decays.
      learning_rate: state -> learning rate of the next update, before scales per parameter.
      gradient_norm: (gradients, state) -> global norm over the parameters that train by now, which
        is what is clipped.
    """

    init: Callable[[Any], Any]
    update: Callable[[Any, Any, Any], tuple[Any, Any]]
    starts: Any
    decay: Any
    learning_rate: Callable[[Any], jax.Array]
    gradient_norm: Callable[[Any, Any], jax.Array]


def make_optimizer(
    config: OptimizerConfig,
    params,
    *,
    num_steps: int,
    roles=None,
    starts=None,
    scales=None,
) -> Optimizer:
    """Builds clipping, AdamW with decay by role or pattern, and gradual unfreezing.

    Args:
      config: settings.
      params: nested dict of arrays or shapes.
      num_steps: updates of the whole run.
      roles: of `decay_roles`, used without patterns in the config; None: arrays of two and more
        dimensions decay.
      starts: int per parameter, the step from which it trains; `NEVER` keeps no moments for it.
        Before its step a parameter counts for nothing in the gradient norm. None trains everything
        from the start.
      scales: float per parameter that multiplies its learning rate; None is 1.

    Returns:
      An optimizer over trees shaped like `params`.

    Raises:
      UserError: see `by_pattern` and `learning_rate`; no parameter trains; or an unknown dtype.
    """
    if config.first_moment not in MOMENTS:
        raise unknown_name("optimizer.first_moment", config.first_moment, MOMENTS)
    decay = jax.tree.map(lambda leaf: leaf.ndim > 1, params) if roles is None else roles
    if config.decay:
        decay = by_pattern(config.decay, params, setting="optimizer.decay")
    starts = jax.tree.map(lambda _: 0, params) if starts is None else starts
    scales = jax.tree.map(lambda _: 1.0, params) if scales is None else scales
    trained = jax.tree.map(lambda start: start != NEVER, starts)
    if min(jax.tree.leaves(starts)) < NEVER or not any(jax.tree.leaves(trained)):
        raise UserError(
            f"unfreeze: steps are 0 or more, or {NEVER} for never, and some parameter must train: "
            "give a step from which it does"
        )
    rate = learning_rate(config, num_steps)
    adamw = optax.adamw(
        rate,
        b1=config.beta1,
        b2=config.beta2,
        eps=config.epsilon,
        mu_dtype=MOMENTS[config.first_moment],
        weight_decay=config.weight_decay,
        mask=_only(decay, trained),
    )
    chain = _clipped_and_scaled(
        adamw, config.clip_norm, scales=_only(scales, trained), starts=_only(starts, trained)
    )
    labels = jax.tree.map(lambda train: "trained" if train else "frozen", trained)
    whole = optax.multi_transform({"trained": chain, "frozen": optax.set_to_zero()}, labels)

    def count(state) -> jax.Array:
        return state.inner_states["trained"].inner_state[2].count

    return Optimizer(
        init=whole.init,
        update=whole.update,
        starts=starts,
        decay=decay,
        learning_rate=lambda state: jnp.asarray(rate(count(state)), jnp.float32),
        gradient_norm=lambda gradients, state: _norm(gradients, starts, count(state)),
    )


def _clipped_and_scaled(
    adamw: optax.GradientTransformation, clip_norm: float, *, scales, starts
) -> optax.GradientTransformation:
    """Clips the gradients, applies AdamW and scales its updates; they are 0 before their start.

    The moments of a parameter are kept before its first step too: after it, AdamW's correction for
    moments that start at 0 would not fit it.
    """

    def init(params):
        counter = optax.ScaleByScheduleState(jnp.zeros([], jnp.int32))
        return optax.EmptyState(), adamw.init(params), counter

    def update(gradients, state, params=None):
        empty, moments, counter = state
        norm = _norm(gradients, starts, counter.count)
        clipped = jax.tree.map(
            lambda g: jax.lax.select(norm < clip_norm, g, (g / norm.astype(g.dtype)) * clip_norm),
            gradients,
        )
        updates, moments = adamw.update(clipped, moments, params)
        updates = jax.tree.map(
            lambda u, scale, start: (
                u * jnp.where(counter.count >= start, scale, 0.0).astype(u.dtype)
            ),
            updates,
            scales,
            starts,
        )
        return updates, (empty, moments, optax.ScaleByScheduleState(counter.count + 1))

    return optax.GradientTransformation(init, update)


def _norm(gradients, starts, count: jax.Array) -> jax.Array:
    """Global norm of the gradients of the parameters that train after `count` updates."""
    counted = jax.tree.map(
        lambda g, start: g if start == 0 else jnp.where((start != NEVER) & (count >= start), g, 0),
        gradients,
        starts,
    )
    return optax.tree.norm(counted)


def _only(tree, kept):
    """Replaces what is not kept by optax's empty node, so that trees match a masked partition."""
    return jax.tree.map(lambda value, keep: value if keep else optax.MaskedNode(), tree, kept)


def table(params, optimizer: Optimizer) -> str:
    """Describes how parameters are trained, in one line per distinct treatment.

    Args:
      params: nested dict of arrays or shapes.
      optimizer: over them.

    Returns:
      Lines with count, size and an example path.
    """
    groups: dict[tuple, list] = {}
    leaves = jax.tree_util.tree_flatten_with_path(params)[0]
    for (path, leaf), d, s in zip(
        leaves, jax.tree.leaves(optimizer.decay), jax.tree.leaves(optimizer.starts), strict=True
    ):
        groups.setdefault((s, d), []).append((path_name(path), leaf.size))
    lines = []
    for (start, decayed), members in sorted(groups.items()):
        when = "frozen" if start == NEVER else f"trained from step {start}"
        lines.append(
            f"  {when}, {'decay' if decayed else 'no decay'}: {len(members)} arrays, "
            f"{sum(size for _, size in members):,} values, e.g. {members[0][0]}"
        )
    return "\n".join(lines)
