"""What comes in with an import, seen in processes of their own."""

import subprocess
import sys
from pathlib import Path

import pytest

import sersl

ROOT = Path(__file__).parents[1]
FORBIDDEN = ("torch", "torchaudio", "tensorflow", "keras")
ACCELERATOR = ("jax", "jaxlib", "flax", "optax", "orbax")
MODULES = sorted(
    ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
    for file in (ROOT / "sersl").rglob("*.py")
)

# Imports each module in a fork of its own, so that no other module of sersl is there before it;
# what is not ours is loaded once.
EACH = """
import importlib, os, sys, traceback
import flax.nnx, grain, jax, jinja2, matplotlib.backends.backend_agg, matplotlib.figure
import ml_collections, numpy, optax, orbax.checkpoint, pyarrow, safetensors.numpy, scipy.signal
import sklearn.metrics, soundfile, soxr, tensorboardX, tensorflow_datasets
failed = []
for name in sys.argv[1:]:
    child = os.fork()
    if child == 0:
        try:
            importlib.import_module(name)
            # A device in use before the user asked would hold the accelerator of another program.
            used = jax._src.xla_bridge.backends_are_initialized()
        except BaseException:
            traceback.print_exc()
            used = True
        os._exit(int(used))
    if os.waitpid(child, 0)[1]:
        failed.append(name)
print("FAILED", failed)
"""


def loaded(statement: str, names) -> str:
    """Runs a statement in a new Python and says which of the names it loaded."""
    script = f"import sys\n{statement}\nprint([n for n in {names!r} if n in sys.modules])"
    answer = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, cwd=ROOT
    )
    assert answer.returncode == 0, answer.stderr
    return answer.stdout.strip()


def test_package_when_imported_then_loads_nothing_heavy():
    assert loaded("import sersl", (*FORBIDDEN, *ACCELERATOR, "numpy")) == "[]"


def test_prediction_when_imported_then_loads_neither_torch_nor_tensorflow():
    assert loaded("import sersl; sersl.load", FORBIDDEN) == "[]"


def test_predictor_when_imported_then_loads_nothing_of_training_and_scoring():
    names = ("scipy.optimize", "scipy.stats", "grain", "tensorflow_datasets", "sklearn")
    assert loaded("import sersl.release.predict.predictor", names) == "[]"


def test_everything_when_imported_then_loads_neither_torch_nor_tensorflow():
    assert loaded("import " + ", ".join(MODULES), FORBIDDEN) == "[]"


def test_rooms_of_loader_workers_when_imported_then_do_not_load_jax():
    rooms = ("sersl.core.", "sersl.config.", "sersl.audio.", "sersl.corpora.")
    names = [m for m in MODULES if m.startswith(rooms) and m != "sersl.audio.features"]
    assert loaded("import " + ", ".join(names), ACCELERATOR) == "[]"


def test_name_when_the_package_has_none_such_then_says_so():
    with pytest.raises(AttributeError, match="'sersl' has no attribute 'laod'"):
        _ = sersl.laod


def test_every_module_when_imported_alone_then_works_and_touches_no_device():
    answer = subprocess.run(
        [sys.executable, "-c", EACH, *MODULES], capture_output=True, text=True, cwd=ROOT
    )
    assert answer.stdout.endswith("FAILED []\n"), answer.stdout + answer.stderr
