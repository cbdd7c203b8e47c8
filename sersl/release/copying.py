"""Copies of released and imported models, to release them again."""

import os
import shutil
from pathlib import Path

from sersl.core.errors import UserError
from sersl.release import card
from sersl.release.about import warn_of_changed_card, write_about
from sersl.release.architecture import flatten
from sersl.release.file_names import CARD, FILES
from sersl.release.folder import Finish, finish_model, read_model
from sersl.release.formats.other_formats import remove_section
from sersl.release.layout import check_inside, whole_model
from sersl.release.licences import check_release, known_corpora
from sersl.release.merging import copy_peft


def copy_model(
    source: str | Path, folder: str | Path, *, licence: str = "", finish: Finish | None = None
) -> Path:
    """Writes a released or imported model again, each tensor bit by bit.

    Args:
      source: a model folder. Links that lead out of it are refused, since their targets would be
        released too; those of the Hugging Face cache are followed.
      folder: as `write_model`.
      licence: of the copy, whose card is then written anew; "" keeps that of the source.
      finish: as `write_model`.

    Returns:
      The folder.

    Raises:
      UserError: the source is damaged, has no licence, or the folder holds something else.
    """
    source, folder = Path(source), Path(folder)
    if os.path.realpath(source) == os.path.realpath(folder):
        raise UserError(f"{folder} cannot be exported to itself: give another --output")
    model = read_model(source)
    about = model.about
    changed = licence not in ("", about["licence"])
    about = {**about, "licence": licence or about["licence"]}
    check_release(about["licence"], known_corpora(about))
    for name in FILES:
        check_inside(source, source / name)
    warn_of_changed_card(source, about)
    with whole_model(folder) as partial:
        for name in FILES:
            if (source / name).is_file():
                shutil.copyfile(source / name, partial / name)
        copy_peft(source, partial)
        if changed or not (partial / CARD).is_file():
            num_parameters = sum(value.size for value in flatten(model.params).values())
            readme = card.render(about, name=folder.name, num_parameters=num_parameters)
            (partial / CARD).write_text(readme, encoding="utf-8")
        remove_section(partial / CARD)
        write_about(partial, about)
        finish_model(partial, finish)
    return folder
