"""Which letters figures can show: those of DejaVu Sans, and of fonts of the machine for others."""

import functools

from matplotlib import font_manager

_FIRST = "DejaVu Sans"  # ships with matplotlib, so figures look the same everywhere
# Fonts of systems and of distributions with letters that it lacks.
_OTHERS = (
    *("Noto Sans CJK SC", "Noto Sans CJK JP", "Noto Sans SC", "Source Han Sans SC"),
    *("WenQuanYi Micro Hei", "WenQuanYi Zen Hei", "Droid Sans Fallback", "Microsoft YaHei"),
    *("SimHei", "PingFang SC", "Hiragino Sans", "Yu Gothic", "Malgun Gothic", "NanumGothic"),
    *("Noto Sans Devanagari", "Noto Sans Bengali", "Noto Sans Tamil", "Noto Sans Thai"),
    "Arial Unicode MS",
)


@functools.cache
def families() -> list[str]:
    """Lists the fonts to take letters from, in order, for `font.family` of matplotlib."""
    installed = {font.name for font in font_manager.fontManager.ttflist}
    return [_FIRST, *(name for name in _OTHERS if name in installed)]


@functools.cache
def _letters() -> frozenset[int]:
    paths = [font_manager.findfont(name) for name in families()]
    return frozenset(code for path in paths for code in font_manager.get_font(path).get_charmap())


def drawable(text: str) -> str:
    """Writes letters that no font has as codes, such as \\u751f; boxes would all be the same."""
    known = _letters()
    return "".join(c if ord(c) in known else c.encode("unicode_escape").decode() for c in text)
