"""Parameters, operations, time and scores of the systems of docs/systems.md, as a table.

    python tools/benchmarks/systems.py
    python tools/benchmarks/systems.py --time networks:tim_net windows:frame_graph
    python tools/benchmarks/systems.py --train --runs runs/systems --data_dir data \
        --init_from runs/whisper-base --folds fold1 networks:tim_net windows:frame_graph

Networks over features are counted from the features on, those over an encoder's frames from frames
of 512 channels (Whisper base) on, after their layers are summed, fusions from both on; the head has
8 categories. Context networks of `conversation` are counted from pooled vectors on, for one of the
12 turns of a dialogue, and have neither `--time` nor `--train`. `--time` measures the CPU seconds
of all threads for an hour of audio in batches of 8 x 3 s: from the waveform on for networks over
features, from frames on for the others. `--train` runs `sersl finetune` on RAVDESS with EmoBox's
folds, one system after the other; a system that is finished is not run again, and one that was
stopped is resumed. With `--runs` alone, the scores of finished systems are shown.
"""

import argparse
import dataclasses
import functools
import os
import runpy
import subprocess
import sys
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from sersl.config.fusion import ViewConfig
from sersl.config.load import load_config
from sersl.config.schema import FinetuneConfig
from sersl.core.files import read_json
from sersl.core.lengths import num_frames
from sersl.finetuning.fusion.run_views import RunViews
from sersl.models.conversation.context import ConversationContext
from sersl.models.emotion_model import EmotionModel
from sersl.models.fusion.view_parts import ViewInput
from sersl.models.heads.category_heads import make_category_head
from sersl.models.pooling.pooling import Pooling
from sersl.parallel.flops import count_flops

FOLDER = Path(__file__).parents[2] / "configs" / "finetune"
CONFIGS = ("networks", "windows", "fusion")
SECONDS = 3  # of audio
CATEGORIES = 8
ROWS, REPEATS = 8, 3  # of the measurement of time
VECTOR, TURNS = 7168, 12  # mean and deviation of 7 hidden states of 512 channels; of a dialogue
CONTEXTS = tuple(f"conversation:{kind}" for kind in ("gru", "transformer", "graph"))
WIDTHS = {
    "windows": 512,
    "fusion": 512,
}  # of the encoder, by config; of networks it is that of the features


