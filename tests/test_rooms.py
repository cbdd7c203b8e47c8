"""The rules of the rooms, checked from the code: who may import whom, what no file may do."""

import pytest

from tools.rooms import (
    NAMES,
    README,
    ROOT,
    SAME_MEANING,
    files,
    layout_problems,
    readme_with_table,
    violations,
)

PACKAGE = ROOT / "sersl"
FILES = files()


@pytest.mark.parametrize("path", FILES)
def test_file_when_read_then_keeps_the_rules(path):
    problems = violations(path, (ROOT / path).read_text())
    assert not problems, "\n" + "\n".join(problems)


def test_package_when_listed_then_has_exactly_the_rooms():
    rooms = {file.parent.name for file in PACKAGE.glob("*/__init__.py")}
    assert rooms == set(NAMES)


def test_folders_when_counted_then_none_is_too_full_and_no_name_stands_in_two_rooms():
    assert not (problems := layout_problems(FILES)), "\n".join(problems)


def test_layout_when_planted_against_then_is_caught():
    assert layout_problems([f"sersl/eval/a{i}.py" for i in range(30)])
    assert layout_problems(["sersl/eval/scores.py", "sersl/release/scores.py"])
    assert not layout_problems(["sersl/planning/plan.py", "sersl/cli/plan.py"])


def test_shared_names_when_listed_then_all_are_still_shared():
    stems = {(file.stem, file.parts[-2]) for file in PACKAGE.rglob("*.py")}
    for stem, *_ in SAME_MEANING:
        assert sum(name == stem for name, _ in stems) > 1, stem


def test_readme_when_compared_then_shows_the_table_of_rooms():
    text = README.read_text(encoding="utf-8")
    assert text == readme_with_table(text), "run: python tools/rooms.py --write"


GUARDED = """
def export():
    try:
        import onnx
    except ImportError as error:
        raise UserError("ONNX export needs the extra: pip install 'sersl[onnx]'") from error
"""
PLANTED = {
    "a larger room": ("sersl/models/x.py", "from sersl.training.state import TrainState"),
    "a larger room through its package": ("sersl/audio/x.py", "from sersl import data"),
    "a larger room, relative": ("sersl/audio/x.py", "from ..data import plan"),
    "a smaller room left out": ("sersl/objectives/x.py", "from sersl.models import encoder"),
    "a part left out": ("sersl/models/x.py", "from sersl.audio.decode import read_audio"),
    "the loop from eval": ("sersl/eval/x.py", "from sersl.training.loop import Loop"),
    "cli from release": ("sersl/release/x.py", "import sersl.cli.main"),
    "the whole package": ("sersl/training/x.py", "import sersl"),
    "jax in a loader": ("sersl/data/x.py", "import jax.numpy as jnp"),
    "jax through features": ("sersl/corpora/x.py", "from sersl.audio import features"),
    "jax in audio": ("sersl/audio/x.py", "from flax import nnx"),
    "torch": ("sersl/release/x.py", "import torch"),
    "tensorflow": ("sersl/corpora/x.py", "import tensorflow as tf"),
    "configs": ("sersl/cli/x.py", "from configs.pretrain import emotion_aware"),
    "a late import": ("sersl/training/x.py", "def f():\n    import numpy"),
    "a late import in a method": (
        "sersl/training/x.py",
        "class A:\n    def f(self):\n        if self:\n            from numpy import array",
    ),
    "an unnamed extra": (
        "sersl/release/x.py",
        "def f():\n    try:\n        import onnx\n    except ImportError:\n        onnx = None",
    ),
    "an import by name": ("sersl/models/x.py", "import importlib\nimportlib.import_module('a')"),
    "eval": ("sersl/config/x.py", "eval('1')"),
    "exec": ("sersl/config/x.py", "def f(s):\n    exec(s)"),
    "an empty name": ("sersl/training/utils.py", ""),
    "an empty name of a folder": ("sersl/common/x.py", ""),
    "an unknown room": ("sersl/attic/x.py", ""),
    "a long file": ("sersl/training/x.py", "x = 1\n" * 351),
}


@pytest.mark.parametrize("case", PLANTED)
def test_rule_when_planted_against_then_is_caught(case):
    assert violations(*PLANTED[case])


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("sersl/eval/x.py", "from sersl.annotation import functionals"),
        ("sersl/models/x.py", "from sersl.parallel.random import fold"),
        ("sersl/models/x.py", "from sersl.audio import features\nimport jax"),
        ("sersl/audio/features.py", "import jax.numpy as jnp"),
        ("sersl/corpora/x.py", "import tensorflow_datasets as tfds"),
        (
            "sersl/release/x.py",
            "from sersl.core.version import __version__\nfrom sersl.eval import metrics",
        ),
        ("sersl/cli/main.py", "def main():\n    import sersl.cli.pretrain"),
        ("sersl/__init__.py", "def load():\n    from sersl.release import predictor"),
        ("sersl/release/x.py", GUARDED),
        ("sersl/training/x.py", "model.eval()\nx.compile()"),
    ],
)
def test_rule_when_kept_then_nothing_is_reported(path, source):
    assert violations(path, source) == []
