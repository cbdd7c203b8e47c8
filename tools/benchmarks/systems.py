"""Parameters and floating-point operations of the systems of docs/systems.md.

Networks over features are counted from the features on, those over an encoder's frames from frames
of 512 channels (Whisper base) on; the head has 8 categories.

Command: python tools/benchmarks/systems.py
"""

import functools
import runpy
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
from flax import nnx

from sersl.config.load import load_config
from sersl.config.schema import FinetuneConfig
from sersl.models.heads.category_heads import make_category_head
from sersl.models.pooling.pooling import Pooling
from sersl.parallel.flops import count_flops

FOLDER = Path(__file__).parents[2] / "configs" / "finetune"
SECONDS = 3  # of audio
CATEGORIES = 8
WIDTHS = {"windows": 512}  # of the encoder, by config; of networks it is that of the features


def main() -> int:
    """Prints a row for each system."""
    print(f"| system | parameters | million FLOPs for {SECONDS} s |\n|---|---|---|")
    for name in ("networks", "windows"):
        file = FOLDER / f"{name}.py"
        for preset in runpy.run_path(str(file))["PRESETS"]:
            if preset == "nano":
                continue
            config = load_config(FinetuneConfig, f"{file}:{preset}")
            width = WIDTHS.get(name, config.encoder.width)
            make = functools.partial(_parts, config, width)
            pooling, head = nnx.eval_shape(make)
            sizes = [
                leaf.size
                for part in (pooling, head)
                for leaf in jax.tree.leaves(nnx.to_pure_dict(nnx.state(part)))
            ]
            flops = count_flops(_trace(pooling, head, width))
            print(f"| {preset} | {sum(sizes):,} | {flops / 1e6:,.0f} |")
    return 0


def _parts(config: FinetuneConfig, width: int):
    pooling = Pooling(config.encoder.num_layers, width, config.pooling, key=jax.random.key(0))
    head = make_category_head(pooling.num_outputs, CATEGORIES, config.heads, key=jax.random.key(1))
    return pooling, head


def _trace(pooling, head, width: int):
    frames = 50 * SECONDS
    graph, state = nnx.split((pooling, head))

    def run(state, x, valid):
        pool, predict = nnx.merge(graph, state)
        return predict(pool(x, valid)[0])

    shapes = (
        jax.ShapeDtypeStruct((1, 1, frames, width), jnp.float32),
        jax.ShapeDtypeStruct((1, frames), jnp.bool_),
    )
    return jax.jit(run).trace(state, *shapes).jaxpr


if __name__ == "__main__":
    sys.exit(main())
