"""The optimizer of pretraining."""

from sersl.config.schema import PretrainConfig
from sersl.pretraining.task import PretrainTask
from sersl.training.optimizer import Optimizer, by_pattern, decay_roles, make_optimizer
from sersl.training.step import param_shapes


def optimizer_of(config: PretrainConfig, task: PretrainTask) -> Optimizer:
    """Builds AdamW over the parameters of a run, some of them frozen or slower by pattern.

    Raises:
      UserError: see `make_optimizer` and `by_pattern`.
    """
    shapes = param_shapes(task)
    return make_optimizer(
        config.optimizer,
        shapes,
        num_steps=config.train.num_steps,
        roles=decay_roles(task.abstract),
        starts=by_pattern(config.unfreeze, shapes, setting="unfreeze"),
        scales=by_pattern(config.rate_scales, shapes, setting="rate_scales"),
    )
