"""What the heads of a model give beside scores."""

from collections.abc import Sequence

from sersl.config.schema import HeadsConfig
from sersl.models.heads.category_heads import UNCERTAINTY_OF
from sersl.models.heads.dimension_head import DIMENSION_HEADS
from sersl.release.predict.outputs import UNCERTAINTY


def uncertainty_names(
    heads: HeadsConfig, categories: Sequence[str], dimensions: Sequence[str]
) -> tuple[str, ...]:
    """Names what a model with these heads gives beside scores."""
    names = []
    if categories and heads.category_loss in UNCERTAINTY_OF:
        names.append(UNCERTAINTY_OF[heads.category_loss])
    if dimensions and DIMENSION_HEADS[heads.dimensions_loss]:
        names += [f"{name}_{kind}" for kind in UNCERTAINTY[2:] for name in dimensions]
    return tuple(names)
