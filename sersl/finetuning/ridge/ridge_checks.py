"""Which settings go together with heads that are solved in closed form."""

from sersl.config.auxiliary import DomainConfig, TasksConfig
from sersl.config.schema import CombineConfig, FinetuneConfig
from sersl.config.training_ideas import DistillConfig
from sersl.core.errors import UserError
from sersl.finetuning.targets import Targets
from sersl.models.pooling.pooling import KINDS

RIDGE = "ridge"  # `solver.kind` of a run that trains nothing by gradient


def check_ridge(config: FinetuneConfig, targets: Targets) -> None:
    """Refuses settings that a closed form cannot follow.

    Raises:
      UserError: naming the setting.
    """
    heads, pooling = config.heads, config.pooling
    wrong = ""
    if heads.kind != "linear":
        wrong = f"heads.kind={heads.kind!r} has a hidden layer: set it to 'linear'"
    elif KINDS[pooling.kind].weights != "equal" or pooling.projection:
        wrong = (
            f"pooling.kind={pooling.kind!r} with pooling.projection={pooling.projection} has "
            "weights of its own: set them to 'statistics', 'mean' or 'max', and 0"
        )
    elif pooling.network.kind != "none":
        wrong = (
            f"pooling.network.kind={pooling.network.kind!r} is trained by gradient: set it to "
            "'none'"
        )
    elif config.fusion.kind not in ("none", "early", "late"):
        wrong = (
            f"fusion.kind={config.fusion.kind!r} has layers that are trained by gradient: set it "
            "to 'early' or 'late'"
        )
    elif pooling.layers == "weighted":
        wrong = "pooling.layers='weighted' has weights of its own: set it to 'all'"
    elif targets.view.names and heads.category_loss != "cross_entropy":
        wrong = (
            f"heads.category_loss={heads.category_loss!r} is trained by gradient: set it to "
            "'cross_entropy'"
        )
    elif config.solver.nuisance_corpora and config.fusion.kind != "none":
        wrong = (
            f"solver.nuisance_corpora reads one encoder and fusion.kind={config.fusion.kind!r} "
            "several: leave one of them out"
        )
    elif config.solver.nuisance_corpora and config.domain.normalize != "none":
        wrong = (
            f"domain.normalize={config.domain.normalize!r} changes the outputs of labelled corpora "
            "alone: leave it or solver.nuisance_corpora out"
        )
    elif config.solver.view_weights and config.fusion.kind != "early":
        wrong = (
            "solver.view_weights weigh the views that fusion.kind='early' lines up, and "
            f"fusion.kind is {config.fusion.kind!r}: leave them out, or set fusion.kind to 'early'"
        )
    elif config.labels.soft:
        wrong = "labels.soft gives shares of votes: set it to False"
    elif targets.dimensions and heads.bounded:
        wrong = "heads.bounded bends the values of dimensions: set it to False"
    elif targets.dimensions and heads.dimensions_loss not in ("ccc", "mse"):
        wrong = (
            f"heads.dimensions_loss={heads.dimensions_loss!r} is trained by gradient: set it to "
            "'ccc'"
        )
    else:
        for name, value, plain in (
            ("tasks", config.tasks, TasksConfig()),
            ("domain.kind", config.domain.kind, DomainConfig().kind),
            ("combine", config.combine, CombineConfig()),
            ("distill", config.distill, DistillConfig()),
            ("co_teaching.noise", config.co_teaching.noise, 0.0),
            ("heads.contrast_weight", heads.contrast_weight, 0.0),
            ("fusion.contrast_weight", config.fusion.contrast_weight, 0.0),
        ):
            if value != plain:
                wrong = f"{name} is for training by gradient: leave it at its default"
    if wrong:
        raise UserError(
            f"solver.kind='ridge' solves linear heads in closed form, but {wrong}, or set "
            "solver.kind to 'gradient'"
        )
