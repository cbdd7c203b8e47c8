"""The views of a run in its workdir, from which a model is exported."""

from collections.abc import Sequence
from pathlib import Path

from sersl.config.fusion import ViewConfig
from sersl.config.load import from_mapping, to_dict
from sersl.core.errors import UserError
from sersl.core.fields import Fields
from sersl.core.files import read_json, write_json

VIEWS = "views.json"
_REMEDY = "restore it from a copy, or run `sersl finetune` again in another workdir"


def write_views(workdir: Path, views: Sequence[ViewConfig]) -> None:
    """Writes the views of a run, none where there are none."""
    if views:
        write_json(workdir / VIEWS, {"views": [to_dict(view) for view in views]})


def read_views(workdir: Path) -> tuple[ViewConfig, ...]:
    """Reads the views of a run; () where it has none.

    Raises:
      UserError: the file is damaged.
    """
    path = workdir / VIEWS
    if not path.is_file():
        return ()
    content = read_json(path, what="views of a run", remedy=_REMEDY)
    return views_of(Fields(content, where=str(path), remedy=_REMEDY))


def views_of(fields: Fields) -> tuple[ViewConfig, ...]:
    """Reads the field `views` of a JSON object, see `ViewConfig`.

    Raises:
      UserError: the field is missing or damaged.
    """
    return tuple(
        from_mapping(ViewConfig, one, f"views[{number}].")
        for number, one in enumerate(fields.groups("views"))
    )


def check_views(workdir: Path, views: Sequence[ViewConfig]) -> None:
    """Refuses to resume a run whose tables have changed since it began.

    Raises:
      UserError: a table has other ids or values.
    """
    before = {view.name: view.identity for view in read_views(workdir)}
    for view in views:
        if before.get(view.name, view.identity) != view.identity:
            raise UserError(
                f"workdir {workdir} has a run on another content of {view.source} (view "
                f"{view.name!r}): restore the table, or use another workdir"
            )
