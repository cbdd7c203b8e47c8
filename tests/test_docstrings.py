"""Every public name says what it is; arrays name their shape, and an Args section is complete.

One line is enough where names and types say the rest. What they cannot say must be there: the shape
of an array, and every parameter once some are explained.
"""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FUNCTION = ast.FunctionDef | ast.AsyncFunctionDef
ARRAY = re.compile(r"(\w+\.)?(Array|ndarray)")
SHAPE = re.compile(r"\[[^\]\n]*\]|\bshape|\bscalar", re.IGNORECASE)


def problems(path: str, source: str) -> list[str]:
    """Lists the missing docstrings and sections of one file, each with its line."""
    tree = ast.parse(source)
    found = [] if ast.get_docstring(tree) else [f"{path}:1: the module has no docstring"]
    for node in tree.body:
        if isinstance(node, FUNCTION) and not node.name.startswith("_"):
            found += _function_problems(path, node, node.name)
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            if not ast.get_docstring(node):
                found.append(f"{path}:{node.lineno}: class {node.name} has no docstring")
            for method in node.body:
                public = isinstance(method, FUNCTION) and not method.name.startswith("_")
                call = isinstance(method, FUNCTION) and method.name == "__call__"
                if (public or call) and not _restates(method):
                    found += _function_problems(path, method, f"{node.name}.{method.name}")
    return found


def _function_problems(path: str, node: FUNCTION, name: str) -> list[str]:
    where = f"{path}:{node.lineno}: {name}"
    text = ast.get_docstring(node)
    if not text:
        return [f"{where} has no docstring"]
    arguments = [
        *(a for a in [*node.args.posonlyargs, *node.args.args] if a.arg not in ("self", "cls")),
        *node.args.kwonlyargs,
        *filter(None, [node.args.vararg, node.args.kwarg]),
    ]
    found = []
    if re.search(r"^Args:", text, re.MULTILINE):
        listed = text.split("Args:", 1)[1]
        missing = [a.arg for a in arguments if not re.search(rf"\b{a.arg}\b", listed)]
        found += [f"{where} does not explain {', '.join(missing)}"] if missing else []
    unused = re.findall(r"^\s+(\w+): unused", text, re.MULTILINE)
    found += [f"{where} takes {', '.join(unused)} and does not use it"] if unused else []
    arrays = [a.arg for a in arguments if _is_array(a)]
    if arrays and not SHAPE.search(text):
        found.append(f"{where} takes {', '.join(arrays)} and names no shape")
    return found


def _is_array(argument: ast.arg) -> bool:
    """Says whether an argument is an array with a shape to name: no random key, no traced int."""
    if argument.annotation is None or argument.arg in ("key", "rng", "step"):
        return False
    kinds = ast.unparse(argument.annotation).split(" | ")
    return any(ARRAY.fullmatch(kind) for kind in kinds) and not {"int", "float"} & set(kinds)


def _restates(method: FUNCTION) -> bool:
    """Says whether a method only fills in one that a base class or protocol documents."""
    names = {ast.unparse(d).split("(")[0].split(".")[-1] for d in method.decorator_list}
    return bool(names & {"override", "overload", "setter"})


FILES = sorted(str(file.relative_to(ROOT)) for file in (ROOT / "sersl").rglob("*.py"))


@pytest.mark.parametrize("path", FILES)
def test_public_names_when_read_then_are_documented(path):
    found = problems(path, (ROOT / path).read_text())
    assert not found, "\n" + "\n".join(found)


GOOD = '''"""A module."""


def scale(waveform: np.ndarray, gain: float) -> np.ndarray:
    """Makes a waveform louder.

    Args:
      waveform: [N].
      gain: a factor.

    Returns:
      [N].
    """
    return waveform * gain


def _hidden(a, b):
    return a
'''


def test_docstring_rule_when_all_is_there_then_nothing_is_reported():
    assert problems("x.py", GOOD) == []


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('"""A module."""', "", "module has no docstring"),
        ("      gain: a factor.\n", "", "does not explain gain"),
        ("a factor", "unused", "does not use it"),
        ("[N]", "many", "names no shape"),
        ("_hidden", "shown", "shown has no docstring"),
        ("def _hidden(a, b):", "class Shown:\n    def run(self):", "class Shown has no docstring"),
        ("def _hidden(a, b):", "class Shown:\n    def run(self):", "Shown.run has no docstring"),
    ],
)
def test_docstring_rule_when_something_is_missing_then_is_caught(old, new, message):
    source = GOOD.replace(old, new)
    if "class Shown" in new:
        source = source.replace("    return a\n", "        return 1\n")
    assert any(message in problem for problem in problems("x.py", source))
