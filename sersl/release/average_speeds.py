"""Which copies a released model averages its answers over: field "average_speeds" of sersl.json."""

from sersl.config.load import from_mapping
from sersl.config.solver import FinetuneViewsConfig
from sersl.core.errors import UserError
from sersl.core.fields import Fields

AVERAGE_SPEEDS = "average_speeds"


def read_speeds(fields: Fields) -> tuple[float, ...]:
    """Reads the speeds of the copies, in order; () for a model of plain recordings.

    Raises:
      UserError: they are not speeds that `views.speeds` may have, or the model has no heads.
    """
    if not fields.has(AVERAGE_SPEEDS):
        return ()
    wrong = fields.wrong(AVERAGE_SPEEDS, "a list of different speeds, none of them 1, with heads")
    given = fields.take_list(AVERAGE_SPEEDS)
    try:
        speeds = from_mapping(FinetuneViewsConfig, {"speeds": given}, "views.").copies
    except UserError as error:
        raise wrong from error
    if len(speeds) != len(given) or not speeds or not fields.has("heads"):
        raise wrong
    return speeds
