"""The house rules, read from the code itself: who may import whom, and what no file may do."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "sersl"

# Which rooms a room may import, itself apart; in the order of the house. A room sees only rooms
# before it, and fewer where its work needs fewer.
ORDER = (
    "core",
    "config",
    "audio",
    "corpora",
    "data",
    "parallel",
    "models",
    "knowledge",
    "objectives",
    "train",
    "eval",
    "release",
    "cli",
)
FEWER = {
    "data": {"core", "config", "audio", "corpora"},
    "parallel": {"core", "config"},
    "models": {"core", "config", "audio"},
    "objectives": {"core", "config"},
}
# Where a room may import only some files of another.
ONLY = {
    ("models", "audio"): ("sersl.audio.features",),
    ("eval", "train"): ("sersl.train.state", "sersl.train.checkpoint"),
}
ACCELERATOR = {"jax", "jaxlib", "flax", "optax", "orbax"}
NO_ACCELERATOR = {"core", "config", "audio", "corpora", "data"}  # loader workers run these
NEEDS_ACCELERATOR = "sersl/audio/features.py"
NEVER = {"configs", "launch", "tools", "tests", "torch", "torchaudio", "tensorflow", "keras"}
LATE_IMPORTS = {"sersl/__init__.py", "sersl/cli/main.py"}  # so that --help needs no jax
NO_NAMES = {"utils", "util", "helpers", "helper", "common", "misc"}
MOST_LINES = 350


def imported_modules(node: ast.AST, path: str) -> list[str]:
    """Names what an import statement loads; `from a import b` gives "a.b", maybe a module."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    module = node.module or ""
    if node.level:
        package = Path(path).with_suffix("").parts
        module = ".".join([*package[: len(package) - node.level], *filter(None, [module])])
    return [f"{module}.{alias.name}" for alias in node.names]


def violations(path: str, source: str) -> list[str]:
    """Lists the broken rules of one file of the package, each with its line."""
    problems = []
    parts = Path(path).parts
    if NO_NAMES & {Path(part).stem for part in parts}:
        problems.append(f"{path}: a name that says nothing; call the file after what it holds")
    lines = source.count("\n")
    if lines > MOST_LINES:
        problems.append(f"{path}: {lines} lines, more than {MOST_LINES}; split it")
    if parts[0] != "sersl":
        return problems
    room = parts[1] if len(parts) > 2 else None
    if room is not None and room not in ORDER:
        return [*problems, f"{path}: {room} is no room of the house"]
    tree = ast.parse(source)
    extras = _guarded_imports(tree)
    for node, inside in _walk(tree):
        where = f"{path}:{getattr(node, 'lineno', 0)}"
        if isinstance(node, ast.Import | ast.ImportFrom):
            if inside and path not in LATE_IMPORTS and node not in extras:
                problems.append(
                    f"{where}: import inside a function; only an optional extra may, in a try whose"
                    " ImportError becomes a UserError naming 'sersl[EXTRA]'"
                )
            for module in imported_modules(node, path):
                problems += [f"{where}: {text}" for text in _import_problems(path, room, module)]
        if isinstance(node, ast.Call):
            name = node.func.id if isinstance(node.func, ast.Name) else ""
            attribute = node.func.attr if isinstance(node.func, ast.Attribute) else ""
            if name in ("eval", "exec", "compile"):
                problems.append(f"{where}: {name}() of a string")
            late = "import_module" in (name, attribute) or name == "__import__"
            if late and path not in LATE_IMPORTS:
                problems.append(f"{where}: imports by name; write an import statement")
    return problems


def _import_problems(path: str, room: str | None, module: str) -> list[str]:
    top, *rest = module.split(".")
    problems = []
    if top in NEVER:
        problems.append(f"imports {module}; nothing under sersl may import {top}")
    free_of_jax = room in NO_ACCELERATOR and path != NEEDS_ACCELERATOR
    if free_of_jax and (top in ACCELERATOR or module.startswith("sersl.audio.features")):
        problems.append(f"imports {module}; {room} must work without jax")
    if top != "sersl" or room is None:
        return problems
    other = rest[0] if rest else ""
    if other == room or other.startswith("__"):  # own room, or sersl.__version__
        return problems
    if other not in ORDER:
        # `import sersl` or `from sersl import load` opens the whole house.
        return problems if room == "cli" else [*problems, f"imports {module}, the whole house"]
    allowed = FEWER.get(room, set(ORDER[: ORDER.index(room)]))
    if other not in allowed:
        problems.append(f"imports {module}; {room} may import {', '.join(sorted(allowed)) or '-'}")
    only = ONLY.get((room, other), ())
    if only and other in allowed and not any(f"{module}.".startswith(f"{o}.") for o in only):
        problems.append(f"imports {module}; of {other}, {room} may import {', '.join(only)}")
    return problems


