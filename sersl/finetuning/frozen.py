"""Parameters that never train: they must come from given weights, and an encoder has no dropout."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax

from sersl.config.schema import FinetuneConfig
from sersl.core.errors import UserError
from sersl.finetuning.trained_parts import FROM_DATA
from sersl.parallel.sharding import path_name
from sersl.runs.initial_weights import InitialWeights, describe_dropout, flat_weights
from sersl.training.optimizer import NEVER

_DROPOUTS = ("dropout", "attention_dropout", "activation_dropout", "layer_drop")


def check_frozen(starts, shapes: dict[str, Any], weights: InitialWeights | None) -> None:
    """Refuses to keep random initial values for ever.

    Args:
      starts: int per parameter, the step from which it trains, or `NEVER`.
      shapes: nested dict of arrays or shapes.
      weights: that the run starts from, or None.

    Raises:
      UserError: a parameter never trains and the weights do not have it.
    """
    given = set() if weights is None else set(flat_weights(weights, like=shapes))
    # The encoders of further views have weights of their own.
    never = [
        path_name(path)
        for path, start in jax.tree_util.tree_flatten_with_path(starts)[0]
        if start == NEVER and path[0].key != "fusion"
    ]
    random = [name for name in never if name not in given and name not in FROM_DATA]
    if random:
        raise UserError(
            f"unfreeze keeps {len(random)} arrays, such as {random[0]}, at their random initial "
            "values: "
            + (
                "give trained weights with --config.init_from=DIR"
                if weights is None
                else f"{weights.source} does not have them; let them train from step 0"
            )
        )


def is_frozen(starts: dict[str, Any]) -> bool:
    """Tells whether no parameter of the encoder ever trains, given the starts of all parameters."""
    return all(start == NEVER for start in jax.tree.leaves(starts["encoder"]))


def settle_dropout(
    config: FinetuneConfig,
    starts: dict[str, Any],
    weights: InitialWeights | None,
    *,
    say: Callable[[str], None],
) -> FinetuneConfig:
    """Switches the dropout of an encoder off that never trains, so that it is a fixed function.

    Args:
      config: of the run.
      starts: int per parameter, the step from which it trains, or `NEVER`.
      weights: that the run starts from; None: none.
      say: told what was switched off, or that the encoder was trained without.

    Returns:
      The config, the same where the encoder trains.
    """
    if not is_frozen(starts):
        for line in describe_dropout(config, weights) if weights is not None else ():
            say(line)
        return config
    parts = {"encoder": _DROPOUTS, "frontend": ("dropout",)}
    replaced = {}
    for name, settings in parts.items():
        part = getattr(config, name)
        on = {setting: 0.0 for setting in settings if getattr(part, setting)}
        replaced[name] = dataclasses.replace(part, **on)
        for setting in on:
            say(f"{name}.{setting} is off, since the encoder never trains")
    return dataclasses.replace(config, **replaced)
