"""Writes docs/reference/settings.md: every setting with its default, allowed values and meaning.

Command: python tools/settings_page.py
"""

import dataclasses
import sys
import typing
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from sersl.config.annotation import FitConfig
from sersl.config.schema import FinetuneConfig, PretrainConfig
from sersl.config.setting import Allowed, numbers_in_words, settings_of

PAGE = Path(__file__).parents[1] / "docs" / "reference" / "settings.md"
VERBS = {
    "sersl pretrain": PretrainConfig,
    "sersl finetune": FinetuneConfig,
    "sersl annotate --fit": FitConfig,
}
INTRODUCTION = """# Settings

Every setting can be changed in a config file, or on the command line, e.g.
`--config.train.num_steps=200`. A setting that does not exist is an error that suggests the nearest
one. `tools/settings_page.py` writes this page from the code.
"""


def main() -> int:
    """Writes the page."""
    PAGE.write_text(page())
    print(f"written: {PAGE}")
    return 0


def page() -> str:
    """Returns the page as Markdown."""
    verbs: dict[str, list[str]] = {}
    groups: dict[str, type] = {}
    for verb, cls in VERBS.items():
        for name, group in _groups(cls, "").items():
            key = name or verb
            groups[key] = group
            verbs.setdefault(key, []).append(verb)
    sections = [INTRODUCTION]
    for name, group in groups.items():
        if settings_of(group):
            sections.append(_section(name, group, verbs[name]))
    return "\n".join(sections)


def _groups(cls: type, name: str) -> dict[str, type]:
    """Lists a group and the groups in it by their dotted names; the outermost is ""."""
    found = {name: cls}
    for key, hint in typing.get_type_hints(cls).items():
        if dataclasses.is_dataclass(hint):
            found |= _groups(typing.cast(type, hint), f"{name}.{key}".lstrip("."))
    return found


def _section(name: str, group: type, verbs: list[str]) -> str:
    heading = f"## `{name}`" if name not in VERBS else f"## Of `{name}` as a whole"
    where = ", ".join(f"`{verb}`" for verb in verbs)
    rows = [
        f"| `{key}` | `{_default(group, key)}` | {_values(group, key, allowed)} | {allowed.doc} |"
        for key, allowed in settings_of(group).items()
    ]
    about = (group.__doc__ or "").strip().replace("\n    ", "\n")
    return "\n".join(
        [
            f"{heading}\n\n{about} ({where})\n",
            "| setting | default | values | meaning |",
            "|---|---|---|---|",
            *rows,
            "",
        ]
    )


def _default(group: type, key: str) -> str:
    value: Any = getattr(group(), key)
    return repr(value) if value != "" else "''"


def _values(group: type, key: str, allowed: Allowed) -> str:
    hint = typing.get_type_hints(group)[key]
    item = typing.get_args(hint)[0] if typing.get_origin(hint) is tuple else hint
    if allowed.choices:
        words = ", ".join(f"`{choice}`" for choice in allowed.choices)
    elif item is bool:
        words = "`True`, `False`"
    elif item in (int, float):
        words = numbers_in_words(allowed, whole=item is int)
    else:
        words = "pairs" if typing.get_origin(item) is tuple else "text"
    return f"a list: {words}" if item is not hint else words


if __name__ == "__main__":
    sys.exit(main())
