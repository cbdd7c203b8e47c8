"""The rooms of the package: what each holds and may import, and the check of every file against it.

python tools/rooms.py            print every broken rule; exit code 1 where there is one
python tools/rooms.py --write    update the table of rooms in README.md
"""

import ast
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"


@dataclass(frozen=True)
class Room:
    """One folder of `sersl/`.

    Attributes:
      name: of the folder.
      holds: what is in it, for README.
      imports: rooms that it may import; () for none.
      only: of some of these rooms, the only modules that it may import.
    """

    name: str
    holds: str
    imports: tuple[str, ...]
    only: tuple[str, ...] = ()


_HOST = ("core", "config", "audio", "corpora")
_ENGINE = (*_HOST, "data", "parallel", "models", "objectives", "annotation", "eval", "training")

# From bottom to top: a room imports only rooms above it in this table.
ROOMS = (
    Room("core", "errors, the length arithmetic, seeds, files, processes", ()),
    Room("config", "every setting with default, range and meaning; the strict loader", ("core",)),
    Room("audio", "decoding, resampling, prosody, augmentation, log-mel", ("core", "config")),
    Room(
        "corpora",
        "labels; `catalog/` a parser per corpus, `manifests/`, `protocols/`, `writing/` records, "
        "`synthetic/` the embedded corpus",
        _HOST[:3],
    ),
    Room("data", "which utterances make which batch, and reading them", _HOST),
    Room("parallel", "processes, mesh, shardings, watchdog", ("core", "config")),
    Room(
        "models",
        "frontends, encoders, quantizer, pooling, heads",
        ("core", "config", "audio", "parallel"),
        only=("sersl.audio.features", "sersl.audio.prosody"),
    ),
    Room(
        "objectives",
        "losses: arrays in, loss and means out",
        ("core", "config", "parallel"),
        only=("sersl.parallel.rows",),
    ),
    Room(
        "annotation",
        "annotators of intensity and prosody, code books, their sidecars",
        (*_HOST, "data", "parallel", "models"),
    ),
    Room(
        "eval",
        "answers, metrics, confidence intervals, report",
        (*_HOST, "data", "parallel", "models", "objectives", "annotation"),
    ),
    Room("training", "the engine: state, step, optimizer, loop; knows no task", _ENGINE[:-1]),
    Room("runs", "a workdir: checkpoints, start-up, lock, record, origin", _ENGINE),
    Room(
        "pretraining",
        "the task, the student's input, masking, `terms/` a file per family of objectives",
        (*_ENGINE, "runs"),
    ),
    Room("finetuning", "the task, the folds, the run", (*_ENGINE, "runs", "pretraining")),
    Room(
        "planning",
        "what a run would cost on hardware that is not there",
        (*_ENGINE, "runs", "pretraining", "finetuning"),
    ),
    Room(
        "release",
        "model folders, model card, `huggingface/`, `onnx/`, `predict/`, `serve/`",
        (*_ENGINE, "runs", "pretraining", "finetuning", "planning"),
    ),
    Room(
        "cli",
        "the command line, a file per verb",
        (*_ENGINE, "runs", "pretraining", "finetuning", "planning", "release"),
    ),
)
NAMES = tuple(room.name for room in ROOMS)
BY_NAME = {room.name: room for room in ROOMS}

ACCELERATOR = {"jax", "jaxlib", "flax", "optax", "orbax"}
NO_ACCELERATOR = {"core", "config", "audio", "corpora", "data"}  # loader workers run these
NEEDS_ACCELERATOR = "sersl/audio/features.py"
NEVER = {"configs", "launch", "tools", "tests", "torch", "torchaudio", "tensorflow", "keras"}
LATE_IMPORTS = {"sersl/__init__.py", "sersl/cli/main.py"}  # so that --help needs no jax
NO_NAMES = {"utils", "util", "helpers", "helper", "common", "misc"}
MOST_LINES = 350
# Parsers of the catalog are one per corpus, of which there may be any number.
MOST_FILES = 22
ANY_NUMBER = {"sersl/corpora/catalog"}
# One meaning in every room: a task, a run, a module of the same objective, a verb of the noun.
SHARED_NAMES = {"__init__", "run", "task"}
EXTRA_ERRORS = ("ImportError", "ModuleNotFoundError")


def files() -> list[str]:
    """Lists the Python files that the rules hold for, relative to the root."""
    return sorted(
        str(file.relative_to(ROOT))
        for folder in ("sersl", "configs", "tools")
        for file in (ROOT / folder).rglob("*.py")
    )


