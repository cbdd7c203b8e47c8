"""Typed values out of a JSON object; every error is one sentence that names file and field."""

import math
from collections.abc import Callable, Collection, Mapping
from typing import Any, TypeVar

from sersl.core.errors import UserError, unknown_name

T = TypeVar("T")
N = TypeVar("N", int, float)
MOST_CHARACTERS = 10_000
_KINDS = {dict: "an object", list: "a list", str: "text", bool: "true or false", type(None): "null"}


class Fields:
    """The fields of one JSON object."""

    def __init__(self, content: Mapping[str, Any], *, where: str, remedy: str):
        """Keeps an object.

        Args:
          content: the object, as parsed by `sersl.core.files`.
          where: the file, or the file and the place in it, for messages.
          remedy: what to do about a wrong field, e.g. "export the model again".
        """
        self._content = content
        self._where = where
        self._remedy = remedy

    def check_names(self, required: Collection[str], optional: Collection[str] = ()) -> None:
        """Raises UserError where a field is missing, or is not one of these."""
        for name in required:
            if name not in self._content:
                raise UserError(f"{self._where} has no {name!r}: {self._remedy}")
        for name in self._content:
            if name not in required and name not in optional:
                error = unknown_name("field", name[:80], [*required, *optional])
                raise UserError(f"{self._where}: {error}; {self._remedy}")

    def has(self, name: str) -> bool:
        """Tells whether a field is there and is not null."""
        return self._content.get(name) is not None

    def text(self, name: str) -> str:
        """Takes text of at most `MOST_CHARACTERS`."""
        return self._take(name, "text", _text)

    def flag(self, name: str) -> bool:
        """Takes true or false."""
        return self._take(name, "true or false", lambda value: _of(bool, value))

    def integer(self, name: str, *, at_least: int, at_most: int) -> int:
        """Takes an integer of a range."""
        return self._take(
            name,
            f"an integer from {at_least} to {at_most}",
            lambda value: _within(_of(int, value), at_least, at_most),
        )

    def number(self, name: str, *, at_least: float, at_most: float) -> float:
        """Takes a number of a range."""
        return self._take(
            name,
            f"a number from {at_least:g} to {at_most:g}",
            lambda value: float(_within(_number(value), at_least, at_most)),
        )

    def names(self, name: str) -> tuple[str, ...]:
        """Takes a list of names: texts that are not empty, each once."""
        return self._take(name, "a list of names, each once", _names)

    def lines(self, name: str) -> list[str]:
        """Takes a list of texts."""
        return self._take(
            name, "a list of texts", lambda value: [_text(item) for item in _of(list, value)]
        )

    def numbers(self, name: str) -> dict[str, float]:
        """Takes an object of finite numbers."""
        return self._take(name, "an object of numbers", _numbers)

    def texts(self, name: str) -> dict[str, str]:
        """Takes an object of texts."""
        return self._take(
            name,
            "an object of texts",
            lambda value: {key: _text(item) for key, item in _of(dict, value).items()},
        )

    def group(self, name: str) -> dict[str, Any]:
        """Takes an object."""
        return self._take(name, "an object", lambda value: _of(dict, value))

    def groups(self, name: str) -> list[dict[str, Any]]:
        """Takes a list of objects."""
        return self._take(
            name, "a list of objects", lambda value: [_of(dict, item) for item in _of(list, value)]
        )

    def inside(self, name: str) -> "Fields":
        """Gives the fields of the object in a field."""
        return Fields(self.group(name), where=f"{self._where}, {name!r}", remedy=self._remedy)

    def take_list(self, name: str) -> list[object]:
        """Takes a list of anything."""
        return self._take(name, "a list", lambda value: _of(list, value))

    def wrong(self, name: str, wanted: str) -> UserError:
        """Makes the error for a field with another value than is wanted."""
        if name not in self._content:
            return UserError(f"{self._where} has no {name!r}: {self._remedy}")
        value = self._content[name]
        kind = _KINDS.get(type(value)) or f"{value!r:.40}"
        if isinstance(value, str):
            kind = f"{value!r:.60}"
        return UserError(f"{self._where}: {name!r} must be {wanted}, not {kind}; {self._remedy}")

    def _take(self, name: str, wanted: str, convert: Callable[[object], T]) -> T:
        try:
            return convert(self._content[name])
        except (KeyError, TypeError, ValueError):
            raise self.wrong(name, wanted) from None


def _of(kind: type[T], value: object) -> T:
    if type(value) is not kind:
        raise TypeError(type(value))
    return value


def _text(value: object) -> str:
    text = _of(str, value)
    if len(text) > MOST_CHARACTERS:
        raise ValueError(len(text))
    return text


def _within(value: N, at_least: N, at_most: N) -> N:
    if not at_least <= value <= at_most:
        raise ValueError(value)
    return value


def _names(value: object) -> tuple[str, ...]:
    names = tuple(_text(item) for item in _of(list, value))
    if "" in names or len(set(names)) < len(names):
        raise ValueError(names)
    return names


def _numbers(value: object) -> dict[str, float]:
    found = {}
    for key, number in _of(dict, value).items():
        found[key] = _number(number)
    return found


def _number(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(type(value))
    if not math.isfinite(value):
        raise ValueError(value)
    return value
