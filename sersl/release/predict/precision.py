"""The number formats that a released model may run in."""

from sersl.core.errors import unknown_name

# Of the computation of the encoder, or of its stored weights; heads compute in float32.
PRECISIONS = ("float32", "bfloat16", "int8")


def check_precision(precision: str | None) -> None:
    """Raises UserError for an unknown precision; None is the model's own."""
    if precision is not None and precision not in PRECISIONS:
        raise unknown_name("precision", precision, PRECISIONS)