def imported_modules(node: ast.AST, path: str) -> list[str]:
    """Names what an import statement loads; `from a import b` gives "a.b", maybe a module."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    assert isinstance(node, ast.ImportFrom)
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
        problems.append(f"{path}: a name that says nothing; name the file after what it holds")
    lines = source.count("\n")
    if lines > MOST_LINES:
        problems.append(f"{path}: {lines} lines, more than {MOST_LINES}; split it")
    if parts[0] != "sersl":
        return problems
    room = parts[1] if len(parts) > 2 else None
    if room is not None and room not in NAMES:
        return [*problems, f"{path}: {room} is not a room; the rooms are in tools/rooms.py"]
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


def layout_problems(paths: list[str]) -> list[str]:
    """Lists folders with too many files, and file names that stand in two rooms.

    A verb of the command line may be named like the room's file that does its work.
    """
    problems = []
    found: dict[str, set[str]] = {}
    folders: dict[str, int] = {}
    for path in paths:
        file = Path(path)
        if file.parts[0] != "sersl" or len(file.parts) < 3:
            continue
        folder = str(file.parent)
        folders[folder] = folders.get(folder, 0) + 1
        if file.parts[1] != "cli" and file.stem not in SHARED_NAMES:
            found.setdefault(file.stem, set()).add(file.parts[1])
    for folder, count in folders.items():
        if count > MOST_FILES and folder not in ANY_NUMBER:
            problems.append(f"{folder}: {count} files, more than {MOST_FILES}; make folders")
    for stem, rooms in found.items():
        if len(rooms) > 1 and (stem, *sorted(rooms)) not in SAME_MEANING:
            problems.append(f"{stem}.py stands in {' and '.join(sorted(rooms))}: rename one")
    return problems


# File names in two rooms that mean the same thing on purpose: a family of objectives, whose loss is
# in `objectives` and whose term in `pretraining/terms`; codes, read in `data`, predicted in a term.
SAME_MEANING = {
    ("codes", "data", "pretraining"),
    ("distill", "objectives", "pretraining"),
    ("distortion", "config", "data"),
    ("language", "objectives", "pretraining"),
    ("teachers", "objectives", "pretraining"),
}


def table() -> str:
    """Writes the table of rooms as README shows it."""
    lines = ["| folder | holds | may import |", "|---|---|---|"]
    for number, room in enumerate(ROOMS):
        every = tuple(NAMES[:number])
        imports = ", ".join(room.imports) or "NumPy only"
        if room.imports == every and number > 2:
            imports = "all above"
        elif len(room.imports) > 2 and room.imports == every[: len(room.imports)]:
            imports = f"{room.imports[0]} to {room.imports[-1]}"
        elif len(room.imports) > 6:
            imports = "all above but " + ", ".join(n for n in every if n not in room.imports)
        lines.append(f"| `sersl/{room.name}` | {room.holds} | {imports} |")
    return "\n".join(lines)


def readme_with_table(text: str) -> str:
    """Puts the table of rooms in the place of the one in README."""
    lines = text.split("\n")
    first = next(i for i, line in enumerate(lines) if line.startswith("| folder | holds |"))
    last = max(i for i, line in enumerate(lines) if line.startswith("| `sersl/"))
    return "\n".join([*lines[:first], table(), *lines[last + 1 :]])


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
    if other == room:
        return problems
    if other not in NAMES:
        # `import sersl` or `from sersl import load` opens the whole package.
        return problems if room == "cli" else [*problems, f"imports {module}, the whole package"]
    allowed = BY_NAME[room].imports
    if other not in allowed:
        problems.append(f"imports {module}; {room} may import {', '.join(allowed) or '-'}")
    only = [name for name in BY_NAME[room].only if name.startswith(f"sersl.{other}.")]
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
    guarded: set[ast.AST] = set()
    for node in ast.walk(tree):
        if not isinstance(node, ast.Try):
            continue
        for handler in node.handlers:
            caught = ast.unparse(handler.type) if handler.type else ""
            raised = "\n".join(
                ast.unparse(n) for n in ast.walk(handler) if isinstance(n, ast.Raise)
            )
            names_extra = "sersl[" in raised or "install_hint(" in raised
            if "UserError" in raised and names_extra and caught in EXTRA_ERRORS:
                guarded |= {n for statement in node.body for n in ast.walk(statement)}
    return guarded


def main() -> int:
    """Prints the broken rules, or writes README's table."""
    if sys.argv[1:] == ["--write"]:
        README.write_text(readme_with_table(README.read_text(encoding="utf-8")), encoding="utf-8")
        return 0
    paths = files()
    problems = [p for path in paths for p in violations(path, (ROOT / path).read_text())]
    problems += layout_problems(paths)
    print("\n".join(problems) or f"{len(paths)} files keep the rules")
    return int(bool(problems))


if __name__ == "__main__":
    raise SystemExit(main())
