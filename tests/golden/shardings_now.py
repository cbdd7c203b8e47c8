"""The shardings of the parameters of every config now; `tools/golden.py` stores them.

Meshes are abstract: no array is made, and no device is needed.
"""

import re
from collections import Counter
from pathlib import Path

import jax
from flax import nnx
from jax.sharding import AbstractMesh, AxisType

from sersl.config.load import load_config
from sersl.config.schema import FinetuneConfig, PretrainConfig
from sersl.core.errors import UserError
from sersl.finetuning.task import FinetuneTask
from sersl.parallel.mesh import AXES
from sersl.parallel.sharding import logical_axes, param_shardings, path_name
from sersl.planning.replicated import left_whole
from sersl.pretraining.task import PretrainTask
from tests.golden.configs_now import config_files, presets

STORED = Path(__file__).parent / "shardings"
SIZES = ((1, 8, 1), (2, 2, 2), (1, 2, 4))  # data, fsdp, tensor
EVERY_PRESET = "emotion_aware"  # the other configs have the same encoders: one preset each
ONE_PRESET = "base"


def chosen() -> dict[str, tuple[Path, str]]:
    """Lists what is stored: file name below `tests/golden/shardings` to config and preset."""
    found = {}
    for file in config_files():
        names = presets(file)
        kept = names if file.stem == EVERY_PRESET else (ONE_PRESET,) * (ONE_PRESET in names)
        for preset in kept or names[-1:]:
            found[f"{file.parent.name}/{file.stem}.{preset}.txt"] = (file, preset)
    return found


def dump(file: Path, preset: str) -> str:
    """Shards the parameters of one preset over every mesh.

    Returns:
      Lines "path shape: axes", equal layers once with their number, and for each mesh the
      parameters that could be sharded and are replicated.
    """
    try:
        task = _task(file, preset)
    except UserError as error:
        return f"needs more than its config: {error}\n"
    shapes, axes = nnx.to_pure_dict(task.abstract), logical_axes(task.abstract)
    lines = []
    for sizes in SIZES:
        mesh = AbstractMesh(sizes, AXES, axis_types=(AxisType.Auto,) * len(AXES))
        shardings, _ = param_shardings(shapes, axes, mesh)
        lines.append("mesh " + " ".join(f"{a}={n}" for a, n in zip(AXES, sizes, strict=True)))
        counts = Counter(
            f"  {_alike(path)} {tuple(leaf.shape)}: {', '.join(map(str, sharding.spec))}"
            for (path, leaf), sharding in zip(
                jax.tree_util.tree_leaves_with_path(shapes), jax.tree.leaves(shardings), strict=True
            )
        )
        lines += [f"{line}{f'  x {n}' if n > 1 else ''}" for line, n in sorted(counts.items())]
        whole = Counter(
            f"  WHOLE {re.sub(r'/[0-9]+/', '/*/', one.path)} {one.shape}: {one.why}"
            for one in left_whole(shapes, axes, shardings, mesh)
        )
        lines += [f"{line}{f'  x {n}' if n > 1 else ''}" for line, n in sorted(whole.items())]
    return "\n".join(lines) + "\n"


def shardings_resolved() -> dict[str, str]:
    """Shards all that `chosen` lists.

    Returns:
      File name below `tests/golden/shardings` to text.
    """
    return {name: dump(file, preset) for name, (file, preset) in chosen().items()}


def shardings_stored() -> dict[str, str]:
    """Reads what was stored, by the same names as `shardings_resolved`."""
    return {
        str(file.relative_to(STORED)): file.read_text() for file in sorted(STORED.rglob("*.txt"))
    }


def _task(file: Path, preset: str):
    if file.parent.name == "finetune":
        return FinetuneTask(load_config(FinetuneConfig, f"{file}:{preset}"), num_categories=8)
    return PretrainTask(load_config(PretrainConfig, f"{file}:{preset}"))


def _alike(path) -> str:
    return re.sub(r"/[0-9]+/", "/*/", path_name(path))
