"""Measures the step of each objective next to a plain forward and backward pass of its encoder."""

import functools
import json
import statistics
import tempfile

import jax
import jax.numpy as jnp
import numpy as np
from benchmarks.timing import add_batch_options, in_turns, machine, timed
from flax import nnx

from sersl.config.load import from_mapping
from sersl.config.schema import EncoderConfig, FrontendConfig, PretrainConfig
from sersl.core import lengths
from sersl.data.buckets import Bucket
from sersl.models.encoder import SpeechEncoder
from sersl.parallel.flops import count_flops
from sersl.parallel.random import run_key
from sersl.pretraining.student import Passes
from sersl.pretraining.task import PretrainTask
from sersl.runs.initial_weights import InitialWeights
from sersl.training.step import example_batch, make_teacher
from sersl.training.task import StepContext

ENCODER = {"num_layers": 6, "width": 256, "num_heads": 4, "mlp_width": 1024}
TRANSFORMER = {"encoder": ENCODER}
GRU = {"encoder": {"kind": "gru", "num_layers": 3, "width": 256}, "masking": {"rule": "none"}}
CONVOLUTION = {
    "encoder": {"kind": "masked_conv", "num_layers": 4, "width": 256},
    "masking": {"rule": "none"},
}
WAVEFORM = {"encoder": ENCODER, "frontend": {"kind": "waveform", "conv_width": 128}}
UNMASKED = {"encoder": ENCODER, "masking": {"rule": "none"}}
NOISY = {**UNMASKED, "distortion": {"noise_probability": 1.0}}
TAUGHT = {**UNMASKED, "frozen_teachers": ("teacher",)}
TEACHER = {"num_layers": 6, "width": 256, "num_heads": 4, "mlp_width": 1024}
# Name to (objective, its settings beside the defaults, settings of the run).
CASES = {
    "contrastive": ("contrastive", {}, TRANSFORMER),
    "contrastive, waveform": ("contrastive", {}, WAVEFORM),
    "prosody": ("prosody", {}, TRANSFORMER),
    "intensity": ("intensity", {}, TRANSFORMER),
    "distill": ("distill", {}, TRANSFORMER),
    "distill, 4 clones of what is not hidden": (
        "distill",
        {"decoder": "convolution", "decoder_width": 256},
        {"encoder": ENCODER, "masking": {"rule": "uniform", "replace": "remove", "clones": 4}},
    ),
    "utterance": ("utterance", {}, TRANSFORMER),
    "clusters": ("clusters", {"books": ("k500",), "codes": (500,)}, TRANSFORMER),
    "best_rq": ("best_rq", {}, TRANSFORMER),
    "reconstruction": (
        "reconstruction",
        {},
        {"encoder": ENCODER, "masking": {"rule": "uniform", "replace": "features"}},
    ),
    "apc": ("apc", {}, GRU),
    "cpc": ("cpc", {}, GRU),
    "npc": ("npc", {}, CONVOLUTION),
    "workers": ("workers", {}, UNMASKED),
    "information": ("information", {}, UNMASKED),
    "multiview": ("multiview", {}, UNMASKED),
    "supervised": ("supervised", {}, UNMASKED),
    "instances, NT-Xent": ("instances", {}, NOISY),
    "instances, BYOL": ("instances", {"loss": "bootstrap"}, NOISY),
    "language": ("language", {}, UNMASKED),
    "layers": ("layers", {"layers": (2, 4, 6)}, TAUGHT),
    "vesper": (
        "vesper",
        {"middle": 3, "last": 6},
        {**TAUGHT, "masking": {"rule": "uniform"}},
    ),
    "denoise": ("denoise", {}, NOISY),
}


def add_options(parser) -> None:
    """Adds the options of this benchmark."""
    add_batch_options(parser, rows=8, seconds=4.0, rounds=7)
    parser.add_argument(
        "--cases",
        nargs="*",
        default=[],
        metavar="PART",
        help="only names with one of these",
    )


def run(arguments) -> dict:
    """Compares loss and gradient of each objective with those of the plain encoder.

    Plain is the student's own forward and backward pass with the mean square of its last layer as
    the loss: same rows, masking and clones. The rest of the cost of an objective is its heads, its
    teachers, a second view, and its loss. There is no optimizer.
    """
    rows = []
    print(f"{'objective':42} {'plain s':>8} {'own s':>8} {'ratio':>6} {'FLOPs':>6}")
    for name, (objective, own, whole) in CASES.items():
        if arguments.cases and not any(part in name for part in arguments.cases):
            continue
        row = {"objective": name} | _measure(arguments, objective, own, whole)
        rows.append(row)
        print(
            f"{name:42} {row['plain_seconds']:8.3f} {row['seconds']:8.3f} {row['ratio']:6.2f} "
            f"{row['flops_ratio']:6.2f}",
            flush=True,
        )
    print(json.dumps(machine()))
    return {"rows": rows}


