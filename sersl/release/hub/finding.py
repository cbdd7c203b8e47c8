"""Where a model is: a folder, or a name on a hub that is downloaded and imported at first use."""

import os
import re
import sys
from pathlib import Path

from sersl.core.errors import UserError
from sersl.core.files import read_json
from sersl.core.version import __version__
from sersl.release.file_names import ABOUT, CONFIG
from sersl.release.hub.fetching import fetch
from sersl.release.hub.hub_name import HubName, hub_name
from sersl.release.huggingface.importing import import_folder

# Classes of transformers that end in something else than scores of a recording.
_NO_HEADS = re.compile(
    r".*(Model|Encoder|For(PreTraining|CTC|ConditionalGeneration|MaskedLM|XVector"
    r"|AudioFrameClassification))"
)


def find_model(given: str | Path, *, needs_heads: bool = False) -> Path:
    """Finds the folder of a model of sersl.

    A model of a hub is downloaded into the cache of Hugging Face. One that is not of sersl is then
    imported into `~/.cache/sersl/models` (or under XDG_CACHE_HOME), once for each commit.

    Args:
      given: a folder, which is returned as it is, or a name, see `hub_name`.
      needs_heads: refuse a model on a hub that has no heads, before its weights are downloaded.

    Returns:
      The folder; it may not exist if `given` is a path.

    Raises:
      UserError: the hub does not give the model, or it cannot be imported.
    """
    name = hub_name(given)
    if name is None:
        return Path(given)
    return _fetched(name, needs_heads=needs_heads)


def find_source(given: str | Path) -> tuple[Path, str]:
    """Finds the folder of a model to import.

    Args:
      given: a folder, or a name, see `hub_name`.

    Returns:
      (folder, name for the model card: that of the folder, or OWNER/NAME@COMMIT).

    Raises:
      UserError: the hub does not give the model.
    """
    name = hub_name(given)
    if name is None:
        return Path(given), ""
    folder = fetch(name)
    return folder, f"{name.repo}@{folder.name}"


def _fetched(name: HubName, *, needs_heads: bool) -> Path:
    def check(folder: Path) -> None:
        if needs_heads:
            _check_heads(name, folder)

    folder = fetch(name, check=check)
    if (folder / ABOUT).is_file():
        return folder
    base = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    imported = Path(base, "sersl", "models", name.repo.replace("/", "--"))
    imported /= f"{folder.name}-{__version__}"
    if not (imported / ABOUT).is_file():
        imported.parent.mkdir(parents=True, exist_ok=True)
        report = import_folder(folder, imported, source_name=f"{name.repo}@{folder.name}")
        print(
            f"sersl: {name} imported to {imported}: {len(report.used)} tensors, "
            f"{len(report.unused)} left out",
            file=sys.stderr,
        )
    return imported


def _check_heads(name: HubName, folder: Path) -> None:
    path = folder / (ABOUT if (folder / ABOUT).is_file() else CONFIG)
    content = read_json(path, what="description of the model", remedy="download it again")
    if path.name == ABOUT:
        missing = content.get("heads") is None
    else:
        classes = content.get("architectures")
        first = classes[0] if isinstance(classes, list) and classes else "Model"
        missing = _NO_HEADS.fullmatch(str(first)) is not None
    if missing:
        raise UserError(
            f"model {name} has no heads for emotions, so it predicts nothing: fine-tune it with "
            "`sersl finetune --config configs/finetune/frozen.py:base "
            f"--config.init_from={name}`, or take its embeddings with `sersl embed`"
        )
