"""Declares a setting in one place: its default, its meaning, and the values it takes.

    num_layers: int = setting(4, "Number of layers.", at_least=1, at_most=1000)
    norm: str = setting("pre", "LayerNorm before or after each branch.", choices=("pre", "post"))

A group of settings is a frozen dataclass that inherits from `Settings`, so that values are checked
however the group is made: by `sersl.config.load`, by its constructor, or by `dataclasses.replace`.
"""

import dataclasses
import math
import re
import struct
import typing
from collections.abc import Callable, Sequence
from typing import TypeVar

from sersl.core.errors import UserError, unknown_name

T = TypeVar("T")
# Steps and sizes are int32 on the device.
MOST_INTEGER = 2**31 - 1
# Far above every meaningful rate, duration or weight, far below the largest float32.
MOST_NUMBER = 1e9
MOST_CHARACTERS = 4096
MOST_ITEMS = 1000
_KEY = "sersl"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Allowed:
    """The meaning of a setting and the values it takes.

    Attributes:
      doc: the meaning, in one or two sentences.
      at_least: smallest value of a number, or of every number of a list.
      above: the value must be larger than this.
      at_most: largest value.
      below: the value must be smaller than this.
      also: one more value, and what it means.
      choices: accepted strings; empty for free text, or where the implementations are listed
        elsewhere by name.
    """

    doc: str
    at_least: float | None = None
    above: float | None = None
    at_most: float | None = None
    below: float | None = None
    also: tuple[int, str] | None = None
    choices: tuple[str, ...] = ()


def setting(
    default: T,
    doc: str,
    *,
    at_least: float | None = None,
    above: float | None = None,
    at_most: float | None = None,
    below: float | None = None,
    also: tuple[int, str] | None = None,
    choices: Sequence[str] = (),
) -> T:
    """Declares one setting of a group; see `Allowed` for the arguments."""
    allowed = Allowed(
        doc=doc,
        at_least=at_least,
        above=above,
        at_most=at_most,
        below=below,
        also=also,
        choices=tuple(choices),
    )
    return dataclasses.field(default=default, metadata={_KEY: allowed})


class Settings:
    """Base class of every group of settings."""

    def __post_init__(self) -> None:
        """Checks every setting.

        Raises:
          UserError: a value that its setting does not take.
        """
        # EncoderConfig.norm is encoder.norm.
        words = re.findall("[A-Z][a-z]*", type(self).__name__.removesuffix("Config"))
        group = "_".join(words).lower()
        for name in settings_of(type(self)):
            check_setting(type(self), name, getattr(self, name), f"{group}.{name}")


def settings_of(cls: type) -> dict[str, Allowed]:
    """Lists the settings that a group declares, without its nested groups."""
    return {
        field.name: field.metadata[_KEY]
        for field in dataclasses.fields(typing.cast(typing.Any, cls))
        if _KEY in field.metadata
    }


def check_setting(cls: type, name: str, value: object, key: str) -> None:
    """Checks the value of one setting, of its declared type, or every item of a list.

    Args:
      cls: the group.
      name: of the setting in it.
      value: to check.
      key: dotted path of the setting, for messages.

    Raises:
      UserError: naming the key, the value and what is allowed.
    """
    allowed = settings_of(cls).get(name)
    if allowed is not None:
        _check(allowed, value, key)


def number_problem(allowed: Allowed, value: int | float) -> str:
    """Says what is wrong with a number, e.g. "takes 1 or more, not 0"; empty if it is allowed."""
    if allowed.also is not None and value == allowed.also[0]:
        return ""
    largest = MOST_INTEGER if isinstance(value, int) else MOST_NUMBER
    too_large = abs(value) > largest and (allowed.at_most is None or value < 0)
    finite = isinstance(value, int) or math.isfinite(value)
    if finite and not too_large and _fits(allowed, value):
        return ""
    words = numbers_in_words(allowed, whole=isinstance(value, int))
    if too_large and allowed.at_least is None and allowed.above is None:
        words = f"a number from {-largest:.10g} to {largest:.10g}"
    elif too_large and value > 0:
        words = f"a number of at most {largest:.10g}"
    return f"takes {words}, not {shown(value)}"


