"""Compiles the conv stack alone for a TPU that need not be present, once per formulation.

Command, in an environment with `sersl[tpu]`: python tools/plan_stem.py --topology v5e:2x2
Forward and backward pass with the norm, GELU and the projection; prints a JSON object per line.
"""

import argparse
import json
import re
import sys

import jax
import jax.numpy as jnp
from flax import nnx
from jax.sharding import NamedSharding, PartitionSpec

from sersl.config.schema import FrontendConfig, MeshConfig
from sersl.core.lengths import SAMPLE_RATE
from sersl.models.convolution import CHOICES, FORMULATIONS
from sersl.models.waveform import WaveformFrontend
from sersl.parallel.mesh import make_mesh
from sersl.planning.hlo import read
from sersl.planning.topology import describe_topology
from sersl.planning.traffic import memory_traffic

WIDTH = 768  # of the projection
CYCLES = re.compile(r'"estimated_cycles":"(\d+)"')


def main() -> int:
    """Compiles each formulation and prints its costs on one device."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--topology", default="v5e:2x2")
    parser.add_argument("--rows", type=int, default=8, help="per device")
    parser.add_argument("--seconds", type=float, default=15.6)
    parser.add_argument("--norm", default="group", choices=("group", "layer"))
    names = tuple(FORMULATIONS["strided"])
    parser.add_argument("--formulations", nargs="+", default=["lax"], choices=names)
    arguments = parser.parse_args()
    mesh = make_mesh(MeshConfig(), describe_topology(arguments.topology).devices)
    for name in arguments.formulations:
        CHOICES["strided"]["default"] = (name, name)
        print(json.dumps({"formulation": name, **stem(arguments, mesh)}), flush=True)
    return 0


def stem(arguments, mesh) -> dict:
    """Compiles the stack with the formulations of CHOICES; returns its costs on one device."""
    config = FrontendConfig(
        kind="waveform", conv_norm=arguments.norm, conv_bias=arguments.norm == "layer"
    )
    model = nnx.eval_shape(
        lambda: WaveformFrontend(config, width=WIDTH, dtype="bfloat16", key=jax.random.key(0))
    )
    graph, state = nnx.split(model)
    whole, rows = (NamedSharding(mesh, spec) for spec in (PartitionSpec(), PartitionSpec("data")))
    state = jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=whole), state
    )
    shape = (arguments.rows * mesh.size, round(arguments.seconds * SAMPLE_RATE))
    waveform, valid = (
        jax.ShapeDtypeStruct(shape, dtype, sharding=rows) for dtype in (jnp.float32, jnp.bool_)
    )

    def loss(state, waveform, valid):
        frontend = nnx.merge(graph, state)
        features, _ = frontend.features(waveform, valid)
        return jnp.square(frontend.project(features).astype(jnp.float32)).mean()

    with jax.set_mesh(mesh):
        compiled = jax.jit(jax.value_and_grad(loss)).lower(state, waveform, valid).compile()
    computations, _ = read(compiled.as_text() or "")
    cycles = sum(
        computation.runs * int(found[1])
        for computation in computations.values()
        if not computation.fused
        for instruction in computation.instructions.values()
        if (found := CYCLES.search(instruction.attributes))
    )
    return {
        "peak_gib": round(compiled.memory_analysis().peak_memory_in_bytes / 2**30, 3),
        "moved_gb": round(memory_traffic(computations) / 1e9, 2),
        "flops": compiled.cost_analysis()["flops"],
        "estimated_megacycles": round(cycles / 1e6, 1),
    }


if __name__ == "__main__":
    sys.exit(main())
