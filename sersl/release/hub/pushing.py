"""Upload of a model folder to a hub, in one commit."""

from pathlib import Path

from sersl.core.errors import UserError
from sersl.core.version import __version__
from sersl.release import card
from sersl.release.about import with_card
from sersl.release.architecture import flatten
from sersl.release.check import check_folder
from sersl.release.file_names import ABOUT, CARD
from sersl.release.folder import read_model
from sersl.release.hub.hub_errors import hub_errors, hub_library
from sersl.release.hub.hub_name import HubName
from sersl.release.layout import check_inside
from sersl.release.licences import check_release, known_corpora


def push(folder: Path, name: HubName, *, private: bool = False) -> str:
    """Uploads a model; files that the hub has already are not sent again.

    The card, unless it was edited, is written anew with the name on the hub in its examples.

    Args:
      folder: of the model.
      name: on the hub; the repository is made if it is missing, and a revision must be a branch.
      private: whether a new repository is private; an existing one stays as it is.

    Returns:
      The address of the commit.

    Raises:
      UserError: the folder is damaged, has no licence, or the hub refuses.
    """
    found = check_folder(folder)
    if found.kind != "model":
        raise UserError(f"{folder} is a {found.kind}, not a model folder: export it first")
    if found.faults:
        raise UserError(
            f"{folder} is not as it was written ({found.faults[0]}), so it is not uploaded: export "
            "it again"
        )
    released = read_model(folder)
    about = released.about
    check_release(about["licence"], known_corpora(about))
    library = hub_library(name)
    texts: dict[str, bytes] = {}
    if not any(note.startswith(CARD) for note in found.notes):
        num_parameters = sum(value.size for value in flatten(released.params).values())
        text = (folder / CARD).read_text(encoding="utf-8")
        plain = card.render(about, name=folder.name, num_parameters=num_parameters)
        if text.startswith(plain):  # what follows describes other formats
            own = card.render(about, name=str(name), num_parameters=num_parameters)
            readme = (own + text.removeprefix(plain)).encode()
            texts = {CARD: readme, ABOUT: with_card(about, readme)}
    operations = []
    for file in sorted({*found.parts, CARD}):
        path = folder / file
        if not path.is_file():
            continue
        check_inside(folder, path)
        content = texts.get(file, path)
        operations.append(library.CommitOperationAdd(file, content))
    with hub_errors(name):
        api = library.HfApi(library_name="sersl", library_version=__version__)
        api.create_repo(name.repo, private=private, exist_ok=True)
        commit = api.create_commit(
            name.repo,
            operations,
            revision=name.revision,
            commit_message=f"Upload of sersl {__version__}",
        )
    return str(commit.commit_url)
