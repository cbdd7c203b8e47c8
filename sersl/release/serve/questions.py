"""What a request asks for: the parameters of its URL."""

import json
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from sersl.core.errors import UserError, unknown_name
from sersl.core.files import parse_value
from sersl.release.predict.given_tables import GivenTables
from sersl.release.predict.windows import Cutting
from sersl.release.serve.batcher import Wanted
from sersl.release.serve.service_limits import RefusedError

_NUMBERS = ("window", "hop")
_FLAGS = ("speech", "frames", "embedding")
_MOST_OVERLAP = 20  # windows over each moment of audio


def read_wanted(query: Mapping[str, str], *, others: Iterable[str] = ()) -> Wanted:
    """Reads what a request wants.

    Args:
      query: {parameter: text}.
      others: parameters that are read elsewhere.

    Raises:
      RefusedError: an unknown parameter, or a wrong value.
    """
    known = (*_NUMBERS, *_FLAGS, *others)
    try:
        for name in query:
            if name not in known:
                raise unknown_name("parameter", name[:40], known)
        window, hop = (_number(name, query.get(name)) for name in _NUMBERS)
        speech, frames, embedding = (_flag(name, query.get(name, "0")) for name in _FLAGS)
        cutting = Cutting(window=window, hop=hop, speech=speech)
        if cutting.window and cutting.hop and cutting.window > _MOST_OVERLAP * cutting.hop:
            raise UserError(
                f"hop={cutting.hop:g} is small for windows of {cutting.window:g} s: give at least "
                f"{cutting.window / _MOST_OVERLAP:g}"
            )
        return Wanted(window=window, hop=hop, speech=speech, frames=frames, embedding=embedding)
    except UserError as error:
        sentence = str(error).replace("--window", "window")
        raise RefusedError(400, sentence) from error


def _number(name: str, text: str | None) -> float | None:
    if text is None:
        return None
    try:
        return float(text)
    except ValueError:
        raise UserError(f"{name}={text[:40]!r} is not a number: give seconds") from None


def _flag(name: str, text: str) -> bool:
    if text not in ("0", "1", "false", "true", ""):
        raise UserError(f"{name}={text[:40]!r} is neither 1 nor 0")
    return text not in ("0", "false")


def read_vectors(fields: Mapping[str, bytes], tables: GivenTables) -> dict[str, np.ndarray]:
    """Reads the views of a recording, JSON lists of numbers or of such lists.

    Args:
      fields: {view: content}.
      tables: of the model.

    Returns:
      View to float32 [n, D].

    Raises:
      RefusedError: not JSON, or vectors that the model does not take.
    """
    found = {}
    for name, content in fields.items():
        try:
            found[name] = parse_value(content)
        except ValueError as error:
            sentence = f"view {name!r} is not JSON ({error}): send a list of numbers"
            raise RefusedError(400, sentence) from error
    try:
        return tables.checked(found)
    except UserError as error:
        raise RefusedError(400, str(error)) from error


def as_json(value: Any) -> bytes:
    """Writes rows of `Answer.dicts` as JSON, with 6 decimals."""
    return json.dumps(_plain(value), ensure_ascii=False, allow_nan=False).encode()


def without_unwanted(row: dict[str, Any], *, embedding: bool, file: str | None) -> dict[str, Any]:
    """Leaves out the embedding unless it is wanted, and names the file."""
    kept = {name: value for name, value in row.items() if embedding or name != "embedding"}
    if file is not None:
        kept["file"] = file
    return kept


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _plain(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    if isinstance(value, np.ndarray):
        return [round(float(one), 6) for one in value]
    return round(value, 6) if isinstance(value, float) else value
