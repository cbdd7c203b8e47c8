"""The parameters of a run, and from which step each trains, before any is made."""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from sersl.config.fusion import ViewConfig
from sersl.config.schema import FinetuneConfig
from sersl.finetuning.ideas.idea_checks import exit_sizes
from sersl.finetuning.targets import Targets
from sersl.finetuning.task import FinetuneTask
from sersl.finetuning.trained_parts import starts_of
from sersl.training.step import param_shapes


class TaskShapes(NamedTuple):
    """How to make the task of a run, and its parameters.

    Attributes:
      make: given a config, and whether outputs are kept, the task.
      shapes: nested dict of `jax.ShapeDtypeStruct`.
      starts: int per parameter, the step from which it trains.
    """

    make: Callable[..., FinetuneTask]
    shapes: dict[str, Any]
    starts: dict[str, Any]


def make_task(
    config: FinetuneConfig,
    *,
    targets: Targets,
    sizes: Mapping[str, int],
    stored: bool = False,
    first_layer: int | None = None,
    views: Sequence[ViewConfig] = (),
    turns: int = 0,
) -> FinetuneTask:
    """Makes the task of a run with these targets; `sizes` are its `other_sizes`."""
    names = targets.view.names
    return FinetuneTask(
        config,
        num_categories=len(names),
        dimensions=targets.dimensions,
        multi=targets.view.multi,
        stored=stored,
        first_layer=first_layer,
        other_sizes=sizes,
        neutral=names.index("neutral") if "neutral" in names else None,
        views=views,
        turns=turns,
    )


def lay_out(
    config: FinetuneConfig,
    targets: Targets,
    sizes: Mapping[str, int],
    *,
    views: Sequence[ViewConfig] = (),
) -> TaskShapes:
    """Lays out the task of a run, with heads on the inner layers that train if it asks for them.

    Args:
      config: of the run.
      targets: what is learnt.
      sizes: outputs of each head that only training needs, by name.
      views: the views of `fusion.views`, in order.

    Raises:
      UserError: see `starts_of` and `exit_sizes`.
    """
    make = functools.partial(make_task, targets=targets, sizes=sizes, views=views)
    shapes = param_shapes(make(config))
    starts = starts_of(config, shapes)
    if not config.distill.exit_weight:
        return TaskShapes(make, shapes, starts)
    exits = exit_sizes(config, starts, num_categories=len(targets.view.names))
    make = functools.partial(make, sizes={**sizes, **exits})
    shapes = param_shapes(make(config))
    return TaskShapes(make, shapes, starts_of(config, shapes))
