"""What the options of all verbs share: how a verb is added, and how a number is read."""

import argparse
from collections.abc import Callable
from typing import Any, TypeVar

from sersl.config.setting import Allowed, number_problem

Number = TypeVar("Number", int, float)
Verbs = Any  # of argparse.ArgumentParser.add_subparsers, which has no public type


def add_verb(verbs: Verbs, name: str, text: str) -> argparse.ArgumentParser:
    """Adds a verb with its one-line description."""
    return verbs.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".")


def number(
    kind: type[Number],
    *,
    at_least: float | None = None,
    above: float | None = None,
    at_most: float | None = None,
) -> Callable[[str], Number]:
    """Gives the argparse type of a number in a range."""
    allowed = Allowed(doc="", at_least=at_least, above=above, at_most=at_most)

    def read(text: str) -> Number:
        try:
            value = kind(text)
        except ValueError:
            name = "an integer" if kind is int else "a number"
            raise argparse.ArgumentTypeError(f"takes {name}, not {text[:40]!r}") from None
        problem = number_problem(allowed, value)
        if problem:
            raise argparse.ArgumentTypeError(problem)
        return value

    return read