def numbers_in_words(allowed: Allowed, *, whole: bool) -> str:
    """Says which numbers are allowed, e.g. "a number from 0 to below 1"."""
    number = "a whole number" if whole else "a number"
    low = (
        "" if allowed.at_least is None else f"from {allowed.at_least:.10g}",
        "" if allowed.above is None else f"above {allowed.above:.10g}",
    )
    high = (
        "" if allowed.at_most is None else f"{allowed.at_most:.10g}",
        "" if allowed.below is None else f"below {allowed.below:.10g}",
    )
    lowest, highest = low[0] or low[1], high[0] or high[1]
    if allowed.at_least is not None and not highest:
        words = f"{allowed.at_least:.10g} or more"
    elif allowed.at_least is not None:
        words = f"{number} {lowest} to {highest}"
    elif highest:
        words = f"{number} {lowest}, at most {highest}" if lowest else f"{number} up to {highest}"
    else:
        words = f"{number} {lowest}" if lowest else "a finite number"
    return words + (f", or {allowed.also[0]} for {allowed.also[1]}" if allowed.also else "")


def shown(value: object) -> str:
    """Writes a value of any size for a message, shortened."""
    try:
        text = repr(value)
    except (ValueError, RecursionError):  # an integer of too many digits; nested too deeply
        return f"a very large {type(value).__name__}"
    return text if len(text) <= 80 else f"{text[:60]}... ({len(text)} characters)"


def _check(allowed: Allowed, value: object, key: str) -> None:
    if isinstance(value, tuple):
        if len(value) > MOST_ITEMS:
            raise UserError(
                f"configuration key {key!r} takes at most {MOST_ITEMS} items, not {len(value)}"
            )
        for i, item in enumerate(value):
            _check(allowed, item, f"{key}[{i}]")
    elif isinstance(value, str):
        _check_text(allowed, value, key)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        problem = number_problem(allowed, value)
        if problem:
            raise UserError(f"configuration key {key!r} {problem}")


def _check_text(allowed: Allowed, value: str, key: str) -> None:
    if allowed.choices and value not in allowed.choices:
        raise unknown_name(key, value, allowed.choices)
    if len(value) > MOST_CHARACTERS:
        raise UserError(
            f"configuration key {key!r} takes at most {MOST_CHARACTERS} characters, not "
            f"{len(value)}"
        )
    # U+DC80 to U+DCFF stand for the bytes of file names that are not UTF-8.
    bad = next((c for c in value if not (c.isprintable() or "\udc80" <= c <= "\udcff")), None)
    if bad is not None:
        raise UserError(f"configuration key {key!r} takes printable text, without {bad!r}")


def _fits(allowed: Allowed, value: int | float) -> bool:
    """Compares a number with the bounds, as it is and as the float32 that is computed with."""
    bounds: tuple[tuple[float | None, Callable[[float, float], bool]], ...] = (
        (allowed.at_least, lambda x, bound: x >= bound),
        (allowed.above, lambda x, bound: x > bound),
        (allowed.at_most, lambda x, bound: x <= bound),
        (allowed.below, lambda x, bound: x < bound),
    )
    if any(bound is not None and not fits(value, bound) for bound, fits in bounds):
        return False
    if isinstance(value, int):
        return True
    try:
        (rounded,) = struct.unpack("f", struct.pack("f", value))
    except OverflowError:
        return False
    # 1e-50 is above 0 and its float32 is not; 0.99999999999 is below 1 and its float32 is not.
    return (allowed.above is None or rounded > allowed.above) and (
        allowed.below is None or rounded < allowed.below
    )