def main() -> int:
    """Trains where asked, then prints a row for each system."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("systems", nargs="*", help="CONFIG:PRESET; all without any")
    parser.add_argument("--time", action="store_true", help="measure the time")
    parser.add_argument("--train", action="store_true", help="train what is not finished")
    parser.add_argument("--runs", type=Path, help="folder of the runs")
    parser.add_argument("--data_dir", default="data", help="of sersl prepare, with RAVDESS")
    parser.add_argument("--init_from", default="", help="encoder of the systems of windows")
    parser.add_argument("--folds", default="", help="names of folds, fold1,fold2; empty: all")
    arguments = parser.parse_args()
    if arguments.train and not arguments.runs:
        parser.error("--train needs --runs")
    systems = arguments.systems or list_systems()
    if arguments.train:
        for system in systems:
            if system not in CONTEXTS:
                train(system, arguments)
    head = ["system", "parameters", f"million FLOPs for {SECONDS} s"]
    head += ["CPU s per hour"] * arguments.time + ["folds", "UAR"] * bool(arguments.runs)
    print("|", " | ".join(head), "|\n" + "|---" * len(head) + "|")
    for system in systems:
        row = [system, *count(system)]
        if arguments.time:
            timed = system not in CONTEXTS
            row.append(f"{measure_time(system):.0f}" if timed else "not measured")
        if arguments.runs:
            row += read_score(workdir_of(system, arguments.runs))
        print("|", " | ".join(row), "|", flush=True)
    return 0


def list_systems() -> list[str]:
    """Returns CONFIG:PRESET of all systems."""
    presets = {name: runpy.run_path(str(FOLDER / f"{name}.py"))["PRESETS"] for name in CONFIGS}
    found = [f"{name}:{one}" for name in CONFIGS for one in presets[name] if one != "nano"]
    return [*found, *CONTEXTS]


def count(system: str) -> tuple[str, str]:
    """Counts parameters and floating-point operations of network, pooling and head."""
    config, width = _read(system)
    if config.fusion.kind != "none":
        return _count_fusion(config, width)
    if config.conversation.kind != "none":
        return _count_context(config)
    pooling, head = nnx.eval_shape(functools.partial(_parts, config, width))
    leaves = [jax.tree.leaves(nnx.to_pure_dict(nnx.state(part))) for part in (pooling, head)]
    size = sum(leaf.size for part in leaves for leaf in part)
    flops = count_flops(_trace(pooling, head, width))
    return f"{size:,}", f"{flops / 1e6:,.0f}"


def _count_fusion(config: FinetuneConfig, width: int) -> tuple[str, str]:
    """Counts everything but the encoders, whose outputs and the features of views are given."""
    model = nnx.eval_shape(functools.partial(_fused_model, config, width))
    paths = jax.tree_util.tree_flatten_with_path(nnx.to_pure_dict(nnx.state(model)))[0]
    size = sum(leaf.size for path, leaf in paths if "encoder" not in [one.key for one in path])
    graph, state = nnx.split(model)
    shapes = jax.eval_shape(functools.partial(_fused_inputs, config, width, 1))
    run = jax.jit(functools.partial(_predict_fused, graph))
    return f"{size:,}", f"{count_flops(run.trace(state, *shapes).jaxpr) / 1e6:,.0f}"


def _fused_model(config: FinetuneConfig, width: int) -> EmotionModel:
    return EmotionModel(
        config.frontend,
        dataclasses.replace(config.encoder, width=width),
        config.pooling,
        config.heads,
        num_categories=CATEGORIES,
        num_dimensions=0,
        key=jax.random.key(0),
        fusion=config.fusion,
        views=_views_of(config),
    )


def _views_of(config: FinetuneConfig) -> tuple[ViewConfig, ...]:
    return RunViews(dataclasses.replace(config, store="off"), [], {}, say=lambda line: None).configs


def _fused_inputs(config: FinetuneConfig, width: int, rows: int):
    """Makes outputs, real samples and views of rows of `SECONDS`."""
    samples = jnp.ones((rows, 16_000 * SECONDS), bool)
    frames = num_frames(samples.shape[1])
    outputs = jnp.ones((rows, config.encoder.last_layer + 1, frames, width))
    views = {
        view.name: ViewInput(
            jnp.ones((rows, view.encoder.last_layer + 1, frames, view.width)),
            jnp.ones((rows, frames), bool),
        )
        for view in _views_of(config)
    }
    return outputs, samples, views


def _predict_fused(graph, state, outputs, valid, views):
    return nnx.merge(graph, state).from_outputs(outputs, valid, views=views).category


def _count_context(config: FinetuneConfig) -> tuple[str, str]:
    """Counts a network over the turns of a dialogue and its head, operations for one turn."""

    def parts():
        context = ConversationContext(VECTOR, config.conversation, key=jax.random.key(0))
        head = make_category_head(
            context.num_outputs, CATEGORIES, config.heads, key=jax.random.key(1)
        )
        return context, head

    graph, state = nnx.split(nnx.eval_shape(parts))
    shapes = (
        jax.ShapeDtypeStruct((TURNS, VECTOR), jnp.float32),
        jax.ShapeDtypeStruct((TURNS, TURNS), jnp.int8),
    )

    def predict(state, vectors, relations):
        context, head = nnx.merge(graph, state)
        return head(context(vectors, relations))

    size = sum(leaf.size for leaf in jax.tree.leaves(nnx.to_pure_dict(state)))
    flops = count_flops(jax.jit(predict).trace(state, *shapes).jaxpr)
    return f"{size:,}", f"{flops / TURNS / 1e6:,.1f}"


def measure_time(system: str) -> float:
    """Measures the CPU seconds of all threads for an hour of audio."""
    config, width = _read(system)
    random = np.random.default_rng(0)
    if config.fusion.kind != "none":
        given = _fused_inputs(config, width, ROWS)
        parts = _fused_model(config, width)
        run = jax.jit(lambda state, *own: _predict_fused(graph, state, *own))
    elif system.startswith("windows"):
        given = (
            random.normal(size=(1, ROWS, 50 * SECONDS, width)).astype(np.float32),
            np.ones((ROWS, 50 * SECONDS), bool),
        )
        parts = _parts(config, width)
        run = jax.jit(lambda state, x, real: _predict(graph, state, x, real))
    else:
        waveform = 0.1 * random.normal(size=(ROWS, 16_000 * SECONDS))
        given = (waveform.astype(np.float32), np.ones(waveform.shape, bool))
        parts = EmotionModel(
            config.frontend,
            config.encoder,
            config.pooling,
            config.heads,
            num_categories=CATEGORIES,
            num_dimensions=0,
            key=jax.random.key(0),
        )
        run = jax.jit(lambda state, x, real: nnx.merge(graph, state)(x, real).category)
    graph, state = nnx.split(parts)
    jax.block_until_ready(run(state, *given))
    start = time.process_time()
    for _ in range(REPEATS):
        jax.block_until_ready(run(state, *given))
    return (time.process_time() - start) / (REPEATS * ROWS * SECONDS) * 3600


def train(system: str, arguments: argparse.Namespace) -> None:
    """Runs `sersl finetune` until the system is finished; prints the CPU seconds it took."""
    workdir = workdir_of(system, arguments.runs)
    if (workdir / "results.json").is_file():
        return
    name, preset = system.split(":")
    folds = "".join(f"{fold!r}," for fold in arguments.folds.split(",") if fold)
    settings = [f"data.data_dir={arguments.data_dir}", "data.corpora=ravdess"]
    settings += ["protocol.name=emobox", f"protocol.folds=({folds})"]
    settings += ["protocol.final_model=False"]
    if name in WIDTHS:
        settings.append(f"init_from={arguments.init_from}")
    before = os.times()
    command = [
        sys.executable,
        "-m",
        "sersl",
        "finetune",
        "--config",
        f"{FOLDER}/{name}.py:{preset}",
    ]
    command += ["--workdir", str(workdir), *(f"--config.{one}" for one in settings)]
    code = subprocess.run(command, check=False).returncode
    if code:
        raise SystemExit(code)  # sersl has said what is wrong
    after = os.times()
    spent = after.children_user + after.children_system
    spent -= before.children_user + before.children_system
    print(f"{system}: {spent:.0f} CPU seconds", flush=True)


def workdir_of(system: str, runs: Path) -> Path:
    """Returns the workdir of a system."""
    return runs / system.replace(":", "_")


def read_score(workdir: Path) -> tuple[str, str]:
    """Reads the number of folds and the UAR of a finished run."""
    file = workdir / "results.json"
    if not file.is_file():
        return "0", "not measured"
    results = read_json(file, what="the results", remedy="delete the workdir and train again")
    return str(len(results["folds"])), f"{results['metrics']['uar']:.3f}"


def _read(system: str) -> tuple[FinetuneConfig, int]:
    name, preset = system.split(":")
    config = load_config(FinetuneConfig, f"{FOLDER / name}.py:{preset}")
    if name in WIDTHS:  # standardized frames are given, of windows the sum of their layers
        layers = "last" if name == "windows" else config.pooling.layers
        pooling = dataclasses.replace(config.pooling, layers=layers, standardize_outputs=False)
        config = dataclasses.replace(config, pooling=pooling)
    return config, WIDTHS.get(name, config.encoder.width)


def _parts(config: FinetuneConfig, width: int):
    pooling = Pooling(config.encoder.num_layers, width, config.pooling, key=jax.random.key(0))
    head = make_category_head(pooling.num_outputs, CATEGORIES, config.heads, key=jax.random.key(1))
    return pooling, head


def _predict(graph, state, x, valid):
    pool, predict = nnx.merge(graph, state)
    return predict(pool(x, valid)[0])


def _trace(pooling, head, width: int):
    frames = 50 * SECONDS
    graph, state = nnx.split((pooling, head))
    shapes = (
        jax.ShapeDtypeStruct((1, 1, frames, width), jnp.float32),
        jax.ShapeDtypeStruct((1, frames), jnp.bool_),
    )
    return jax.jit(functools.partial(_predict, graph)).trace(state, *shapes).jaxpr


if __name__ == "__main__":
    sys.exit(main())
