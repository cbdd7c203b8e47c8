"""Measures a whole wav2vec 2.0 pretraining step, and that of transformers."""

import functools
import json
import multiprocessing
import os
import resource
import statistics
import time

import jax
import jax.numpy as jnp
import numpy as np
from benchmarks.timing import add_batch_options, in_turns

from sersl.config.load import from_mapping
from sersl.config.presets import encoder_preset, frontend_preset
from sersl.config.schema import PretrainConfig
from sersl.core import lengths
from sersl.core.errors import UserError
from sersl.pretraining.task import PretrainTask
from sersl.training.optimizer import make_optimizer
from sersl.training.step import make_step, new_state, param_shapes

GOAL = 1.1  # times as many steps as torch, in float32
DROPOUT = 0.1  # everywhere, layer drop too (the defaults of transformers for wav2vec2-base)
NEGATIVES, MASKED_SHARE, SPAN = 100, 0.49, 10
SIZES = {
    "base": {"num_layers": 12, "width": 768, "num_heads": 12, "mlp_width": 3072},
    "small": {"num_layers": 4, "width": 256, "num_heads": 4, "mlp_width": 1024},
}


def add_options(parser) -> None:
    """Adds the options of this benchmark."""
    parser.add_argument("--size", choices=SIZES, default="base", help="of the encoder")
    add_batch_options(parser, rows=4, seconds=5.0, rounds=5)


def run(arguments) -> dict:
    """Compares a pretraining step of wav2vec 2.0 in sersl with that in transformers.

    A step is a forward pass with dropout, layer drop, masked spans, quantizer, 100 negatives and
    diversity loss; the backward pass; clipping and AdamW. Both are in float32 with the same sizes
    on the same noise, each in its own process that waits while the other one works. Medians over
    rounds of processor time (user and system) and wall clock.

    Raises:
      UserError: torch or transformers is not installed.
    """
    spawn = multiprocessing.get_context("spawn")
    pipes, workers = {}, []
    for name in WAYS:
        pipes[name], theirs = spawn.Pipe()
        settings = {key: getattr(arguments, key) for key in ("size", "rows", "seconds")}
        workers.append(spawn.Process(target=_work, args=(name, settings, theirs)))
        workers[-1].start()
        first = pipes[name].recv()  # the first step compiles
        if isinstance(first, str):
            raise UserError(first)
        print(f"{name}: loss of the first step {first:.4f}", flush=True)
    times = in_turns(
        {name: functools.partial(_step, pipe) for name, pipe in pipes.items()},
        rounds=arguments.rounds,
    )
    for worker, pipe in zip(workers, pipes.values(), strict=True):
        pipe.send(False)
        worker.join()
    rows = []
    for name, measured in times.items():
        user, system, clock, faults = zip(*measured, strict=True)
        total = [round(u + s, 2) for u, s in zip(user, system, strict=True)]
        row = {
            "way": name,
            "cpu_seconds": round(statistics.median(total), 2),
            "of_them_system": round(statistics.median(system), 2),
            "seconds": round(statistics.median(clock), 2),
            "page_faults": statistics.median(faults),
            "cpu_seconds_of_rounds": total,
        }
        rows.append(row)
        print(json.dumps(row), flush=True)
    ratio = rows[0]["cpu_seconds"] / rows[1]["cpu_seconds"]
    print(f"sersl makes {ratio:.2f} times the steps of torch; the goal is {GOAL}")
    return {"size": arguments.size, "goal": GOAL, "ratio": round(ratio, 3), "rows": rows}


def _step(pipe):
    pipe.send(True)
    return pipe.recv()


def _work(name, settings, pipe):
    """Builds a step, then runs it for every True that it receives, and sends back what it took."""
    rng = np.random.default_rng(0)
    shape = (settings["rows"], int(settings["seconds"] * lengths.SAMPLE_RATE))
    waveform = 0.1 * rng.normal(size=shape).astype(np.float32)
    try:
        run = WAYS[name](waveform, settings["size"])
    except UserError as error:
        pipe.send(str(error))
        return
    pipe.send(run())
    while pipe.recv():
        before, clock = resource.getrusage(resource.RUSAGE_SELF), time.perf_counter()
        run()
        clock, after = time.perf_counter() - clock, resource.getrusage(resource.RUSAGE_SELF)
        times = (after.ru_utime - before.ru_utime, after.ru_stime - before.ru_stime, clock)
        pipe.send((*times, after.ru_minflt - before.ru_minflt))


def _sersl(waveform, size):
    """Compiles the step of sersl; returns a function that runs it and returns the loss."""
    config = from_mapping(
        PretrainConfig,
        {
            "frontend": frontend_preset("base", frontend="waveform").to_dict()
            | {"gradient_scale": 1.0},
            "encoder": encoder_preset("base", frontend="waveform").to_dict()
            | SIZES[size]
            | {
                "scan_layers": False,  # which is for compiling large models
                "dropout": DROPOUT,
                "attention_dropout": DROPOUT,
                "activation_dropout": DROPOUT,
                "layer_drop": DROPOUT,
            },
            "masking": {"rule": "uniform", "fraction": MASKED_SHARE, "span": SPAN},
            "objectives": {
                "contrastive": {
                    "weight": 1.0,
                    "width": 256,
                    "codes": 320,
                    "num_negatives": NEGATIVES,
                },
            },
        },
    )
    task = PretrainTask(config)
    optimizer = make_optimizer(config.optimizer, param_shapes(task), num_steps=1000)
    state = jax.jit(lambda: new_state(task, optimizer))()
    batch = {"waveform": jnp.asarray(waveform), "valid": jnp.ones(waveform.shape, bool)}
    step = jax.jit(make_step(task, optimizer, seed=0), donate_argnums=0)
    step = step.lower(state, batch, {}).compile()

    def run():
        nonlocal state
        state, metrics = step(state, batch, {})
        return float(metrics["loss"].value())

    return run


def _torch(waveform, size):
    """Builds the step of transformers; returns a function that runs it and returns the loss."""
    try:
        import torch
        from transformers import Wav2Vec2Config, Wav2Vec2ForPreTraining
        from transformers.models.wav2vec2 import modeling_wav2vec2
    except ImportError as error:
        raise UserError(
            "the comparison needs torch and transformers: pip install 'sersl[bench]'"
        ) from error
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    sizes = SIZES[size]
    config = Wav2Vec2Config(
        num_hidden_layers=sizes["num_layers"],
        hidden_size=sizes["width"],
        num_attention_heads=sizes["num_heads"],
        intermediate_size=sizes["mlp_width"],
        num_negatives=NEGATIVES,
    )
    model = Wav2Vec2ForPreTraining(config).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-4, betas=(0.9, 0.98), eps=1e-6)
    given = torch.from_numpy(waveform)
    shape = (len(waveform), int(lengths.num_frames(waveform.shape[1])))

    def run():
        masked = modeling_wav2vec2._compute_mask_indices(shape, 0.65, SPAN)
        negatives = modeling_wav2vec2._sample_negative_indices(shape, NEGATIVES, masked)
        found = model(
            given,
            mask_time_indices=torch.from_numpy(masked),
            sampled_negative_indices=torch.from_numpy(negatives),
        )
        optimizer.zero_grad()
        loss = found.loss / masked.sum()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        return float(loss.detach())

    return run


# Each builds a function that runs one step and returns the loss.
WAYS = {"torch": _torch, "sersl": _sersl}