def _measure(arguments, objective: str, own: dict, whole: dict) -> dict:
    """Times one objective and its plain pass, in turns."""
    values = {"masking": {"rule": "uniform"}, **whole}
    values["objectives"] = {objective: {"weight": 1.0, **own}}
    with tempfile.TemporaryDirectory() as folder:
        if objective == "language":
            values["objectives"][objective]["file"] = _texts(folder)
        config = from_mapping(PretrainConfig, values)
        return _measure_task(arguments, config)


def _measure_task(arguments, config: PretrainConfig) -> dict:
    frozen = [_teacher()] if config.frozen_teachers else []
    task = PretrainTask(config, frozen=frozen)
    params = nnx.to_pure_dict(nnx.split(task.make_model())[1])
    teacher = make_teacher(task, params)
    constants = {"frozen": {i: one.params["encoder"] for i, one in enumerate(frozen)}}
    batch = _batch(arguments, task)
    key = run_key(0, "step")

    def full(params, teacher, batch, constants):
        def loss(p):
            return task.loss(p, batch, StepContext(teacher, constants, 0, key))[0]

        return jax.value_and_grad(loss)(params)

    def plain(params, batch):
        def loss(p):
            model = nnx.merge(task.graph, nnx.State(p))
            passes = Passes(batch, config=config, tokens={}, key=key)
            student = passes.student(model.encoder, "waveform")
            return jnp.square(student.hidden_states[-1].astype(jnp.float32)).mean()

        return jax.value_and_grad(loss)(params)

    ways = {
        "plain": (plain, (params, batch)),
        "own": (full, (params, teacher, batch, constants)),
    }
    flops, compiled = {}, {}
    for name, (function, given) in ways.items():
        traced = jax.jit(function).trace(*given)
        flops[name] = count_flops(traced.jaxpr)
        program = functools.partial(traced.lower().compile(), *given)
        jax.block_until_ready(program())
        compiled[name] = functools.partial(timed, program)
    measured = in_turns(compiled, rounds=arguments.rounds)
    seconds = {
        name: statistics.median(time.clock for time in times) for name, times in measured.items()
    }
    return {
        "plain_seconds": round(seconds["plain"], 4),
        "seconds": round(seconds["own"], 4),
        "ratio": round(seconds["own"] / seconds["plain"], 3),
        "flops_ratio": round(flops["own"] / flops["plain"], 3),
    }


def _texts(folder: str) -> str:
    """Writes embeddings of four categories' names."""
    path = f"{folder}/texts.npz"
    names = np.array(["angry", "happy", "neutral", "sad"])
    np.savez(path, names=names, embeddings=np.random.default_rng(0).normal(size=(4, 768)))
    return path


def _teacher() -> InitialWeights:
    """Makes a frozen teacher with random weights."""
    frontend, encoder = FrontendConfig(), EncoderConfig(**TEACHER)
    model = SpeechEncoder(frontend, encoder, key=run_key(9, "teacher"))
    return InitialWeights(
        {"encoder": nnx.to_pure_dict(nnx.split(model)[1])}, frontend, encoder, "teacher"
    )


def _batch(arguments, task: PretrainTask) -> dict[str, jax.Array]:
    """Makes noise of the shapes that the task asks for; the last quarter of each row is padding."""
    rng = np.random.default_rng(0)
    num_samples = int(arguments.seconds * lengths.SAMPLE_RATE)
    shapes = example_batch(Bucket(rows=arguments.rows, num_samples=num_samples), needs=task.needs)
    batch = {}
    for name, leaf in shapes.items():
        if leaf.dtype == np.bool_:
            array = np.broadcast_to(np.arange(num_samples) < 0.75 * num_samples, leaf.shape)
        elif leaf.dtype == np.int32:
            array = rng.integers(0, 4, leaf.shape)
        elif name == "intensity":
            array = rng.random(leaf.shape)
        else:
            array = 0.1 * rng.normal(size=leaf.shape)
        batch[name] = jnp.asarray(array, leaf.dtype)
    return batch