def _walk(tree: ast.AST, inside: bool = False):
    """Gives every node and whether it is inside a function."""
    for child in ast.iter_child_nodes(tree):
        yield child, inside
        function = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        yield from _walk(child, inside or function)


def _guarded_imports(tree: ast.AST) -> set[ast.AST]:
    """Finds imports in a try whose ImportError handler raises a UserError naming the extra."""
    guarded = set()
    for node in ast.walk(tree):
        if not isinstance(node, ast.Try):
            continue
        for handler in node.handlers:
            caught = ast.unparse(handler.type) if handler.type else ""
            raised = "\n".join(
                ast.unparse(n) for n in ast.walk(handler) if isinstance(n, ast.Raise)
            )
            if "UserError" in raised and "sersl[" in raised and caught in EXTRA_ERRORS:
                guarded |= {n for statement in node.body for n in ast.walk(statement)}
    return guarded


EXTRA_ERRORS = ("ImportError", "ModuleNotFoundError")
FILES = sorted(
    str(file.relative_to(ROOT))
    for folder in ("sersl", "configs", "tools")
    for file in (ROOT / folder).rglob("*.py")
)


@pytest.mark.parametrize("path", FILES)
def test_file_when_read_then_keeps_the_house_rules(path):
    problems = violations(path, (ROOT / path).read_text())
    assert not problems, "\n" + "\n".join(problems)


def test_package_when_listed_then_has_exactly_the_rooms():
    rooms = {file.parent.name for file in PACKAGE.glob("*/__init__.py")}
    assert rooms == set(ORDER)


GUARDED = """
def export():
    try:
        import onnx
    except ImportError as error:
        raise UserError("ONNX export needs the extra: pip install 'sersl[onnx]'") from error
"""
PLANTED = {
    "a larger room": ("sersl/models/x.py", "from sersl.train.state import TrainState"),
    "a larger room through its package": ("sersl/audio/x.py", "from sersl import data"),
    "a larger room, relative": ("sersl/audio/x.py", "from ..data import plan"),
    "a smaller room left out": ("sersl/objectives/x.py", "from sersl.models import encoder"),
    "a part left out": ("sersl/models/x.py", "from sersl.audio.decode import read_audio"),
    "the loop from eval": ("sersl/eval/x.py", "from sersl.train.loop import run"),
    "cli from release": ("sersl/release/x.py", "import sersl.cli.main"),
    "the whole house": ("sersl/train/x.py", "import sersl"),
    "jax in a loader": ("sersl/data/x.py", "import jax.numpy as jnp"),
    "jax through features": ("sersl/corpora/x.py", "from sersl.audio import features"),
    "jax in audio": ("sersl/audio/x.py", "from flax import nnx"),
    "torch": ("sersl/release/x.py", "import torch"),
    "tensorflow": ("sersl/corpora/x.py", "import tensorflow as tf"),
    "configs": ("sersl/cli/x.py", "from configs.pretrain import emotion_aware"),
    "a late import": ("sersl/train/x.py", "def f():\n    import numpy"),
    "a late import in a method": (
        "sersl/train/x.py",
        "class A:\n    def f(self):\n        if self:\n            from numpy import array",
    ),
    "an unnamed extra": (
        "sersl/release/x.py",
        "def f():\n    try:\n        import onnx\n    except ImportError:\n        onnx = None",
    ),
    "an import by name": ("sersl/models/x.py", "import importlib\nimportlib.import_module('a')"),
    "eval": ("sersl/config/x.py", "eval('1')"),
    "exec": ("sersl/config/x.py", "def f(s):\n    exec(s)"),
    "an empty name": ("sersl/train/utils.py", ""),
    "an empty name of a folder": ("sersl/common/x.py", ""),
    "an unknown room": ("sersl/attic/x.py", ""),
    "a long file": ("sersl/train/x.py", "x = 1\n" * 351),
}


@pytest.mark.parametrize("case", PLANTED)
def test_rule_when_planted_against_then_is_caught(case):
    assert violations(*PLANTED[case])


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("sersl/eval/x.py", "from sersl.train.checkpoint import restore"),
        ("sersl/eval/x.py", "from sersl.train import state"),
        ("sersl/models/x.py", "from sersl.audio import features\nimport jax"),
        ("sersl/audio/features.py", "import jax.numpy as jnp"),
        ("sersl/corpora/x.py", "import tensorflow_datasets as tfds"),
        ("sersl/release/x.py", "from sersl import __version__\nfrom sersl.eval import metrics"),
        ("sersl/cli/main.py", "def main():\n    import sersl.cli.pretrain"),
        ("sersl/__init__.py", "def load():\n    from sersl.release import predictor"),
        ("sersl/release/x.py", GUARDED),
        ("sersl/train/x.py", "model.eval()\nx.compile()"),
    ],
)
def test_rule_when_kept_then_nothing_is_reported(path, source):
    assert violations(path, source) == []
