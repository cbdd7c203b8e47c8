"""Regular expressions from settings, matched in polynomial time.

`re` tries the alternatives of a pattern one after another, and `(([a-z]|/|_)+)+!` has 2^n of them
for n characters. Here each part of a pattern is evaluated once for each position of the text, which
accepts the same texts.
"""

import re
from collections.abc import Callable, Iterable
from re import _constants as constants  # type: ignore[attr-defined]  # not in typeshed
from re import _parser as parser  # type: ignore[attr-defined]
from typing import Any

from sersl.core.errors import UserError

# Parts of a pattern, counted through all its groups, and how deep groups are nested.
MOST_PARTS = 500
MOST_DEPTH = 20
Part = tuple[Any, Any]  # operation and its argument, as `re` parses them


def _is_word(character: str) -> bool:
    return character.isalnum() or character == "_"


_CATEGORIES: dict[Any, Callable[[str], bool]] = {
    constants.CATEGORY_DIGIT: str.isdecimal,
    constants.CATEGORY_SPACE: str.isspace,
    constants.CATEGORY_WORD: _is_word,
    constants.CATEGORY_NOT_DIGIT: lambda c: not c.isdecimal(),
    constants.CATEGORY_NOT_SPACE: lambda c: not c.isspace(),
    constants.CATEGORY_NOT_WORD: lambda c: not _is_word(c),
}
_STARTS = (constants.AT_BEGINNING, constants.AT_BEGINNING_STRING)
_ENDS = (constants.AT_END, constants.AT_END_STRING)


class Pattern:
    """One regular expression in the syntax of `re`, without references to groups and flags."""

    def __init__(self, text: str, *, setting: str):
        """Parses it.

        Args:
          text: the expression.
          setting: that it comes from, for messages.

        Raises:
          UserError: not a regular expression, or one that is not supported.
        """
        try:
            self._parts = parser.parse(text)
        except (re.error, OverflowError, RecursionError) as error:
            reason = str(error) or type(error).__name__
            raise UserError(
                f"{setting}: {text[:80]!r} is not a regular expression: {reason}"
            ) from error
        unsupported = _unsupported(self._parts)
        if unsupported:
            raise UserError(
                f"{setting}: pattern {text[:80]!r} {unsupported}: use a simpler one, such as "
                "'encoder/.*'"
            )

    def fullmatch(self, text: str) -> bool:
        """Says whether it matches a whole text."""
        return len(text) in _Match(text).ends(self._parts, 0)


class _Match:
    """The positions where each part of a pattern can end in one text, by where it starts."""

    def __init__(self, text: str):
        self._text = text
        self._known: dict[tuple[int, int], frozenset[int]] = {}

    def ends(self, parts: Iterable[Part], start: int) -> frozenset[int]:
        """Gives where a sequence of parts can end that starts at a position."""
        positions = frozenset((start,))
        for part in parts:
            positions = self._step(part, positions)
        return positions

    def _step(self, part: Part, starts: frozenset[int]) -> frozenset[int]:
        return frozenset().union(*(self._part_ends(part, start) for start in starts))

    def _part_ends(self, part: Part, start: int) -> frozenset[int]:
        key = (id(part), start)
        if key not in self._known:
            self._known[key] = self._evaluate(part, start)
        return self._known[key]

    def _evaluate(self, part: Part, start: int) -> frozenset[int]:
        operation, argument = part
        here = frozenset((start,))
        if operation is constants.BRANCH:
            return frozenset().union(*(self.ends(branch, start) for branch in argument[1]))
        if operation is constants.SUBPATTERN:
            return self.ends(argument[-1], start)
        if operation in (constants.MAX_REPEAT, constants.MIN_REPEAT):
            least, most, repeated = argument
            return self._repeat(least, most, repeated, here)
        if operation in (constants.ASSERT, constants.ASSERT_NOT):
            direction, asserted = argument
            found = self._found(direction, asserted, start)
            return here if found == (operation is constants.ASSERT) else frozenset()
        if operation is constants.AT:
            return here if self._is_at(argument, start) else frozenset()
        if start < len(self._text) and _takes(operation, argument, self._text[start]):
            return frozenset((start + 1,))
        return frozenset()

    def _repeat(self, least: int, most: int, parts: Any, here: frozenset[int]) -> frozenset[int]:
        positions = here
        for _ in range(least):
            after = frozenset().union(*(self.ends(parts, start) for start in positions))
            # Without change, or without a position, more rounds give the same.
            if after == positions or not after:
                positions = after
                break
            positions = after
        reached, rounds = positions, least
        while positions and rounds < most:
            after = frozenset().union(*(self.ends(parts, start) for start in positions))
            positions, reached = after - reached, reached | after
            rounds += 1
        return reached

    def _is_at(self, place: Any, start: int) -> bool:
        if place in _STARTS:
            return start == 0
        if place in _ENDS:
            return start == len(self._text)
        around = self._text[max(start - 1, 0) : start], self._text[start : start + 1]
        before, after = (bool(c) and _is_word(c) for c in around)
        return (before != after) == (place is constants.AT_BOUNDARY)

    def _found(self, direction: int, parts: Any, start: int) -> bool:
        if direction > 0:
            return bool(self.ends(parts, start))
        return any(start in self.ends(parts, begin) for begin in range(start + 1))


def _takes(operation: Any, argument: Any, character: str) -> bool:
    """Says whether a part of one character takes this one."""
    if operation is constants.LITERAL:
        return ord(character) == argument
    if operation is constants.NOT_LITERAL:
        return ord(character) != argument
    if operation is constants.ANY:
        return character != "\n"
    if operation is constants.RANGE:
        return argument[0] <= ord(character) <= argument[1]
    if operation is constants.CATEGORY:
        return _CATEGORIES[argument](character)
    negated = argument[0][0] is constants.NEGATE  # of a set such as [^a-z]
    return any(_takes(item[0], item[1], character) for item in argument[negated:]) != negated


_SINGLE = (constants.LITERAL, constants.NOT_LITERAL, constants.ANY, constants.IN)
_NESTING = (
    *(constants.MAX_REPEAT, constants.MIN_REPEAT),
    *(constants.ASSERT, constants.ASSERT_NOT),
)


def _unsupported(parts: Any) -> str:
    """Says what of a pattern is not supported; empty where all is."""
    if parts.state.flags & ~re.UNICODE:
        return "has flags"
    count, level, depth = 0, [parts], 0
    while level:
        depth += 1
        deeper = []
        for operation, argument in (part for sequence in level for part in sequence):
            count += 1
            if operation in _SINGLE:
                continue
            if operation is constants.BRANCH:
                deeper += argument[1]
            elif operation is constants.SUBPATTERN:
                if argument[1] or argument[2]:
                    return "has flags"
                deeper.append(argument[-1])
            elif operation in _NESTING:
                deeper.append(argument[-1])
            elif operation is not constants.AT:
                return f"has {str(operation).lower()}, which is not supported"
        level = deeper
    if depth > MOST_DEPTH or count > MOST_PARTS:
        return f"has over {MOST_PARTS} parts or is nested over {MOST_DEPTH} deep"
    return ""
