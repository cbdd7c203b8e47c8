"""A released model as StableHLO programs, which `jax.export` alone loads and runs.

stablehlo/program_80000.bin     for recordings of up to 5 s
stablehlo/program_480000.bin    for recordings of up to 30 s
stablehlo/weights.safetensors   parameters by name, the first argument of both

A program takes (weights {name: float32}, waveform float32 [1, N] at 16 kHz, padded with zeros,
num_samples int32 [1]) and returns {"category" [1, C], "dimensions" [1, D], "embedding" [1, E]} and
uncertainties; of an encoder alone the embedding, the mean of its last layer. It runs on CPU, CUDA
and TPU.
"""

import contextlib
import dataclasses
from collections.abc import Iterator
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax import export

from sersl.core.errors import UserError
from sersl.core.extras import install_hint
from sersl.core.lengths import SAMPLE_RATE
from sersl.release.architecture import flatten, unflatten
from sersl.release.folder import ReleasedModel
from sersl.release.predict.programs import outputs_of
from sersl.release.tensors import write_safetensors

WEIGHTS_FILE = "weights.safetensors"
_SECONDS = (5, 30)
_PLATFORMS = ("cpu", "cuda", "tpu")


def check_serialization() -> None:
    """Raises UserError if the package flatbuffers, which `jax.export` needs, is missing."""
    try:
        import flatbuffers  # noqa: F401
    except ImportError as error:
        raise UserError(
            "--stablehlo needs the package flatbuffers, which is missing: "
            f"{install_hint('stablehlo')}"
        ) from error


def write_stablehlo(released: ReleasedModel, folder: Path) -> None:
    """Writes the programs and the weights.

    Args:
      released: from `read_model`.
      folder: to make.
    """
    architecture = released.architecture
    encoder = dataclasses.replace(architecture.encoder, attention="auto")  # cuDNN is CUDA alone
    architecture = dataclasses.replace(architecture, encoder=encoder)
    graph = nnx.graphdef(architecture.build())
    has_heads = architecture.heads is not None
    params = released.params if has_heads else released.params["encoder"]
    flat = {name: np.asarray(value, np.float32) for name, value in sorted(flatten(params).items())}
    labels = released.labels

    def compute(
        weights: dict[str, jax.Array], waveform: jax.Array, num_samples: jax.Array
    ) -> dict[str, jax.Array]:
        valid = jnp.arange(waveform.shape[1]) < num_samples[:, None]
        model = nnx.merge(graph, nnx.State(unflatten(weights)))
        if has_heads:
            return outputs_of(model, waveform, valid, labels=labels)
        output = model(waveform, valid)
        real = output.valid[..., None]
        last = output.hidden_states[-1].astype(jnp.float32)
        return {"embedding": jnp.where(real, last, 0).sum(1) / jnp.maximum(real.sum(1), 1)}

    folder.mkdir()
    shapes = {name: value.shape for name, value in flat.items()}
    write_safetensors(folder / WEIGHTS_FILE, shapes, iter(flat.items()))
    described = {name: jax.ShapeDtypeStruct(shape, jnp.float32) for name, shape in shapes.items()}
    for seconds in _SECONDS:
        num_samples = seconds * SAMPLE_RATE
        with _without_locations():
            program = export.export(jax.jit(compute), platforms=_PLATFORMS)(
                described,
                jax.ShapeDtypeStruct((1, num_samples), jnp.float32),
                jax.ShapeDtypeStruct((1,), jnp.int32),
            )
        (folder / f"program_{num_samples}.bin").write_bytes(bytes(program.serialize()))


@contextlib.contextmanager
def _without_locations() -> Iterator[None]:
    """Leaves lines and paths of the source out of a program, which depend on who exports it."""
    name = "jax_traceback_in_locations_limit"
    limit = jax.config.values[name]
    jax.config.update(name, 0)
    try:
        yield
    finally:
        jax.config.update(name, limit)
