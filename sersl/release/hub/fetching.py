"""Download of one model from a hub, through the cache of huggingface_hub."""

import logging
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tqdm import tqdm

from sersl.core.digests import file_digest
from sersl.core.errors import UserError
from sersl.core.fields import Fields
from sersl.core.files import read_json
from sersl.core.version import __version__
from sersl.release.file_names import ABOUT, CARD, CONFIG, PREPROCESSOR
from sersl.release.hub.hub_errors import hub_errors, hub_library, is_final
from sersl.release.hub.hub_name import HubName
from sersl.release.tensors import WEIGHTS

_TIMEOUT = 20.0  # seconds without an answer
_COMMIT = re.compile(r"[0-9a-f]{40}")
_SHARD = re.compile(r"(model|pytorch_model)-[0-9]{5}-of-[0-9]{5}\.(safetensors|bin)")
_TEXTS = (ABOUT, CONFIG, PREPROCESSOR, CARD)
_MOST_RECEIVED = 4  # times the size of the files; a server that breaks off each time sends more
_LEAST_RECEIVED = 1 << 20  # bytes
_log = logging.getLogger(__name__)

Check = Callable[[Path], None]


@dataclass(frozen=True)
class Listed:
    """A file of a model on a hub: bytes, and its SHA-256 where the hub has one."""

    size: int
    sha256: str = ""


def fetch(name: HubName, *, check: Check | None = None) -> Path:
    """Downloads the files of a model that sersl reads, unless they are in the cache.

    Config, description and card come first; then the weights, of which safetensors are preferred.

    Args:
      name: of the model.
      check: called with the folder before the weights are downloaded.

    Returns:
      The folder of the cache, `.../snapshots/<commit>`. Without a network it is the one of the last
      download.

    Raises:
      UserError: the hub refuses or cannot be reached and the cache has no complete copy, an answer
        is rubbish, a file is damaged; or `check` raised.
    """
    library = hub_library(name)
    if _COMMIT.fullmatch(name.revision):  # never changes, so nothing is asked
        cached = _cached(library, name)
        if cached is not None:
            return _checked(cached, check)
    try:
        with hub_errors(name):
            files = _listing(library, name)
    except UserError as error:
        cached = None if is_final(error) else _cached(library, name)
        if cached is None:
            raise
        _log.info("%s: the copy in the cache is used", error)
        return _checked(cached, check)
    wanted = _wanted(name, files)
    folder = _download(library, name, [file for file in wanted if file in _TEXTS], files)
    _checked(folder, check)
    return _download(library, name, wanted, files)


def _listing(library: Any, name: HubName) -> dict[str, Listed]:
    api = library.HfApi(library_name="sersl", library_version=__version__)
    info = api.model_info(name.repo, revision=name.revision, files_metadata=True, timeout=_TIMEOUT)
    files = {}
    for file in info.siblings or []:
        sha256 = "" if file.lfs is None else str(file.lfs.sha256)
        files[str(file.rfilename)] = Listed(int(file.size or 0), sha256)
    return files


def _wanted(name: HubName, files: Mapping[str, Listed]) -> list[str]:
    if CONFIG not in files:
        raise UserError(
            f"model {name} has no {CONFIG}, so it is not a speech model that sersl reads: give "
            "another"
        )
    wanted = _of_model(files)
    if not any(file in WEIGHTS for file in wanted):
        raise UserError(f"model {name} has none of {', '.join(WEIGHTS)}: give another model")
    return wanted


def _of_model(names: Iterable[str]) -> list[str]:
    """Chooses the files that sersl reads: descriptions, and the first kind of weights."""
    names = set(names)
    chosen = [name for name in _TEXTS if name in names]
    weights = next((name for name in WEIGHTS if name in names), None)
    if weights is None:
        return chosen
    chosen.append(weights)
    if weights.endswith(".index.json"):
        stem, _, kind = weights.removesuffix(".index.json").rpartition(".")
        for name in sorted(names):
            found = _SHARD.fullmatch(name)
            if found is not None and (found[1], found[2]) == (stem, kind):
                chosen.append(name)
    return chosen


def _cached(library: Any, name: HubName) -> Path | None:
    """Finds the last complete download of a model."""
    found = library.try_to_load_from_cache(name.repo, CONFIG, revision=name.revision)
    if not isinstance(found, str):
        return None
    folder = Path(found).parent
    files = _of_model(path.name for path in folder.iterdir() if path.is_file())
    if not any(file in WEIGHTS for file in files):
        return None
    for file in files:
        if file.endswith(".index.json"):
            remedy = "download it again"
            index = read_json(folder / file, what="list of weights", remedy=remedy)
            shards = Fields(index, where=str(folder / file), remedy=remedy).texts("weight_map")
            if not set(shards.values()) <= set(files):
                return None
    return folder


def _checked(folder: Path, check: Check | None) -> Path:
    if check is not None:
        check(folder)
    return folder


def _download(library: Any, name: HubName, wanted: list[str], files: Mapping[str, Listed]) -> Path:
    missing = [file for file in wanted if not _is_cached(library, name, file)]
    total = sum(files[file].size for file in missing)
    if any(file not in _TEXTS for file in missing):
        shown = ", ".join(f"{file} {_megabytes(files[file].size)}" for file in missing)
        _log.warning("downloading %s of %s: %s", _megabytes(total), name, shown)
    limit = _MOST_RECEIVED * sum(files[file].size for file in wanted) + _LEAST_RECEIVED
    with hub_errors(name):
        folder = Path(
            library.snapshot_download(
                name.repo,
                revision=name.revision,
                allow_patterns=wanted,
                library_name="sersl",
                library_version=__version__,
                etag_timeout=_TIMEOUT,
                max_workers=1,  # with several, the error of one hides behind a closed client
                tqdm_class=_bar(limit),
            )
        )
        for file in missing:
            _verify(folder / file, files[file], name)
    return folder


def _is_cached(library: Any, name: HubName, file: str) -> bool:
    return isinstance(library.try_to_load_from_cache(name.repo, file, revision=name.revision), str)


def _bar(limit: int) -> type[tqdm]:
    """Makes a progress bar for terminals that refuses more than `limit` bytes.

    Without, huggingface_hub starts again for ever where a server breaks off after some bytes.
    """

    class Bar(tqdm):
        def __init__(self, *args: Any, **settings: Any):
            self._counts = settings.get("unit") == "B"
            self._received = 0
            super().__init__(*args, **{**settings, "disable": None})

        def update(self, n: float | None = 1) -> bool | None:
            if self._counts:
                self._received += max(0, int(n or 0))
                if self._received > limit:
                    raise UserError(
                        "the hub breaks off a file before its end, again and again: run the same "
                        "command later"
                    )
            return super().update(n)

    return Bar


def _verify(path: Path, listed: Listed, name: HubName) -> None:
    """Compares a downloaded file with what the hub listed, and removes a damaged one."""
    if not listed.sha256 or file_digest(path) == listed.sha256:
        return
    blob = path.resolve()
    path.unlink()
    blob.unlink(missing_ok=True)
    raise UserError(
        f"{path.name} of model {name} was damaged on its way (its SHA-256 differs): run the same "
        "command again"
    )


def _megabytes(size: int) -> str:
    return f"{size / 1e6:.1f} MB"
