"""Files and folders written whole or not at all, strict JSON, and names that become paths."""

import contextlib
import fnmatch
import json
import math
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any, Literal

from sersl.core.bounded import check_not_special, read_bounded
from sersl.core.errors import UserError, first_line
from sersl.core.unfinished import clear_stale, staging_path, swap_in

# Of JSON from outside: sersl's own files are nested less than ten deep.
MOST_JSON_DEPTH = 100

_SURROGATE = re.compile("[\ud800-\udfff]")


@contextlib.contextmanager
def whole_path(path: str | Path) -> Iterator[Path]:
    """Gives a path beside `path` to write to; it takes the place of `path` on success.

    Args:
      path: of a file; its folder is made where it is missing.

    Yields:
      The path to write to: the same folder and suffix, named by host and process.

    Raises:
      OSError: also where `path` is a pipe or a device, which a file would take the place of.
    """
    path = behind_link(Path(path))
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        check_not_special(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    clear_stale(path)
    partial = staging_path(path)
    try:
        yield partial
        os.replace(partial, path)
    except OSError as error:
        if error.filename is None and error.errno is not None:  # as of a full disk
            error.filename = os.fspath(path)
        raise
    finally:
        partial.unlink(missing_ok=True)


@contextlib.contextmanager
def whole_file(path: str | Path, mode: Literal["w", "wb"] = "w") -> Iterator[IO[Any]]:
    """Opens a file that appears whole when the block ends well, and not at all otherwise.

    Args:
      path: of the file.
      mode: "w" for UTF-8 text with line ends as written, "wb" for bytes.

    Yields:
      The open file.
    """
    text: dict[str, Any] = {} if mode == "wb" else {"encoding": "utf-8", "newline": ""}
    with whole_path(path) as partial:
        partial.unlink(missing_ok=True)  # "x": never through a link that somebody has put there
        with open(partial, mode.replace("w", "x"), **text) as file:
            yield file


@contextlib.contextmanager
def whole_folder(folder: str | Path) -> Iterator[Path]:
    """Gives an empty folder to fill, which takes the place of `folder` on success.

    An older `folder` stays until the new one is complete: the two swap names.

    Args:
      folder: to write.

    Yields:
      An empty folder on the same file system.
    """
    folder = behind_link(Path(folder))
    folder.parent.mkdir(parents=True, exist_ok=True)
    clear_stale(folder)
    partial = staging_path(folder)
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()
    try:
        yield partial
        swap_in(partial, folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


@contextlib.contextmanager
def writing(what: str, folder: str | Path) -> Iterator[None]:
    """Turns a full disk or a missing permission into one sentence.

    Libraries in C++, such as ArrayRecord, raise RuntimeError for either. Put this around their
    calls alone, not around work that may raise one for another reason.

    Args:
      what: is written, for the sentence.
      folder: that it is written into.

    Yields:
      Nothing.

    Raises:
      UserError: it cannot be written.
    """
    try:
        yield
    except (OSError, RuntimeError) as error:
        reason = first_line(error).split("; ")[0]  # ArrayRecord appends the source location
        raise UserError(
            f"{what} cannot be written in {folder} ({reason}): free some space or check the "
            "folder's permissions, then run again"
        ) from error


def check_writable(folder: str | Path, *, option: str) -> None:
    """Checks, before any work, that files can be written into a folder; leaves nothing behind.

    Args:
      folder: to write into.
      option: that names it, for the sentence, e.g. "--output".

    Raises:
      UserError: it is a file, or cannot be made or written.
    """
    folder = Path(folder)
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
        for path in missing:
            with contextlib.suppress(OSError):  # another process may write there already
                path.rmdir()
    except OSError as error:
        reason = "it is not a folder" if Path(folder).is_file() else error.strerror or str(error)
        raise UserError(f"{option}: {folder} cannot be written ({reason}): use another") from error


def write_json(path: str | Path, content: Any) -> None:
    """Writes a value as JSON for people to read, whole or not at all.

    Args:
      path: of the file.
      content: of strings, finite numbers, lists and mappings; NaN is refused, JSON has none.
    """
    text = json.dumps(content, indent=1, allow_nan=False, ensure_ascii=False) + "\n"
    # Half of a surrogate pair, e.g. of a path that is not UTF-8, has no UTF-8 form.
    text = _SURROGATE.sub(lambda half: f"\\u{ord(half[0]):04x}", text)
    with whole_file(path) as file:
        file.write(text)


def read_json(path: str | Path, *, what: str, remedy: str) -> dict[str, Any]:
    """Reads a JSON object that may come from outside.

    Args:
      path: of the file.
      what: the file is, for the sentence, e.g. "settings of a model".
      remedy: what to do about a damaged one, e.g. "export the model again".

    Returns:
      The object.

    Raises:
      UserError: it cannot be read, or is not one JSON object with finite numbers, every key once.
    """
    path = Path(path)
    try:
        return parse_json(read_bounded(path))
    except OSError as error:
        reason = error.strerror or str(error)
    except ValueError as error:
        reason = str(error)
    raise UserError(f"{path} ({what}) cannot be read: {reason}; {remedy}")


def parse_json(text: str | bytes) -> dict[str, Any]:
    """Parses one JSON object strictly.

    Args:
      text: UTF-8.

    Returns:
      The object.

    Raises:
      ValueError: see `parse_value`; or it is another value than an object.
    """
    value = parse_value(text)
    if not isinstance(value, dict):
        raise ValueError(f"it holds a {type(value).__name__}, not an object")
    return value


def parse_value(text: str | bytes, *, allow_nan: bool = False, allow_infinite: bool = False) -> Any:
    """Parses any JSON value strictly.

    Args:
      text: UTF-8, with or without a byte-order mark.
      allow_nan: read NaN, which Python writes and JSON does not have, as None.
      allow_infinite: read NaN, Infinity and -Infinity, which Python writes, as these numbers.

    Returns:
      The value.

    Raises:
      ValueError: not JSON, a key twice, a number that is not finite, or nested deeper than
        `MOST_JSON_DEPTH`.
    """
    if isinstance(text, bytes):
        text = text.decode("utf-8-sig")  # editors of Windows write a byte-order mark
    try:
        decoder = json_decoder(allow_nan=allow_nan, allow_infinite=allow_infinite)
        value = decoder.decode(text)
    except RecursionError:
        raise ValueError(f"nested more than {MOST_JSON_DEPTH} deep") from None
    check_depth(value)
    return value


def json_decoder(*, allow_nan: bool = False, allow_infinite: bool = False) -> json.JSONDecoder:
    """Makes the decoder of `parse_value`, for values inside a longer text."""
    constant: Callable[[str], float | None] = _nan_is_none if allow_nan else _finite
    return json.JSONDecoder(
        object_pairs_hook=_each_key_once,
        parse_float=_finite,
        parse_constant=float if allow_infinite else constant,
        parse_int=_integer,
    )


def check_depth(value: Any) -> None:
    """Raises ValueError where a value is nested deeper than `MOST_JSON_DEPTH`."""
    if _depth(value) > MOST_JSON_DEPTH:
        raise ValueError(f"nested more than {MOST_JSON_DEPTH} deep")


def check_name(name: Any, *, what: str) -> str:
    """Checks a name from outside that becomes part of a path.

    Args:
      name: e.g. of a fold, a corpus or an annotator.
      what: it names, for the sentence.

    Returns:
      The name.

    Raises:
      UserError: it is empty, too long, or would leave its folder.
    """
    if not isinstance(name, str) or not name or name in (".", "..") or name != name.strip():
        raise UserError(f"{what} {name!r} cannot be the name of a folder: give it a plain name")
    bad = next((c for c in name if c in '/\\:*?"<>|' or not c.isprintable()), None)
    if bad is not None or name.startswith("."):
        raise UserError(
            f"{what} {name!r} cannot be the name of a folder because of "
            f"{'a leading dot' if bad is None else repr(bad)}: rename it"
        )
    if len(os.fsencode(name)) > 200:
        raise UserError(f"{what} {name[:40]!r}... is longer than 200 bytes: shorten it")
    return name


def find_paths(folder: str | Path, pattern: str) -> list[Path]:
    """Lists the paths of a folder that match a pattern, sorted; [] if there is no such folder.

    `Path.glob` skips folders that it may not read, as if they were empty.

    Args:
      folder: to search.
      pattern: as of `Path.glob`, without `**`.

    Raises:
      OSError: a folder cannot be read.
    """
    name, _, rest = pattern.partition("/")
    try:
        inside = sorted(Path(folder).iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return []
    found = [path for path in inside if fnmatch.fnmatchcase(path.name, name)]
    return [below for path in found for below in find_paths(path, rest)] if rest else found


def behind_link(path: Path) -> Path:
    """Gives the place that a link points to, so that the link stays."""
    return Path(os.path.realpath(path)) if path.is_symlink() else path


def _each_key_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise ValueError(f"key {key[:80]!r} is in one object twice")
        found[key] = value
    return found


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text[:40]} is not a finite number")
    return value


def _nan_is_none(text: str) -> None:
    if text != "NaN":
        _finite(text)


def _integer(text: str) -> int:
    if len(text) > 40:
        raise ValueError(f"the number {text[:20]}... has {len(text)} digits")
    return int(text)


def _depth(value: Any) -> int:
    deepest, level = 0, [value]
    while level:
        deepest += 1
        level = [
            child
            for one in level
            if isinstance(one, dict | list)
            for child in (one.values() if isinstance(one, dict) else one)
        ]
    return deepest
